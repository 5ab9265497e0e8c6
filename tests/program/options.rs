//! `--json`, `--color` and `--catalog`, on every command of the main job.

use crate::harness::{Place, Ran, driver, program, run};

/// Every command of the main job on a driver and its patched copy.
const COMMANDS: [&[&str]; 11] = [
    &["inspect", "d"],
    &["patch", "d", "--dry-run"],
    &["patch", "d", "-o", "again", "--force"],
    &["patch", "p", "-o", "never"],
    &["verify", "--file", "p"],
    &["signatures", "list"],
    &["signatures", "explain", "agx-encoder-release"],
    &["signatures", "lint"],
    &["signatures", "test", "d"],
    &["synth", "--list"],
    &["synth", "made", "--force"],
];

fn place() -> Place {
    let place = Place::new();
    place.file("d", driver());
    let ran = within(&place, &["patch", "d", "-o", "p"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    place
}

fn within(place: &Place, arguments: &[&str]) -> Ran {
    program().current_dir(place.path(".")).args(arguments).output().unwrap().into()
}

#[test]
fn each_prints_one_documented_object_with_json() {
    let place = place();
    let documented = include_str!("../../docs/json.md");
    for command in COMMANDS {
        for arguments in [[&["--json"], command].concat(), [command, &["--json"]].concat()] {
            let ran = within(&place, &arguments);
            assert_eq!(ran.code, 0, "{arguments:?}: {}", ran.stderr);
            assert_eq!((ran.stdout.lines().count(), ran.stderr.as_str()), (1, ""), "{arguments:?}");
            let object = ran.json();
            let schema = object["schema"].as_str().unwrap();
            assert_eq!(object["exit"], 0, "{arguments:?}");
            assert!(object["result"].is_object(), "{arguments:?}");
            let short = schema.strip_prefix("agxpatch.signatures").unwrap_or(schema);
            assert!(documented.contains(&format!("{short}`")), "{schema} stands in docs/json.md");
        }
    }
}

#[test]
fn every_schema_there_is_stands_in_the_documentation() {
    let documented = include_str!("../../docs/json.md");
    let sources = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut open = vec![sources];
    let mut schemas = Vec::new();
    while let Some(path) = open.pop() {
        if path.is_dir() {
            open.extend(std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = std::fs::read_to_string(path).unwrap();
            let declared =
                text.lines().filter(|line| line.starts_with("    const SCHEMA: &'static str ="));
            schemas.extend(declared.map(|line| line.split('"').nth(1).unwrap().to_owned()));
        }
    }
    assert!(schemas.len() > 15, "{schemas:?}");
    for schema in schemas {
        let tail = schema.strip_prefix("agxpatch.signatures").or(schema.strip_prefix("agxpatch."));
        let tail = tail.unwrap();
        assert!(documented.contains(&format!("{tail}`")), "{schema}");
    }
}

#[test]
fn each_is_coloured_when_asked_and_only_then_where_there_is_no_terminal() {
    let place = place();
    for command in COMMANDS {
        let plain = within(&place, command);
        assert!(!plain.stdout.contains('\u{1b}'), "{command:?}");
        for (when, coloured) in [("always", true), ("never", false), ("auto", false)] {
            let ran = within(&place, &[command, &["--color", when]].concat());
            assert_eq!(ran.stdout.contains('\u{1b}'), coloured, "{command:?} {when}");
            let mut stripped = anstream::StripStream::new(Vec::new());
            std::io::Write::write_all(&mut stripped, ran.stdout.as_bytes()).unwrap();
            let stripped = String::from_utf8(stripped.into_inner()).unwrap();
            assert_eq!(stripped, plain.stdout, "{command:?} {when}");
        }
    }
}

#[test]
fn each_takes_a_catalogue_and_those_that_look_for_signatures_say_if_it_is_none() {
    let place = place();
    std::fs::create_dir(place.path("signatures")).unwrap();
    let mine = "name = \"clear\"\narchitectures = [\"arm64e\"]\npattern = \"str xzr, [{a}, {b}]\\nldp x29, x30, [sp, #0x90]\"\n";
    std::fs::write(place.path("signatures/mine.toml"), mine).unwrap();
    for command in COMMANDS {
        let ran = within(&place, &[command, &["--catalog", "."]].concat());
        // A signature that is only looked for may capture what no rewrite uses.
        assert_eq!(ran.code, 0, "{command:?}: {}", ran.stderr);
        let ran = within(&place, &[command, &["--catalog", "nowhere"]].concat());
        if command[0] != "synth" {
            assert_eq!((ran.code, ran.error_code()), (8, "AGX-1001"), "{command:?}");
            assert!(ran.stderr.contains("nowhere") && ran.stderr.contains("next: "));
        }
    }
    let listed = within(&place, &["signatures", "list", "--catalog", "."]).stdout;
    assert!(listed.contains("clear\n"), "{listed}");
}

#[test]
fn the_demo_takes_them_too() {
    let ran = run(["demo", "--json"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let mut objects = ran.stdout.lines().map(serde_json::from_str::<serde_json::Value>);
    assert!(objects.all(|object| object.unwrap()["schema"].is_string()));
    let ran = run(["demo", "--catalog", "/nonexistent/catalog"]);
    assert_eq!((ran.code, ran.error_code()), (8, "AGX-1001"), "{}", ran.stderr);
}
