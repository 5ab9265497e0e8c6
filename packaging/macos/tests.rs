//! The examination must see what is wrong with a file, not only what is right.

use agxpatch_core::check::{Check, Status};
use agxpatch_core::codesign;
use agxpatch_core::edit;
use agxpatch_core::macho::{Slice, Universal};
use agxpatch_simulate::driver::{Variant, build};

use crate::inspect::{Expected, all};
use crate::sign::ad_hoc;

const ENTITLEMENTS: &str = include_str!("entitlements.plist");

fn signed() -> Vec<u8> {
    ad_hoc(&build(&Variant::PUBLISHED).unwrap(), "org.example.subject", Some(ENTITLEMENTS)).unwrap()
}

fn status(bytes: &[u8], name: &str) -> Vec<Status> {
    status_of(bytes, name, &Expected::PROGRAM)
}

fn status_of(bytes: &[u8], name: &str, expected: &Expected) -> Vec<Status> {
    let checks = all(bytes, expected).unwrap();
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
fn files_that_differ_by_the_linkers_uuid_alone_are_signed_with_the_same_bytes() {
    const LC_UUID: u32 = 0x1b;
    let mut linked = build(&Variant::PUBLISHED).unwrap();
    let places = load_commands(&linked, LC_UUID);
    let sign = |bytes: &[u8]| ad_hoc(bytes, "org.example.subject", None).unwrap();
    let first = sign(&linked);
    for at in &places {
        linked[at + 8] ^= 1;
    }
    assert!(first == sign(&linked));
    // And by anything else they are told apart.
    let text = Universal::parse(&linked).unwrap().slices[1].offset.0 as usize + 0x4000;
    linked[text] ^= 1;
    let other = sign(&linked);
    let at = load_commands(&first, LC_UUID)[1] + 8;
    assert_ne!(first[at..at + 16], other[at..at + 16]);
}

#[test]
fn a_changed_byte_of_code_is_seen_by_both_readers() {
    let mut bytes = signed();
    let last = Universal::parse(&bytes).unwrap().slices[1].offset.0 as usize;
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
fn an_entitlement_more_or_none_is_refused() {
    let plain = build(&Variant::PUBLISHED).unwrap();
    let more = ENTITLEMENTS.replace(
        "<dict>",
        "<dict><key>com.apple.security.cs.allow-dyld-environment-variables</key><true/>",
    );
    for entitlements in [Some(more.as_str()), None] {
        let bytes = ad_hoc(&plain, "org.example.subject", entitlements).unwrap();
        assert_eq!(status(&bytes, "signature"), [Status::Fail, Status::Fail]);
    }
}

/// Where the load command `command` of each slice begins.
fn load_commands(bytes: &[u8], command: u32) -> Vec<usize> {
    let file = Universal::parse(bytes).unwrap();
    let of_slice = |slice: &Slice<'_>| {
        let macho = goblin::mach::MachO::parse(slice.bytes, 0).unwrap();
        let found = macho.load_commands.iter().find(|one| one.command.cmd() == command).unwrap();
        slice.offset.0 as usize + found.offset
    };
    file.slices.iter().map(of_slice).collect()
}

#[test]
fn a_file_for_another_oldest_system_is_refused() {
    const LC_BUILD_VERSION: u32 = 0x32;
    let mut bytes = signed();
    let places = load_commands(&bytes, LC_BUILD_VERSION);
    for (minimum, expected) in [(0x000d_0000u32, Status::Pass), (0x000d_0100, Status::Fail)] {
        for at in &places {
            bytes[at + 12..at + 16].copy_from_slice(&minimum.to_le_bytes());
        }
        assert_eq!(status(&bytes, "minimum-os"), vec![expected; places.len()], "{minimum:#x}");
    }
}

#[test]
fn a_file_over_its_size_is_refused() {
    let bytes = signed();
    let within = |bytes| Expected { bytes, ..Expected::PROGRAM };
    assert_eq!(status_of(&bytes, "size", &within(bytes.len() + 1)), [Status::Pass]);
    assert_eq!(status_of(&bytes, "size", &within(bytes.len())), [Status::Fail]);
}

#[test]
fn a_library_of_another_name_or_a_program_that_cannot_be_moved_is_refused() {
    // The driver is a bundle: it has no name, and the flag of programs not either.
    let bytes = signed();
    assert_eq!(status(&bytes, "image-flags"), [Status::Fail, Status::Fail]);
    let named = Expected { install_name: Some("@rpath/other"), ..Expected::PROGRAM };
    assert_eq!(status_of(&bytes, "image-flags", &named), [Status::Fail, Status::Fail]);
    let mut movable = bytes.clone();
    for slice in &Universal::parse(&bytes).unwrap().slices {
        movable[slice.offset.0 as usize + 26] |= 0x20;
    }
    assert_eq!(status(&movable, "image-flags"), [Status::Pass, Status::Pass]);
    for (byte, flag) in [(26, 0x02), (24, 0x80)] {
        let mut other = movable.clone();
        for slice in &Universal::parse(&bytes).unwrap().slices {
            other[slice.offset.0 as usize + byte] ^= flag;
        }
        assert_eq!(status(&other, "image-flags"), [Status::Fail, Status::Fail], "{flag:#x}");
    }
}

#[test]
fn a_copy_without_the_hardened_runtime_is_whole_for_both_readers() {
    let hardened = signed();
    let file = Universal::parse(&hardened).unwrap();
    for slice in &file.slices {
        let signature = slice.image().unwrap().code_signature().unwrap();
        let edits = codesign::without_hardened_runtime(slice.bytes, signature.clone()).unwrap();
        let mut soft = slice.bytes.to_vec();
        edit::apply(&mut soft, &edits).unwrap();
        assert_ne!(soft, slice.bytes);
        assert_eq!(codesign::check(&soft, signature.clone()), []);
        assert_eq!(status(&soft, "second-reader"), [Status::Pass]);
        assert_eq!(status(&soft, "signature"), [Status::Fail], "it is still hardened");
        assert_eq!(codesign::without_hardened_runtime(&soft, signature).unwrap(), []);
    }
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
fn strings_that_the_linker_placed_side_by_side_are_not_a_path() {
    let mut bytes = signed();
    bytes.extend_from_slice(b"/Users//home/for user ''<key>VolumeName</key>");
    assert_eq!(status(&bytes, "no-build-paths"), [Status::Pass]);
}

#[test]
fn a_missing_slice_and_a_strange_library_are_seen() {
    // The driver is arm64e and uses Metal, so both promises are broken.
    assert_eq!(status(&signed(), "architectures"), [Status::Fail]);
    assert!(status(&signed(), "libraries").contains(&Status::Fail));
}
