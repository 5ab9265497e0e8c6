//! Resealing, on signatures the builder makes.

mod faults;
mod properties;

use std::ops::Range;

use super::build::{self, Spec};
use super::directory::version;
use super::*;
use crate::address::FileOffset;
use crate::edit::{self, Edit, EditKind};
use crate::error::Code;

/// Where the slice stands in its file; bytes before it belong to another one.
const SLICE_AT: FileOffset = FileOffset(0x40);
const CODE: usize = 0x9123;

fn code() -> Vec<u8> {
    (0..CODE).map(|at| (at * 7 + at / 251) as u8).collect()
}

/// A file that holds one slice, and the range of its signature.
fn signed(spec: &Spec) -> (Vec<u8>, Range<SliceOffset>) {
    let code = code();
    let signature = build::build(spec, &code);
    assert_eq!(signature.len(), build::size(spec, code.len()));
    let range = SliceOffset(CODE as u64)..SliceOffset((CODE + signature.len()) as u64);
    ([vec![0xee; SLICE_AT.0 as usize], code, signature].concat(), range)
}

fn slice(file: &[u8]) -> &[u8] {
    &file[SLICE_AT.0 as usize..]
}

/// One word at `at` of the slice.
fn change(file: &[u8], at: usize) -> Edit {
    let old = slice(file)[at..at + 4].to_vec();
    Edit {
        at: SliceOffset(at as u64).in_file(SLICE_AT),
        new: old.iter().map(|byte| !byte).collect(),
        old,
        kind: EditKind::Instruction,
        why: "a test".into(),
    }
}

/// Makes the changes and seals them; also gives what sealing took.
fn patched(spec: &Spec, places: &[usize]) -> (Vec<u8>, Range<SliceOffset>, Vec<Edit>) {
    let (mut file, signature) = signed(spec);
    let changes: Vec<Edit> = places.iter().map(|at| change(&file, *at)).collect();
    let seal = reseal(slice(&file), SLICE_AT, signature.clone(), &changes).unwrap();
    let all: Vec<Edit> = changes.iter().chain(&seal).cloned().collect();
    edit::apply(&mut file, &all).unwrap();
    (file, signature, seal)
}

fn platform_binary() -> Spec {
    Spec {
        hashes: vec![HashType::Sha1, HashType::Sha256],
        team: Some("ABCDE12345".into()),
        flags: RUNTIME | 0x2000,
        entitlements: Some("<plist><dict/></plist>".into()),
        entitlements_der: Some(vec![0x70, 0]),
        outside: vec![(Slot::INFO, b"<plist/>".to_vec()), (Slot::RESOURCES, vec![1, 2])],
        ..Spec::platform_binary("com.apple.AGXMetalG16X", 15, 4000)
    }
}

/// Signatures of every sort there is.
fn sorts() -> Vec<(&'static str, Spec)> {
    let plain = || Spec::new("a.b");
    vec![
        ("ad hoc", plain()),
        ("linker-signed", Spec::linker_signed("a.b")),
        ("platform binary", platform_binary()),
        ("SHA-1 only", Spec { hashes: vec![HashType::Sha1], ..plain() }),
        ("every hash", Spec { hashes: HashType::ALL.to_vec(), ..platform_binary() }),
        ("16 KiB pages", Spec { page_size: PageSize::KIB_16, ..platform_binary() }),
        ("one page", Spec { page_size: PageSize::WHOLE, ..platform_binary() }),
        ("64-bit limit", Spec { limit_in_64_bits: true, ..platform_binary() }),
        ("oldest version", Spec { version: version::EARLIEST, ..plain() }),
        ("newest version", Spec { version: version::LINKAGE, ..platform_binary() }),
        ("reversed index", Spec { reversed: true, ..platform_binary() }),
        ("gaps", Spec { gap: 24, ..platform_binary() }),
    ]
}

#[test]
fn a_signature_of_any_sort_is_clean_once_resealed_over_any_change() {
    // First byte, across a page border, in the last partial page.
    for places in [&[][..], &[0], &[0x0ffe], &[0x3ffe, 0x2000, 0x9123 - 4]] {
        for (name, spec) in sorts() {
            let (file, signature, _) = patched(&spec, places);
            assert_eq!(check(slice(&file), signature), [], "{name}, {places:x?}");
        }
    }
}

#[test]
fn a_clean_ad_hoc_signature_needs_no_edit() {
    let (_, _, seal) = patched(&Spec::new("a.b"), &[]);
    assert_eq!(seal, []);
    let (mut file, signature, _) = patched(&platform_binary(), &[0x100]);
    assert_eq!(reseal(slice(&file), SLICE_AT, signature.clone(), &[]).unwrap(), []);
    let back = change(&file, 0x100);
    let seal = reseal(slice(&file), SLICE_AT, signature, std::slice::from_ref(&back)).unwrap();
    edit::apply(&mut file, &seal).unwrap();
    assert!(seal.iter().all(|edit| edit.kind == EditKind::PageHash));
}

#[test]
fn only_digests_of_touched_pages_change() {
    let (_, _, seal) = patched(&platform_binary(), &[0x1ffe, 0x2100, 0x8000]);
    let pages = seal.iter().filter(|edit| edit.kind == EditKind::PageHash);
    let lengths: Vec<usize> = pages.map(|edit| edit.new.len()).collect();
    assert_eq!(lengths, [20, 20, 20, 32, 32, 32], "pages 1, 2 and 8 in each directory");
}

#[test]
fn every_changed_byte_belongs_to_an_edit_that_records_what_stood_there() {
    for (name, spec) in sorts() {
        let (before, _) = signed(&spec);
        let (after, _, seal) = patched(&spec, &[0x1000]);
        let mut undone = after.clone();
        for edit in &seal {
            let place = edit.range().start.0 as usize..edit.range().end.0 as usize;
            assert_eq!(after[place.clone()], edit.new, "{name}");
            undone[place].copy_from_slice(&edit.old);
        }
        let word = change(&before, 0x1000);
        undone[word.at.0 as usize..][..4].copy_from_slice(&word.old);
        assert!(undone == before, "{name}");
        assert!(seal.windows(2).all(|pair| pair[0].range().end <= pair[1].at), "{name}");
    }
}

#[test]
fn blobs_that_need_a_signer_are_emptied_and_the_others_kept() {
    let (file, signature, seal) = patched(&platform_binary(), &[0x1000]);
    let bytes = &slice(&file)[signature.start.0 as usize..];
    let read = EmbeddedSignature::parse(bytes).unwrap();
    assert_eq!(read.kind(), Kind::AdHoc);
    assert_eq!(read.cms(), Some(&[][..]));
    assert_eq!(read.requirements(), 0);
    assert_eq!(read.entitlements().unwrap(), "<plist><dict/></plist>");
    assert_eq!(read.entitlements_der(), Some(&[0x70, 0][..]));
    for directory in &read.directories {
        assert_eq!(directory.flags, RUNTIME | 0x2000 | ADHOC);
        assert_eq!((directory.platform, directory.team.as_deref()), (0, None));
        assert_eq!(directory.identifier, "com.apple.AGXMetalG16X");
        let info = directory.hash.digest([&b"<plist/>"[..]]);
        assert_eq!(directory.special_digest(Slot::INFO), Some(info));
    }
    let cms = seal.iter().find(|edit| edit.kind == EditKind::Cms).unwrap();
    assert_eq!(&cms.new[..8], [0xfa, 0xde, 0x0b, 0x01, 0, 0, 0, 8]);
    assert!(cms.new[8..].iter().all(|byte| *byte == 0));
    assert_eq!(cms.new.len(), 4008, "the whole blob, so that nothing of it is left");
}

#[test]
fn the_linker_s_mark_goes_and_no_other_flag_does() {
    let spec = Spec { flags: ADHOC | LINKER_SIGNED | RUNTIME, ..Spec::linker_signed("a.b") };
    let (file, signature, seal) = patched(&spec, &[]);
    let kinds: Vec<EditKind> = seal.iter().map(|edit| edit.kind).collect();
    assert_eq!(kinds, [EditKind::DirectoryFlags]);
    let read = EmbeddedSignature::parse(&slice(&file)[signature.start.0 as usize..]).unwrap();
    assert_eq!(read.directories[0].flags, ADHOC | RUNTIME);
}

#[test]
fn every_page_of_a_slice_worth_several_threads_is_looked_at() {
    let mut code = vec![0x55; 0x30_0001];
    let signature = build::build(&Spec::new("a.b"), &code);
    let range = SliceOffset(0x30_0001)..SliceOffset((0x30_0001 + signature.len()) as u64);
    code.iter_mut().for_each(|byte| *byte = 0xaa);
    let found = check(&[code, signature].concat(), range);
    let pages = found.iter().map(|finding| match finding {
        SignatureProblem::PageDiffers { page, .. } => *page,
        other => panic!("{other}"),
    });
    assert!(pages.eq(0..0x301), "each once, in order");
}

#[test]
fn a_signature_is_described_by_who_made_it() {
    let described = |spec: &Spec| {
        let signature = build::build(spec, &code());
        EmbeddedSignature::parse(&signature).unwrap().kind().to_string()
    };
    let developer = Spec { platform: 0, ..platform_binary() };
    assert_eq!(described(&Spec::new("a")), "ad hoc");
    assert_eq!(described(&Spec::linker_signed("a")), "ad hoc, by the linker");
    assert_eq!(described(&platform_binary()), "CMS signature of a platform binary");
    assert_eq!(described(&developer), "CMS signature, team ABCDE12345");
    assert_eq!(described(&Spec { team: None, ..developer }), "CMS signature without a team");
}

#[test]
fn a_cdhash_is_the_first_20_bytes_of_the_digest_of_the_directory() {
    let (file, signature) = signed(&platform_binary());
    let hashes = cd_hashes(slice(&file), signature.clone()).unwrap();
    let bytes = &slice(&file)[signature.start.0 as usize..];
    let read = EmbeddedSignature::parse(bytes).unwrap();
    use sha2::Digest as _;
    assert_eq!(hashes[0].as_bytes(), sha1::Sha1::digest(read.directories[0].blob.bytes).as_slice());
    let sha256 = sha2::Sha256::digest(read.directories[1].blob.bytes);
    assert_eq!(hashes[1].as_bytes(), &sha256[..20]);
}

#[test]
fn a_slice_without_a_signature_cannot_be_resealed() {
    let none = SliceOffset(CODE as u64)..SliceOffset(CODE as u64);
    let error = reseal(&code(), FileOffset(0), none.clone(), &[]).unwrap_err();
    assert_eq!(error.code(), Code::NoSignature);
    assert_eq!(check(&code(), none), [SignatureProblem::Unsigned]);
}

#[test]
fn a_change_that_no_digest_covers_is_refused() {
    let (file, signature) = signed(&Spec::new("a.b"));
    let code = |edit: Edit| {
        let outcome = reseal(slice(&file), SLICE_AT, signature.clone(), &[edit]);
        outcome.map(|edits| edits.len()).map_err(|error| error.code())
    };
    assert_eq!(code(change(&file, CODE - 2)), Err(Code::ChangeNotCovered));
    assert_eq!(code(change(&file, CODE + 40)), Err(Code::ChangeNotCovered));
    let elsewhere = Edit { at: FileOffset(0), ..change(&file, 0) };
    assert_eq!(code(elsewhere.clone()), Ok(0), "another slice's change is not this one's");
    assert_eq!(code(Edit { at: FileOffset(0x3e), ..elsewhere }), Err(Code::Bug));
}
