//! A code directory: the table of digests that a signature is about.
//!
//! Its header has grown with its version; a field exists from the version that
//! brought it (XNU `cs_blobs.h`, `CS_SUPPORTS*`). Digests of special slots stand
//! before `hashOffset`, counted backwards, those of pages from it on.

use std::borrow::Cow;
use std::ops::Range;

use serde::Serialize;

use super::digest::{Digest, HashType};
use super::problem::{DirectoryFlaw, SignatureProblem};
use super::superblob::{Blob, CODE_DIRECTORY, Slot, u32_at, u64_at};

/// `CS_ADHOC`: there is no signer.
pub const ADHOC: u32 = 0x2;
/// `CS_RUNTIME`: the hardened runtime.
pub const RUNTIME: u32 = 0x10000;
/// `CS_LINKER_SIGNED`: made by a linker, to be replaced by anyone.
pub const LINKER_SIGNED: u32 = 0x20000;

/// Where fields stand, in bytes from the start of the directory.
pub(super) mod field {
    pub const VERSION: usize = 8;
    pub const FLAGS: usize = 12;
    pub const HASH_OFFSET: usize = 16;
    pub const IDENTIFIER: usize = 20;
    pub const SPECIAL_SLOTS: usize = 24;
    pub const CODE_SLOTS: usize = 28;
    pub const CODE_LIMIT: usize = 32;
    pub const HASH_SIZE: usize = 36;
    pub const HASH_TYPE: usize = 37;
    pub const PLATFORM: usize = 38;
    pub const PAGE_SIZE: usize = 39;
    pub const SCATTER: usize = 44;
    pub const TEAM: usize = 48;
    pub const CODE_LIMIT_64: usize = 56;
    pub const EXEC_BASE: usize = 64;
    pub const EXEC_LIMIT: usize = 72;
    pub const EXEC_FLAGS: usize = 80;
    pub const RUNTIME: usize = 88;
    pub const PRE_ENCRYPT: usize = 92;
}

/// Versions that brought fields.
pub(super) mod version {
    pub const EARLIEST: u32 = 0x20001;
    pub const SCATTER: u32 = 0x20100;
    pub const TEAM: u32 = 0x20200;
    pub const CODE_LIMIT_64: u32 = 0x20300;
    pub const EXEC_SEGMENT: u32 = 0x20400;
    pub const RUNTIME: u32 = 0x20500;
    pub const LINKAGE: u32 = 0x20600;
    /// `CS_COMPAT_LIMIT` in Security.framework: later ones may mean anything.
    pub const LATEST: u32 = 0x2f000;
}

/// Size of the header of a directory of `version`.
pub(super) fn header_size(version: u32) -> usize {
    match version {
        version::LINKAGE.. => 108,
        version::RUNTIME.. => 96,
        version::EXEC_SEGMENT.. => 88,
        version::CODE_LIMIT_64.. => 64,
        version::TEAM.. => 52,
        version::SCATTER.. => 48,
        _ => 44,
    }
}

/// The bytes one digest speaks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct PageSize(u8);

impl PageSize {
    /// 4 KiB, as codesign makes for x86_64 and for most files.
    pub const KIB_4: PageSize = PageSize(12);
    /// 16 KiB, as the kernel of Apple Silicon maps.
    pub const KIB_16: PageSize = PageSize(14);
    /// One digest for all of the code; legal in the format, never mapped.
    pub const WHOLE: PageSize = PageSize(0);

    /// From the exponent in the directory; less than 4 KiB and more than 1 GiB
    /// occur nowhere and are refused, which bounds the number of pages.
    pub fn from_exponent(exponent: u8) -> Option<PageSize> {
        (exponent == 0 || (12..=30).contains(&exponent)).then_some(PageSize(exponent))
    }

    /// The exponent of two, 0 for one page.
    pub fn exponent(self) -> u8 {
        self.0
    }

    /// How many pages `limit` bytes of code make.
    pub fn pages(self, limit: u64) -> u64 {
        match self.0 {
            0 => u64::from(limit > 0),
            exponent => limit.div_ceil(1 << exponent),
        }
    }

    /// The bytes of page `index` of a code of `limit` bytes.
    pub fn range(self, index: u64, limit: u64) -> Range<u64> {
        match self.0 {
            0 => 0..limit,
            exponent => {
                let size = 1u64 << exponent;
                let start = index.saturating_mul(size).min(limit);
                start..start.saturating_add(size).min(limit)
            }
        }
    }

    /// The page that holds the byte at `at`.
    pub fn index(self, at: u64) -> u64 {
        if self.0 == 0 { 0 } else { at >> self.0 }
    }
}

impl std::fmt::Display for PageSize {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            0 => f.write_str("one page"),
            exponent => write!(f, "{} KiB", (1u64 << exponent) / 1024),
        }
    }
}

/// The executable segment, for the kernel's treatment of main programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct ExecSegment {
    /// File offset of the segment in the slice.
    pub base: u64,
    /// Its size in bytes.
    pub limit: u64,
    /// `CS_EXECSEG_*`.
    pub flags: u64,
}

/// A code directory whose tables are known to lie inside it.
#[derive(Clone, Debug)]
pub struct CodeDirectory<'a> {
    /// The blob it was read from.
    pub blob: Blob<'a>,
    /// Version of the layout, such as 0x20400.
    pub version: u32,
    /// `CS_*` flags.
    pub flags: u32,
    /// How it digests.
    pub hash: HashType,
    /// What one digest speaks for.
    pub page_size: PageSize,
    /// Bytes of code covered, from the start of the slice; the 64-bit field
    /// where it is used.
    pub code_limit: u64,
    /// How many page digests there are.
    pub code_slots: u32,
    /// How many special digests there are.
    pub special_slots: u32,
    /// The signing identifier.
    pub identifier: Cow<'a, str>,
    /// The signer's team.
    pub team: Option<Cow<'a, str>>,
    /// Not 0 in Apple's own platform binaries.
    pub platform: u8,
    /// From version 0x20400.
    pub exec_segment: Option<ExecSegment>,
    /// The hardened runtime's version, from version 0x20500.
    pub runtime: Option<u32>,
    hashes_at: usize,
}

impl<'a> CodeDirectory<'a> {
    /// Reads a directory or says what is wrong with it.
    pub(super) fn read(blob: Blob<'a>) -> Result<CodeDirectory<'a>, SignatureProblem> {
        let raw = Raw(blob);
        let version = raw.version()?;
        let hash = raw.hash()?;
        let page_size = PageSize::from_exponent(raw.byte(field::PAGE_SIZE)?)
            .ok_or(raw.flawed(DirectoryFlaw::PageSize))?;
        raw.refuse_what_cannot_be_resealed(version)?;
        let directory = CodeDirectory {
            blob,
            version,
            flags: raw.number(field::FLAGS)?,
            hash,
            page_size,
            code_limit: raw.code_limit(version)?,
            code_slots: raw.number(field::CODE_SLOTS)?,
            special_slots: raw.number(field::SPECIAL_SLOTS)?,
            identifier: raw.text(raw.number(field::IDENTIFIER)?, version)?,
            team: raw.team(version)?,
            platform: raw.byte(field::PLATFORM)?,
            exec_segment: raw.exec_segment(version)?,
            runtime: raw.since(version, version::RUNTIME, field::RUNTIME)?,
            hashes_at: raw.number(field::HASH_OFFSET)? as usize,
        };
        directory.tables_fit()?;
        Ok(directory)
    }

    /// Both tables lie between the header and the end and touch no string.
    fn tables_fit(&self) -> Result<(), SignatureProblem> {
        let raw = Raw(self.blob);
        let size = self.hash.size() as u64;
        let before = u64::from(self.special_slots) * size;
        let after = u64::from(self.code_slots) * size;
        let start = (self.hashes_at as u64).checked_sub(before);
        let end = self.hashes_at as u64 + after;
        let start = start.filter(|start| *start >= header_size(self.version) as u64);
        let Some(start) = start.filter(|_| end <= self.blob.bytes.len() as u64) else {
            return Err(raw.flawed(DirectoryFlaw::Tables));
        };
        let identifier = u64::from(raw.number(field::IDENTIFIER)?);
        let overlaps = |at: u64, text: &str| at < end && start < at + text.len() as u64 + 1;
        if before + after > 0 && overlaps(identifier, &self.identifier) {
            return Err(raw.flawed(DirectoryFlaw::Tables));
        }
        Ok(())
    }

    /// What page `index` must digest to; `None` past the last slot.
    pub fn page_digest(&self, index: u64) -> Option<Digest> {
        Some(Digest::of_bytes(&self.blob.bytes[self.page_slot(index)?]))
    }

    /// What `slot` must digest to; `None` if the directory is silent about it,
    /// be it for want of a slot or by a digest of zeros.
    pub fn special_digest(&self, slot: Slot) -> Option<Digest> {
        let digest = &self.blob.bytes[self.special_slot(slot)?];
        digest.iter().any(|byte| *byte != 0).then(|| Digest::of_bytes(digest))
    }

    /// The bytes of the directory that hold the digest of page `index`.
    pub(super) fn page_slot(&self, index: u64) -> Option<Range<usize>> {
        let index = usize::try_from(index).ok().filter(|_| index < u64::from(self.code_slots))?;
        let start = self.hashes_at + index * self.hash.size();
        Some(start..start + self.hash.size())
    }

    /// The bytes of the directory that hold the digest of special slot `slot`.
    pub(super) fn special_slot(&self, slot: Slot) -> Option<Range<usize>> {
        if slot.0 == 0 || slot.0 > self.special_slots {
            return None;
        }
        let start = self.hashes_at - slot.0 as usize * self.hash.size();
        Some(start..start + self.hash.size())
    }

    /// The `cdhash` that names this code to the kernel and to a CMS signer: the
    /// first 20 bytes of the directory's own digest.
    pub fn cd_hash(&self) -> Digest {
        Digest::of_bytes(&self.hash.digest([self.blob.bytes]).as_bytes()[..20])
    }

    /// Whether all of `flags` are set.
    pub fn has(&self, flags: u32) -> bool {
        self.flags & flags == flags
    }
}

/// A blob read as a directory, field by field.
struct Raw<'a>(Blob<'a>);

impl<'a> Raw<'a> {
    fn flawed(&self, flaw: DirectoryFlaw) -> SignatureProblem {
        SignatureProblem::DirectoryMalformed { directory: self.0.slot, flaw }
    }

    fn number(&self, at: usize) -> Result<u32, SignatureProblem> {
        u32_at(self.0.bytes, at).ok_or(self.flawed(DirectoryFlaw::Short))
    }

    fn long(&self, at: usize) -> Result<u64, SignatureProblem> {
        u64_at(self.0.bytes, at).ok_or(self.flawed(DirectoryFlaw::Short))
    }

    fn byte(&self, at: usize) -> Result<u8, SignatureProblem> {
        self.0.bytes.get(at).copied().ok_or(self.flawed(DirectoryFlaw::Short))
    }

    fn since(&self, version: u32, first: u32, at: usize) -> Result<Option<u32>, SignatureProblem> {
        if version >= first { self.number(at).map(Some) } else { Ok(None) }
    }

    fn version(&self) -> Result<u32, SignatureProblem> {
        if self.0.magic != CODE_DIRECTORY {
            return Err(self.flawed(DirectoryFlaw::Magic(self.0.magic)));
        }
        let version = self.number(field::VERSION)?;
        if !(version::EARLIEST..=version::LATEST).contains(&version) {
            return Err(self.flawed(DirectoryFlaw::Version(version)));
        }
        if self.0.bytes.len() < header_size(version) {
            return Err(self.flawed(DirectoryFlaw::Short));
        }
        Ok(version)
    }

    fn hash(&self) -> Result<HashType, SignatureProblem> {
        let number = self.byte(field::HASH_TYPE)?;
        let hash = HashType::from_number(number)
            .ok_or(SignatureProblem::UnknownHash { directory: self.0.slot, number })?;
        if usize::from(self.byte(field::HASH_SIZE)?) != hash.size() {
            return Err(self.flawed(DirectoryFlaw::HashSize));
        }
        Ok(hash)
    }

    fn refuse_what_cannot_be_resealed(&self, version: u32) -> Result<(), SignatureProblem> {
        let scatter = self.since(version, version::SCATTER, field::SCATTER)?;
        let encrypted = self.since(version, version::RUNTIME, field::PRE_ENCRYPT)?;
        match (scatter.unwrap_or(0), encrypted.unwrap_or(0)) {
            (0, 0) => Ok(()),
            (0, _) => Err(SignatureProblem::PreEncrypted { directory: self.0.slot }),
            _ => Err(SignatureProblem::Scattered { directory: self.0.slot }),
        }
    }

    fn code_limit(&self, version: u32) -> Result<u64, SignatureProblem> {
        let long = match version {
            version::CODE_LIMIT_64.. => self.long(field::CODE_LIMIT_64)?,
            _ => 0,
        };
        Ok(if long != 0 { long } else { u64::from(self.number(field::CODE_LIMIT)?) })
    }

    fn team(&self, version: u32) -> Result<Option<Cow<'a, str>>, SignatureProblem> {
        match self.since(version, version::TEAM, field::TEAM)? {
            None | Some(0) => Ok(None),
            Some(at) => self.text(at, version).map(Some),
        }
    }

    fn exec_segment(&self, version: u32) -> Result<Option<ExecSegment>, SignatureProblem> {
        if version < version::EXEC_SEGMENT {
            return Ok(None);
        }
        Ok(Some(ExecSegment {
            base: self.long(field::EXEC_BASE)?,
            limit: self.long(field::EXEC_LIMIT)?,
            flags: self.long(field::EXEC_FLAGS)?,
        }))
    }

    /// A string that ends with a zero byte inside the directory.
    fn text(&self, at: u32, version: u32) -> Result<Cow<'a, str>, SignatureProblem> {
        let rest = self.0.bytes.get(at as usize..).unwrap_or_default();
        match rest.iter().position(|byte| *byte == 0) {
            Some(end) if at as usize >= header_size(version) => {
                Ok(String::from_utf8_lossy(&rest[..end]))
            }
            _ => Err(self.flawed(DirectoryFlaw::Text)),
        }
    }
}
