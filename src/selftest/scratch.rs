//! The one directory things are tried in, gone with everything when this is.

use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// A temporary directory that only this user may enter.
pub(super) struct Scratch {
    _directory: tempfile::TempDir,
    root: PathBuf,
}

impl Scratch {
    /// Makes it, where the user's temporary files go.
    ///
    /// # Errors
    /// Where no such directory can be made.
    pub(super) fn new() -> io::Result<Scratch> {
        let directory = tempfile::tempdir()?;
        // A Mac's leads through links, which what is tried here follows nowhere.
        let root = directory.path().canonicalize()?;
        Ok(Scratch { _directory: directory, root })
    }

    /// The directory, without a link on the way.
    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// Writes a new file, runnable by the user alone, under these names.
    ///
    /// # Errors
    /// Where it cannot be written, or is there already.
    pub(super) fn put(&self, names: &[&str], bytes: &[u8]) -> io::Result<PathBuf> {
        use std::io::Write;
        let path = names.iter().fold(self.root.clone(), |path, name| path.join(name));
        if let Some(folder) = path.parent() {
            std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        }
        let mut options = std::fs::OpenOptions::new();
        options.write(true).create_new(true).mode(0o700).open(&path)?.write_all(bytes)?;
        Ok(path)
    }
}
