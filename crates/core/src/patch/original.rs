//! The original code of a rewrite by meaning, kept in the file itself.
//!
//! No signature says what stood where such a rewrite is, so the bytes are kept: in the
//! room that the CMS blob leaves when it becomes an empty wrapper, directly behind the
//! wrapper. The room belongs to the signature and is covered by no digest, so the record
//! carries one of its own: SHA-256 over the whole of the slice up to the signature, as it
//! was. The digest tells whether the bytes that are put back are the original ones.
//!
//! | bytes | what |
//! |---|---|
//! | 8 | `AGXPORIG` |
//! | 4 | the version of this format, 1 |
//! | 4 | how many places |
//! | each | 8 offset in the slice, 4 length, the bytes |
//! | 32 | the digest |
//!
//! Numbers are big-endian, as those of a signature are.

use std::ops::Range;

use sha2::{Digest, Sha256};

use crate::address::{FileOffset, SliceOffset};
use crate::codesign::{EmbeddedSignature, Slot};
use crate::edit::{Edit, EditKind};
use crate::error::{Code, Error, Result};
use crate::macho::Slice;

const MAGIC: [u8; 8] = *b"AGXPORIG";
/// The version that is written. All that were ever written are read.
const VERSION: u32 = 1;
/// Bytes of the empty wrapper that the CMS blob becomes.
const WRAPPER: usize = 8;
/// Bytes of a digest.
const DIGEST: usize = 32;

/// What stood in a slice before it was rewritten.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OriginalCode {
    /// Each place with its bytes, in order.
    places: Vec<(SliceOffset, Vec<u8>)>,
    /// Of the slice up to the signature.
    digest: [u8; DIGEST],
}

impl OriginalCode {
    /// The record of these changes of the slice, which is as it was.
    ///
    /// # Errors
    /// If the signature cannot be found.
    pub(super) fn of(slice: &Slice<'_>, changes: &[Edit]) -> Result<Option<OriginalCode>> {
        let Some(signature) = slice.code_signature()? else { return Ok(None) };
        let mut places: Vec<(SliceOffset, Vec<u8>)> = Vec::new();
        let here = changes.iter().filter(|edit| slice.range().contains(&edit.at));
        for edit in here {
            let at = SliceOffset(edit.at.0 - slice.offset.0);
            match places.last_mut() {
                Some((start, bytes)) if start.0 + bytes.len() as u64 == at.0 => {
                    bytes.extend_from_slice(&edit.old);
                }
                _ => places.push((at, edit.old.clone())),
            }
        }
        let digest = Sha256::digest(signed(slice, &signature)).into();
        Ok((!places.is_empty()).then_some(OriginalCode { places, digest }))
    }

    fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend(VERSION.to_be_bytes());
        bytes.extend((self.places.len() as u32).to_be_bytes());
        for (at, old) in &self.places {
            bytes.extend(at.0.to_be_bytes());
            bytes.extend((old.len() as u32).to_be_bytes());
            bytes.extend(old);
        }
        bytes.extend(self.digest);
        bytes
    }

    /// The record of a slice, if it has one.
    ///
    /// # Errors
    /// `SignatureMalformed` for a record that is cut off, of a version that this program
    /// does not know, or of places outside the signed part of the slice.
    pub fn read(slice: &Slice<'_>) -> Result<Option<OriginalCode>> {
        let Some((signature, room)) = room(slice)? else { return Ok(None) };
        let bytes = slice.bytes.get(room.start..room.end).unwrap_or_default();
        let Some(rest) = bytes.strip_prefix(&MAGIC) else { return Ok(None) };
        let original = OriginalCode::parse(rest, signature.start);
        Ok(Some(original.map_err(|error| error.with("slice", slice.architecture))?))
    }

    /// A record without its first eight bytes, of places before `end`.
    fn parse(mut rest: &[u8], end: SliceOffset) -> Result<OriginalCode> {
        let broken = |message| Error::new(Code::SignatureMalformed, message);
        let cut_off = || broken("the record of the original code is cut off");
        let version = number(&mut rest, 4).ok_or_else(cut_off)?;
        if version != u64::from(VERSION) {
            return Err(broken("the record of the original code has an unknown version")
                .with("version", version)
                .next("use the version of agxpatch that wrote the file, or a later one"));
        }
        let count = number(&mut rest, 4).ok_or_else(cut_off)?;
        let mut places = Vec::new();
        for _ in 0..count {
            let at = number(&mut rest, 8).ok_or_else(cut_off)?;
            let length = number(&mut rest, 4).ok_or_else(cut_off)? as usize;
            let old = rest.split_off(..length).ok_or_else(cut_off)?;
            if at.checked_add(length as u64).is_none_or(|past| past > end.0) {
                return Err(broken("the record of the original code names bytes outside the code"));
            }
            places.push((SliceOffset(at), old.to_vec()));
        }
        let digest = rest.split_off(..DIGEST).and_then(|digest| digest.try_into().ok());
        let digest = digest.ok_or_else(cut_off)?;
        Ok(OriginalCode { places, digest })
    }

    /// How many places were rewritten.
    pub fn places(&self) -> usize {
        self.places.len()
    }

    /// The changes that put the original code back.
    ///
    /// # Errors
    /// `SignatureBroken` if the slice would not be as it was.
    pub(super) fn put_back(&self, slice: &Slice<'_>) -> Result<Vec<Edit>> {
        let Some(signature) = slice.code_signature()? else { return Ok(Vec::new()) };
        let mut code = signed(slice, &signature).to_vec();
        let mut edits = Vec::new();
        for (at, original) in &self.places {
            let start = at.0 as usize;
            let Some(place) = code.get_mut(start..start + original.len()) else { continue };
            let old = place.to_vec();
            place.copy_from_slice(original);
            let why = format!("{} bytes of the original code", original.len());
            let at = at.in_file(slice.offset);
            let kind = EditKind::Instruction;
            edits.push(Edit { at, old, new: original.clone(), kind, why });
        }
        if <[u8; DIGEST]>::from(Sha256::digest(&code)) != self.digest {
            return Err(Error::new(
                Code::SignatureBroken,
                "restoring would not give the original code, so the file was changed after the rewrite",
            )
            .with("slice", slice.architecture)
            .next("take the file that this one was made from"));
        }
        Ok(edits)
    }

    /// The change that removes the record.
    pub(super) fn removed(&self, slice: &Slice<'_>) -> Result<Option<Edit>> {
        let Some((_, room)) = room(slice)? else { return Ok(None) };
        let old = self.to_bytes();
        let at = FileOffset(slice.offset.0 + room.start as u64);
        let (new, kind) = (vec![0; old.len()], EditKind::OriginalCode);
        let why = "the record of the original code, which is in place again".to_owned();
        Ok(Some(Edit { at, old, new, kind, why }))
    }

    /// Puts the record into the change that empties the CMS blob of the slice. False if
    /// there is no such change, or too little room.
    pub(super) fn keep(&self, slice: &Slice<'_>, edits: &mut Vec<Edit>) -> bool {
        let record = self.to_bytes();
        let emptied = edits.iter().position(|edit| {
            let fits = edit.new.len() >= WRAPPER + record.len();
            edit.kind == EditKind::Cms && slice.range().contains(&edit.at) && fits
        });
        let Some(emptied) = emptied else { return false };
        let whole = edits.remove(emptied);
        let part = |range: Range<usize>| Edit {
            at: FileOffset(whole.at.0 + range.start as u64),
            old: whole.old[range.clone()].to_vec(),
            new: whole.new[range].to_vec(),
            ..whole.clone()
        };
        let end = WRAPPER + record.len();
        edits.push(part(0..WRAPPER));
        edits.push(Edit {
            kind: EditKind::OriginalCode,
            why: format!(
                "the original code of {} places, from which `--patch original` puts it back",
                self.places.len()
            ),
            new: record,
            ..part(WRAPPER..end)
        });
        edits.extend((end < whole.new.len()).then(|| part(end..whole.new.len())));
        true
    }
}

/// The part of a slice that its signature covers.
fn signed<'a>(slice: &Slice<'a>, signature: &Range<SliceOffset>) -> &'a [u8] {
    slice.bytes.get(..signature.start.0 as usize).unwrap_or(slice.bytes)
}

/// Where a record stands: behind the empty wrapper, up to the end of the signature.
fn room(slice: &Slice<'_>) -> Result<Option<(Range<SliceOffset>, Range<usize>)>> {
    let Some(signature) = slice.code_signature()? else { return Ok(None) };
    let (start, end) = (signature.start.0 as usize, signature.end.0 as usize);
    let Some(bytes) = slice.bytes.get(start..end) else { return Ok(None) };
    let parsed = EmbeddedSignature::parse(bytes)?;
    let Some(blob) = parsed.blob(Slot::CMS).filter(|blob| blob.bytes.len() == WRAPPER) else {
        return Ok(None);
    };
    Ok(Some((signature, start + blob.at + WRAPPER..end)))
}

/// The next so many bytes as a number.
fn number(rest: &mut &[u8], bytes: usize) -> Option<u64> {
    let taken = rest.split_off(..bytes)?;
    Some(taken.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A record as version 1 wrote it. It is never changed: files that hold it exist.
    const VERSION_1: &[u8] = b"AGXPORIG\0\0\0\x01\0\0\0\x02\
        \0\0\0\0\0\0\x10\0\0\0\0\x04\x7f\x6a\x38\xf8\
        \0\0\0\0\0\0\x20\0\0\0\0\x08\x01\x02\x03\x04\x05\x06\x07\x08\
        0123456789abcdef0123456789abcdef";

    fn version_1() -> OriginalCode {
        let clear = vec![0x7f, 0x6a, 0x38, 0xf8];
        OriginalCode {
            places: vec![(SliceOffset(0x1000), clear), (SliceOffset(0x2000), (1..=8).collect())],
            digest: *b"0123456789abcdef0123456789abcdef",
        }
    }

    #[test]
    fn records_of_version_1_are_written_and_read() {
        assert_eq!(version_1().to_bytes(), VERSION_1);
        let read = OriginalCode::parse(&VERSION_1[8..], SliceOffset(0x2008)).unwrap();
        assert_eq!(read, version_1());
    }

    #[test]
    fn a_record_that_is_cut_off_or_leaves_the_code_is_refused() {
        for length in 0..VERSION_1.len() - 8 {
            let cut = &VERSION_1[8..8 + length];
            let refused = OriginalCode::parse(cut, SliceOffset(0x2008)).unwrap_err();
            assert_eq!(refused.code(), Code::SignatureMalformed, "{length}");
        }
        assert!(OriginalCode::parse(&VERSION_1[8..], SliceOffset(0x2007)).is_err());
        let mut later = VERSION_1[8..].to_vec();
        later[3] = 2;
        assert!(OriginalCode::parse(&later, SliceOffset(0x2008)).is_err());
    }
}
