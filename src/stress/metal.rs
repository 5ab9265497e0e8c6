//! Compiling the workload that is Metal alone, with the compiler of the Mac it runs on.

use std::path::{Path, PathBuf};
use std::process::Command;

use agxpatch_core::error::{Code, Error, Result};

/// What the compiler is given beside the source and the output.
const FLAGS: [&str; 6] = ["-fobjc-arc", "-O2", "-framework", "Foundation", "-framework", "Metal"];

/// Compiles `source` beside itself; returns the program.
///
/// # Errors
/// `ChildNotStarted` where there is no Metal, no compiler, or the compiler fails.
pub fn compile(source: &Path) -> Result<PathBuf> {
    if !cfg!(target_os = "macos") {
        return Err(cannot_run("Metal exists on macOS only")
            .next("run it on a Mac; the other workloads run elsewhere with --device cpu"));
    }
    // Without the tools the compiler's stand-in would open a window and ask to install them.
    let tools = Command::new("/usr/bin/xcode-select").arg("-p").output();
    if !tools.is_ok_and(|output| output.status.success()) {
        return Err(cannot_run("this Mac has no compiler")
            .next("install Apple's command line tools: xcode-select --install"));
    }
    let program = source.with_extension("");
    let mut compiler = Command::new("/usr/bin/xcrun");
    compiler.arg("clang").args(FLAGS).arg("-o").arg(&program).arg(source);
    let output = compiler.output().map_err(|error| cannot_run(&error.to_string()))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(cannot_run("the compiler failed").with("it said", said.trim()));
    }
    Ok(program)
}

fn cannot_run(reason: &str) -> Error {
    Error::new(Code::ChildNotStarted, "the workload cannot run here")
        .with("workload", "metal")
        .with("reason", reason)
}
