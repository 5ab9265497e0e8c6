//! Which files under a folder are crash reports, without opening any.

use std::collections::HashSet;
use std::fs::{self, DirEntry, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::collect::{Limits, Skipped};

/// What was found at a path.
pub enum Found {
    /// A report, by its name.
    Report(PathBuf),
    /// Something with a report's name that will not be read.
    Not(Skipped),
}

/// A file as it was: the same file with other contents is another.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Fingerprint(u64, u64, u64, i64, i64);

impl Fingerprint {
    fn of(metadata: &Metadata) -> Fingerprint {
        let (seconds, nanoseconds) = (metadata.mtime(), metadata.mtime_nsec());
        Fingerprint(metadata.dev(), metadata.ino(), metadata.len(), seconds, nanoseconds)
    }
}

/// Walks folders, leaving out files seen before.
pub struct Walk<'a> {
    pub limits: &'a Limits,
    pub seen: &'a mut HashSet<Fingerprint>,
}

impl Walk<'_> {
    /// Calls `visit` for each report under `path`, or for `path` itself if it is
    /// a file. A folder further down that cannot be read is reported as skipped.
    pub fn visit(&mut self, path: &Path, visit: &mut dyn FnMut(Found)) -> std::io::Result<()> {
        // The path a person names may be a link; what lies below may not.
        let resolved = match fs::symlink_metadata(path)?.is_symlink() {
            true => fs::canonicalize(path)?,
            false => path.to_owned(),
        };
        let metadata = fs::symlink_metadata(&resolved)?;
        if metadata.is_dir() {
            return self.folder(&resolved, 0, visit);
        }
        self.file(resolved, &metadata, visit);
        Ok(())
    }

    fn folder(
        &mut self,
        path: &Path,
        depth: usize,
        visit: &mut dyn FnMut(Found),
    ) -> std::io::Result<()> {
        for entry in fs::read_dir(path)?.flatten() {
            self.entry(&entry, depth, visit);
        }
        Ok(())
    }

    fn entry(&mut self, entry: &DirEntry, depth: usize, visit: &mut dyn FnMut(Found)) {
        // Does not follow links, so a loop of them ends here.
        let Ok(metadata) = entry.metadata() else { return };
        let path = entry.path();
        if metadata.is_dir() {
            if depth + 1 >= self.limits.depth {
                visit(Found::Not(Skipped::new(path, "nested too deep")));
            } else if let Err(error) = self.folder(&path, depth + 1, visit) {
                visit(Found::Not(Skipped::new(path, error.to_string())));
            }
        } else if is_report_name(&path) {
            self.file(path, &metadata, visit);
        }
    }

    fn file(&mut self, path: PathBuf, metadata: &Metadata, visit: &mut dyn FnMut(Found)) {
        if !self.seen.insert(Fingerprint::of(metadata)) {
            return;
        }
        visit(match reason_against(metadata, self.limits) {
            Some(reason) => Found::Not(Skipped::new(path, reason)),
            None => Found::Report(path),
        });
    }
}

/// Why a file is not to be read, from what is known without opening it.
pub fn reason_against(metadata: &Metadata, limits: &Limits) -> Option<String> {
    if metadata.is_symlink() {
        return Some("a link".into());
    }
    if !metadata.is_file() {
        return Some("not a plain file".into());
    }
    let size = metadata.len();
    (size > limits.bytes).then(|| format!("{size} bytes, more than the {} allowed", limits.bytes))
}

/// Whether a file is named as macOS names its reports. Reports already sent to
/// Apple carry a second suffix.
fn is_report_name(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    [".ips", ".crash", ".ips.synced", ".ips.ca.synced"].iter().any(|suffix| name.ends_with(suffix))
}
