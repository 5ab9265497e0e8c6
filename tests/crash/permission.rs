//! Other users' reports, which may not be read: each is named, none is lost.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Output;

use agxpatch_simulate::crash_report::CrashReport;
use serde_json::Value;

use crate::unprivileged;

fn allow(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

/// Runs `agxpatch crashes` as a user who may not read everything in `folder`.
fn as_another_user(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = unprivileged::agxpatch(folder);
    command.arg("crashes").args(arguments).current_dir(folder).env("NO_COLOR", "1");
    command.env("HOME", folder.join("home"));
    command.output().unwrap()
}

/// A report that may be read, one that may not, a folder that may not, and a home
/// whose folder of reports may not.
fn machine() -> tempfile::TempDir {
    let machine = tempfile::tempdir().unwrap();
    let at = |path: &str| machine.path().join(path);
    for folder in ["reports/closed", "home/Library/Logs/DiagnosticReports"] {
        fs::create_dir_all(at(folder)).unwrap();
    }
    fs::write(at("reports/open.ips"), CrashReport::set_pipeline(1).ips()).unwrap();
    fs::write(at("reports/theirs.ips"), CrashReport::spill(2).ips()).unwrap();
    fs::write(at("reports/closed/hidden.ips"), CrashReport::trap(3).ips()).unwrap();
    allow(&at("reports/open.ips"), 0o644);
    for closed in ["reports/theirs.ips", "reports/closed", "home/Library/Logs/DiagnosticReports"] {
        allow(&at(closed), 0o000);
    }
    machine
}

fn reopen(machine: &tempfile::TempDir) {
    for closed in ["reports/closed", "home/Library/Logs/DiagnosticReports"] {
        allow(&machine.path().join(closed), 0o755);
    }
}

#[test]
fn reports_and_folders_without_permission_are_named_with_what_to_do() {
    let machine = machine();
    let output = as_another_user(machine.path(), &["reports"]);
    let json = as_another_user(machine.path(), &["--json", "reports"]);
    reopen(&machine);
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.starts_with("1 incident in 3 files (2 unreadable)"), "{text}");
    for path in ["reports/theirs.ips", "reports/closed"] {
        let line = text.lines().find(|line| line.contains(path));
        let line = line.unwrap_or_else(|| panic!("{path} is not named: {text}"));
        assert!(line.contains("belongs to another user, so read it with sudo"), "{line}");
    }
    let json: Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(json["result"]["unreadable"].as_array().map(Vec::len), Some(2), "{json}");
}

#[test]
fn a_folder_named_by_hand_that_may_not_be_read_is_an_error() {
    let machine = machine();
    let output = as_another_user(machine.path(), &["reports/closed"]);
    reopen(&machine);
    assert!(!output.status.success(), "{output:?}");
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(
        error.contains("reports/closed") && error.contains("next: run the command with sudo"),
        "{error}"
    );
}

#[test]
fn a_usual_folder_that_may_not_be_read_is_named() {
    let machine = machine();
    let output = as_another_user(machine.path(), &[]);
    reopen(&machine);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("DiagnosticReports: ") && text.contains("with sudo"), "{text}");
}
