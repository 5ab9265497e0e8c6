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
    let back = patch(&place, "p", "q", &["--patch", "original"]);
    assert_eq!(back.error_code(), "AGX-0202", "{}", back.stderr);
    assert!(back.stderr.contains("does not keep the original code"), "{}", back.stderr);
    assert!(!place.path("q").exists());
}
