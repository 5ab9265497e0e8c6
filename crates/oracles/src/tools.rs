//! Finding the tools of others, and starting them.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Set in an environment that must have the tools. There a missing one is a failure,
/// elsewhere the test says that it is skipped.
const REQUIRED: &str = "AGXPATCH_REQUIRE_TOOLS";

/// Set to try everything, which takes hours.
const FULL: &str = "AGXPATCH_FULL";

/// Whether everything is to be tried (`scripts/test --full`).
pub fn is_full() -> bool {
    std::env::var_os(FULL).is_some()
}

/// The file of this name in a folder of `PATH`.
pub fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file())
}

/// The newest of a tool's versions as Debian names them (`clang-22`), or the one
/// without a version.
pub fn newest(tool: &str) -> Option<PathBuf> {
    let versions = (13..40).rev().map(|version| format!("{tool}-{version}"));
    versions.chain([tool.to_owned()]).find_map(|name| find(&name))
}

/// What `found` has, or `None` after a line that says which tool is missing.
///
/// # Panics
///
/// If the tool is missing where it must not be.
pub fn or_skip<T>(found: Result<T, String>) -> Option<T> {
    found.map_err(|missing| skip(&missing)).ok()
}

/// Says that a test is skipped because this tool is missing.
///
/// # Panics
///
/// If the tools are required here.
pub fn skip(missing: &str) {
    assert!(std::env::var_os(REQUIRED).is_none(), "{missing} is missing");
    eprintln!("SKIPPED: {missing} is missing; scripts/setup test installs it");
}

/// The newest version of each tool.
///
/// # Errors
///
/// The name of the first that is missing.
pub fn all_newest<const N: usize>(tools: [&str; N]) -> Result<[PathBuf; N], String> {
    let found = tools.map(|tool| newest(tool).ok_or_else(|| tool.to_owned()));
    let mut missing = found.iter().filter_map(|found| found.clone().err());
    match missing.next() {
        Some(missing) => Err(missing),
        None => Ok(found.map(|found| found.unwrap_or_default())),
    }
}

/// Runs a command that must succeed, and returns what it printed.
///
/// # Panics
///
/// If it cannot be started or fails.
pub fn run(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {errors}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// What an LLVM tool prints about a file with this content. It must succeed and must
/// not complain. `None` after a line that says so where the tool is missing.
pub fn ask(tool: &str, arguments: &[&str], content: &[u8]) -> Option<String> {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("asked"), content).expect("a file");
    // The tool repeats the path that it was given: the same one each time.
    answer(tool, arguments, Path::new("asked"), folder.path())
}

/// [`ask`], of a file that exists.
pub fn ask_about(tool: &str, arguments: &[&str], file: &Path) -> Option<String> {
    answer(tool, arguments, file, Path::new("/"))
}

fn answer(tool: &str, arguments: &[&str], file: &Path, folder: &Path) -> Option<String> {
    let program = or_skip(newest(tool).ok_or_else(|| tool.to_owned()))?;
    let mut command = Command::new(program);
    command.args(arguments).arg(file).current_dir(folder);
    let output = command.output().expect("a tool");
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{tool} {arguments:?}: {complaint}");
    assert_eq!(complaint, "", "{tool} {arguments:?}");
    Some(String::from_utf8_lossy(&output.stdout).into_owned())
}
