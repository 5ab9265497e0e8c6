//! Removing what `run` keeps: the unpacked libraries and the copies of drivers.
//!
//! Both are made again when they are needed, so this may happen at any time; a program
//! that runs keeps the files it has open.

use std::path::{Path, PathBuf};

use agxpatch_core::error::Result;
use agxpatch_host::Host;

use super::{library, private_dir, scoped};

/// Removes everything below `home` and answers what there was.
///
/// # Errors
/// `PlaceNotOurs` for what other users can change, which stays, and the host's.
pub fn clean(host: &dyn Host, home: &Path) -> Result<Vec<PathBuf>> {
    let kept = [library::place(home), scoped::place_of_copies(home)];
    let mut removed = Vec::new();
    for folder in kept {
        if host.metadata(&folder)?.is_some() {
            private_dir::remove(host, &folder)?;
            removed.push(folder);
        }
    }
    Ok(removed)
}
