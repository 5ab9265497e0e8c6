//! `cargo xtask dev`: formats, lints and tests what was touched, and nothing else.
//!
//! What was touched is what git says differs from the branch `main` and what is not
//! committed. A file under `crates/NAME` is of the crate `agxpatch-NAME`, one under
//! `tests/NAME` of the test program of that name, one under `src` of the program.
//! `scripts/test` runs everything.

mod touched;

use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::Instant;

use anyhow::{Context, Result, bail};

use touched::Touched;

const USAGE: &str = "usage: cargo xtask dev [CRATE...]

Formats the tree, then runs clippy and the tests of the named crates, or of those
that differ from main. Tests that do not belong to a crate run when they, or the
program, are touched.";

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let result = match words.split_first() {
        Some((verb, crates))
            if verb == "dev" && !crates.iter().any(|name| name.starts_with('-')) =>
        {
            dev(crates)
        }
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::FAILURE;
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn dev(named: &[String]) -> Result<()> {
    let touched = if named.is_empty() { from_git()? } else { Touched::named(named) };
    cargo(["fmt", "--all"])?;
    if touched.is_empty() {
        println!("nothing differs from main");
        return Ok(());
    }
    println!("touched: {touched}");
    for package in &touched.packages {
        cargo([
            "clippy",
            "--quiet",
            "--package",
            package,
            "--all-targets",
            "--",
            "-D",
            "warnings",
        ])?;
    }
    for package in touched.packages.iter().filter(|package| *package != touched::PROGRAM) {
        cargo(["test", "--quiet", "--package", package])?;
    }
    let programs = touched.test_programs.iter().flat_map(|name| ["--test", name]);
    let library = touched.packages.contains(touched::PROGRAM).then_some("--lib");
    let chosen: Vec<&str> = library.into_iter().chain(programs).collect();
    if !chosen.is_empty() {
        cargo(["test", "--quiet", "--package", touched::PROGRAM].into_iter().chain(chosen))?;
    }
    Ok(())
}

/// The files that differ from `main`, committed or not.
fn from_git() -> Result<Touched> {
    let root = git(&["rev-parse", "--show-toplevel"])?;
    std::env::set_current_dir(root.trim()).context("the root of the checkout")?;
    let base = git(&["merge-base", "HEAD", "main"]).unwrap_or_else(|_| "HEAD".to_owned());
    let changed = git(&["diff", "--name-only", base.trim()])?;
    let untracked = git(&["ls-files", "--others", "--exclude-standard"])?;
    let mut touched = Touched::of(changed.lines().chain(untracked.lines()));
    // Some folders of tests/ are modules that several programs share.
    touched.test_programs.retain(|name| Path::new("tests").join(name).join("main.rs").is_file());
    Ok(touched)
}

fn git(arguments: &[&str]) -> Result<String> {
    let output = Command::new("git").args(arguments).output().context("git cannot be started")?;
    if !output.status.success() {
        bail!("git {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8(output.stdout)?)
}

/// Runs cargo, and says how long it took.
fn cargo<'a>(arguments: impl IntoIterator<Item = &'a str>) -> Result<()> {
    let arguments: Vec<&str> = arguments.into_iter().collect();
    let began = Instant::now();
    let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status =
        Command::new(program).args(&arguments).status().context("cargo cannot be started")?;
    let line = arguments.join(" ");
    if !status.success() {
        bail!("cargo {line} failed");
    }
    println!("{:6.1} s  cargo {line}", began.elapsed().as_secs_f32());
    Ok(())
}
