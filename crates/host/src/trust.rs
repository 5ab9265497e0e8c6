//! Whether a path can be relied on by a process that runs as root.
//!
//! A path is only as safe as the weakest directory on it: who may write to a
//! directory may put anything there under any name. Where every directory from
//! the root down belongs to root and no other user may write to it, no one but
//! root can change what the path leads to between a look and a use.

use std::path::{Path, PathBuf};

use super::{FileKind, Host, Metadata};
use agxpatch_core::error::{Code, Error, Result};

/// The sticky bit: in such a directory only a file's owner may rename it.
const STICKY: u32 = 0o1000;

/// Refuses a path where a user other than root could put something else.
///
/// Looks at every directory on the way that exists, `path` itself included. A
/// sticky directory others may write to, such as `/Users/Shared`, is good
/// enough as a parent, if what lies in it belongs to root.
pub fn only_root_can_change(host: &dyn Host, path: &Path) -> Result<()> {
    let mut at = PathBuf::from("/");
    let names = super::plain(path)?;
    let mut looks: Vec<(PathBuf, Metadata)> = Vec::new();
    for name in std::iter::once("").chain(names.iter().copied()) {
        at.push(name);
        match host.metadata(&at)? {
            Some(metadata) => looks.push((at.clone(), metadata)),
            None => break,
        }
    }
    for (place, (path, metadata)) in looks.iter().enumerate() {
        if let Some(reason) = distrust(metadata, place < names.len()) {
            return Err(Error::new(
                Code::PathRefused,
                "other users could change what is at the path",
            )
            .with("path", path.display())
            .with("reason", reason)
            .next("make root its owner and remove write permission for all others"));
        }
    }
    Ok(())
}

/// Why one name on the way is not to be relied on. `passed` says that the path
/// goes on below it, whether or not the next name exists yet.
fn distrust(metadata: &Metadata, passed: bool) -> Option<String> {
    let others_write = metadata.mode & 0o002 != 0;
    let group_writes = metadata.mode & 0o020 != 0;
    let sticky = metadata.mode & STICKY != 0;
    if metadata.kind == FileKind::Link {
        Some("it is a symbolic link".to_owned())
    } else if metadata.user != 0 {
        Some(format!("it belongs to user {}", metadata.user))
    } else if others_write && !(passed && sticky) {
        Some(format!("everybody may write to it (mode {:o})", metadata.mode))
    } else if group_writes && !(passed && sticky) {
        Some(format!("group {} may write to it (mode {:o})", metadata.group, metadata.mode))
    } else if metadata.kind == FileKind::File && metadata.links > 1 {
        Some("it has more than one name (a hard link)".to_owned())
    } else {
        None
    }
}
