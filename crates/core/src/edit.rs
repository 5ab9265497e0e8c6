//! A change to a file, as data.
//!
//! Patching and resealing never write into the bytes they look at. They return
//! edits: where, what stands there now, what replaces it, and why. The
//! list is what the user is shown, what the byte allow-list is checked against,
//! and what is finally applied in place.

use serde::{Serialize, Serializer};
use sha2::{Digest, Sha256};

use crate::address::FileOffset;
use crate::error::{Code, Error, Result};

/// Replaces `old` by `new`, which has the same length.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Edit {
    /// Where the first byte stands.
    pub at: FileOffset,
    /// The bytes that must stand there now.
    #[serde(serialize_with = "as_hex")]
    pub old: Vec<u8>,
    /// The bytes to write there.
    #[serde(serialize_with = "as_hex")]
    pub new: Vec<u8>,
    /// What sort of byte this is; the allow-list of a patch goes by it.
    pub kind: EditKind,
    /// The reason, for people.
    pub why: String,
}

/// The sorts of bytes a patch may change. There are no others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum EditKind {
    /// An instruction word of the patched window.
    Instruction,
    /// The digest of a code page in a code directory.
    PageHash,
    /// The flags of a code directory.
    DirectoryFlags,
    /// The platform byte of a code directory.
    DirectoryPlatform,
    /// The team identifier's offset in a code directory.
    DirectoryTeam,
    /// The requirement set, which may name a signer that signs no longer.
    Requirements,
    /// The digest of the requirement set in a code directory.
    RequirementsHash,
    /// The digest of another blob in a code directory.
    BlobHash,
    /// The CMS signature, which becomes an empty wrapper.
    Cms,
    /// The original code of a rewrite by meaning, in the room that the CMS signature left.
    OriginalCode,
}

impl Edit {
    /// The range of file bytes replaced.
    pub fn range(&self) -> std::ops::Range<FileOffset> {
        self.at..FileOffset(self.at.0.saturating_add(self.new.len() as u64))
    }
}

/// Applies all edits, or none: every `old` is compared before the first write.
pub fn apply(bytes: &mut [u8], edits: &[Edit]) -> Result<()> {
    check(bytes, edits)?;
    for edit in edits {
        let place = place(bytes.len(), edit)?;
        bytes[place].copy_from_slice(&edit.new);
    }
    Ok(())
}

/// Compares every `old` with what stands in `bytes`.
///
/// # Errors
/// `Bug` for an edit that was planned for other bytes.
pub fn check(bytes: &[u8], edits: &[Edit]) -> Result<()> {
    for edit in edits {
        let place = place(bytes.len(), edit)?;
        if bytes[place] != edit.old {
            return Err(Error::new(
                Code::Bug,
                "a planned edit does not match the file it was made for",
            )
            .with("offset", edit.at)
            .with("edit", &edit.why));
        }
    }
    Ok(())
}

fn place(length: usize, edit: &Edit) -> Result<std::ops::Range<usize>> {
    let start = usize::try_from(edit.at.0).ok();
    let end = start.and_then(|start| start.checked_add(edit.new.len()));
    match (start, end) {
        (Some(start), Some(end)) if end <= length && edit.old.len() == edit.new.len() => {
            Ok(start..end)
        }
        _ => Err(Error::new(Code::Bug, "a planned edit leaves the file or changes its size")
            .with("offset", edit.at)
            .with("edit", &edit.why)),
    }
}

fn as_hex<S: Serializer>(bytes: &[u8], serializer: S) -> std::result::Result<S::Ok, S::Error> {
    serializer.collect_str(&Hex(bytes))
}

/// Bytes as lowercase hexadecimal digits.
pub struct Hex<'a>(pub &'a [u8]);

impl std::fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// The SHA-256 of bytes as lowercase hexadecimal digits.
pub fn sha256(bytes: &[u8]) -> String {
    Hex(&Sha256::digest(bytes)).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edit(at: u64, old: &[u8], new: &[u8]) -> Edit {
        Edit {
            at: FileOffset(at),
            old: old.to_vec(),
            new: new.to_vec(),
            kind: EditKind::Instruction,
            why: "a test".into(),
        }
    }

    #[test]
    fn edits_are_applied_in_place() {
        let mut bytes = *b"abcdef";
        apply(&mut bytes, &[edit(1, b"bc", b"BC"), edit(5, b"f", b"F")]).unwrap();
        assert_eq!(&bytes, b"aBCdeF");
    }

    #[test]
    fn an_edit_that_does_not_match_leaves_every_byte_unchanged() {
        for wrong in [edit(4, b"xx", b"yy"), edit(5, b"fg", b"yy"), edit(0, b"a", b"yy")] {
            let mut bytes = *b"abcdef";
            assert!(apply(&mut bytes, &[edit(1, b"bc", b"BC"), wrong]).is_err());
            assert_eq!(&bytes, b"abcdef");
        }
    }
}
