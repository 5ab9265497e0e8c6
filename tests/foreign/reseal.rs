//! Programs and libraries by clang and lld, resealed after a change.

use agxpatch_core::codesign::{EmbeddedSignature, Kind as SignatureKind};
use apple_codesign::cryptography::DigestType;

use crate::engine::{assert_sealed, one_word, parts, patch, was_sealed};
use agxpatch_oracles::signer::{How, sign};
use agxpatch_oracles::{Kind, Toolchain, signature_judge as judge, tools};

/// Enough data for several 16 KiB pages in each image.
const SOURCE: &str = "
    static volatile int cell;
    const char table[70000] = {1};
    int subject(int x) { return x * 3 + 1; }
    int neighbour(int x) { cell = x; return subject(x) ^ cell; }
    int start(void) { return neighbour(7) + table[3]; }
";

fn ways() -> Vec<How> {
    let digests = [
        (DigestType::Sha256, None),
        (DigestType::Sha1, Some(DigestType::Sha256)),
        (DigestType::Sha384, Some(DigestType::Sha256Truncated)),
    ];
    let mut ways = Vec::new();
    for digests in digests {
        for (certificate, hardened) in [(false, false), (false, true), (true, false), (true, true)]
        {
            ways.push(How { certificate, hardened, digests });
        }
    }
    ways
}

fn universal(tools: &Toolchain, kind: Kind) -> Vec<u8> {
    tools.universal(&[tools.link(SOURCE, "arm64", kind), tools.link(SOURCE, "x86_64", kind)], &[])
}

/// A word of the code of each slice, and no change at all.
fn places(file: &[u8]) -> Vec<Option<usize>> {
    let texts = parts(file).unwrap().into_iter().map(|part| Some(part.text.unwrap().start + 8));
    texts.chain([None]).collect()
}

#[test]
fn any_signature_by_another_hand_is_resealed_to_the_satisfaction_of_both() {
    let Some(tools) = Toolchain::find() else { return };
    for kind in [Kind::Program, Kind::Library] {
        let unsigned = universal(&tools, kind);
        for how in ways() {
            let before = sign(&unsigned, how);
            assert!(was_sealed(&before), "{how:?}: the signer's own work does not pass");
            let signer = judge::claims(&before);
            let named = |claim: &str| signer.iter().any(|this| this == claim);
            for claim in ["CMS", "requirements", "team ABCDE12345"] {
                assert_eq!(named(claim), how.certificate, "{how:?}: {claim}");
            }
            for place in places(&before) {
                let name = format!("{kind:?} {how:?} {place:x?}");
                let changes: Vec<_> = place.iter().map(|at| one_word(&before, *at)).collect();
                let after = patch(&before, &changes).unwrap();
                assert_sealed(&name, &before, &after, &changes);
                assert_eq!(judge::problems(&after), [""; 0], "{name}");
                assert_eq!(judge::claims(&after), expected_claims(how), "{name}");
            }
        }
    }
}

/// Per slice: each directory ad hoc and hardened as before, and no signer.
fn expected_claims(how: How) -> Vec<String> {
    let flags = if how.hardened { "0x10002" } else { "0x2" };
    let directories = 1 + usize::from(how.digests.1.is_some());
    let mut slice = vec![format!("flags {flags}"); directories];
    slice.extend(how.hardened.then(|| "entitlements".to_owned()));
    [slice.clone(), slice].concat()
}

#[test]
fn the_judge_sees_a_word_changed_without_resealing() {
    let Some(tools) = Toolchain::find() else { return };
    let signed = sign(&universal(&tools, Kind::Library), How::AD_HOC);
    assert_eq!(judge::problems(&signed), [""; 0]);
    for part in parts(&signed).unwrap() {
        let mut broken = signed.clone();
        broken[part.text.clone().unwrap().start] ^= 1;
        assert!(!judge::problems(&broken).is_empty());
        assert!(!was_sealed(&broken));
    }
}

#[test]
fn a_linker_signature_becomes_a_plain_ad_hoc_one() {
    let Some(tools) = Toolchain::find() else { return };
    let before = tools.link(SOURCE, "arm64", Kind::Library);
    let kind = |file: &[u8]| {
        let seal = parts(file).unwrap()[0].seal().unwrap();
        EmbeddedSignature::parse(&file[seal]).unwrap().kind()
    };
    assert_eq!(kind(&before), SignatureKind::LinkerSigned);
    let change = [one_word(&before, parts(&before).unwrap()[0].text.clone().unwrap().start)];
    let after = patch(&before, &change).unwrap();
    assert_sealed("linker-signed", &before, &after, &change);
    assert_eq!(judge::problems(&after), [""; 0]);
    assert_eq!(kind(&after), SignatureKind::AdHoc);
}

#[test]
fn an_unsigned_slice_is_refused_by_name() {
    let Some(tools) = Toolchain::find() else { return };
    let unsigned = tools.link(SOURCE, "x86_64", Kind::Library);
    let error = patch(&unsigned, &[]).unwrap_err();
    assert_eq!(error.code(), agxpatch_core::error::Code::NoSignature);
}

#[test]
fn the_changed_word_is_all_that_a_disassembler_sees_changed() {
    let Some(tools) = Toolchain::find() else { return };
    let before = sign(&universal(&tools, Kind::Library), How { certificate: true, ..How::AD_HOC });
    let arm64 = parts(&before).unwrap().into_iter().find(|part| {
        u32::from_le_bytes(before[part.bytes.start + 4..][..4].try_into().unwrap()) == 0x0100_000c
    });
    let text = arm64.unwrap().text.unwrap();
    let mut change = one_word(&before, text.start);
    change.new = 0x5280_0540_u32.to_le_bytes().to_vec(); // mov w0, #42
    let after = patch(&before, std::slice::from_ref(&change)).unwrap();
    let listing =
        |file| tools::ask("llvm-objdump", &["--macho", "--arch=all", "-d"], file).unwrap();
    let (old, new) = (listing(&before), listing(&after));
    let differing: Vec<_> = old.lines().zip(new.lines()).filter(|(old, new)| old != new).collect();
    assert_eq!(old.lines().count(), new.lines().count());
    let [(_, now)] = differing[..] else { panic!("{differing:#?}") };
    assert!(now.contains("mov\tw0, #0x2a") || now.contains("mov\tw0, #42"), "{now}");
}
