//! The code signature of a slice, as Apple's signer or the linker would shape it.
//!
//! Written apart from `codesign`, which reads and rewrites signatures, so that
//! the one does not vouch for itself. (bsd/sys/codesign.h of xnu)

use sha1::Sha1;
use sha2::{Digest, Sha256};

use super::variant::Signing;

const IDENTIFIER: &str = "com.apple.AGXMetalG16X";
/// The platform a code directory of macOS itself names.
const PLATFORM: u8 = 15;
const AD_HOC_AND_LINKER_SIGNED: u32 = 0x2_0002;

const CODE_DIRECTORY: u32 = 0xfade_0c02;
const EMBEDDED_SIGNATURE: u32 = 0xfade_0cc0;
const REQUIREMENTS: u32 = 0xfade_0c01;
const REQUIREMENT: u32 = 0xfade_0c00;
const BLOB_WRAPPER: u32 = 0xfade_0b01;

#[derive(Clone, Copy, PartialEq)]
enum Hash {
    Sha1,
    Sha256,
}

impl Hash {
    fn size(self) -> usize {
        match self {
            Hash::Sha1 => 20,
            Hash::Sha256 => 32,
        }
    }

    fn of(self, bytes: &[u8]) -> Vec<u8> {
        match self {
            Hash::Sha1 => Sha1::digest(bytes).to_vec(),
            Hash::Sha256 => Sha256::digest(bytes).to_vec(),
        }
    }
}

fn hashes(signing: Signing) -> &'static [Hash] {
    match signing {
        Signing::Unsigned => &[],
        Signing::Sha1AndSha256 => &[Hash::Sha1, Hash::Sha256],
        _ => &[Hash::Sha256],
    }
}

/// Binary logarithm of the page size.
fn page_shift(signing: Signing) -> u32 {
    if signing == Signing::LargePages { 14 } else { 12 }
}

/// Bytes to set aside for the signature of a slice of `size` bytes.
pub(super) fn room(signing: Signing, size: u64) -> u64 {
    if signing == Signing::Unsigned {
        return 0;
    }
    let pages = size.div_ceil(1 << page_shift(signing));
    let digests: u64 = hashes(signing).iter().map(|hash| hash.size() as u64 * (pages + 1)).sum();
    (digests + 0x2000).next_multiple_of(16)
}

/// Signs `bytes`, a slice up to its signature, and appends that in `room` bytes.
pub(super) fn append(bytes: &mut Vec<u8>, signing: Signing, room: u32, text_size: u64) {
    if signing == Signing::Unsigned {
        return;
    }
    let linker = signing == Signing::LinkerSigned;
    let requirements = requirements();
    let special = if linker { None } else { Some(requirements.as_slice()) };
    let mut blobs = Vec::new();
    for (index, &hash) in hashes(signing).iter().enumerate() {
        let slot = if index == 0 { 0 } else { 0x1000 };
        blobs.push((slot, code_directory(bytes, signing, hash, special, text_size)));
    }
    if !linker {
        blobs.push((2, requirements));
        blobs.push((0x1_0000, blob(BLOB_WRAPPER, &cms())));
    }
    blobs.sort_by_key(|&(slot, _)| slot);
    let mut signature = super_blob(EMBEDDED_SIGNATURE, &blobs);
    signature.resize(room as usize, 0);
    bytes.extend_from_slice(&signature);
}

fn blob(magic: u32, body: &[u8]) -> Vec<u8> {
    let mut out = magic.to_be_bytes().to_vec();
    out.extend_from_slice(&(body.len() as u32 + 8).to_be_bytes());
    out.extend_from_slice(body);
    out
}

fn super_blob(magic: u32, blobs: &[(u32, Vec<u8>)]) -> Vec<u8> {
    let mut body = (blobs.len() as u32).to_be_bytes().to_vec();
    let mut offset = 12 + 8 * blobs.len() as u32;
    for (slot, blob) in blobs {
        body.extend_from_slice(&slot.to_be_bytes());
        body.extend_from_slice(&offset.to_be_bytes());
        offset += blob.len() as u32;
    }
    blobs.iter().for_each(|(_, blob)| body.extend_from_slice(blob));
    self::blob(magic, &body)
}

fn code_directory(
    bytes: &[u8],
    signing: Signing,
    hash: Hash,
    requirements: Option<&[u8]>,
    text_size: u64,
) -> Vec<u8> {
    const HEADER: u32 = 88;
    let page = 1usize << page_shift(signing);
    let special = if requirements.is_some() { 2 } else { 0 };
    let pages = bytes.len().div_ceil(page);
    let identifier = IDENTIFIER.len() as u32 + 1;
    let hashes_at = HEADER + identifier + (special * hash.size()) as u32;
    let linker = signing == Signing::LinkerSigned;
    let flags = if linker { AD_HOC_AND_LINKER_SIGNED } else { 0 };
    let mut body = Vec::with_capacity(hashes_at as usize + pages * hash.size());
    let fields =
        [0x2_0400, flags, hashes_at, HEADER, special as u32, pages as u32, bytes.len() as u32];
    body.extend(fields.iter().flat_map(|field| field.to_be_bytes()));
    let kind = if hash == Hash::Sha1 { 1 } else { 2 };
    let platform = if linker { 0 } else { PLATFORM };
    body.extend_from_slice(&[hash.size() as u8, kind, platform, page_shift(signing) as u8]);
    // Spare, scatter, team, spare, 64-bit limit, executable segment's base.
    body.extend_from_slice(&[0; 4 * 4 + 8 + 8]);
    body.extend_from_slice(&text_size.to_be_bytes());
    body.extend_from_slice(&0u64.to_be_bytes());
    body.extend_from_slice(IDENTIFIER.as_bytes());
    body.push(0);
    if let Some(requirements) = requirements {
        body.extend(hash.of(requirements));
        // No Info.plist is bound to a bare file.
        body.resize(body.len() + hash.size(), 0);
    }
    bytes.chunks(page).for_each(|page| body.extend(hash.of(page)));
    blob(CODE_DIRECTORY, &body)
}

/// `designated => identifier "com.apple.AGXMetalG16X" and anchor apple`.
fn requirements() -> Vec<u8> {
    const DESIGNATED: u32 = 3;
    const EXPRESSION: u32 = 1;
    const AND: u32 = 6;
    const IDENTIFIER_IS: u32 = 2;
    const ANCHOR_APPLE: u32 = 3;
    let mut body = Vec::new();
    for word in [EXPRESSION, AND, IDENTIFIER_IS, IDENTIFIER.len() as u32] {
        body.extend_from_slice(&word.to_be_bytes());
    }
    body.extend_from_slice(IDENTIFIER.as_bytes());
    body.resize(body.len().next_multiple_of(4), 0);
    body.extend_from_slice(&ANCHOR_APPLE.to_be_bytes());
    super_blob(REQUIREMENTS, &[(DESIGNATED, blob(REQUIREMENT, &body))])
}

/// CMS signed data of the right shape that nobody signed: no certificate, and no
/// signer, whose place an octet string of the usual size takes.
fn cms() -> Vec<u8> {
    const SIGNED_DATA: &[u8] = &[0x06, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 7, 2];
    const DATA: &[u8] = &[0x06, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 7, 1];
    const SHA256: &[u8] = &[0x06, 9, 0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 1];
    const SEQUENCE: u8 = 0x30;
    const SET: u8 = 0x31;
    let version = [2, 1, 1];
    let digests = der(SET, &der(SEQUENCE, SHA256));
    let filler = der(4, &[0x5a; 3072]);
    let content = der(SEQUENCE, &[DATA, &der(0xa0, &filler)].concat());
    let signers = der(SET, &[]);
    let signed = der(SEQUENCE, &[&version, &digests[..], &content, &signers].concat());
    der(SEQUENCE, &[SIGNED_DATA, &der(0xa0, &signed)].concat())
}

fn der(tag: u8, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let mut out = vec![tag];
    match length {
        0..0x80 => out.push(length as u8),
        _ => out.extend_from_slice(&[0x82, (length >> 8) as u8, length as u8]),
    }
    out.extend_from_slice(body);
    out
}
