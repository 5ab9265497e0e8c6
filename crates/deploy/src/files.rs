//! Writing so that a name never stands for half a file, and reading back what
//! must not have changed.

use std::path::Path;

use super::layout;
pub use agxpatch_core::edit::sha256;
use agxpatch_core::error::{Code, Error, Result};
use agxpatch_host::{self as host, File, FileKind, Host, Metadata, trust};

/// Writes a file beside its place, forces it to the disk and gives it its name.
/// Whatever has the name is replaced in one step.
pub fn write_whole(host: &dyn Host, path: &Path, bytes: &[u8], mode: u32) -> Result<()> {
    let new = layout::unfinished(path);
    remove_if_present(host, &new)?;
    host.write_new(&new, bytes, mode)?;
    host.sync_file(&new)?;
    host.rename(&new, path)?;
    sync_parent(host, path)
}

/// Writes a file as [`write_whole`] does and reads it back. One that is there
/// already with these bytes is left alone.
pub fn keep(host: &dyn Host, path: &Path, bytes: &[u8], mode: u32) -> Result<()> {
    if host.metadata(path)?.is_none() {
        write_whole(host, path, bytes, mode)?;
    }
    read_exactly(host, path, &sha256(bytes)).map(drop)
}

/// Reads a file of root's that must have this hash.
pub fn read_exactly(host: &dyn Host, path: &Path, expected: &str) -> Result<Vec<u8>> {
    let file = host.read(path)?;
    check_file(path, &file.metadata)?;
    with_content(path, file, expected)
}

/// Demands that a file has this hash, and nothing of its owner.
pub fn has_content(host: &dyn Host, path: &Path, expected: &str) -> Result<()> {
    with_content(path, host.read(path)?, expected).map(drop)
}

fn with_content(path: &Path, file: File, expected: &str) -> Result<Vec<u8>> {
    let found = sha256(&file.bytes);
    if found == expected {
        return Ok(file.bytes);
    }
    Err(Error::new(Code::Altered, "a file that agxpatch keeps has changed")
        .with("file", path.display())
        .with("expected", expected)
        .with("found", found)
        .next("sudo agxpatch verify"))
}

/// Demands of what is at a path that it is a plain file of root's with one name.
pub fn check_file(path: &Path, metadata: &Metadata) -> Result<()> {
    let whose = || {
        Error::new(Code::PathRefused, "other users can change the file")
            .with("path", path.display())
            .with("owner", metadata.user)
            .with("mode", format!("{:o}", metadata.mode))
            .next(host::look_at(path))
    };
    match metadata.kind {
        FileKind::File if metadata.links > 1 => Err(host::hard_link(path)),
        FileKind::File if metadata.user != 0 || metadata.mode & 0o022 != 0 => Err(whose()),
        FileKind::File => Ok(()),
        FileKind::Link => Err(host::is_link(path)),
        FileKind::Directory | FileKind::Other => Err(host::not_a_file(path)),
    }
}

/// Demands that a path is free, or holds a plain file of root's.
pub fn check_writable(host: &dyn Host, path: &Path) -> Result<()> {
    for path in [path, &layout::unfinished(path)] {
        if let Some(metadata) = host.metadata(path)? {
            check_file(path, &metadata)?;
        }
    }
    Ok(())
}

/// Makes a directory of root's where it is missing, with all above it that are.
/// The mode is that of the last; those above may be passed by everybody.
pub fn make_directory(host: &dyn Host, path: &Path, mode: u32) -> Result<()> {
    if host.metadata(path)?.is_none() {
        let parent = path.parent().ok_or_else(|| host::missing(path))?;
        if host.metadata(parent)?.is_none() {
            make_directory(host, parent, 0o755)?;
        }
        host.create_directory(path, mode)?;
        host.sync_directory(parent)?;
    }
    trust::only_root_can_change(host, path)
}

/// Removes a plain file where there is one.
pub fn remove_if_present(host: &dyn Host, path: &Path) -> Result<()> {
    let Some(metadata) = host.metadata(path)? else { return Ok(()) };
    if metadata.kind != FileKind::File {
        return check_file(path, &metadata);
    }
    host.remove_file(path)?;
    sync_parent(host, path)
}

/// Removes a directory where there is one, if nothing is left in it.
pub fn remove_directory_if_empty(host: &dyn Host, path: &Path) -> Result<()> {
    if host.metadata(path)?.is_none() || !host.list(path)?.is_empty() {
        return Ok(());
    }
    host.remove_directory(path)?;
    sync_parent(host, path)
}

/// Forces the name of a file to the disk.
pub fn sync_parent(host: &dyn Host, path: &Path) -> Result<()> {
    path.parent().map_or(Ok(()), |parent| host.sync_directory(parent))
}
