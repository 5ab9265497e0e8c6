//! Names that act on a terminal: the maker of the file must not be able to write
//! on the screen of its reader.

use std::ffi::OsStr;
use std::path::Path;

use crate::harness::{Place, Ran, driver, run};

/// Clears the screen, ends the line, rings, sets a title by a one-byte control
/// sequence, is bold as our own headings are, and reads backwards.
const HOSTILE: &str = "\u{1b}[2J\r\nPASS forged\u{7}\u{9b}\u{1b}[1m\u{202e}\u{2066}";

/// What our own styles are made of.
const STYLES: [&str; 6] =
    ["\u{1b}[0m", "\u{1b}[1m", "\u{1b}[2m", "\u{1b}[31m", "\u{1b}[32m", "\u{1b}[33m"];

fn acts(c: char) -> bool {
    c.is_control() || "\u{61c}\u{200e}\u{200f}\u{2028}\u{2029}".contains(c) || turns(c)
}

fn turns(c: char) -> bool {
    ('\u{202a}'..='\u{202e}').contains(&c) || ('\u{2066}'..='\u{2069}').contains(&c)
}

/// Nothing that was printed acts on a terminal, styles of our own apart.
#[track_caller]
fn harmless(ran: &Ran) {
    for printed in [&ran.stdout, &ran.stderr] {
        let plain = STYLES.iter().fold(printed.clone(), |text, style| text.replace(style, ""));
        let found = plain.lines().find(|line| line.contains(acts));
        assert_eq!(found, None, "{printed:?}");
    }
}

/// Runs with colours, which a pipe would otherwise take out with all else.
fn coloured<'a>(arguments: impl IntoIterator<Item = &'a OsStr>) -> Ran {
    run(arguments.into_iter().chain(["--color".as_ref(), "always".as_ref()]))
}

fn each_command<'a>(file: &'a Path, other: &'a Path) -> Vec<Vec<&'a OsStr>> {
    let (file, other) = (file.as_os_str(), other.as_os_str());
    let with = |before: &[&'static str], after: &[&'a OsStr]| {
        let before = before.iter().map(|word| OsStr::new(*word));
        before.chain(after.iter().copied()).collect::<Vec<&'a OsStr>>()
    };
    vec![
        with(&["inspect"], &[file]),
        with(&["patch"], &[file, "-o".as_ref(), other, "--force".as_ref()]),
        with(&["verify", "--file"], &[other]),
        with(&["patch"], &[other, "--dry-run".as_ref()]),
        with(&["verify", "--file"], &[file]),
        with(&["prove"], &[file]),
        with(&["signatures", "test"], &[file]),
        with(&["synth"], &[other, "--force".as_ref()]),
        with(&["synth"], &[other]),
        with(&["inspect", "nothing-of-that-name"], &[file]),
    ]
}

#[test]
fn a_file_name_is_shown_on_its_line_and_does_nothing() {
    let place = Place::new();
    let (plain, hostile) = (place.file("plain", driver()), place.file(HOSTILE, driver()));
    let (plain_out, hostile_out) = (place.path("plain.out"), place.path(&format!("{HOSTILE}.out")));
    let spaces: String = HOSTILE.chars().map(|c| if acts(c) { ' ' } else { c }).collect();
    let before = each_command(&plain, &plain_out);
    for (usual, hostile) in before.into_iter().zip(each_command(&hostile, &hostile_out)) {
        let (usual, ran) = (coloured(usual), coloured(hostile.clone()));
        harmless(&ran);
        assert_eq!(usual.code, ran.code, "{hostile:?} {}", ran.stderr);
        let expected = usual.stdout.replace("plain", &spaces);
        assert_eq!(ran.stdout, expected, "{hostile:?}");
        // An error shows every line of it apart.
        let lines = |text: &str| text.lines().filter(|line| !line.starts_with("    ")).count();
        assert_eq!(lines(&ran.stderr), lines(&usual.stderr), "{hostile:?} {}", ran.stderr);
    }
}

#[test]
fn a_file_name_is_whole_in_the_json_and_does_nothing_there() {
    let place = Place::new();
    let hostile = place.file(HOSTILE, driver());
    for command in [&["inspect"][..], &["signatures", "test"]] {
        let words = command.iter().map(OsStr::new);
        let ran = run(words.chain([hostile.as_os_str(), "--json".as_ref()]));
        harmless(&ran);
        assert_eq!(ran.stdout.matches('\n').count(), 1);
        assert_eq!(ran.json()["result"]["file"], hostile.to_str().unwrap());
    }
    let ran = run(["inspect".as_ref(), place.path("no\u{9b}ne").as_os_str(), "--json".as_ref()]);
    harmless(&ran);
    assert!(ran.stdout.contains(r"no\u009bne"), "{}", ran.stdout);
}

/// The driver with every `name` in it replaced by one as long, in all of its
/// tables.
fn renamed(name: &str, by: &str) -> Vec<u8> {
    assert_eq!(name.len(), by.len());
    let mut bytes = driver().to_vec();
    let finder = memchr::memmem::Finder::new(name);
    let found: Vec<usize> = finder.find_iter(driver()).collect();
    assert!(!found.is_empty(), "{name} is nowhere in the driver");
    for at in found {
        bytes[at..at + by.len()].copy_from_slice(by.as_bytes());
    }
    bytes
}

#[test]
fn names_out_of_the_file_do_nothing() {
    for (name, by, shown) in [
        // The class whose method holds the window: a star of the signature's.
        ("AGXG16XFamilyComputeContext", "AGX\u{1b}[2JFamilyComputeContext", "-[AGX [2JFamily"),
        ("AGXG16XFamilyComputeContext", "AGX\u{202e}XFamilyComputeContext", "-[AGX XFamily"),
        ("AGXG16XFamilyComputeContext", "AGX\n\r\u{7}\tFamilyComputeContext", "-[AGX    Family"),
        // The function that is called at the end of a stub.
        ("_os_unfair_lock_unlock", "_os_unfair\u{1b}[2Jk_unlock", "called: _os_unfair [2Jk_unlock"),
        // Sections and segments.
        ("__DATA_CONST\0", "__DATA\u{1b}[2J\r\n\0", ""),
        ("__objc_classlist", "__objc\u{1b}[2Jlist\r\n", ""),
        // The identifier in the code directories.
        ("com.apple.AGXMetalG16X", "com.a\u{1b}[2J.\u{202e}talG16X\n\r", ""),
    ] {
        let place = Place::new();
        let (d, p) = (place.file("d", &renamed(name, by)), place.path("p"));
        let mut said = String::new();
        for arguments in each_command(&d, &p) {
            let ran = coloured(arguments);
            harmless(&ran);
            said.push_str(&ran.stdout);
            said.push_str(&ran.stderr);
        }
        assert!(said.contains(shown), "{by:?}: {said}");
    }
}

const SIGNATURE: &str = r#"
name = "clear"
summary = "first\nPASS forged\u001b[2J"
architectures = ["arm64e"]
pattern = """
str xzr, [{self}, {ivar}]
ldp x29, x30, [sp, #0x90]
"""
essay = "one\ntwo\u001b[2J\u009b\u202e"
"#;

const PATCH: &str = r#"
name = "cleared"
signature = "clear"
summary = "second\nPASS forged\u001b[2J"
rewrite = """
nop
?
"""
defects = ["a\nPASS forged\u001b[2J"]
does_not_fix = ["b\nPASS forged\u202e"]
essay = "\u001b]0;title\u0007"
"#;

fn catalog(place: &Place, signature: &str, patch: &str) {
    for (folder, text) in [("signatures", signature), ("patches", patch)] {
        std::fs::create_dir_all(place.path(folder)).unwrap();
        std::fs::write(place.path(folder).join("mine.toml"), text).unwrap();
    }
}

#[test]
fn control_characters_in_a_catalogue_are_escaped() {
    let place = Place::new();
    catalog(&place, SIGNATURE, PATCH);
    let d = place.file("d", driver());
    let path = place.path(".");
    for arguments in [
        &["signatures", "list"][..],
        &["signatures", "explain", "clear"],
        &["signatures", "lint"],
        &["patch", d.to_str().unwrap(), "--dry-run", "--patch", "cleared", "--unproven"],
    ] {
        let words = arguments.iter().map(OsStr::new);
        let ran = coloured(words.chain(["--catalog".as_ref(), path.as_os_str()]));
        harmless(&ran);
        assert!(!ran.stdout.contains("\nPASS forged"), "{}", ran.stdout);
    }
}

#[test]
fn a_name_in_a_catalogue_must_be_one_that_can_be_typed() {
    for (signature, patch) in [
        (SIGNATURE.replace("\"clear\"", "\"cl\\u001b[2Jear\""), PATCH.to_owned()),
        (SIGNATURE.replace("\"clear\"", "\"a\\nb\""), PATCH.to_owned()),
        (SIGNATURE.replace("\"clear\"", "\"\""), PATCH.to_owned()),
        (SIGNATURE.replace("\"clear\"", "\"--force\""), PATCH.to_owned()),
        (SIGNATURE.to_owned(), PATCH.replace("\"cleared\"", "\"\\u202ecleared\"")),
        (SIGNATURE.to_owned(), format!("alias = \"an alias\"{PATCH}")),
    ] {
        let place = Place::new();
        catalog(&place, &signature, &patch);
        let path = place.path(".");
        let ran = coloured(
            ["signatures", "list", "--catalog"]
                .map(OsStr::new)
                .into_iter()
                .chain([path.as_os_str()]),
        );
        harmless(&ran);
        assert_eq!(
            (ran.code, ran.error_code()),
            (1, "AGX-0302"),
            "{signature}{patch}{}",
            ran.stderr
        );
        assert!(ran.stderr.contains("mine.toml") && ran.stderr.contains("next:"), "{}", ran.stderr);
    }
}

#[test]
fn a_fault_in_a_catalogue_is_shown_without_what_acts() {
    let place = Place::new();
    catalog(&place, &SIGNATURE.replace("str xzr", "frob\u{202e}\u{9b}2J xzr"), PATCH);
    let long = format!("x = \"{}\u{1b}[2J", "a".repeat(100_000));
    std::fs::write(place.path("patches/long.toml"), long).unwrap();
    let path = place.path(".");
    let list = || ["signatures", "list", "--catalog"].map(OsStr::new).into_iter();
    let ran = coloured(list().chain([path.as_os_str()]));
    harmless(&ran);
    assert_eq!(ran.error_code(), "AGX-0302", "{}", ran.stderr);
    assert!(ran.stderr.len() < 4000, "a long line is cut: {}", ran.stderr.len());
    std::fs::remove_file(place.path("patches/long.toml")).unwrap();
    let test = ["signatures", "explain", "clear", "--catalog"].map(OsStr::new).into_iter();
    let ran = coloured(test.chain([path.as_os_str()]));
    harmless(&ran);
    assert_eq!(ran.error_code(), "AGX-0201", "{}", ran.stderr);
}

#[test]
fn words_of_the_command_line_are_repeated_without_what_acts() {
    for arguments in [
        &[HOSTILE][..],
        &["inspect", "d", HOSTILE],
        &["signatures", HOSTILE],
        &["signatures", "explain", HOSTILE],
        &["synth", "d", "--variant", HOSTILE],
        &["patch", "d", "--dry-run", "--color", HOSTILE],
    ] {
        let ran = run(arguments);
        harmless(&ran);
        assert_ne!(ran.code, 0);
    }
}
