//! The program on a simulated Mac kept in a directory: what people and scripts see.

use std::process::{Command, Stdio};

use agxpatch_simulate::driver::Variant;
use serde_json::Value;

use crate::kept::Kept;

/// A transcript without what changes with every driver, proof and version.
fn lasting(text: &str) -> String {
    let text = text.replace(env!("CARGO_PKG_VERSION"), "[VERSION]");
    // How many effects there were changes with every word that is recorded.
    let counted = |line: &&str| !line.starts_with("  effects ");
    let text: String = text.split_inclusive('\n').filter(counted).collect();
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
fn transcript_from_plan_to_revert() {
    let mac = Kept::with_driver(&Variant::PUBLISHED);
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
