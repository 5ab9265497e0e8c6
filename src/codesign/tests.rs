use std::ops::Range;

use proptest::prelude::*;

use super::build::{self, Spec};
use super::directory::version;
use super::superblob::u32_at;
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
fn what_needs_no_signer_stays_and_what_needs_one_goes() {
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
        Finding::PageDiffers { page, .. } => *page,
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
    assert_eq!(check(&code(), none), [Finding::Unsigned]);
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

/// Applies `damage` to the signature and gives what `check` finds then.
fn findings(spec: &Spec, damage: impl Fn(&mut Vec<u8>)) -> Vec<Finding> {
    let code = code();
    let mut signature = build::build(spec, &code);
    damage(&mut signature);
    let range = SliceOffset(CODE as u64)..SliceOffset((CODE + signature.len()) as u64);
    check(&[code, signature].concat(), range)
}

/// Where the blob in `slot` begins.
fn blob_at(signature: &[u8], slot: Slot) -> usize {
    let count = u32_at(signature, 8).unwrap() as usize;
    let index = (0..count).map(|entry| 12 + 8 * entry);
    let mut entries = index.filter(|at| u32_at(signature, *at) == Some(slot.0));
    u32_at(signature, entries.next().unwrap() + 4).unwrap() as usize
}

#[test]
fn a_signer_s_signature_is_whole_but_not_ad_hoc() {
    let found = findings(&platform_binary(), |_| ());
    assert!(found.iter().all(|finding| finding.concern() == Concern::AdHoc));
    let text: Vec<String> = found.iter().map(Finding::to_string).collect();
    assert_eq!(
        text,
        [
            "the code directory is not flagged ad hoc (flags 0x12000)",
            "the code directory names the team ABCDE12345",
            "the code directory claims platform 15",
            "the alternate code directory 1 is not flagged ad hoc (flags 0x12000)",
            "the alternate code directory 1 names the team ABCDE12345",
            "the alternate code directory 1 claims platform 15",
            "the CMS signature holds 4000 bytes",
            "the requirement set is not empty (requirements: 1)",
        ]
    );
}

#[test]
fn a_changed_byte_is_found_in_every_directory_and_nowhere_else() {
    let spec = Spec { hashes: HashType::ALL.to_vec(), ..Spec::new("a.b") };
    let (mut file, signature) = signed(&spec);
    file[SLICE_AT.0 as usize + 0x3456] ^= 1;
    let found = check(slice(&file), signature);
    let pages: Vec<u64> = found
        .iter()
        .map(|finding| match finding {
            Finding::PageDiffers { page, bytes, .. } => {
                assert_eq!(*bytes, SliceOffset(0x3000)..SliceOffset(0x4000));
                *page
            }
            other => panic!("{other}"),
        })
        .collect();
    assert_eq!(pages, [3; 4]);
}

#[test]
fn each_fault_has_its_own_finding() {
    type Damage = fn(&mut Vec<u8>);
    let cases: [(&str, Damage); 15] = [
        ("is not that of an embedded signature", |s| s[3] = 0xc1),
        ("blobs are more than any signature has", |s| s[11] = 0xff),
        ("does not fit in", |s| s[4] = 1),
        ("does not lie between the index and the end", |s| s[17] = 0xff),
        ("the requirement set and the CMS signature share bytes", |s| {
            let at = blob_at(s, Slot::REQUIREMENTS);
            s[at + 7] = 16;
        }),
        ("occurs more than once", |s| s[23] = 0),
        ("has the magic number", |s| {
            let at = blob_at(s, Slot::CODE_DIRECTORY);
            s[at] = 0;
        }),
        ("has the unknown version 0x30400", |s| {
            let at = blob_at(s, Slot::CODE_DIRECTORY);
            s[at + 9] = 3;
        }),
        ("unknown hash type 5", |s| {
            let at = blob_at(s, Slot::CODE_DIRECTORY);
            s[at + 37] = 5;
        }),
        ("covers scattered pieces", |s| {
            let at = blob_at(s, Slot::CODE_DIRECTORY);
            s[at + 47] = 88;
        }),
        ("has a page size that occurs nowhere", |s| {
            let at = blob_at(s, Slot::CODE_DIRECTORY);
            s[at + 39] = 3;
        }),
        ("covers 0x9124 bytes, the signature begins at 0x9123", |s| {
            let at = blob_at(s, Slot::CODE_DIRECTORY);
            s[at + 35] += 1;
        }),
        ("has 9 page digests for 10 pages", |s| {
            let at = blob_at(s, Slot::CODE_DIRECTORY);
            s[at + 31] -= 1;
        }),
        ("holds no digest of the requirement set", |s| {
            let at = blob_at(s, Slot::CODE_DIRECTORY);
            s[at + 88 + 4..at + 88 + 4 + 32].fill(0);
        }),
        ("the requirement set digests to", |s| {
            let at = blob_at(s, Slot::CODE_DIRECTORY);
            s[at + 88 + 4] ^= 1;
        }),
    ];
    for (expected, damage) in cases {
        let text: Vec<String> =
            findings(&Spec::new("a.b"), damage).iter().map(Finding::to_string).collect();
        assert!(text.iter().any(|line| line.contains(expected)), "{expected}: {text:#?}");
    }
}

#[test]
fn directories_that_disagree_and_bytes_after_the_signature_are_found() {
    let spec = Spec { hashes: vec![HashType::Sha1, HashType::Sha256], ..Spec::new("a.b") };
    let found = findings(&spec, |s| {
        let at = blob_at(s, Slot::ALTERNATE);
        s[at + 88] = b'z';
    });
    let [Finding::DirectoriesDisagree { directory, about, first, this }] = &found[..] else {
        panic!("{found:?}")
    };
    assert_eq!((*directory, *about), (Slot::ALTERNATE, "the identifier"));
    assert_eq!((first.as_str(), this.as_str()), ("a.b", "z.b"));

    let (mut file, signature) = signed(&spec);
    file.push(0);
    let found = check(slice(&file), signature);
    assert!(matches!(found[..], [Finding::NotLast { .. }]), "{found:?}");
}

#[test]
fn digests_laid_over_the_header_or_the_identifier_are_refused() {
    for hashes_at in [44u32, 60, 88, 91] {
        let found = findings(&Spec::linker_signed("a.b"), |s| {
            let at = blob_at(s, Slot::CODE_DIRECTORY);
            s[at + 16..at + 20].copy_from_slice(&hashes_at.to_be_bytes());
        });
        let flaw =
            Finding::DirectoryMalformed { directory: Slot::CODE_DIRECTORY, flaw: Flaw::Tables };
        assert_eq!(found, [flaw], "{hashes_at}");
    }
}

proptest! {
    #[test]
    fn no_bytes_make_reading_panic_and_what_reseals_is_clean(
        sort in 0usize..12,
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let (mut file, signature) = signed(&sorts()[sort].1);
        let start = SLICE_AT.0 as usize + CODE;
        // Half of the damage falls into the first 200 bytes, where the structure is.
        for (nth, (at, byte)) in damage.iter().enumerate() {
            let room = if nth % 2 == 0 { 200.min(file.len() - start) } else { file.len() - start };
            file[start + at.index(room)] = *byte;
        }
        let end = cut.map_or(signature.end.0, |cut| (CODE + cut.index(file.len() - start)) as u64);
        file.truncate(SLICE_AT.0 as usize + end as usize);
        let signature = signature.start..SliceOffset(end);
        let before = check(slice(&file), signature.clone());
        let word = change(&file, 0x1ffe);
        if let Ok(seal) = reseal(slice(&file), SLICE_AT, signature.clone(), std::slice::from_ref(&word)) {
            prop_assert!(before.iter().all(|finding| finding.concern() != Concern::Structure));
            let all: Vec<Edit> = seal.into_iter().chain([word]).collect();
            edit::apply(&mut file, &all).unwrap();
            let after = check(slice(&file), signature);
            prop_assert!(after.iter().all(|finding| finding.concern() == Concern::Integrity));
            let touched =
                |finding: &Finding| matches!(finding, Finding::PageDiffers { page: 1..=2, .. });
            prop_assert!(!after.iter().any(touched));
        }
    }

    #[test]
    fn any_bytes_at_all_can_be_checked(bytes in prop::collection::vec(any::<u8>(), 0..400), start in 0u64..500, end in 0u64..500) {
        check(&bytes, SliceOffset(start)..SliceOffset(end));
    }
}
