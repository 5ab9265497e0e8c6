//! A file that no signature describes: it is rewritten by meaning, judged from the file
//! alone, and its original code put back.

use agxpatch_core::codesign::{EmbeddedSignature, Slot};
use agxpatch_core::macho::Universal;
use agxpatch_simulate::driver::{self, Variant};

use crate::harness::{Place, Ran, read, run, word};

/// A word of the published window, in the slice, and another that does the same.
const WORD: usize = 0x2b_e084;
const OTHER: u32 = 0x9100_0280;

/// A driver whose sequence no signature has, though it does the same.
fn unknown_build(variant: &str) -> Vec<u8> {
    let mut bytes = driver::build(Variant::named(variant).unwrap()).unwrap();
    let slice = Universal::parse(&bytes).unwrap().slices.last().unwrap().offset.0 as usize;
    assert_eq!(word(&bytes, slice + WORD), 0xaa14_03e0);
    bytes[slice + WORD..][..4].copy_from_slice(&OTHER.to_le_bytes());
    bytes
}

fn patch(place: &Place, from: &str, to: &str, more: &[&str]) -> Ran {
    let (from, to) = (place.path(from), place.path(to));
    let fixed = ["patch", from.to_str().unwrap(), "-o", to.to_str().unwrap()];
    run(fixed.iter().chain(more))
}

fn verify(place: &Place, file: &str) -> Ran {
    run(["verify", "--file", place.path(file).to_str().unwrap()])
}

/// Where the record stands in a thin file, and where its signature begins.
fn record(bytes: &[u8]) -> (usize, usize) {
    let file = Universal::parse(bytes).unwrap();
    let range = file.slices[0].code_signature().unwrap().unwrap();
    let (start, end) = (range.start.0 as usize, range.end.0 as usize);
    let parsed = EmbeddedSignature::parse(&bytes[start..end]).unwrap();
    (start + parsed.blob(Slot::CMS).unwrap().at + 8, start)
}

#[test]
fn a_rewrite_by_meaning_is_proven_kept_and_put_back_from_the_file_alone() {
    let place = Place::new();
    let source = unknown_build("thin");
    place.file("o", &source);
    // Changed by the test after it was signed, so every digest has to be renewed.
    let ran = patch(&place, "o", "p", &["--reseal"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    for said in ["proven", "the original code of", "--patch original puts the original code back"] {
        assert!(ran.stdout.contains(said), "{said}: {}", ran.stdout);
    }
    let patched = read(&place.path("p"));
    let judged = verify(&place, "p");
    assert_eq!(judged.code, 0, "{}", judged.stdout);
    for name in ["clears-under-lock", "original-kept", "proof"] {
        let passed = |line: &str| line.contains("PASS") && line.contains(name);
        assert!(judged.stdout.lines().any(passed), "{name}: {}", judged.stdout);
    }
    let again = patch(&place, "p", "twice", &[]);
    assert_eq!(again.code, 0, "{}", again.stderr);
    assert!(!place.path("twice").exists());
    let back = patch(&place, "p", "q", &["--patch", "original"]);
    assert_eq!(back.code, 0, "{}", back.stderr);
    let (at, signature) = record(&patched);
    let restored = read(&place.path("q"));
    assert!(restored[..signature] == source[..signature]);
    assert_eq!(restored[at..at + 256], [0; 256]);
    // A record that does not bring the original back is found, and nothing is written.
    let mut damaged = patched.clone();
    damaged[at + 8 + 8 + 12] ^= 1;
    place.file("p", &damaged);
    let judged = verify(&place, "p");
    let failed = |line: &str| line.contains("FAIL") && line.contains("original-kept");
    assert!(judged.stdout.lines().any(failed), "{}", judged.stdout);
    let back = patch(&place, "p", "r", &["--patch", "original"]);
    assert_eq!(back.error_code(), "AGX-0406", "{}", back.stderr);
    assert!(!place.path("r").exists());
}

#[test]
fn without_room_for_the_original_code_only_the_source_brings_it_back() {
    let place = Place::new();
    place.file("o", &unknown_build("linker-signed"));
    let ran = patch(&place, "o", "p", &["--reseal"]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(ran.stdout.contains("leaves no room for the original code"), "{}", ran.stdout);
    // What is there to see of it holds; what it was compared with is not there.
    let judged = verify(&place, "p");
    assert_eq!(judged.code, 0, "{}", judged.stdout);
    for line in ["PASS    clears-under-lock", "SKIPPED original-kept", "SKIPPED proof"] {
        assert!(judged.stdout.contains(line), "{line}: {}", judged.stdout);
    }
    assert!(judged.stdout.ends_with("p clears in time and is sealed\n"), "{}", judged.stdout);
    let back = patch(&place, "p", "q", &["--patch", "original"]);
    assert_eq!(back.error_code(), "AGX-0202", "{}", back.stderr);
    assert!(back.stderr.contains("does not keep the original code"), "{}", back.stderr);
    assert!(!place.path("q").exists());
}

#[test]
fn a_file_of_an_unknown_build_that_is_not_patched_fails_by_its_verdict() {
    let place = Place::new();
    place.file("o", &unknown_build("thin"));
    let judged = verify(&place, "o");
    assert_eq!(judged.code, 2, "{}", judged.stdout);
    let late = |line: &str| {
        line.contains("FAIL    clears-under-lock") && line.contains("clears-late at 0x2bdd1c")
    };
    assert!(judged.stdout.lines().any(late), "{}", judged.stdout);
}

/// What `prove` says of one function, as JSON.
fn proven(place: &Place, file: &str, more: &[&str]) -> serde_json::Value {
    let path = place.path(file);
    let fixed = ["--json", "prove", path.to_str().unwrap()];
    let ran = run(fixed.iter().chain(more));
    assert_eq!(ran.code, 0, "{}{}", ran.stdout, ran.stderr);
    serde_json::from_str(ran.stdout.lines().next().unwrap()).unwrap()
}

/// The address of the published method.
const METHOD: &str = "0x2bdd1c";

#[test]
fn the_steps_told_of_the_published_method_are_those_its_signature_gives() {
    let place = Place::new();
    place.file("d", &driver::build(Variant::named("thin").unwrap()).unwrap());
    let by_signature = proven(&place, "d", &[]);
    let by_meaning = proven(&place, "d", &["--patch", "clear-under-lock", "--at", METHOD]);
    let steps = |report: &serde_json::Value| {
        let steps = &report["result"]["before"]["steps"];
        [
            steps["before"].clone(),
            steps["skipped"].clone(),
            steps["left"]["steps"].clone(),
            steps["full"]["steps"].clone(),
        ]
    };
    assert_eq!(steps(&by_meaning), steps(&by_signature));
    assert_eq!(by_meaning["result"]["verdict"], "holds");
    assert_eq!(by_meaning["result"]["function"]["function"], METHOD);
}

#[test]
fn a_rewrite_by_meaning_is_proven_with_a_page_and_a_specification() {
    let place = Place::new();
    place.file("o", &unknown_build("thin"));
    let source = place.path("o");
    let page = place.path("page.html");
    let tla = place.path("tla");
    let arguments = |more: &[&str]| {
        let fixed = ["prove", source.to_str().unwrap(), "--html", page.to_str().unwrap()];
        let tla = ["--emit-tla", tla.to_str().unwrap()];
        run(fixed.iter().chain(&tla).chain(more))
    };
    // Two methods clear late, and a page is about one.
    assert_eq!(arguments(&[]).error_code(), "AGX-0203");
    let ran = arguments(&["--at", METHOD]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    for said in ["clear-under-lock", "it differs from the original by clears-earlier"] {
        assert!(ran.stdout.contains(said), "{said}: {}", ran.stdout);
    }
    let page = std::fs::read_to_string(&page).unwrap();
    assert!(page.contains("clear-before-unlock") && page.contains("destroyImpl"), "{page}");
    let module = std::fs::read_to_string(tla.join("window_clear_under_lock.tla")).unwrap();
    assert!(module.contains("<< \"push\", \"clear\", \"unlock\" >>"), "{module}");
    // The rewritten file says the same of itself, by the code it keeps.
    assert_eq!(patch(&place, "o", "p", &["--reseal"]).code, 0);
    let after = proven(&place, "p", &["--at", METHOD]);
    let before = proven(&place, "o", &["--at", METHOD]);
    assert_eq!(after["result"]["after"]["steps"], before["result"]["after"]["steps"]);
    assert_eq!(after["result"]["before"]["steps"], before["result"]["before"]["steps"]);
}

/// The rewrites that keep two threads from giving one block back.
const STRONGER: [&str; 2] = ["take", "reread"];

#[test]
fn a_stronger_rewrite_is_proven_judged_shown_and_put_back() {
    for name in STRONGER {
        let place = Place::new();
        let source = unknown_build("thin");
        place.file("o", &source);
        let ran = patch(&place, "o", "p", &["--reseal", "--patch", name]);
        assert_eq!(ran.code, 0, "{name}: {}{}", ran.stdout, ran.stderr);
        assert!(ran.stdout.contains("one thread gives a block back"), "{}", ran.stdout);
        assert!(!ran.stdout.contains("give its block back twice"), "{}", ran.stdout);
        let judged = verify(&place, "p");
        assert_eq!(judged.code, 0, "{name}: {}", judged.stdout);
        // Planned for the source, and as the file itself says it.
        for (file, more) in [("o", &["--patch", name][..]), ("p", &[])] {
            let proof = proven(&place, file, &[&["--at", METHOD], more].concat());
            let result = &proof["result"];
            assert_eq!(
                (result["verdict"].as_str(), result["patch"].as_str()),
                (Some("holds"), Some(name))
            );
            assert_eq!(possible(result, "NoDoublePush"), ["original", "clear-under-lock"]);
            assert_eq!(possible(result, "NoDoubleFree"), ["original", "clear-under-lock"]);
            assert_eq!(possible(result, "NoRaceWindow"), ["original"]);
            assert_eq!(possible(result, "NoDoubleDestructor").len(), 4);
        }
        let page = place.path("page.html");
        let path = place.path("p");
        let arguments = [path.to_str().unwrap(), "--at", METHOD, "--html", page.to_str().unwrap()];
        assert_eq!(run(["prove"].iter().chain(&arguments)).code, 0);
        assert!(std::fs::read_to_string(page).unwrap().contains(name));
        assert_eq!(patch(&place, "p", "q", &["--patch", "original"]).code, 0);
        let (_, signature) = record(&read(&place.path("p")));
        assert!(read(&place.path("q"))[..signature] == source[..signature]);
    }
}

/// The versions of the function under which something is possible.
fn possible<'r>(result: &'r serde_json::Value, property: &str) -> Vec<&'r str> {
    let columns = result["comparison"].as_array().unwrap().iter();
    let allows = |column: &&serde_json::Value| {
        let outcomes = column["outcomes"].as_array().unwrap();
        outcomes.iter().any(|one| one["property"] == property && one["possible"] == true)
    };
    columns.filter(allows).map(|column| column["rewrite"].as_str().unwrap()).collect()
}

#[test]
fn a_stronger_rewrite_is_not_made_of_another_rewrite() {
    let place = Place::new();
    place.file("o", &unknown_build("thin"));
    assert_eq!(patch(&place, "o", "p", &["--reseal"]).code, 0);
    for name in STRONGER {
        let refused = patch(&place, "p", "q", &["--patch", name]);
        assert_eq!(refused.error_code(), "AGX-0303", "{}", refused.stderr);
        assert!(refused.stderr.contains("restore the original first"), "{}", refused.stderr);
        assert!(!place.path("q").exists());
        let placed = patch(&place, "o", "q", &["--patch", name, "--at", METHOD, "--reseal"]);
        assert_eq!(placed.error_code(), "AGX-1004", "{}", placed.stderr);
    }
}
