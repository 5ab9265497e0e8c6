//! Folders of the user's that this tool keeps files in.
//!
//! What is kept here is loaded into the user's programs, so no other user may be
//! able to put anything there: each folder we make is the user's own and closed
//! to everybody's writing, whatever of it exists already must be so too, and
//! no link is followed (the host sees to that). Files come by a stage beside
//! them and a rename, so a name never stands for half of anything.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use agxpatch_core::error::{Code, Error, Result};
use agxpatch_host::{FileKind, Host, Lock, Metadata};

/// Whether others may write, `st_mode & S_IWGRP|S_IWOTH`.
const OTHERS_WRITE: u32 = 0o022;

/// Refuses whatever is not the acting user's alone.
///
/// # Errors
/// `PlaceNotOurs`.
pub fn require_private(
    host: &dyn Host,
    path: &Path,
    metadata: &Metadata,
    kind: FileKind,
) -> Result<()> {
    let user = host.effective_user();
    let reason = if metadata.kind != kind {
        format!("it is {}", if kind == FileKind::Directory { "no folder" } else { "no plain file" })
    } else if metadata.user != user {
        format!("it belongs to user {}, not to user {user}", metadata.user)
    } else if metadata.mode & OTHERS_WRITE != 0 {
        format!("others may write to it (mode {:o})", metadata.mode)
    } else if kind == FileKind::File && metadata.links > 1 {
        "it has more than one name (a hard link)".to_owned()
    } else {
        return Ok(());
    };
    Err(Error::new(Code::PlaceNotOurs, "other users can change what this tool keeps")
        .with("path", path.display())
        .with("reason", reason)
        .next("find out what created it, then remove it"))
}

/// Refuses a home, or what macOS keeps in one, that is not the acting user's
/// alone. It is nothing this tool made, so nothing to be removed.
fn owned(host: &dyn Host, base: &Path, metadata: &Metadata) -> Result<()> {
    require_private(host, base, metadata, FileKind::Directory).map_err(|error| {
        let next = match host.effective_user() {
            0 => "run this as the user whose home it is, without sudo",
            _ => "look at its owner and mode with `ls -led`, or name a home of yours in HOME",
        };
        error.next(next)
    })
}

/// The folder `names` below `base`, made where it is missing. `base` is left
/// as it is, and must be the user's.
///
/// # Errors
/// `PlaceNotOurs`, `PathRefused` for a link on the way, and the host's.
pub fn folder(host: &dyn Host, base: &Path, names: &[&str], mode: u32) -> Result<PathBuf> {
    let mut at = base.to_owned();
    match host.metadata(base)? {
        Some(metadata) => owned(host, base, &metadata)?,
        None => return Err(agxpatch_host::missing(base)),
    }
    for name in names {
        let parent = at.clone();
        at.push(name);
        match host.metadata(&at)? {
            Some(metadata) => require_private(host, &at, &metadata, FileKind::Directory)?,
            None => match host.create_directory(&at, mode) {
                Ok(()) => host.sync_directory(&parent)?,
                // Another run was as fast; what it made is looked at like any.
                Err(error) if error.code() == Code::PathExists => {
                    let metadata = host.metadata(&at)?.ok_or(error)?;
                    require_private(host, &at, &metadata, FileKind::Directory)?;
                }
                Err(error) => return Err(error),
            },
        }
    }
    Ok(at)
}

/// Takes the lock at `path`, after its holder: two commands are often
/// started at the same moment, and what the other makes is what this one wants.
///
/// # Errors
/// `Locked` after a time in which the other would have been done long ago, and
/// the host's.
pub fn lock_wait(host: &dyn Host, path: &Path) -> Result<Lock> {
    const MAX_WAIT: Duration = Duration::from_secs(30);
    const PAUSE: Duration = Duration::from_millis(10);
    let until = Instant::now() + MAX_WAIT;
    loop {
        match host.lock(path) {
            Err(error) if error.code() == Code::Locked && Instant::now() < until => {
                std::thread::sleep(PAUSE);
            }
            other => return other,
        }
    }
}

/// Reads a file kept here; none where there is none.
pub fn read(host: &dyn Host, path: &Path) -> Result<Option<Vec<u8>>> {
    let Some(file) = host.read_if_present(path)? else { return Ok(None) };
    require_private(host, path, &file.metadata, FileKind::File)?;
    Ok(Some(file.bytes))
}

/// Removes a folder kept here with all that is in it. A link in it is removed,
/// not followed.
pub fn remove(host: &dyn Host, path: &Path) -> Result<()> {
    let Some(metadata) = host.metadata(path)? else { return Ok(()) };
    if metadata.kind != FileKind::Directory {
        return host.remove_file(path);
    }
    require_private(host, path, &metadata, FileKind::Directory)?;
    for name in host.list(path)? {
        remove(host, &path.join(name))?;
    }
    host.remove_directory(path)
}
