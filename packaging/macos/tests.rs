//! The examination must see what is wrong with a file, not only what is right.

use agxpatch::check::{Check, Status};
use agxpatch::simulate::driver::{Variant, build};

use crate::inspect::{Expected, all};
use crate::sign::ad_hoc;

const ENTITLEMENTS: &str = include_str!("entitlements.plist");

fn signed() -> Vec<u8> {
    ad_hoc(&build(&Variant::PUBLISHED).unwrap(), "org.example.subject", Some(ENTITLEMENTS)).unwrap()
}

fn status(bytes: &[u8], name: &str) -> Vec<Status> {
    let checks = all(bytes, &Expected::PROGRAM).unwrap();
    let named = |check: &&Check| check.name == name;
    checks.iter().filter(named).map(|check| check.status).collect()
}

#[test]
fn a_signature_that_was_just_made_satisfies_both_readers() {
    let bytes = signed();
    assert_eq!(status(&bytes, "signature"), [Status::Pass, Status::Pass]);
    assert_eq!(status(&bytes, "second-reader"), [Status::Pass]);
}

#[test]
fn the_same_file_is_signed_with_the_same_bytes() {
    assert!(signed() == signed());
}

#[test]
fn a_changed_byte_of_code_is_seen_by_both_readers() {
    let mut bytes = signed();
    let last = agxpatch::macho::Universal::parse(&bytes).unwrap().slices[1].offset.0 as usize;
    bytes[last + 0x4000] ^= 1;
    assert!(status(&bytes, "signature").contains(&Status::Fail));
    assert_eq!(status(&bytes, "second-reader"), [Status::Fail]);
}

#[test]
fn a_signature_without_the_hardened_runtime_is_refused() {
    let plain = build(&Variant::PUBLISHED).unwrap();
    assert!(status(&plain, "signature").contains(&Status::Fail));
}

#[test]
fn a_path_of_the_building_machine_is_seen() {
    assert_eq!(status(&signed(), "no-build-paths"), [Status::Pass]);
    for path in ["/home/someone/.cargo/registry/x.rs", "/root/project/main.rs"] {
        let mut bytes = signed();
        bytes.extend_from_slice(path.as_bytes());
        assert_eq!(status(&bytes, "no-build-paths"), [Status::Fail], "{path}");
    }
}

#[test]
fn a_missing_slice_and_a_strange_library_are_seen() {
    // The driver is arm64e and uses Metal, so both promises are broken.
    assert_eq!(status(&signed(), "architectures"), [Status::Fail]);
    assert!(status(&signed(), "libraries").contains(&Status::Fail));
}
