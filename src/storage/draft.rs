//! A file that is being written beside its final place, under a name of its own.
//!
//! It takes that place when it is whole, by one rename. Until then it can be dropped, which
//! removes it, so that a command may begin one before it knows whether it will write at all.

use std::fs::{File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use agxpatch_core::edit::{self, Edit};
use agxpatch_core::error::{Code, Error, Result};
use tempfile::NamedTempFile;

use super::plain;

/// What will be the output.
pub struct Draft {
    file: NamedTempFile,
    output: PathBuf,
    permissions: Permissions,
}

impl Draft {
    /// Writes `bytes` beside `output`.
    pub(super) fn begin(output: &Path, bytes: &[u8], permissions: Permissions) -> Result<Draft> {
        let begun = || {
            let mut file = NamedTempFile::new_in(directory(output))?;
            file.write_all(bytes)?;
            Ok(file)
        };
        let file = begun().map_err(|reason| failed(output, &reason))?;
        Ok(Draft { file, output: output.to_owned(), permissions })
    }

    /// Makes `edits`, which are of `original`, the bytes that this was begun with.
    pub fn edit(&self, original: &[u8], edits: &[Edit]) -> Result<()> {
        edit::check(original, edits)?;
        edits
            .iter()
            .try_for_each(|edit| self.file.as_file().write_all_at(&edit.new, edit.at.0))
            .map_err(|reason| failed(&self.output, &reason))
    }

    /// Syncs it and gives it its place.
    pub fn finish(self, replace: bool) -> Result<()> {
        let Draft { file, output, permissions } = self;
        let placed = || {
            // Last, because a write takes the bits away that let a program run as its owner.
            file.as_file().set_permissions(permissions)?;
            file.as_file().sync_all()?;
            match replace {
                true => file.persist(&output),
                false => file.persist_noclobber(&output),
            }?;
            File::open(directory(&output))?.sync_all()
        };
        placed().map_err(|reason| failed(&output, &reason))
    }
}

fn directory(output: &Path) -> &Path {
    match output.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

fn failed(output: &Path, reason: &io::Error) -> Error {
    Error::new(Code::WriteFailed, "the output cannot be written")
        .with("output", output.display())
        .with("reason", plain(reason))
        .next("no partial file was left; check that the directory exists and has free space")
}
