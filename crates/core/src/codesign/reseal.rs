//! An ad-hoc signature in the place of whatever signature there is.
//!
//! Nothing is resized and no load command changes. The edits are these, in every
//! code directory:
//!
//! - the digest of each page that a code change touches;
//! - the flags: ad hoc set, linker-signed cleared, all others kept, so that a
//!   hardened runtime stays one;
//! - the platform byte and the offset of the team identifier become 0, because
//!   both are claims that only a signer can back. The team's name stays in the
//!   directory as a string nothing refers to.
//!
//! And once in the signature: the CMS blob becomes the empty wrapper that
//! `codesign -s -` writes, the rest of its room is zeroed, its index entry stays.
//!
//! **The requirement set goes.** A signature may carry an explicit designated
//! requirement, and Apple's do: `identifier "…" and anchor apple`. The
//! requirement says what later versions of the same code must satisfy, and
//! `codesign --verify` holds the code itself against it. An ad-hoc signature
//! satisfies no requirement that names an anchor, a certificate or a team, so to
//! leave the set would be to ship code that fails its own requirement. Telling
//! the satisfiable ones apart would take an interpreter of the requirement
//! language, for sets that are not needed: without an explicit requirement the implicit
//! one of ad-hoc code holds, its own cdhash. So a set that is not empty becomes
//! the empty set that `codesign -s -` writes, the rest is zeroed, and special
//! slot -2 of every directory is renewed. That `codesign` on a Mac accepts zeroed
//! room between blobs is what its source says and has not been seen here.
//!
//! Entitlements and all other special slots stay as they are.

use std::ops::Range;

use super::directory::{ADHOC, CodeDirectory, LINKER_SIGNED, field, version};
use super::pages::{self, Change, overlaid};
use super::superblob::{BLOB_HEADER, Blob, REQUIREMENTS, SET_HEADER, Slot, WRAPPER};
use super::{EmbeddedSignature, signature_bytes};
use crate::address::{FileOffset, SliceOffset};
use crate::edit::{Edit, EditKind};
use crate::error::{Code, Error, Result};

/// Plans the edits that make the signature fit the slice once `changes` are made.
///
/// `slice` is the slice as it is now and `slice_at` its place in the file.
/// `changes` may hold the edits of the whole file, in any order; those in other
/// slices are ignored. The edits returned lie inside the signature, share no
/// byte, are in the order of the file and leave out what is right already: for a
/// clean ad-hoc signature and no change there are none.
///
/// # Errors
/// `NoSignature` for an empty range; `SignatureMalformed` and
/// `SignatureUnsupported` for a signature that cannot be read to the end;
/// `SignatureNoRoom` if the empty requirement set does not fit;
/// `ChangeNotCovered` for a change that a code directory has no digest of.
pub fn reseal(
    slice: &[u8],
    slice_at: FileOffset,
    signature: Range<SliceOffset>,
    changes: &[Edit],
) -> Result<Vec<Edit>> {
    plan(slice, slice_at, signature, changes, Renew::Changed)
}

/// As [`reseal`], and renews every digest that did not fit before: of any page, and
/// of any blob that the signature holds.
///
/// # Errors
/// As [`reseal`].
pub fn reseal_everything(
    slice: &[u8],
    slice_at: FileOffset,
    signature: Range<SliceOffset>,
    changes: &[Edit],
) -> Result<Vec<Edit>> {
    plan(slice, slice_at, signature, changes, Renew::Everything)
}

/// Which digests are renewed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Renew {
    /// Those of what the changes touch.
    Changed,
    /// Those and all that did not fit before.
    Everything,
}

fn plan(
    slice: &[u8],
    slice_at: FileOffset,
    signature: Range<SliceOffset>,
    changes: &[Edit],
    renew: Renew,
) -> Result<Vec<Edit>> {
    let bytes = signature_bytes(slice, &signature).map_err(|finding| Error::from(&finding))?;
    let parsed = EmbeddedSignature::parse(bytes)?;
    let changes = changes_in(slice, slice_at, changes)?;
    let mut plan = Plan { bytes, at: signature.start.in_file(slice_at), edits: Vec::new() };
    let requirements = empty_requirements(&parsed)?;
    for directory in &parsed.directories {
        within_reach(directory, signature.start, &changes)?;
        plan.pages(slice, directory, &changes);
        if renew == Renew::Everything {
            plan.unfit_pages(slice, directory, &changes);
            plan.unfit_blobs(&parsed, directory);
        }
        plan.claims(directory);
        if let Some((_, empty)) = &requirements {
            plan.requirements_digest(directory, empty);
        }
    }
    if let Some((blob, empty)) = &requirements {
        plan.shrink(
            blob,
            empty,
            EditKind::Requirements,
            "requirement set emptied (ad-hoc code has no signer)",
        );
    }
    if let Some(blob) = parsed.blob(Slot::CMS) {
        let empty = header(WRAPPER, BLOB_HEADER as u32);
        plan.shrink(
            blob,
            &empty,
            EditKind::Cms,
            "CMS signature removed (invalid for the patched code)",
        );
    }
    plan.edits.sort_by_key(|edit| edit.at);
    Ok(plan.edits)
}

/// The changes inside the slice, in order, as places in the slice.
fn changes_in<'a>(
    slice: &[u8],
    slice_at: FileOffset,
    edits: &'a [Edit],
) -> Result<Vec<Change<'a>>> {
    let slice_end = slice_at.0.saturating_add(slice.len() as u64);
    let inside = edits.iter().filter(|edit| edit.range().end > slice_at && edit.at.0 < slice_end);
    let mut changes = Vec::new();
    for edit in inside {
        match edit.at.0.checked_sub(slice_at.0) {
            Some(at) if edit.range().end.0 <= slice_end => {
                changes.push(Change { at, new: &edit.new });
            }
            _ => return Err(bug("a code change crosses the border of a slice", edit.at)),
        }
    }
    changes.sort_by_key(|change| change.at);
    match changes.windows(2).find(|pair| pair[0].end() > pair[1].at) {
        Some(pair) => Err(bug("two code changes share bytes", FileOffset(pair[1].at))),
        None => Ok(changes),
    }
}

fn bug(message: &'static str, at: FileOffset) -> Error {
    Error::new(Code::Bug, message).with("offset", at)
}

/// Every change must lie in pages that the directory has digests of.
fn within_reach(
    directory: &CodeDirectory,
    signature: SliceOffset,
    changes: &[Change],
) -> Result<()> {
    let limit = directory.code_limit;
    if limit > signature.0 {
        return Err(Error::new(
            Code::SignatureMalformed,
            "a code directory covers the signature it belongs to",
        )
        .with("code limit", SliceOffset(limit))
        .with("signature", signature));
    }
    if u64::from(directory.code_slots) < directory.page_size.pages(limit) {
        return Err(Error::new(
            Code::SignatureMalformed,
            "a code directory has fewer digests than pages",
        )
        .with("digests", directory.code_slots)
        .with("pages", directory.page_size.pages(limit)));
    }
    match changes.iter().find(|change| change.end() > limit) {
        Some(change) => Err(Error::new(
            Code::ChangeNotCovered,
            "a change lies outside what the code signature covers",
        )
        .with("offset in slice", SliceOffset(change.at))
        .with("code limit", SliceOffset(limit))),
        None => Ok(()),
    }
}

/// The requirement set to be emptied, if it is not empty, and its new bytes.
fn empty_requirements<'a>(
    signature: &EmbeddedSignature<'a>,
) -> Result<Option<(Blob<'a>, [u8; SET_HEADER])>> {
    let mut empty = [0; SET_HEADER];
    empty[..BLOB_HEADER].copy_from_slice(&header(REQUIREMENTS, SET_HEADER as u32));
    match signature.blob(Slot::REQUIREMENTS) {
        Some(blob) if blob.bytes.len() < SET_HEADER => Err(Error::new(
            Code::SignatureNoRoom,
            "the requirement set is too short to become the empty set",
        )
        .with("length", blob.bytes.len())),
        Some(blob) if blob.bytes != empty => Ok(Some((*blob, empty))),
        _ => Ok(None),
    }
}

/// The first eight bytes of a blob.
fn header(magic: u32, length: u32) -> [u8; BLOB_HEADER] {
    let mut bytes = [0; BLOB_HEADER];
    bytes[..4].copy_from_slice(&magic.to_be_bytes());
    bytes[4..].copy_from_slice(&length.to_be_bytes());
    bytes
}

/// The edits so far, over the bytes of one signature.
struct Plan<'a> {
    bytes: &'a [u8],
    at: FileOffset,
    edits: Vec<Edit>,
}

impl Plan<'_> {
    /// Puts `new` at `at` of the signature, unless it stands there already.
    fn put(&mut self, at: usize, new: &[u8], kind: EditKind, why: impl Into<String>) {
        let old = &self.bytes[at..at + new.len()];
        if old != new {
            let at = FileOffset(self.at.0 + at as u64);
            let (old, new) = (old.to_vec(), new.to_vec());
            self.edits.push(Edit { at, old, new, kind, why: why.into() });
        }
    }

    fn pages(&mut self, slice: &[u8], directory: &CodeDirectory, changes: &[Change]) {
        let touched = |change: &Change| {
            directory.page_size.index(change.at)..=directory.page_size.index(change.end() - 1)
        };
        let not_empty = changes.iter().filter(|change| !change.new.is_empty());
        let mut pages: Vec<u64> = not_empty.flat_map(touched).collect();
        pages.dedup();
        for page in pages {
            let Some(slot) = directory.page_slot(page) else { continue };
            let bytes = directory.page_size.range(page, directory.code_limit);
            let digest = directory.hash.digest(overlaid(slice, bytes, changes));
            let why = format!("{} of page {page}, which the patch changes", directory.hash);
            self.put(directory.blob.at + slot.start, digest.as_bytes(), EditKind::PageHash, why);
        }
    }

    /// The digests of pages that no change touches and that did not fit before.
    fn unfit_pages(&mut self, slice: &[u8], directory: &CodeDirectory, changes: &[Change]) {
        let code = &slice[..directory.code_limit.min(slice.len() as u64) as usize];
        for unfit in pages::differing(code, directory) {
            let touches =
                |change: &Change| change.at < unfit.bytes.end && change.end() > unfit.bytes.start;
            if changes.iter().any(touches) {
                continue;
            }
            let Some(slot) = directory.page_slot(unfit.page) else { continue };
            let why = format!("{} of page {}, which did not fit", directory.hash, unfit.page);
            let at = directory.blob.at + slot.start;
            self.put(at, unfit.got.as_bytes(), EditKind::PageHash, why);
        }
    }

    /// The digests of blobs that did not fit before. The requirement set is renewed
    /// where it is emptied.
    fn unfit_blobs(&mut self, signature: &EmbeddedSignature, directory: &CodeDirectory) {
        for slot in Slot::sealed().filter(|slot| *slot != Slot::REQUIREMENTS) {
            let (Some(blob), Some(place)) = (signature.blob(slot), directory.special_slot(slot))
            else {
                continue;
            };
            let digest = directory.hash.digest([blob.bytes]);
            let why = format!("{} of the {slot}, which did not fit", directory.hash);
            let at = directory.blob.at + place.start;
            self.put(at, digest.as_bytes(), EditKind::BlobHash, why);
        }
        let requirements = signature.blob(Slot::REQUIREMENTS);
        if let Some(blob) = requirements.filter(|blob| blob.bytes.len() == SET_HEADER) {
            self.requirements_digest(directory, blob.bytes);
        }
    }

    /// What a directory claims about a signer.
    fn claims(&mut self, directory: &CodeDirectory) {
        let (at, which) = (directory.blob.at, directory.blob.slot);
        let flags = (directory.flags | ADHOC) & !LINKER_SIGNED;
        let why = format!("{which}: flags {:#x} become {flags:#x}", directory.flags);
        self.put(at + field::FLAGS, &flags.to_be_bytes(), EditKind::DirectoryFlags, why);
        let why = format!("{which}: no longer a platform binary");
        self.put(at + field::PLATFORM, &[0], EditKind::DirectoryPlatform, why);
        if directory.version >= version::TEAM {
            let why = format!("{which}: no longer a team's");
            self.put(at + field::TEAM, &[0; 4], EditKind::DirectoryTeam, why);
        }
    }

    fn requirements_digest(&mut self, directory: &CodeDirectory, empty: &[u8]) {
        if let Some(slot) = directory.special_slot(Slot::REQUIREMENTS) {
            let digest = directory.hash.digest([empty]);
            let why = format!("{} of the empty requirement set", directory.hash);
            let at = directory.blob.at + slot.start;
            self.put(at, digest.as_bytes(), EditKind::RequirementsHash, why);
        }
    }

    /// Puts a shorter blob in the place of `blob` and zeroes the rest.
    fn shrink(&mut self, blob: &Blob, shorter: &[u8], kind: EditKind, why: &str) {
        let mut new = vec![0; blob.bytes.len()];
        new[..shorter.len()].copy_from_slice(shorter);
        self.put(blob.at, &new, kind, why);
    }
}
