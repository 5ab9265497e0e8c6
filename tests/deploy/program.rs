//! The program on a simulated Mac kept in a directory: what people and scripts
//! see, and processes that are really killed.

use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

use agxpatch::simulate::driver::{self, Variant};
use serde_json::Value;

/// A Mac in a directory.
struct Kept {
    place: tempfile::TempDir,
}

/// An opened Mac with the standard driver, made once and copied.
fn template() -> &'static Path {
    static TEMPLATE: OnceLock<tempfile::TempDir> = OnceLock::new();
    let place = TEMPLATE.get_or_init(|| {
        let place = tempfile::tempdir().unwrap();
        let driver = place.path().join("driver");
        std::fs::write(&driver, driver::build(&Variant::PUBLISHED).unwrap()).unwrap();
        let mac = Kept { place };
        let driver = driver.to_str().unwrap();
        assert!(mac.run(&["simulate", "new", "--open", "--driver", driver]).status.success());
        mac.place
    });
    place.path()
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else if target.parent().unwrap().ends_with("objects") {
            // Contents never change, so a second name will do.
            std::fs::hard_link(entry.path(), target).unwrap();
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

impl Kept {
    fn new() -> Kept {
        Kept::like(template())
    }

    fn like(other: &Path) -> Kept {
        let kept = Kept { place: tempfile::tempdir().unwrap() };
        copy(&other.join("mac"), &kept.mac());
        kept
    }

    fn mac(&self) -> PathBuf {
        self.place.path().join("mac")
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_agxpatch"));
        command.env_clear().stdin(Stdio::null()).arg("--simulate").arg(self.mac());
        command.args(arguments).output().unwrap()
    }

    fn json(&self, arguments: &[&str]) -> Value {
        let output = self.run(&[&["--json"], arguments].concat());
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
    }

    /// What is printed, with what differs from run to run taken out.
    fn transcript(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        let code = output.status.code().unwrap();
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8(text).unwrap();
        format!("$ agxpatch {}\n{text}[exit {code}]\n\n", arguments.join(" "))
    }

    fn digest(&self) -> String {
        let planned = self.json(&["deploy", "--dry-run", "--unlisted-build"]);
        planned["result"]["plan"]["digest"].as_str().unwrap().to_owned()
    }

    fn deploy(&self, digest: &str) -> Output {
        self.run(&["deploy", "--unlisted-build", "--yes", "--plan", digest])
    }

    fn state(&self) -> String {
        self.json(&["status"])["result"]["state"].as_str().unwrap().to_owned()
    }

    fn effects(&self) -> u64 {
        self.json(&["simulate", "show"])["result"]["effects"].as_u64().unwrap()
    }
}

/// A transcript without what changes with every driver, proof and version.
fn lasting(text: &str) -> String {
    let text = text.replace(env!("CARGO_PKG_VERSION"), "[VERSION]");
    let mut lasting = String::new();
    let mut rest = text.as_str();
    while let Some(first) = rest.chars().next() {
        let hexadecimal = rest.bytes().take_while(u8::is_ascii_hexdigit).count();
        let number = rest.bytes().take_while(u8::is_ascii_digit).count();
        let after = &rest[number..];
        if hexadecimal >= 40 {
            lasting.push_str("[HASH]");
            rest = &rest[hexadecimal..];
        } else if number > 0
            && [" obligations", " bytes", " places"].iter().any(|w| after.starts_with(w))
        {
            lasting.push('N');
            rest = after;
        } else {
            let length = hexadecimal.max(first.len_utf8());
            lasting.push_str(&rest[..length]);
            rest = &rest[length..];
        }
    }
    lasting
}

#[test]
fn what_a_person_sees_from_plan_to_revert() {
    let mac = Kept::new();
    let digest = mac.digest();
    let agreed = ["deploy", "--unlisted-build", "--yes", "--plan", &digest];
    let mut seen = String::new();
    for arguments in [
        &["status"][..],
        &["deploy"],
        &["deploy", "--unlisted-build"],
        &["deploy", "--unlisted-build", "--yes", "--plan", "0000"],
        &agreed,
        &["deploy"],
        &["status"],
        &["simulate", "reboot"],
        &["verify"],
        &["revert"],
        &["revert", "--dry-run"],
        &["revert", "--yes"],
        &["status"],
        &["simulate", "reboot"],
        &["recover"],
    ] {
        seen.push_str(&mac.transcript(arguments));
    }
    insta::assert_snapshot!(lasting(&seen));
}

#[test]
fn json_has_a_schema_and_the_same_exit_code() {
    let mac = Kept::new();
    for (arguments, schema, code) in [
        (&["status"][..], "agxpatch.status/1", 0),
        (&["verify"], "agxpatch.verify/1", 2),
        (&["deploy"], "agxpatch.error/1", 3),
        (&["deploy", "--dry-run", "--unlisted-build"], "agxpatch.deploy/1", 0),
        (&["deploy", "--unlisted-build"], "agxpatch.error/1", 1),
        (&["revert"], "agxpatch.revert/1", 0),
        (&["recover"], "agxpatch.recover/1", 0),
    ] {
        let output = mac.run(&[&["--json"], arguments].concat());
        let value: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(value["schema"], schema, "{arguments:?}");
        assert_eq!(value["exit"], code, "{arguments:?}");
        assert_eq!(output.status.code(), Some(code), "{arguments:?}");
        assert!(output.stderr.is_empty(), "{arguments:?}");
    }
}

#[test]
fn a_poisoned_environment_changes_nothing() {
    let mac = Kept::new();
    let digest = mac.digest();
    let output = Command::new(env!("CARGO_BIN_EXE_agxpatch"))
        .env_clear()
        .env("PATH", mac.place.path())
        .env("DYLD_INSERT_LIBRARIES", "/nowhere.dylib")
        .env("DYLD_LIBRARY_PATH", mac.place.path())
        .env("IFS", "/")
        .stdin(Stdio::null())
        .arg("--simulate")
        .arg(mac.mac())
        .args(["deploy", "--unlisted-build", "--yes", "--plan", &digest])
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
}

/// Kills the program for real at some of its effects and demands a good end.
fn kill_at(start: &Path, arguments: &[&str], points: u64, before: impl Fn(&Kept)) {
    let whole = Kept::like(start);
    before(&whole);
    let first = whole.effects();
    let output = whole.run(arguments);
    assert!(output.status.success(), "{output:?}");
    // The last one writes the record of commands and counts for nothing.
    let effects = whole.effects() - first - 1;
    for point in 0..points {
        let nth = 1 + point * (effects - 1) / (points - 1);
        let mac = Kept::like(start);
        before(&mac);
        let reach = ["before", "midway", "after"][point as usize % 3];
        mac.run(&["simulate", "fault", &nth.to_string(), "kill", "--reach", reach]);
        let killed = mac.run(arguments);
        assert_eq!(killed.status.signal(), Some(9), "{arguments:?} at {nth}: {killed:?}");
        if point % 2 == 0 {
            mac.run(&["simulate", "reboot"]);
        }
        let recovered = mac.run(&["recover"]);
        assert!(recovered.status.success(), "{arguments:?} at {nth}: {recovered:?}");
        let booted = mac.run(&["simulate", "reboot"]);
        assert!(booted.status.success(), "{arguments:?} at {nth}: {booted:?}");
        let state = mac.state();
        assert!(["CLEAN", "ACTIVE"].contains(&state.as_str()), "{arguments:?} at {nth}: {state}");
        let shown = mac.json(&["simulate", "show"]);
        assert_eq!(shown["result"]["mounted"], Value::Array(Vec::new()), "{nth}");
    }
}

#[test]
fn processes_that_are_really_killed_leave_a_mac_that_recovers() {
    let digest = Kept::new().digest();
    let deploy = ["deploy", "--unlisted-build", "--yes", "--plan", &digest];
    kill_at(template(), &deploy, 6, |_| {});

    let active = Kept::new();
    assert!(active.deploy(&digest).status.success());
    active.run(&["simulate", "reboot"]);
    kill_at(active.place.path(), &["revert", "--yes"], 5, |_| {});

    kill_at(template(), &["recover"], 4, |mac| {
        mac.run(&["simulate", "fault", "50", "kill"]);
        assert_eq!(mac.deploy(&digest).status.signal(), Some(9));
    });
}
