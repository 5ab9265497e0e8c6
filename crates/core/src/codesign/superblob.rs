//! The superblob: an index of blobs, each with a magic number and a length.
//!
//! All numbers are big-endian whatever the slice's byte order. The layout and
//! the slot numbers are those of XNU's `cs_blobs.h`. Reading does not stop at the
//! first fault: what is wrong becomes a [`SignatureProblem`] and that blob is left out.

use std::fmt;
use std::ops::Range;

use serde::Serialize;

use super::problem::SignatureProblem;

/// `CSMAGIC_EMBEDDED_SIGNATURE`.
pub(super) const SUPERBLOB: u32 = 0xfade_0cc0;
/// `CSMAGIC_CODEDIRECTORY`.
pub(super) const CODE_DIRECTORY: u32 = 0xfade_0c02;
/// `CSMAGIC_REQUIREMENTS`, a set of requirements.
pub(super) const REQUIREMENTS: u32 = 0xfade_0c01;
/// `CSMAGIC_BLOBWRAPPER`, what a CMS signature comes in.
pub(super) const WRAPPER: u32 = 0xfade_0b01;
/// `CSMAGIC_EMBEDDED_ENTITLEMENTS`.
pub(super) const ENTITLEMENTS: u32 = 0xfade_7171;
/// `CSMAGIC_EMBEDDED_DER_ENTITLEMENTS`.
pub(super) const ENTITLEMENTS_DER: u32 = 0xfade_7172;

/// Magic number and length, at the start of every blob.
pub(super) const BLOB_HEADER: usize = 8;
/// Header and count, before the index of a superblob or of a requirement set.
pub(super) const SET_HEADER: usize = 12;
/// Six code directories, eleven special slots and three others are the most that
/// have a meaning. The bound keeps findings in proportion to the signature.
const MAX_BLOBS: u32 = 64;
/// One entry of an index: type and offset.
pub(super) const INDEX_ENTRY: usize = 8;

/// What a blob is for: the type in its index entry. A signature holds each at
/// most once, so a slot also names a blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Slot(pub u32);

impl Slot {
    /// The primary code directory.
    pub const CODE_DIRECTORY: Slot = Slot(0);
    /// The `Info.plist`, which stands outside the signature.
    pub const INFO: Slot = Slot(1);
    /// The requirement set.
    pub const REQUIREMENTS: Slot = Slot(2);
    /// The resource directory, which stands outside the signature.
    pub const RESOURCES: Slot = Slot(3);
    /// The entitlements as a property list.
    pub const ENTITLEMENTS: Slot = Slot(5);
    /// The entitlements as DER.
    pub const ENTITLEMENTS_DER: Slot = Slot(7);
    /// The library constraint, the last of the four launch constraints.
    pub const LIBRARY_CONSTRAINT: Slot = Slot(11);
    /// The first of the five alternate code directories.
    pub const ALTERNATE: Slot = Slot(0x1000);
    /// The CMS signature.
    pub const CMS: Slot = Slot(0x10000);

    /// Whether a code directory belongs here.
    pub fn is_directory(self) -> bool {
        self == Slot::CODE_DIRECTORY || (0x1000..0x1005).contains(&self.0)
    }

    /// Whether every code directory must hold the digest of a blob in this slot,
    /// and no digest where there is none. Slots 1, 3, 4 and 6 speak of things
    /// outside the signature.
    pub fn is_sealed(self) -> bool {
        matches!(self.0, 2 | 5 | 7..=11)
    }

    /// The slots [`Slot::is_sealed`] holds for.
    pub(super) fn sealed() -> impl Iterator<Item = Slot> {
        (0..=Slot::LIBRARY_CONSTRAINT.0).map(Slot).filter(|slot| slot.is_sealed())
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self.0 {
            0 => "code directory",
            1 => "Info.plist",
            2 => "requirement set",
            3 => "resource directory",
            5 => "entitlements",
            7 => "DER entitlements",
            8 => "own launch constraint",
            9 => "parent launch constraint",
            10 => "responsible launch constraint",
            11 => "library constraint",
            0x1000..0x1005 => return write!(f, "alternate code directory {}", self.0 - 0xfff),
            0x10000 => "CMS signature",
            0x10002 => "ticket",
            other => return write!(f, "slot {other:#x}"),
        };
        f.write_str(name)
    }
}

/// One blob of a signature, header included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Blob<'a> {
    /// What it is for.
    pub slot: Slot,
    /// Where it begins, counted from the start of the signature.
    pub at: usize,
    /// Its magic number.
    pub magic: u32,
    /// All of it, magic number and length included.
    pub bytes: &'a [u8],
}

impl<'a> Blob<'a> {
    /// What follows the header.
    pub fn payload(&self) -> &'a [u8] {
        self.bytes.get(BLOB_HEADER..).unwrap_or_default()
    }

    /// The range of the signature's bytes it takes.
    pub fn range(&self) -> Range<usize> {
        self.at..self.at + self.bytes.len()
    }
}

/// Big-endian number at `at`, if it is all there.
pub(super) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..at.checked_add(4)?)?;
    Some(u32::from_be_bytes(bytes.try_into().ok()?))
}

/// Big-endian number at `at`, if it is all there.
pub(super) fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    let bytes = bytes.get(at..at.checked_add(8)?)?;
    Some(u64::from_be_bytes(bytes.try_into().ok()?))
}

/// The sound blobs of a superblob in the order of its index.
pub(super) fn read<'a>(signature: &'a [u8], findings: &mut Vec<SignatureProblem>) -> Vec<Blob<'a>> {
    let Some((bytes, count)) = header(signature, findings) else { return Vec::new() };
    let index_end = SET_HEADER + count * INDEX_ENTRY;
    let mut blobs: Vec<Blob> = Vec::with_capacity(count);
    for entry in bytes[SET_HEADER..index_end].chunks_exact(INDEX_ENTRY) {
        let (Some(slot), Some(at)) = (u32_at(entry, 0), u32_at(entry, 4)) else { continue };
        match blob(bytes, index_end, Slot(slot), at as usize) {
            Some(blob) => blobs.push(blob),
            None => findings.push(SignatureProblem::BlobOutside { slot: Slot(slot), at }),
        }
    }
    report_conflicts(&blobs, findings);
    blobs
}

/// The superblob cut to its own length, and how many entries its index has.
fn header<'a>(
    signature: &'a [u8],
    findings: &mut Vec<SignatureProblem>,
) -> Option<(&'a [u8], usize)> {
    let magic = u32_at(signature, 0);
    let (Some(length), Some(count)) = (u32_at(signature, 4), u32_at(signature, 8)) else {
        findings.push(SignatureProblem::NotASuperBlob { magic });
        return None;
    };
    if magic != Some(SUPERBLOB) {
        findings.push(SignatureProblem::NotASuperBlob { magic });
        return None;
    }
    if count > MAX_BLOBS {
        findings.push(SignatureProblem::TooManyBlobs { count });
        return None;
    }
    let count = count as usize;
    // None where not even the header is within the length.
    let room = (length as usize).checked_sub(SET_HEADER).map(|room| room / INDEX_ENTRY);
    match signature.get(..length as usize) {
        Some(bytes) if room.is_some_and(|room| count <= room) => Some((bytes, count)),
        _ => {
            let available = signature.len() as u64;
            findings.push(SignatureProblem::IndexOutside {
                count: count as u32,
                length,
                available,
            });
            None
        }
    }
}

fn blob(superblob: &[u8], index_end: usize, slot: Slot, at: usize) -> Option<Blob<'_>> {
    let magic = u32_at(superblob, at)?;
    let length = u32_at(superblob, at.checked_add(4)?)? as usize;
    let bytes = superblob.get(at..at.checked_add(length)?)?;
    (at >= index_end && length >= BLOB_HEADER).then_some(Blob { slot, at, magic, bytes })
}

fn report_conflicts(blobs: &[Blob], findings: &mut Vec<SignatureProblem>) {
    let mut by_slot: Vec<Slot> = blobs.iter().map(|blob| blob.slot).collect();
    by_slot.sort_unstable();
    let repeated = by_slot.windows(2).filter(|pair| pair[0] == pair[1]);
    findings.extend(repeated.map(|pair| SignatureProblem::SlotRepeated { slot: pair[0] }));

    let mut by_place: Vec<&Blob> = blobs.iter().collect();
    by_place.sort_unstable_by_key(|blob| blob.at);
    let overlapping = by_place.windows(2).filter(|pair| pair[0].range().end > pair[1].at);
    findings.extend(
        overlapping
            .map(|pair| SignatureProblem::BlobsOverlap { slot: pair[0].slot, other: pair[1].slot }),
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_superblob_shorter_than_its_header_is_refused() {
        for length in 0..SET_HEADER as u32 {
            let bytes = [SUPERBLOB, length, 0, 0].map(u32::to_be_bytes).concat();
            let mut findings = Vec::new();
            assert!(read(&bytes, &mut findings).is_empty());
            let available = bytes.len() as u64;
            assert_eq!(findings, [SignatureProblem::IndexOutside { count: 0, length, available }]);
        }
    }
}
