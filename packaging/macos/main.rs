//! `artifact`: signs and examines what was built for macOS, on any machine.
//!
//!     artifact sign FILE --identifier ID [--entitlements PLIST]
//!     artifact inspect FILE [--library]
//!     artifact run FILE [--with FILE]... [--out FILE] -- ARGUMENTS
//!
//! The program itself reseals signatures that are there and never adds one, and
//! there may be no Mac; so a signature is made by `apple-codesign` and judged
//! by our own reader and by that one. Part of the build, not of the product.

mod emulate;
mod inspect;
mod sign;
#[cfg(test)]
mod tests;

use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::{Parser, Subcommand};

use agxpatch::report;
use agxpatch_core::check;

use inspect::Expected;

#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    step: Step,
}

#[derive(Subcommand)]
enum Step {
    /// Sign every slice ad hoc, with the hardened runtime.
    Sign {
        file: std::path::PathBuf,
        #[arg(long)]
        identifier: String,
        #[arg(long)]
        entitlements: Option<std::path::PathBuf>,
    },
    /// Check what a Mac would demand of the file, and what we promise of it.
    Inspect {
        file: std::path::PathBuf,
        /// It is the guard library and not the program.
        #[arg(long)]
        library: bool,
    },
    /// Run the arm64 slice of the program in an emulator.
    Run {
        file: std::path::PathBuf,
        /// A file the program will find under the same name, and no other.
        #[arg(long)]
        with: Vec<String>,
        /// A file the program makes, to be kept.
        #[arg(long)]
        out: Option<String>,
        /// The program's own arguments.
        #[arg(last = true)]
        arguments: Vec<String>,
    },
}

fn main() -> ExitCode {
    match run(Arguments::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("artifact: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments) -> Result<ExitCode> {
    match arguments.step {
        Step::Sign { file, identifier, entitlements } => {
            let bytes = std::fs::read(&file).with_context(|| file.display().to_string())?;
            let entitlements = entitlements.map(std::fs::read_to_string).transpose()?;
            let signed = sign::ad_hoc(&bytes, &identifier, entitlements.as_deref())?;
            // Written over the name and not into the file: a Mac remembers the
            // signature of an inode it has run.
            let beside = file.with_extension("signed");
            std::fs::write(&beside, signed)?;
            std::fs::set_permissions(&beside, std::fs::metadata(&file)?.permissions())?;
            std::fs::rename(&beside, &file)?;
        }
        Step::Inspect { file, library } => {
            let bytes = std::fs::read(&file).with_context(|| file.display().to_string())?;
            let expected = if library { Expected::LIBRARY } else { Expected::PROGRAM };
            let checks = inspect::all(&bytes, &expected)?;
            report::checks(&mut anstream::stdout(), &checks)?;
            if !check::none_failed(&checks) {
                bail!("{} is not what it should be", file.display());
            }
        }
        Step::Run { file, with, out, arguments } => {
            let program = std::fs::read(&file).with_context(|| file.display().to_string())?;
            let read = |name: String| std::fs::read(&name).map(|bytes| (name, bytes));
            let files = with.into_iter().map(read).collect::<std::io::Result<_>>()?;
            let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
            let ended = emulate::run(&program, &arguments, files)?;
            if let Some(out) = out {
                let made = ended.files.get(&out).with_context(|| format!("no {out} was made"))?;
                std::fs::write(&out, made)?;
            }
            print!("{}", ended.stdout);
            eprint!("{}", ended.stderr);
            return Ok(ExitCode::from(ended.code as u8));
        }
    }
    Ok(ExitCode::SUCCESS)
}
