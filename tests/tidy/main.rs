//! Rules of the house that a compiler does not check.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use agxpatch_core::error::Code;

/// Who may use whom inside a crate: a module may use those in a lower layer, and
/// its own. Between crates Cargo.toml says it.
const LAYERS: &[&[&str]] = &[
    &["address", "driver_logic", "exit", "report"],
    &["check", "error"],
    &["edit"],
    &["arm64", "codesign", "macho", "signature", "storage"],
    &["finder"],
    &["patch"],
    &["proof", "crash"],
    &["diagnostics"],
    &["launch"],
    &["stress"],
    &["recipes"],
    &["selftest"],
    &["cli"],
];

/// Arrows inside a layer or up, each with its reason.
const ALLOWED: &[(&str, &str)] = &[
    // An error ends the program with an exit code of its own.
    ("error", "exit"),
    // Pattern text becomes words through the assembler.
    ("signature", "arm64"),
];

/// The crate that does no I/O: it takes bytes and returns values.
const CORE: &str = "crates/core/src";

/// Modules of other crates that do none either.
const PURE: &[&str] = &["src/crash"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The crate that only tests use: it may panic and print as they do.
const FOR_TESTS: &str = "oracles";

/// The folders that hold the product's code.
fn source_folders() -> Vec<PathBuf> {
    let crates = std::fs::read_dir(root().join("crates")).unwrap();
    let mut folders: Vec<PathBuf> = crates
        .map(|entry| entry.unwrap().path())
        .filter(|path| !path.ends_with(FOR_TESTS))
        .map(|path| path.join("src"))
        .filter(|path| path.is_dir())
        .collect();
    folders.push(root().join("src"));
    folders.sort();
    folders
}

/// The product's own source files.
fn sources() -> Vec<PathBuf> {
    source_folders().iter().flat_map(|folder| files(folder, "rs")).collect()
}

fn files(directory: &Path, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path, extension));
        } else if path.extension().is_some_and(|e| e == extension) {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// The top module a source file belongs to.
fn module(path: &Path) -> String {
    let inside = source_folders().iter().find_map(|folder| path.strip_prefix(folder).ok()).unwrap();
    let first = inside.iter().next().unwrap().to_str().unwrap();
    first.trim_end_matches(".rs").to_owned()
}

/// The file without its tests and comments.
fn code(path: &Path) -> String {
    let in_tests = path.parent().is_some_and(|parent| parent.ends_with("tests"));
    if in_tests || path.ends_with("tests.rs") {
        return String::new();
    }
    let text = std::fs::read_to_string(path).unwrap();
    let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
    let code = |line: &&str| !line.trim_start().starts_with("//");
    text.lines().filter(code).collect::<Vec<_>>().join("\n")
}

fn uses(code: &str) -> BTreeSet<String> {
    code.match_indices("crate::")
        .map(|(at, found)| {
            let rest = &code[at + found.len()..];
            let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_');
            rest[..end.unwrap_or(rest.len())].to_owned()
        })
        .filter(|name| name.starts_with(|c: char| c.is_ascii_lowercase()))
        .collect()
}

fn layer(module: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| layer.contains(&module))
}

#[test]
fn arrows_between_modules_run_one_way() {
    let mut wrong = BTreeMap::new();
    let layered = [root().join(CORE), root().join("src")];
    for path in layered.iter().flat_map(|folder| files(folder, "rs")) {
        let from = module(&path);
        if ["lib", "main"].contains(&from.as_str()) {
            continue;
        }
        let own = layer(&from).unwrap_or_else(|| panic!("{from} stands in no layer"));
        for to in uses(&code(&path)) {
            let down = layer(&to).is_none_or(|other| other < own);
            if to != from && !down && !ALLOWED.contains(&(&from, &to)) {
                wrong.insert(format!("{from} -> {to}"), path.clone());
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn the_core_does_no_input_and_output() {
    let pure = std::iter::once(&CORE).chain(PURE);
    for path in pure.flat_map(|folder| files(&root().join(folder), "rs")) {
        const EFFECTS: [&str; 7] = [
            "std::fs",
            "process::Command",
            "process::exit",
            "std::net",
            "std::env",
            "println!",
            "print!",
        ];
        for effect in EFFECTS {
            assert!(!code(&path).contains(effect), "{}: {effect}", path.display());
        }
    }
}

#[test]
fn only_the_command_line_prints() {
    for path in sources() {
        if ["cli", "report"].contains(&module(&path).as_str()) {
            continue;
        }
        let code = code(&path);
        for print in ["println!", "print!(", "eprint"] {
            assert!(!code.contains(print), "{}: {print}", path.display());
        }
    }
}

#[test]
fn every_module_opens_with_what_it_is_responsible_for() {
    for path in sources() {
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.starts_with("//! "), "{}", path.display());
    }
}

#[test]
fn no_comment_postpones_work() {
    for path in sources() {
        let code = code(&path);
        for mark in ["todo!(", "unimplemented!(", "dbg!("] {
            assert!(!code.contains(mark), "{}: {mark}", path.display());
        }
    }
}

#[test]
fn text_files_end_in_one_newline_and_have_no_carriage_returns() {
    for directory in ["src", "crates", "tests", "scripts", "signatures", "patches", "tla", "docs"] {
        for extension in ["rs", "toml", "py", "tla", "cfg", "md"] {
            for path in files(&root().join(directory), extension) {
                let text = std::fs::read_to_string(&path).unwrap();
                assert!(text.ends_with('\n') && !text.ends_with("\n\n"), "{}", path.display());
                assert!(!text.contains('\r'), "{}", path.display());
            }
        }
    }
}

#[test]
fn error_codes_are_numbered_once_and_in_order() {
    let numbers: Vec<&str> = Code::ALL.iter().map(|code| code.as_str()).collect();
    let mut sorted = numbers.clone();
    sorted.sort();
    sorted.dedup();
    assert_eq!(numbers, sorted);
}

#[test]
fn no_path_is_unwrapped_that_a_user_can_reach() {
    let mut found = Vec::new();
    for path in sources() {
        let code = code(&path);
        if code.contains(".unwrap()") || code.contains(".expect(\"") {
            found.push(path);
        }
    }
    assert!(found.is_empty(), "{found:#?}");
}

/// A Mac's bash is of 2007, and its tools are not GNU's.
#[test]
fn scripts_that_run_on_a_mac_keep_to_what_is_there() {
    const SCRIPTS: [&str; 8] = [
        ".ci/run",
        "scripts/build-guard-macos",
        "scripts/build-macos",
        "scripts/check-macos",
        "scripts/demo",
        "scripts/package",
        "scripts/setup",
        "scripts/test",
    ];
    const NOT_THERE: [&str; 18] = [
        "mapfile",
        "readarray",
        "declare -A",
        "local -A",
        "local -n",
        ",,}",
        "^^}",
        "@Q}",
        "|&",
        "&>>",
        "cp --parents",
        "xargs -r",
        "sed -i",
        "date -d",
        "mktemp -d -p",
        "grep -P",
        "-printf",
        "tar --",
    ];
    for script in SCRIPTS {
        let text = std::fs::read_to_string(root().join(script)).unwrap();
        assert!(text.starts_with("#!/usr/bin/env bash\n"), "{script}");
        for one in NOT_THERE {
            assert!(!text.contains(one), "{script}: {one}");
        }
    }
}
