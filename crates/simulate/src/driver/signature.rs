//! How each variant's slices are signed.
//!
//! `codesign::build` shapes the blobs; this says what Apple's signer, or the
//! linker, would have put into them. Only the CMS signature is made here: signed
//! data of the right form and size without a signer.

use super::variant::Signing;
use agxpatch_core::codesign::build::{self, Spec};
use agxpatch_core::codesign::{HashType, PageSize};

const IDENTIFIER: &str = "com.apple.AGXMetalG16X";
/// The platform that code directories of macOS itself name.
const PLATFORM: u8 = 15;

/// What the signature says; `text_size` is the size of the segment of code.
fn spec(signing: Signing, text_size: u64) -> Option<Spec> {
    let platform =
        || Spec { cms: Some(without_a_signer()), ..Spec::platform_binary(IDENTIFIER, PLATFORM, 0) };
    let mut spec = match signing {
        Signing::Platform => platform(),
        Signing::Sha1AndSha256 => {
            Spec { hashes: vec![HashType::Sha1, HashType::Sha256], ..platform() }
        }
        Signing::LargePages => Spec { page_size: PageSize::KIB_16, ..platform() },
        Signing::LinkerSigned => Spec::linker_signed(IDENTIFIER),
        Signing::Unsigned => return None,
    };
    spec.exec_segment.limit = text_size;
    Some(spec)
}

/// Bytes of the signature of a slice whose code ends at `code_limit`.
pub(super) fn size(signing: Signing, code_limit: u64) -> u64 {
    let spec = spec(signing, 0);
    spec.map_or(0, |spec| build::size(&spec, code_limit as usize) as u64).next_multiple_of(16)
}

/// Appends the signature of `bytes`, a slice up to where it begins, in `room`
/// bytes.
pub(super) fn append(bytes: &mut Vec<u8>, signing: Signing, room: u32, text_size: u64) {
    let Some(spec) = spec(signing, text_size) else { return };
    let mut signature = build::build(&spec, bytes);
    signature.resize(room as usize, 0);
    bytes.extend_from_slice(&signature);
}

/// CMS signed data without certificate or signer, their place taken by an octet
/// string of the size that a platform binary's signature usually has.
fn without_a_signer() -> Vec<u8> {
    const SIGNED_DATA: &[u8] = &[0x06, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 7, 2];
    const DATA: &[u8] = &[0x06, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 7, 1];
    const SHA256: &[u8] = &[0x06, 9, 0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 1];
    const VERSION_1: &[u8] = &[2, 1, 1];
    const OCTETS: u8 = 4;
    const SEQUENCE: u8 = 0x30;
    const SET: u8 = 0x31;
    const TAGGED: u8 = 0xa0;
    let digests = der(SET, &der(SEQUENCE, SHA256));
    let filler = der(OCTETS, &[0x5a; 4400]);
    let content = der(SEQUENCE, &[DATA, &der(TAGGED, &filler)].concat());
    let signed = [VERSION_1, &digests, &content, &der(SET, &[])].concat();
    der(SEQUENCE, &[SIGNED_DATA, &der(TAGGED, &der(SEQUENCE, &signed))].concat())
}

fn der(tag: u8, body: &[u8]) -> Vec<u8> {
    let mut out = vec![tag];
    match body.len() {
        length @ 0..0x80 => out.push(length as u8),
        length => out.extend_from_slice(&[0x82, (length >> 8) as u8, length as u8]),
    }
    out.extend_from_slice(body);
    out
}
