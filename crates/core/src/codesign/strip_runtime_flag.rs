//! The hardened runtime given up.
//!
//! A process with the hardened runtime takes no inserted library. A copy of a
//! program that is to take one must be without it, and since the flag stands in
//! the code directory, which is unsigned where the signature is ad hoc, it can
//! be taken away there: no digest is of the directory itself but the `cdhash`,
//! which is what the kernel knows the copy by.

use std::ops::Range;

use super::directory::{RUNTIME, field};
use super::{EmbeddedSignature, Kind, signature_bytes};
use crate::address::{FileOffset, SliceOffset};
use crate::edit::{Edit, EditKind};
use crate::error::{Code, Error, Result};

/// Plans the edits that take the hardened runtime from a slice that stands alone
/// in its file: none where it has none.
///
/// # Errors
/// Those of [`EmbeddedSignature::parse`], and `SignatureUnsupported` where
/// it has a signer: the change would break that signature.
pub fn without_hardened_runtime(slice: &[u8], signature: Range<SliceOffset>) -> Result<Vec<Edit>> {
    let bytes = signature_bytes(slice, &signature).map_err(|finding| Error::from(&finding))?;
    let parsed = EmbeddedSignature::parse(bytes)?;
    let kind = parsed.kind();
    if !matches!(kind, Kind::AdHoc | Kind::LinkerSigned) {
        return Err(Error::new(Code::SignatureUnsupported, "the signature is not ad hoc")
            .with("it is", kind));
    }
    let hardened = parsed.directories.iter().filter(|directory| directory.has(RUNTIME));
    let edit = |at: usize, flags: u32| {
        let new = flags & !RUNTIME;
        let at = FileOffset(signature.start.0 + (at + field::FLAGS) as u64);
        Edit {
            at,
            old: flags.to_be_bytes().to_vec(),
            new: new.to_be_bytes().to_vec(),
            kind: EditKind::DirectoryFlags,
            why: format!("flags {flags:#x} become {new:#x}: libraries may be inserted"),
        }
    };
    Ok(hardened.map(|directory| edit(directory.blob.at, directory.flags)).collect())
}
