//! `agxpatch prove`, through the program.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::OnceLock;

use agxpatch_simulate::driver::{self, Variant};
use serde_json::Value;
use tempfile::TempDir;

struct Place(TempDir);

impl Place {
    fn with(variant: &str) -> Place {
        let place = Place(tempfile::tempdir().unwrap());
        let variant = Variant::named(variant).unwrap();
        fs::write(place.path("driver"), driver::build(variant).unwrap()).unwrap();
        place
    }

    fn published() -> Place {
        static BYTES: OnceLock<Vec<u8>> = OnceLock::new();
        let bytes = BYTES.get_or_init(|| driver::build(&Variant::PUBLISHED).unwrap());
        let place = Place(tempfile::tempdir().unwrap());
        fs::write(place.path("driver"), bytes).unwrap();
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn agxpatch(&self, arguments: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_agxpatch"))
            .current_dir(self.0.path())
            .args(arguments)
            .output()
            .unwrap()
    }

    fn json(&self, arguments: &[&str]) -> (Option<i32>, Value) {
        let output = self.agxpatch(&[arguments, &["--json"]].concat());
        let value = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)));
        (output.status.code(), value)
    }
}

fn text(output: &Output) -> String {
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[test]
fn the_default_patch_is_proven_and_its_limit_said() {
    let output = Place::published().agxpatch(&["prove", "driver"]);
    let text = text(&output);
    assert_eq!(output.status.code(), Some(0), "{text}");
    insta::assert_snapshot!(text);
}

#[test]
fn the_published_rewrite_is_shown_to_leak() {
    let output = Place::published().agxpatch(&["prove", "driver", "--patch", "legacy"]);
    assert_eq!(output.status.code(), Some(7));
    insta::assert_snapshot!(text(&output));
}

#[test]
fn a_file_patched_already_is_proven_alike() {
    let place = Place::published();
    assert!(place.agxpatch(&["patch", "driver", "-o", "patched"]).status.success());
    let original = text(&place.agxpatch(&["prove", "driver"]));
    assert_eq!(text(&place.agxpatch(&["prove", "patched"])), original);
    let (exit, legacy) = Place::with("legacy-patched").json(&["prove", "driver"]);
    assert_eq!(
        (exit, legacy["result"]["patch"].as_str()),
        (Some(7), Some("agx-encoder-release-legacy"))
    );
}

#[test]
fn another_build_is_proven_by_its_own_registers_and_addresses() {
    let (exit, proof) = Place::with("renamed").json(&["prove", "driver"]);
    assert_eq!(exit, Some(0), "{proof}");
    let (_, published) = Place::published().json(&["prove", "driver"]);
    let states =
        |proof: &Value| proof["result"]["after"]["interleavings"]["locking"]["states"].clone();
    assert_eq!(states(&proof), states(&published));
    let first = |proof: &Value| proof["result"]["after"]["steps"]["left"]["steps"][0]["at"].clone();
    assert_ne!(first(&proof), first(&published));
}

#[test]
fn the_json_carries_the_evidence() {
    let (exit, proof) = Place::published().json(&["prove", "driver"]);
    assert_eq!((exit, proof["schema"].as_str()), (Some(0), Some("agxpatch.prove/1")));
    let columns = proof["result"]["comparison"].as_array().unwrap();
    let possible = |property: &str| -> Vec<&str> {
        let row = |column: &&serde_json::Value| {
            let outcomes = column["outcomes"].as_array().unwrap();
            outcomes.iter().any(|one| one["property"] == property && one["possible"] == true)
        };
        columns.iter().filter(row).map(|column| column["rewrite"].as_str().unwrap()).collect()
    };
    assert_eq!(possible("NoRaceWindow"), ["original"]);
    assert_eq!(possible("NoDoublePush"), ["original", "agx-encoder-release"]);
    assert_eq!(
        possible("NoDoubleDestructor"),
        ["original", "agx-encoder-release", "take", "reread"]
    );
    let result = &proof["result"];
    assert_eq!(result["verdict"], "holds");
    assert_eq!(result["lockless_reader_is_lost"], true);
    let races: Vec<&Value> = result["before"]["interleavings"]["locking"]["violations"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|found| found["property"] == "NoRaceWindow")
        .collect();
    assert_eq!(races.len(), 2, "one on either path");
    let last = |race: &Value| race["moves"].as_array().unwrap().last().unwrap()["at"].clone();
    assert_eq!((last(races[0]), last(races[1])), ("0x2be074".into(), "0x2be088".into()));
}

#[test]
fn more_threads_are_explored_on_request_and_too_many_refused() {
    let place = Place::published();
    let states = |threads: &str| {
        let (_, proof) = place.json(&["prove", "driver", "--threads", threads]);
        proof["result"]["after"]["interleavings"]["locking"]["states"].as_u64().unwrap()
    };
    assert!(states("2") < states("3") && states("3") < states("4"));
    assert_eq!(place.agxpatch(&["prove", "driver", "--threads", "6"]).status.code(), Some(1));
}

#[test]
fn the_emitted_specification_is_the_committed_one() {
    let place = Place::published();
    let output = place.agxpatch(&["prove", "driver", "--emit-tla", "specs"]);
    assert!(output.status.success());
    let committed = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tla");
    for (emitted, name) in [
        ("window.tla", "window.tla"),
        ("window_original.tla", "window_original.tla"),
        ("window_original_fails_NoRaceWindow.cfg", "window_original_fails_NoRaceWindow.cfg"),
        ("window_agx_encoder_release_holds_locking.cfg", "window_default_holds_locking.cfg"),
        ("window_agx_encoder_release_holds_shared.cfg", "window_default_holds_shared.cfg"),
    ] {
        let read = |path: PathBuf| fs::read_to_string(path).unwrap();
        assert_eq!(
            read(place.path("specs").join(emitted)),
            read(committed.join(name)),
            "{emitted}"
        );
    }
    // Again is not an error, over something else it is.
    assert!(place.agxpatch(&["prove", "driver", "--emit-tla", "specs"]).status.success());
    fs::write(place.path("specs/window.tla"), "mine").unwrap();
    let refused = place.agxpatch(&["prove", "driver", "--emit-tla", "specs"]);
    assert_eq!(refused.status.code(), Some(1));
    assert_eq!(fs::read(place.path("specs/window.tla")).unwrap(), b"mine");
    assert!(
        place.agxpatch(&["prove", "driver", "--emit-tla", "specs", "--force"]).status.success()
    );
}

#[test]
fn the_page_is_written_whole_and_never_over_the_driver() {
    let place = Place::published();
    let output = place.agxpatch(&["prove", "driver", "--html", "proof.html"]);
    assert!(output.status.success());
    let page = fs::read_to_string(place.path("proof.html")).unwrap();
    assert!(page.ends_with("</html>\n") && page.contains("destroyImpl"));
    let before = fs::read(place.path("driver")).unwrap();
    for over in ["driver", "proof.html"] {
        assert_eq!(place.agxpatch(&["prove", "driver", "--html", over]).status.code(), Some(1));
    }
    assert!(!place.agxpatch(&["prove", "driver", "--html", "driver", "--force"]).status.success());
    assert_eq!(fs::read(place.path("driver")).unwrap(), before);
}

#[test]
fn a_file_without_the_sequence_or_with_two_is_an_error_of_its_own() {
    for variant in ["no-hit", "two-hits"] {
        let output = Place::with(variant).agxpatch(&["prove", "driver"]);
        assert_eq!(output.status.code(), Some(4), "{variant} {output:?}");
        assert!(output.stdout.is_empty());
    }
}
