//! What users see, to the letter, and the JSON that scripts rely on.

use std::ffi::OsString;

use crate::harness::{Place, driver, run};
use crate::schema::shape;

/// Runs the program in a directory with the driver `d` and its patched copy
/// `p`, and returns what it printed with that directory's name taken out.
fn transcript(arguments: &[&str]) -> String {
    let place = Place::new();
    let d = place.file("d", driver());
    let root = d.parent().unwrap().display().to_string();
    let named = |argument: &&str| match *argument {
        "d" | "p" | "q" => place.path(argument).into_os_string(),
        other => OsString::from(other),
    };
    let prepare = ["patch", "d", "-o", "p"].iter().map(named).collect::<Vec<_>>();
    if arguments.contains(&"p") && !arguments.contains(&"-o") {
        assert_eq!(run(&prepare).code, 0);
    }
    let ran = run(arguments.iter().map(named));
    let printed = format!("{}{}exit {}\n", ran.stdout, ran.stderr, ran.code);
    printed.replace(&format!("{root}/"), "")
}

/// The same, with the JSON spread out.
fn json(arguments: &[&str]) -> serde_json::Value {
    let text = transcript(&[&["--json"], arguments].concat());
    serde_json::from_str(text.lines().next().unwrap()).unwrap()
}

#[test]
fn inspect_says_what_the_file_is() {
    insta::assert_snapshot!(transcript(&["inspect", "d"]));
}

#[test]
fn patch_shows_before_and_after_and_every_changed_range() {
    insta::assert_snapshot!(transcript(&["patch", "d", "-o", "p"]));
}

#[test]
fn verify_shows_every_check() {
    insta::assert_snapshot!(transcript(&["verify", "--file", "p"]));
}

#[test]
fn verify_of_the_original_says_what_is_wrong() {
    insta::assert_snapshot!(transcript(&["verify", "--file", "d"]));
}

#[test]
fn signatures_explain_is_a_text_for_reverse_engineers() {
    insta::assert_snapshot!(transcript(&["signatures", "explain", "agx-encoder-release"]));
}

#[test]
fn signatures_lint_and_test_pass_on_the_built_in_catalogue() {
    insta::assert_snapshot!(transcript(&["signatures", "lint"]));
    insta::assert_snapshot!(transcript(&["signatures", "test", "d"]));
}

#[test]
fn synth_lists_its_variants() {
    insta::assert_snapshot!(transcript(&["synth", "--list"]));
}

#[test]
fn the_json_of_every_command_on_files_keeps_its_schema() {
    for (name, arguments) in [
        ("inspect", &["inspect", "d"][..]),
        ("patch", &["patch", "d", "-o", "p"]),
        ("patch-already", &["patch", "p", "--dry-run"]),
        ("verify-file", &["verify", "--file", "p"]),
        ("signatures-list", &["signatures", "list"]),
        ("signatures-explain", &["signatures", "explain", "agx-encoder-release"]),
        ("signatures-lint", &["signatures", "lint"]),
        ("signatures-test", &["signatures", "test", "d"]),
        ("synth", &["synth", "q"]),
    ] {
        let value = json(arguments);
        insta::assert_snapshot!(format!("schema_{name}"), shape(&value));
    }
}
