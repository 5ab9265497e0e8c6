//! Builds an embedded signature from its parts.
//!
//! For the simulated driver and for tests: it makes signatures of every sort this
//! module must understand, well-formed by default. It signs nothing: the bytes of
//! a CMS signature are the caller's. Written apart from the reader, from the
//! layout alone, so that one cannot hide a mistake of the other.

use super::digest::HashType;
use super::directory::{ExecSegment, PageSize, field, header_size, version};
use super::superblob::{
    BLOB_HEADER, CODE_DIRECTORY, ENTITLEMENTS, ENTITLEMENTS_DER, INDEX_ENTRY, REQUIREMENTS,
    SET_HEADER, SUPERBLOB, Slot, WRAPPER,
};

/// What the signature says. [`Spec::new`] is a plain ad-hoc signature as
/// `codesign -s -` makes it; set fields for anything else.
#[derive(Clone, Debug)]
pub struct Spec {
    /// The signing identifier.
    pub identifier: String,
    /// One code directory each: the primary one, then at most five alternates.
    pub hashes: Vec<HashType>,
    /// What one page digest speaks for.
    pub page_size: PageSize,
    /// Version of the directories. Fields it does not have are left out.
    pub version: u32,
    /// `CS_*` flags.
    pub flags: u32,
    /// The signer's team.
    pub team: Option<String>,
    /// Not 0 in a platform binary.
    pub platform: u8,
    /// Whether the code limit stands in the 64-bit field, the other one being 0.
    pub limit_in_64_bits: bool,
    /// Executable segment.
    pub exec_segment: ExecSegment,
    /// Version of the hardened runtime.
    pub runtime: u32,
    /// The `Info.plist` and other things outside the signature that the
    /// directories digest.
    pub outside: Vec<(Slot, Vec<u8>)>,
    /// The requirement set, a whole blob; `None` as a linker leaves it.
    pub requirements: Option<Vec<u8>>,
    /// Entitlements as a property list.
    pub entitlements: Option<String>,
    /// Entitlements as DER.
    pub entitlements_der: Option<Vec<u8>>,
    /// What the CMS wrapper holds; `None` leaves the wrapper out.
    pub cms: Option<Vec<u8>>,
    /// Zero bytes between the blobs and at the end.
    pub gap: usize,
    /// Whether the index lists the blobs in the opposite order.
    pub reversed: bool,
}

impl Spec {
    /// Ad hoc, one SHA-256 directory of 4 KiB pages, an empty requirement set and
    /// an empty CMS wrapper.
    pub fn new(identifier: &str) -> Spec {
        Spec {
            identifier: identifier.to_owned(),
            hashes: vec![HashType::Sha256],
            page_size: PageSize::KIB_4,
            version: version::EXEC_SEGMENT,
            flags: super::ADHOC,
            team: None,
            platform: 0,
            limit_in_64_bits: false,
            exec_segment: ExecSegment { base: 0, limit: 0, flags: 0 },
            runtime: 0,
            outside: Vec::new(),
            requirements: Some(requirement_set(&[])),
            entitlements: None,
            entitlements_der: None,
            cms: Some(Vec::new()),
            gap: 0,
            reversed: false,
        }
    }

    /// As a linker signs: no requirement set and no CMS wrapper.
    pub fn linker_signed(identifier: &str) -> Spec {
        Spec {
            flags: super::ADHOC | super::LINKER_SIGNED,
            requirements: None,
            cms: None,
            ..Spec::new(identifier)
        }
    }

    /// As Apple signs a platform binary, but for the CMS signature, whose
    /// `cms_size` bytes mean nothing.
    pub fn platform_binary(identifier: &str, platform: u8, cms_size: usize) -> Spec {
        Spec {
            flags: 0,
            platform,
            requirements: Some(requirement_set(&[anchor_apple(identifier)])),
            cms: Some((0..cms_size).map(|at| (at * 31 + 7) as u8).collect()),
            ..Spec::new(identifier)
        }
    }
}

/// A requirement set that holds these designated requirements.
pub fn requirement_set(requirements: &[Vec<u8>]) -> Vec<u8> {
    const DESIGNATED: u32 = 3;
    let parts: Vec<_> = requirements.iter().map(|r| (DESIGNATED, r.clone())).collect();
    indexed(REQUIREMENTS, &parts, 0, false)
}

/// The requirement `identifier "…" and anchor apple`, compiled, as a blob.
pub fn anchor_apple(identifier: &str) -> Vec<u8> {
    const REQUIREMENT: u32 = 0xfade_0c00;
    const EXPRESSION: u32 = 1;
    const AND: u32 = 6;
    const IDENTIFIER: u32 = 2;
    const ANCHOR_APPLE: u32 = 3;
    let mut body = Vec::new();
    for number in [EXPRESSION, AND, IDENTIFIER, identifier.len() as u32] {
        body.extend(number.to_be_bytes());
    }
    body.extend(identifier.bytes());
    body.resize(body.len().next_multiple_of(4), 0);
    body.extend(ANCHOR_APPLE.to_be_bytes());
    blob(REQUIREMENT, &body)
}

/// How many bytes [`build`] makes of `spec` for `code_limit` bytes of code.
pub fn size(spec: &Spec, code_limit: usize) -> usize {
    let others = other_blobs(spec);
    let special = special_slots(spec, &others);
    let directories = spec.hashes.iter().map(|hash| {
        let pages = spec.page_size.pages(code_limit as u64) as usize;
        strings_end(spec) + (special + pages) * hash.size()
    });
    let sizes: Vec<usize> = directories.chain(others.iter().map(|(_, b)| b.len())).collect();
    let gaps = sizes.len() * spec.gap;
    SET_HEADER + sizes.len() * INDEX_ENTRY + sizes.iter().sum::<usize>() + gaps
}

/// The signature of `code`, which is the slice up to where the signature begins,
/// the load command that announces the signature and its [`size`] included.
pub fn build(spec: &Spec, code: &[u8]) -> Vec<u8> {
    let others = other_blobs(spec);
    let slots = (0..1).chain(Slot::ALTERNATE.0..).zip(&spec.hashes);
    let mut parts: Vec<(u32, Vec<u8>)> =
        slots.map(|(slot, hash)| (slot, directory(spec, *hash, &others, code))).collect();
    parts.extend(others.into_iter().map(|(slot, bytes)| (slot.0, bytes)));
    indexed(SUPERBLOB, &parts, spec.gap, spec.reversed)
}

fn blob(magic: u32, body: &[u8]) -> Vec<u8> {
    let length = (BLOB_HEADER + body.len()) as u32;
    [&magic.to_be_bytes()[..], &length.to_be_bytes(), body].concat()
}

/// An index of typed blobs and the blobs themselves.
fn indexed(magic: u32, parts: &[(u32, Vec<u8>)], gap: usize, reversed: bool) -> Vec<u8> {
    let mut index = Vec::new();
    let mut bodies = Vec::new();
    let first = SET_HEADER + parts.len() * INDEX_ENTRY;
    for (kind, part) in parts {
        index.push([kind.to_be_bytes(), ((first + bodies.len()) as u32).to_be_bytes()].concat());
        bodies.extend(part);
        bodies.resize(bodies.len() + gap, 0);
    }
    if reversed {
        index.reverse();
    }
    let count = (parts.len() as u32).to_be_bytes();
    blob(magic, &[&count[..], &index.concat(), &bodies].concat())
}

/// All blobs but the code directories.
fn other_blobs(spec: &Spec) -> Vec<(Slot, Vec<u8>)> {
    let wrapped = |magic, body: &[u8]| blob(magic, body);
    [
        (Slot::REQUIREMENTS, spec.requirements.clone()),
        (
            Slot::ENTITLEMENTS,
            spec.entitlements.as_ref().map(|text| wrapped(ENTITLEMENTS, text.as_bytes())),
        ),
        (
            Slot::ENTITLEMENTS_DER,
            spec.entitlements_der.as_ref().map(|der| wrapped(ENTITLEMENTS_DER, der)),
        ),
        (Slot::CMS, spec.cms.as_ref().map(|cms| wrapped(WRAPPER, cms))),
    ]
    .into_iter()
    .filter_map(|(slot, blob)| Some((slot, blob?)))
    .collect()
}

/// The highest special slot that anything stands in.
fn special_slots(spec: &Spec, others: &[(Slot, Vec<u8>)]) -> usize {
    let special = spec.outside.iter().chain(others).map(|(slot, _)| slot.0);
    special.filter(|slot| *slot < Slot::ALTERNATE.0).max().unwrap_or(0) as usize
}

fn team(spec: &Spec) -> Option<&str> {
    spec.team.as_deref().filter(|_| spec.version >= version::TEAM)
}

fn strings_end(spec: &Spec) -> usize {
    let team = team(spec).map_or(0, |team| team.len() + 1);
    header_size(spec.version) + spec.identifier.len() + 1 + team
}

fn directory(spec: &Spec, hash: HashType, others: &[(Slot, Vec<u8>)], code: &[u8]) -> Vec<u8> {
    let special = special_slots(spec, others);
    let pages = spec.page_size.pages(code.len() as u64);
    let mut bytes = directory_header(spec, hash, special, pages, code.len() as u64);
    for text in [Some(spec.identifier.as_str()), team(spec)].into_iter().flatten() {
        bytes.extend(text.bytes());
        bytes.push(0);
    }
    for slot in (1..=special as u32).rev() {
        let mut all = spec.outside.iter().chain(others);
        match all.find(|(this, _)| this.0 == slot) {
            Some((_, blob)) => bytes.extend(hash.digest([&blob[..]]).as_bytes()),
            None => bytes.resize(bytes.len() + hash.size(), 0),
        }
    }
    for page in 0..pages {
        let range = spec.page_size.range(page, code.len() as u64);
        let page = &code[range.start as usize..range.end as usize];
        bytes.extend(hash.digest([page]).as_bytes());
    }
    let length = bytes.len() as u32;
    bytes[4..BLOB_HEADER].copy_from_slice(&length.to_be_bytes());
    bytes
}

fn directory_header(
    spec: &Spec,
    hash: HashType,
    special: usize,
    pages: u64,
    limit: u64,
) -> Vec<u8> {
    let mut bytes = vec![0; header_size(spec.version)];
    let mut put = |at: usize, value: &[u8]| {
        // Fields of later versions are not there to be set.
        if let Some(place) = bytes.get_mut(at..at + value.len()) {
            place.copy_from_slice(value);
        }
    };
    let wide = spec.limit_in_64_bits && spec.version >= version::CODE_LIMIT_64;
    let (limit_32, limit_64) = if wide { (0, limit) } else { (limit as u32, 0) };
    let identifier = header_size(spec.version) as u32;
    let team_at = team(spec).map_or(0, |_| identifier + spec.identifier.len() as u32 + 1);
    let hashes_at = (strings_end(spec) + special * hash.size()) as u32;
    put(0, &CODE_DIRECTORY.to_be_bytes());
    put(field::VERSION, &spec.version.to_be_bytes());
    put(field::FLAGS, &spec.flags.to_be_bytes());
    put(field::HASH_OFFSET, &hashes_at.to_be_bytes());
    put(field::IDENTIFIER, &identifier.to_be_bytes());
    put(field::SPECIAL_SLOTS, &(special as u32).to_be_bytes());
    put(field::CODE_SLOTS, &(pages as u32).to_be_bytes());
    put(field::CODE_LIMIT, &limit_32.to_be_bytes());
    put(field::HASH_SIZE, &[hash.size() as u8]);
    put(field::HASH_TYPE, &[hash.number()]);
    put(field::PLATFORM, &[spec.platform]);
    put(field::PAGE_SIZE, &[spec.page_size.exponent()]);
    put(field::TEAM, &team_at.to_be_bytes());
    put(field::CODE_LIMIT_64, &limit_64.to_be_bytes());
    put(field::EXEC_BASE, &spec.exec_segment.base.to_be_bytes());
    put(field::EXEC_LIMIT, &spec.exec_segment.limit.to_be_bytes());
    put(field::EXEC_FLAGS, &spec.exec_segment.flags.to_be_bytes());
    put(field::RUNTIME, &spec.runtime.to_be_bytes());
    bytes
}
