//! Tells a release which commit it was built from.
//!
//! A development build is not told: it would be compiled anew after every
//! commit. AGXPATCH_COMMIT goes before git, for sources that have no repository
//! with them and for builds that must not depend on one.

use std::path::Path;
use std::process::Command;

fn main() {
    println!("cargo:rerun-if-env-changed=AGXPATCH_COMMIT");
    println!("cargo:rerun-if-changed=build.rs");
    let named = std::env::var("AGXPATCH_COMMIT").ok().filter(|commit| !commit.is_empty());
    let release = std::env::var("PROFILE").is_ok_and(|profile| profile == "release");
    let commit = named.or_else(|| release.then(from_git).flatten());
    println!("cargo:rustc-env=AGXPATCH_COMMIT={}", commit.unwrap_or_default());
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
