//! Which files under a folder are crash reports, without opening any.

use std::collections::HashSet;
use std::fs::{self, DirEntry, Metadata};
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::collect::{Limits, Skipped};

/// A file to read.
pub struct Candidate {
    /// The file.
    pub path: PathBuf,
    /// It is named as a report, or was named by a person: else its contents decide
    /// whether it is one.
    pub named: bool,
}

/// What was found at a path.
pub enum Found {
    /// A file that is or may be a report, by its name.
    Candidate(Candidate),
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
        self.file(Candidate { path: resolved, named: true }, &metadata, visit);
        Ok(())
    }

    fn folder(
        &mut self,
        path: &Path,
        depth: usize,
        visit: &mut dyn FnMut(Found),
    ) -> std::io::Result<()> {
        for entry in fs::read_dir(path)? {
            match entry {
                Ok(entry) => self.entry(&entry, depth, visit),
                Err(error) => visit(Found::Not(Skipped::new(path.to_owned(), why(&error)))),
            }
        }
        Ok(())
    }

    fn entry(&mut self, entry: &DirEntry, depth: usize, visit: &mut dyn FnMut(Found)) {
        let path = entry.path();
        // Does not follow links, so a loop of them ends here.
        let metadata = match entry.metadata() {
            Ok(metadata) => metadata,
            Err(error) if kind_of_name(&path).is_some() => {
                return visit(Found::Not(Skipped::new(path, why(&error))));
            }
            Err(_) => return,
        };
        if metadata.is_dir() {
            if depth + 1 >= self.limits.depth {
                visit(Found::Not(Skipped::new(path, "nested too deep")));
            } else if let Err(error) = self.folder(&path, depth + 1, visit) {
                visit(Found::Not(Skipped::new(path, why(&error))));
            }
        } else if let Some(named) = kind_of_name(&path) {
            self.file(Candidate { path, named }, &metadata, visit);
        }
    }

    fn file(&mut self, candidate: Candidate, metadata: &Metadata, visit: &mut dyn FnMut(Found)) {
        if !self.seen.insert(Fingerprint::of(metadata)) {
            return;
        }
        visit(match reason_against(metadata, self.limits) {
            Some(reason) => Found::Not(Skipped::new(candidate.path, reason)),
            None => Found::Candidate(candidate),
        });
    }
}

/// Why something cannot be read, with what to do about it.
pub fn why(error: &std::io::Error) -> String {
    if error.kind() == ErrorKind::PermissionDenied {
        return format!("{error}: it belongs to another user, so read it with sudo");
    }
    error.to_string()
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

/// Whether a file is named as macOS names its reports (`Some(true)`), or as people
/// name texts (`Some(false)`): issue trackers take no `.ips`. Reports already sent to
/// Apple carry a second suffix.
fn kind_of_name(path: &Path) -> Option<bool> {
    const REPORTS: [&str; 6] = ["ips", "crash", "panic", "hang", "spin", "diag"];
    const TEXTS: [&str; 20] = [
        "txt", "text", "json", "jsonl", "ndjson", "log", "out", "err", "md", "markdown", "rst",
        "html", "htm", "xml", "yaml", "yml", "csv", "tsv", "eml", "dmp",
    ];
    let name = path.file_name().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
    let suffixes = name.split('.').skip(1);
    if suffixes.clone().any(|suffix| REPORTS.contains(&suffix)) {
        return Some(true);
    }
    suffixes.last().is_some_and(|suffix| TEXTS.contains(&suffix)).then_some(false)
}
