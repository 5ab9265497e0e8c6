//! What `check` finds in signatures that are damaged, and in those that are not.

use super::*;
use crate::codesign::superblob::u32_at;

/// Applies `damage` to the signature and gives what `check` finds then.
fn findings(spec: &Spec, damage: impl Fn(&mut Vec<u8>)) -> Vec<SignatureProblem> {
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
    let text: Vec<String> = found.iter().map(SignatureProblem::to_string).collect();
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
            SignatureProblem::PageDiffers { page, bytes, .. } => {
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
            findings(&Spec::new("a.b"), damage).iter().map(SignatureProblem::to_string).collect();
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
    let [SignatureProblem::DirectoriesDisagree { directory, about, first, this }] = &found[..]
    else {
        panic!("{found:?}")
    };
    assert_eq!((*directory, *about), (Slot::ALTERNATE, "the identifier"));
    assert_eq!((first.as_str(), this.as_str()), ("a.b", "z.b"));

    let (mut file, signature) = signed(&spec);
    file.push(0);
    let found = check(slice(&file), signature);
    assert!(matches!(found[..], [SignatureProblem::NotLast { .. }]), "{found:?}");
}

#[test]
fn digests_laid_over_the_header_or_the_identifier_are_refused() {
    for hashes_at in [44u32, 60, 88, 91] {
        let found = findings(&Spec::linker_signed("a.b"), |s| {
            let at = blob_at(s, Slot::CODE_DIRECTORY);
            s[at + 16..at + 20].copy_from_slice(&hashes_at.to_be_bytes());
        });
        let flaw = SignatureProblem::DirectoryMalformed {
            directory: Slot::CODE_DIRECTORY,
            flaw: DirectoryFlaw::Tables,
        };
        assert_eq!(found, [flaw], "{hashes_at}");
    }
}
