//! The signature of the file that is patched.

use agxpatch_core::address::FileOffset;
use agxpatch_core::codesign::build::{Spec, build};
use agxpatch_core::codesign::{self, HashType};
use agxpatch_core::macho::Universal;
use agxpatch_simulate::driver::{self, Variant};

use crate::harness::{Place, Ran, driver, read, run};

/// A byte of the arm64e slice that is far from the window.
const FAR: usize = 0xa6_4000 + 0x40_0123;

fn patch(place: &Place, from: &str, options: &[&str]) -> Ran {
    let mut arguments = vec!["--json".into(), "patch".into(), place.path(from).into_os_string()];
    arguments.extend(["-o".into(), place.path("p").into_os_string(), "--force".into()]);
    arguments.extend(options.iter().map(|option| option.into()));
    run(arguments)
}

fn verify(place: &Place) -> i32 {
    run(["verify".as_ref(), "--file".as_ref(), place.path("p").as_os_str()]).code
}

#[test]
fn a_file_that_was_changed_after_it_was_signed_is_refused() {
    let place = Place::new();
    let mut flipped = driver().to_vec();
    flipped[FAR] ^= 1;
    let d = place.file("d", &flipped);
    let ran = patch(&place, "d", &[]);
    assert_eq!(ran.code, 2, "{}", ran.stdout);
    let error = &ran.json()["error"];
    assert_eq!(error["code"], "AGX-0406");
    assert!(error["context"]["fault"][0].as_str().unwrap().contains("page 1024"), "{error}");
    assert_eq!(place.names(), ["d"]);
    let inspected = run(["inspect".as_ref(), d.as_os_str()]);
    assert!(inspected.stdout.contains("does not fit: page 1024"), "{}", inspected.stdout);
}

#[test]
fn reseal_renews_every_digest_and_lists_each() {
    let place = Place::new();
    let mut flipped = driver().to_vec();
    flipped[FAR] ^= 1;
    place.file("d", &flipped);
    let ran = patch(&place, "d", &["--reseal"]);
    assert_eq!(ran.code, 0, "{}", ran.stdout);
    let result = ran.json();
    let edits = result["result"]["edits"].as_array().unwrap();
    let renewed: Vec<&str> = edits
        .iter()
        .filter(|edit| edit["kind"] == "page-hash")
        .map(|edit| edit["why"].as_str().unwrap())
        .collect();
    assert_eq!(
        renewed,
        ["SHA-256 of page 702, which the patch changes", "SHA-256 of page 1024, which did not fit"]
    );
    assert_eq!(verify(&place), 0);
}

#[test]
fn a_patched_file_with_a_broken_signature_is_resealed_on_request() {
    let place = Place::new();
    place.file("d", driver());
    assert_eq!(patch(&place, "d", &[]).code, 0);
    let mut patched = read(&place.path("p"));
    patched[FAR] ^= 1;
    place.file("flipped", &patched);
    assert_eq!(patch(&place, "flipped", &[]).code, 2);
    let ran = patch(&place, "flipped", &["--reseal"]);
    assert_eq!((ran.code, &ran.json()["result"]["outcome"]), (0, &"written".into()));
    assert_eq!(verify(&place), 0);
}

/// A 32-bit image of code, signed by `spec`.
fn armv7(spec: &Spec) -> Vec<u8> {
    let words = [0xfeed_face_u32, 12, 9, 6, 1, 16, 0, 0x1d, 16, 0x1000];
    let with_size = |size: usize| {
        let words = words.into_iter().chain([size as u32]);
        let mut code: Vec<u8> = words.flat_map(u32::to_le_bytes).collect();
        code.resize(0x1000, 0xa5);
        code
    };
    let size = codesign::build::size(spec, 0x1000);
    let code = with_size(size);
    let signature = build(spec, &code);
    [code, signature].concat()
}

/// A universal file of these images, each at a multiple of 16 KiB.
fn universal(images: &[(u32, u32, Vec<u8>)]) -> Vec<u8> {
    let mut table = [0xcafe_babe_u32.to_be_bytes(), (images.len() as u32).to_be_bytes()].concat();
    let mut at = 0x4000;
    let mut bodies = Vec::new();
    for (cpu, subtype, bytes) in images {
        for number in [*cpu, *subtype, at, bytes.len() as u32, 14] {
            table.extend(number.to_be_bytes());
        }
        let length = bytes.len().next_multiple_of(0x4000);
        bodies.extend(bytes);
        bodies.resize(bodies.len() + length - bytes.len(), 0);
        at += length as u32;
    }
    table.resize(0x4000, 0);
    // The signature of the last image is the last thing in the file.
    let last = images.last().map_or(0, |(.., bytes)| bytes.len());
    bodies.truncate(bodies.len() + last - last.next_multiple_of(0x4000));
    [table, bodies].concat()
}

fn with_armv7(spec: &Spec) -> Vec<u8> {
    let thin = driver::build(Variant::named("thin").unwrap()).unwrap();
    universal(&[(12, 9, armv7(spec)), (0x0100_000c, 0x8000_0002, thin)])
}

fn by_a_team() -> Spec {
    Spec {
        team: Some("TEAM123456".into()),
        flags: 0,
        cms: Some(vec![0x30; 64]),
        hashes: vec![HashType::Sha1, HashType::Sha256],
        ..Spec::new("some.code")
    }
}

#[test]
fn a_32_bit_slice_is_named_carried_along_and_made_ad_hoc() {
    let place = Place::new();
    let original = with_armv7(&by_a_team());
    let d = place.file("d", &original);
    let inspected = run(["inspect".as_ref(), d.as_os_str()]);
    assert_eq!(inspected.code, 0, "{}", inspected.stderr);
    for told in ["armv7 at 0x4000", "not looked at and not changed", "state: original"] {
        assert!(inspected.stdout.contains(told), "{}", inspected.stdout);
    }
    let ran = patch(&place, "d", &[]);
    assert_eq!(ran.code, 0, "{}{}", ran.stdout, ran.stderr);
    assert_eq!(verify(&place), 0);
    let patched = read(&place.path("p"));
    assert!(patched[0x4000..0x5000] == original[0x4000..0x5000], "no code of it changes");
    let file = Universal::parse(&patched).unwrap();
    let signature = file.slices[0].code_signature().unwrap().unwrap();
    assert_eq!(codesign::check(file.slices[0].bytes, signature), []);
    assert_eq!(file.slices[0].offset, FileOffset(0x4000));
}

#[test]
fn a_32_bit_slice_whose_signature_cannot_be_made_ad_hoc_is_refused() {
    let place = Place::new();
    let mut broken = with_armv7(&by_a_team());
    // The magic number of its signature.
    broken[0x5000] ^= 1;
    place.file("d", &broken);
    let ran = patch(&place, "d", &["--reseal"]);
    assert_eq!(ran.code, 5, "{}", ran.stdout);
    assert_eq!(ran.json()["error"]["context"]["slice"], "armv7");
    assert_eq!(place.names(), ["d"]);
}
