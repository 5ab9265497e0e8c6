//! The code signature embedded in a slice: read it, reseal it, check it.
//!
//! A slice ends with a superblob, an index of blobs. The blob that matters most is
//! the code directory: one digest for every page of the slice before the
//! signature, and one for each of the other blobs (the special slots). Change a
//! byte of code and the page's digest no longer fits, so the kernel refuses the
//! page. [`reseal()`] plans the edits that make a signature fit again with no
//! signer at all (an *ad-hoc* signature), without moving or resizing anything;
//! [`check()`] says everything that is wrong with a signature, as typed findings.
//!
//! This module is pure. It knows the bytes of a slice and where in them the
//! signature stands; it knows nothing of Mach-O. The format is that of XNU's
//! `osfmk/kern/cs_blobs.h` and `bsd/kern/ubc_subr.c` and of Security.framework's
//! `codedirectory.h`.
//!
//! What it cannot say: whether a signature with a signer is valid. A CMS
//! signature is told from an empty one and otherwise left alone.

pub mod build;
mod check;
mod digest;
mod directory;
mod pages;
mod problem;
mod reseal;
mod strip_runtime_flag;
mod superblob;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use serde::Serialize;

use crate::address::SliceOffset;
use crate::error::{Error, Result};

pub use check::check;
pub use digest::{Digest, HashType};
pub use directory::{ADHOC, CodeDirectory, ExecSegment, LINKER_SIGNED, PageSize, RUNTIME};
pub use problem::{Concern, DirectoryFlaw, SignatureProblem};
pub use reseal::{reseal, reseal_everything};
pub use strip_runtime_flag::without_hardened_runtime;
pub use superblob::{Blob, Slot};

/// A signature as far as it could be read.
#[derive(Clone, Debug, Default)]
pub struct EmbeddedSignature<'a> {
    /// Every sound blob, in the order of the index.
    pub blobs: Vec<Blob<'a>>,
    /// The code directories among them: the primary one first, then the
    /// alternates by number.
    pub directories: Vec<CodeDirectory<'a>>,
}

impl<'a> EmbeddedSignature<'a> {
    /// Reads a signature that has no fault in its structure.
    ///
    /// # Errors
    /// The first fault, if there is any; [`check()`] returns all of them.
    pub fn parse(bytes: &'a [u8]) -> Result<EmbeddedSignature<'a>> {
        let (signature, findings) = EmbeddedSignature::read(bytes);
        match findings.first() {
            Some(finding) => Err(Error::from(finding)),
            None => Ok(signature),
        }
    }

    /// Reads whatever is sound and reports the rest.
    fn read(bytes: &'a [u8]) -> (EmbeddedSignature<'a>, Vec<SignatureProblem>) {
        let mut findings = Vec::new();
        let blobs = superblob::read(bytes, &mut findings);
        let mut directories = Vec::new();
        for blob in blobs.iter().filter(|blob| blob.slot.is_directory()) {
            match CodeDirectory::read(*blob) {
                Ok(directory) => directories.push(directory),
                Err(finding) => findings.push(finding),
            }
        }
        directories.sort_by_key(|directory| directory.blob.slot);
        directories.dedup_by_key(|directory| directory.blob.slot);
        if !blobs.is_empty() && !blobs.iter().any(|blob| blob.slot == Slot::CODE_DIRECTORY) {
            findings.push(SignatureProblem::NoDirectory);
        }
        findings.extend(blobs.iter().filter_map(wrong_magic));
        if blobs.is_empty() && findings.is_empty() {
            findings.push(SignatureProblem::NoDirectory);
        }
        (EmbeddedSignature { blobs, directories }, findings)
    }

    /// The blob in `slot`.
    pub fn blob(&self, slot: Slot) -> Option<&Blob<'a>> {
        self.blobs.iter().find(|blob| blob.slot == slot)
    }

    /// The CMS signature, empty in an ad-hoc one; `None` without the blob.
    pub fn cms(&self) -> Option<&'a [u8]> {
        self.blob(Slot::CMS).map(Blob::payload)
    }

    /// The entitlements as they are written in the signature, a property list.
    pub fn entitlements(&self) -> Option<Cow<'a, str>> {
        self.blob(Slot::ENTITLEMENTS).map(|blob| String::from_utf8_lossy(blob.payload()))
    }

    /// The entitlements as DER.
    pub fn entitlements_der(&self) -> Option<&'a [u8]> {
        self.blob(Slot::ENTITLEMENTS_DER).map(Blob::payload)
    }

    /// How many requirements the requirement set holds; 0 without a set.
    pub fn requirements(&self) -> u32 {
        let set = self.blob(Slot::REQUIREMENTS);
        set.and_then(|blob| superblob::u32_at(blob.bytes, superblob::BLOB_HEADER)).unwrap_or(0)
    }

    /// The `cdhash` of every code directory, the primary one first.
    pub fn cd_hashes(&self) -> Vec<Digest> {
        self.directories.iter().map(CodeDirectory::cd_hash).collect()
    }

    /// Whose signature it is.
    pub fn kind(&self) -> Kind {
        let Some(primary) = self.directories.first() else { return Kind::Incomplete };
        if self.cms().is_some_and(|cms| !cms.is_empty()) {
            let team = primary.team.as_deref().map(str::to_owned);
            return Kind::Cms { team, platform: primary.platform };
        }
        match (primary.has(ADHOC), primary.has(LINKER_SIGNED)) {
            (true, true) => Kind::LinkerSigned,
            (true, false) => Kind::AdHoc,
            (false, _) => Kind::Incomplete,
        }
    }
}

/// The magic number is checked where the meaning of a blob is relied upon.
fn wrong_magic(blob: &Blob) -> Option<SignatureProblem> {
    let expected = match blob.slot {
        Slot::REQUIREMENTS => superblob::REQUIREMENTS,
        Slot::ENTITLEMENTS => superblob::ENTITLEMENTS,
        Slot::ENTITLEMENTS_DER => superblob::ENTITLEMENTS_DER,
        Slot::CMS => superblob::WRAPPER,
        _ => return None,
    };
    (blob.magic != expected)
        .then_some(SignatureProblem::WrongMagic { slot: blob.slot, magic: blob.magic })
}

/// Whose signature it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Kind {
    /// There is none.
    Unsigned,
    /// No signer: ad hoc.
    AdHoc,
    /// No signer: made by a linker, for anyone to replace.
    LinkerSigned,
    /// A CMS signature; who made it is not checked.
    Cms {
        /// The team the code directory names.
        team: Option<String>,
        /// Not 0 in a platform binary of Apple's.
        platform: u8,
    },
    /// Neither flagged ad hoc nor signed by anyone.
    Incomplete,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Kind::Unsigned => f.write_str("unsigned"),
            Kind::AdHoc => f.write_str("ad hoc"),
            Kind::LinkerSigned => f.write_str("ad hoc, by the linker"),
            Kind::Cms { platform: 1.., .. } => f.write_str("CMS signature of a platform binary"),
            Kind::Cms { team: Some(team), .. } => {
                write!(f, "CMS signature, team {}", team.escape_debug())
            }
            Kind::Cms { team: None, .. } => f.write_str("CMS signature without a team"),
            Kind::Incomplete => f.write_str("incomplete: not ad hoc, and not signed"),
        }
    }
}

/// The `cdhash` of every code directory of the signature at `signature`.
///
/// # Errors
/// As [`EmbeddedSignature::parse`].
pub fn cd_hashes(slice: &[u8], signature: Range<SliceOffset>) -> Result<Vec<Digest>> {
    let bytes = signature_bytes(slice, &signature).map_err(|finding| Error::from(&finding))?;
    Ok(EmbeddedSignature::parse(bytes)?.cd_hashes())
}

/// The bytes of the signature, if it has any and they are all in the slice.
fn signature_bytes<'a>(
    slice: &'a [u8],
    signature: &Range<SliceOffset>,
) -> std::result::Result<&'a [u8], SignatureProblem> {
    let (start, end) = (signature.start, signature.end);
    if start == end {
        return Err(SignatureProblem::Unsigned);
    }
    let place = usize::try_from(start.0).ok().zip(usize::try_from(end.0).ok());
    place.and_then(|(start, end)| slice.get(start..end)).ok_or(SignatureProblem::SignatureOutside {
        start,
        end,
        slice: slice.len() as u64,
    })
}
