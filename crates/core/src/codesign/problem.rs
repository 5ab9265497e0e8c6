//! What can be wrong with an embedded signature, as values.

use std::fmt;
use std::ops::Range;

use serde::Serialize;

use super::digest::{Digest, HashType};
use super::superblob::Slot;
use crate::address::SliceOffset;
use crate::error::{Code, Error};

/// One thing that is not as it must be in a slice sealed ad hoc.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "finding", rename_all = "kebab-case", rename_all_fields = "kebab-case")]
#[expect(missing_docs, reason = "each variant says what its fields are")]
pub enum SignatureProblem {
    /// The slice has no signature at all.
    Unsigned,
    /// The signature's range leaves the slice.
    SignatureOutside { start: SliceOffset, end: SliceOffset, slice: u64 },
    /// There is no embedded superblob at the place.
    NotASuperBlob { magic: Option<u32> },
    /// The superblob or its index leaves the room it has.
    IndexOutside { count: u32, length: u32, available: u64 },
    /// More blobs than any signature has.
    TooManyBlobs { count: u32 },
    /// A blob begins in the index or ends outside the superblob.
    BlobOutside { slot: Slot, at: u32 },
    /// Two blobs share bytes.
    BlobsOverlap { slot: Slot, other: Slot },
    /// A slot occurs more than once.
    SlotRepeated { slot: Slot },
    /// A blob is not of the sort its slot asks for.
    WrongMagic { slot: Slot, magic: u32 },
    /// There is no primary code directory.
    NoDirectory,
    /// A code directory contradicts itself or is of no known version.
    DirectoryMalformed { directory: Slot, flaw: DirectoryFlaw },
    /// A code directory digests in an unknown way.
    UnknownHash { directory: Slot, number: u8 },
    /// A code directory covers scattered pieces of the file.
    Scattered { directory: Slot },
    /// A code directory also digests pages as they were before encryption.
    PreEncrypted { directory: Slot },

    /// The number of page digests is not the number of pages.
    PageCount { directory: Slot, slots: u64, pages: u64 },
    /// A page's bytes do not digest to what the directory says.
    PageDiffers {
        directory: Slot,
        hash: HashType,
        page: u64,
        bytes: Range<SliceOffset>,
        want: Digest,
        got: Digest,
    },
    /// A blob does not digest to what the directory says.
    SlotDiffers { directory: Slot, slot: Slot, want: Digest, got: Digest },
    /// A directory holds no digest of a blob that is there.
    SlotMissing { directory: Slot, slot: Slot },
    /// A directory holds the digest of a blob that is not there.
    BlobMissing { directory: Slot, slot: Slot },
    /// The code covered does not end where the signature begins.
    CodeLimit { directory: Slot, limit: u64, signature: SliceOffset },
    /// Two directories differ in what they must agree on.
    DirectoriesDisagree { directory: Slot, about: &'static str, first: String, this: String },
    /// Bytes follow the signature in the slice.
    NotLast { end: SliceOffset, slice: u64 },

    /// A directory is not flagged ad hoc.
    NotAdHoc { directory: Slot, flags: u32 },
    /// The CMS signature holds something.
    CmsNotEmpty { length: usize },
    /// The requirement set may name a signer.
    RequirementsNotEmpty { count: u32 },
    /// A directory names a team.
    TeamPresent { directory: Slot, team: String },
    /// A directory claims to be a platform's.
    PlatformPresent { directory: Slot, platform: u8 },
}

/// How a code directory contradicts itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum DirectoryFlaw {
    /// Not the magic number of a code directory.
    Magic(u32),
    /// Not a version this tool knows.
    Version(u32),
    /// Shorter than its header.
    Short,
    /// A page size that occurs nowhere.
    PageSize,
    /// A digest size that is not its type's.
    HashSize,
    /// A string that leaves the directory.
    Text,
    /// Digests that leave the directory or cover its header or identifier.
    Tables,
}

/// What a finding speaks against.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Concern {
    /// The signature cannot be read.
    Structure,
    /// The signature does not fit the bytes it covers: invalid for any signer.
    Integrity,
    /// The signature is not a clean ad-hoc one; a signer's own may be so.
    AdHoc,
}

impl SignatureProblem {
    /// What it speaks against.
    pub fn concern(&self) -> Concern {
        use SignatureProblem::*;
        match self {
            Unsigned
            | SignatureOutside { .. }
            | NotASuperBlob { .. }
            | IndexOutside { .. }
            | TooManyBlobs { .. }
            | BlobOutside { .. }
            | BlobsOverlap { .. }
            | SlotRepeated { .. }
            | WrongMagic { .. }
            | NoDirectory
            | DirectoryMalformed { .. }
            | UnknownHash { .. }
            | Scattered { .. }
            | PreEncrypted { .. } => Concern::Structure,
            PageCount { .. }
            | PageDiffers { .. }
            | SlotDiffers { .. }
            | SlotMissing { .. }
            | BlobMissing { .. }
            | CodeLimit { .. }
            | DirectoriesDisagree { .. }
            | NotLast { .. } => Concern::Integrity,
            NotAdHoc { .. }
            | CmsNotEmpty { .. }
            | RequirementsNotEmpty { .. }
            | TeamPresent { .. }
            | PlatformPresent { .. } => Concern::AdHoc,
        }
    }
}

impl fmt::Display for SignatureProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use SignatureProblem::*;
        match self {
            Unsigned => f.write_str("the slice carries no code signature"),
            SignatureOutside { start, end, slice } => {
                write!(f, "the signature at {start}..{end} leaves the slice of {slice:#x} bytes")
            }
            NotASuperBlob { magic: Some(magic) } => {
                write!(f, "magic number {magic:#010x} is not that of an embedded signature")
            }
            NotASuperBlob { magic: None } => f.write_str("the signature is shorter than a header"),
            IndexOutside { count, length, available } => write!(
                f,
                "a superblob of {length} bytes with {count} entries does not fit in {available} bytes"
            ),
            TooManyBlobs { count } => write!(f, "{count} blobs are more than any signature has"),
            BlobOutside { slot, at } => {
                write!(f, "the {slot} at {at:#x} does not lie between the index and the end")
            }
            BlobsOverlap { slot, other } => write!(f, "the {slot} and the {other} share bytes"),
            SlotRepeated { slot } => write!(f, "the {slot} occurs more than once"),
            WrongMagic { slot, magic } => {
                write!(f, "magic number {magic:#010x} does not belong to the {slot}")
            }
            NoDirectory => f.write_str("the signature has no code directory"),
            DirectoryMalformed { directory, flaw } => write!(f, "the {directory} {flaw}"),
            UnknownHash { directory, number } => {
                write!(f, "the {directory} uses unknown hash type {number}")
            }
            Scattered { directory } => write!(f, "the {directory} covers scattered pieces"),
            PreEncrypted { directory } => {
                write!(f, "the {directory} also covers the code as it was before encryption")
            }
            _ => self.fmt_contents(f),
        }
    }
}

impl SignatureProblem {
    fn fmt_contents(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use SignatureProblem::*;
        match self {
            PageCount { directory, slots, pages } => {
                write!(f, "the {directory} has {slots} page digests for {pages} pages")
            }
            PageDiffers { directory, hash, page, bytes, want, got } => write!(
                f,
                "page {page} at {}..{} digests to {hash} {got}, the {directory} says {want}",
                bytes.start, bytes.end
            ),
            SlotDiffers { directory, slot, want, got } => {
                write!(f, "the {slot} digests to {got}, the {directory} says {want}")
            }
            SlotMissing { directory, slot } => {
                write!(f, "the {directory} holds no digest of the {slot}")
            }
            BlobMissing { directory, slot } => {
                write!(f, "the {directory} holds the digest of a {slot} that is not there")
            }
            CodeLimit { directory, limit, signature } => write!(
                f,
                "the {directory} covers {limit:#x} bytes, the signature begins at {signature}"
            ),
            DirectoriesDisagree { directory, about, first, this } => {
                let (first, this) = (first.escape_debug(), this.escape_debug());
                write!(f, "the {directory} has {about} {this}, the first directory {first}")
            }
            NotLast { end, slice } => {
                write!(f, "the signature ends at {end}, the slice of {slice:#x} bytes goes on")
            }
            NotAdHoc { directory, flags } => {
                write!(f, "the {directory} is not flagged ad hoc (flags {flags:#x})")
            }
            CmsNotEmpty { length } => write!(f, "the CMS signature holds {length} bytes"),
            RequirementsNotEmpty { count } => {
                write!(f, "the requirement set is not empty (requirements: {count})")
            }
            TeamPresent { directory, team } => {
                write!(f, "the {directory} names the team {}", team.escape_debug())
            }
            PlatformPresent { directory, platform } => {
                write!(f, "the {directory} claims platform {platform}")
            }
            _ => Ok(()),
        }
    }
}

impl fmt::Display for DirectoryFlaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DirectoryFlaw::Magic(magic) => write!(f, "has the magic number {magic:#010x}"),
            DirectoryFlaw::Version(version) => write!(f, "has the unknown version {version:#x}"),
            DirectoryFlaw::Short => f.write_str("is shorter than its header"),
            DirectoryFlaw::PageSize => f.write_str("has a page size that occurs nowhere"),
            DirectoryFlaw::HashSize => f.write_str("has a digest size that is not its hash type's"),
            DirectoryFlaw::Text => f.write_str("has a string that leaves it"),
            DirectoryFlaw::Tables => {
                f.write_str("has digests that leave it or cover its header or identifier")
            }
        }
    }
}

impl From<&SignatureProblem> for Error {
    fn from(finding: &SignatureProblem) -> Error {
        match finding {
            SignatureProblem::Unsigned => Error::new(Code::NoSignature, finding.to_string())
                .next("sign the slice first; codesign -s - FILE does it on a Mac"),
            SignatureProblem::UnknownHash { .. }
            | SignatureProblem::Scattered { .. }
            | SignatureProblem::PreEncrypted { .. } => {
                Error::new(Code::SignatureUnsupported, finding.to_string())
            }
            _ => Error::new(Code::SignatureMalformed, finding.to_string()),
        }
    }
}
