//! Tells a release which commit it was built from, and a build with a guard
//! library where that library is.
//!
//! AGXPATCH_GUARD_DYLIB names the library that `agxpatch run` is to carry; without
//! it the program carries none and says so.
//!
//! A development build is not told: it would be compiled anew after every
//! commit. AGXPATCH_COMMIT goes before git, for sources that have no repository
//! with them and for builds that must not depend on one.

use std::path::Path;
use std::process::Command;

fn main() {
    guard_library();
    println!("cargo:rerun-if-env-changed=AGXPATCH_COMMIT");
    println!("cargo:rerun-if-changed=build.rs");
    let named = std::env::var("AGXPATCH_COMMIT").ok().filter(|commit| !commit.is_empty());
    let release = std::env::var("PROFILE").is_ok_and(|profile| profile == "release");
    let commit = named.or_else(|| release.then(from_git).flatten());
    println!("cargo:rustc-env=AGXPATCH_COMMIT={}", commit.unwrap_or_default());
    // The standard library names libraries that nothing here uses.
    if std::env::var("CARGO_CFG_TARGET_OS").is_ok_and(|system| system == "macos") {
        println!("cargo:rustc-link-arg-bins=-Wl,-dead_strip_dylibs");
    }
}

/// Has the library at AGXPATCH_GUARD_DYLIB included. A relative path is one from
/// here, not from the source file that includes it.
fn guard_library() {
    println!("cargo:rustc-check-cfg=cfg(agxpatch_guard)");
    println!("cargo:rerun-if-env-changed=AGXPATCH_GUARD_DYLIB");
    let named = std::env::var("AGXPATCH_GUARD_DYLIB").unwrap_or_default();
    if named.is_empty() {
        return;
    }
    match std::fs::canonicalize(&named) {
        Ok(path) => {
            println!("cargo:rerun-if-changed={}", path.display());
            println!("cargo:rustc-env=AGXPATCH_GUARD_DYLIB={}", path.display());
            println!("cargo:rustc-cfg=agxpatch_guard");
        }
        Err(error) => {
            println!(
                "cargo:error=AGXPATCH_GUARD_DYLIB names {named}, which cannot be read: {error}"
            );
        }
    }
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
