//! Tells a release which commit it was built from, and a build with a guard
//! library where that library is.
//!
//! AGXPATCH_GUARD_DYLIB names the library that `agxpatch run` is to carry. Without
//! it a release built on a Mac for a Mac, as `cargo install` builds one, has the
//! library built here; any other carries none, and says so when one is wanted.
//!
//! A development build is not told: it would be recompiled after every
//! commit. AGXPATCH_COMMIT goes before git, for sources that have no repository
//! with them and for builds that must not depend on one.

use std::path::{Path, PathBuf};
use std::process::Command;

fn main() {
    guard_library();
    static_cpp_library();
    println!("cargo:rerun-if-env-changed=AGXPATCH_COMMIT");
    println!("cargo:rerun-if-changed=build.rs");
    let named = variable("AGXPATCH_COMMIT").filter(|commit| !commit.is_empty());
    let commit = named.or_else(|| is_release().then(from_git).flatten());
    println!("cargo:rustc-env=AGXPATCH_COMMIT={}", commit.unwrap_or_default());
    // The standard library names libraries that nothing here uses.
    if variable("CARGO_CFG_TARGET_OS").is_some_and(|system| system == "macos") {
        println!("cargo:rustc-link-arg-bins=-Wl,-dead_strip_dylibs");
    }
}

/// Has the guard library included. A relative path is one from here, not from the
/// source file that includes it.
fn guard_library() {
    println!("cargo:rustc-check-cfg=cfg(agxpatch_guard)");
    println!("cargo:rerun-if-env-changed=AGXPATCH_GUARD_DYLIB");
    let named = variable("AGXPATCH_GUARD_DYLIB").filter(|named| !named.is_empty());
    let Some(library) = named.map(PathBuf::from).or_else(built_guard) else { return };
    match std::fs::canonicalize(&library) {
        Ok(path) => {
            println!("cargo:rerun-if-changed={}", path.display());
            println!("cargo:rustc-env=AGXPATCH_GUARD_DYLIB={}", path.display());
            println!("cargo:rustc-cfg=agxpatch_guard");
        }
        Err(error) => {
            println!(
                "cargo:error=AGXPATCH_GUARD_DYLIB names {}, which cannot be read: {error}",
                library.display()
            );
        }
    }
}

/// Has the assembler's C++ library linked in where the compiler has it as an
/// archive: to load and bind the shared one takes a third of what the program
/// takes to start. A Mac has it in memory already.
fn static_cpp_library() {
    const ARCHIVE: &str = "libstdc++.a";
    let built_here = variable("HOST") == variable("TARGET");
    let linux = variable("CARGO_CFG_TARGET_OS").is_some_and(|system| system == "linux");
    let Some(out) = variable("OUT_DIR").filter(|_| linux && built_here) else { return };
    let compiler = variable("CXX").unwrap_or_else(|| "c++".to_owned());
    let asked = Command::new(compiler).arg(format!("-print-file-name={ARCHIVE}")).output();
    let Some(archive) = asked.ok().and_then(|said| String::from_utf8(said.stdout).ok()) else {
        return;
    };
    // The linker takes the first of that name, and in this folder it is alone.
    let folder = Path::new(&out).join("static");
    let copied = std::fs::create_dir_all(&folder)
        .and_then(|()| std::fs::copy(archive.trim(), folder.join(ARCHIVE)));
    if copied.is_ok() {
        println!("cargo:rustc-link-search=native={}", folder.display());
    }
}

/// The guard library, built by its own script where that is a Mac's own business.
fn built_guard() -> Option<PathBuf> {
    const SCRIPT: &str = "scripts/build-guard-macos";
    let for_a_mac = variable("CARGO_CFG_TARGET_OS").is_some_and(|system| system == "macos");
    if !(cfg!(target_os = "macos") && for_a_mac && is_release() && Path::new(SCRIPT).exists()) {
        return None;
    }
    println!("cargo:rerun-if-changed=guard");
    let out = PathBuf::from(variable("OUT_DIR")?).join("guard");
    let built = Command::new(SCRIPT)
        .arg(&out)
        .env("AGX_GUARD_TARGET_DIR", out.join("objects"))
        .status()
        .is_ok_and(|status| status.success());
    if !built {
        println!("cargo:warning={SCRIPT} failed: `agxpatch run` will have no guard library");
    }
    built.then(|| out.join("libagx_guard.dylib"))
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

fn is_release() -> bool {
    variable("PROFILE").is_some_and(|profile| profile == "release")
}

/// The commit of the repository this is the root of, if it is one.
fn from_git() -> Option<String> {
    Path::new(".git").exists().then_some(())?;
    let log = git(&["rev-parse", "--git-path", "logs/HEAD"])?;
    println!("cargo:rerun-if-changed={log}");
    git(&["rev-parse", "--short=12", "HEAD"])
}

fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}
