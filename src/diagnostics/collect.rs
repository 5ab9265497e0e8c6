//! Reading folders of reports on all cores, and counting incidents.

use std::collections::{HashMap, HashSet};
use std::fs::OpenOptions;
use std::io::{ErrorKind, Read};
use std::num::NonZero;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, sync_channel};

use rustix::fs::OFlags;
use serde::{Serialize, Serializer};

use super::walk::{Fingerprint, Found, Walk, reason_against};
use crate::crash::{self, Class, CrashReport};
use agxpatch_core::error::{Code, Error, Result};

/// How much is looked at.
#[derive(Clone, Debug)]
pub struct Limits {
    /// The largest file read, in bytes.
    pub bytes: u64,
    /// How deep folders are entered below the ones named.
    pub depth: usize,
    /// Threads that read.
    pub workers: usize,
}

impl Default for Limits {
    /// Reports of a crash are a few hundred KB; 16 MiB is generous.
    fn default() -> Limits {
        let workers = std::thread::available_parallelism().map_or(1, NonZero::get);
        Limits { bytes: 16 << 20, depth: 8, workers }
    }
}

/// What a worker's buffer may hold on to between two files.
const KEPT: usize = 1 << 20;

/// One crash, whose report may be there several times.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Incident {
    /// What the report says.
    #[serde(flatten)]
    pub report: CrashReport,
    /// Where it was read; of several copies, the first by name.
    #[serde(serialize_with = "shown_path")]
    pub path: PathBuf,
    /// Files that hold this report.
    pub files: u64,
}

/// A file that was not, or could not be, read as a report.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Skipped {
    /// The file.
    #[serde(serialize_with = "shown_path")]
    pub path: PathBuf,
    /// Why.
    pub reason: String,
}

/// A path as JSON can hold it; a name need not be Unicode.
fn shown_path<S: Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&path.to_string_lossy())
}

impl Skipped {
    pub(super) fn new(path: PathBuf, reason: impl Into<String>) -> Skipped {
        Skipped { path, reason: reason.into() }
    }
}

/// All that was found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Collection {
    /// Each crash once, oldest first, those without a time before all others.
    pub incidents: Vec<Incident>,
    /// Files with a report's name.
    pub files: u64,
    /// Files that held a report another file held already.
    pub copies: u64,
    /// Files that were not understood or not read, by name.
    pub unreadable: Vec<Skipped>,
}

/// Reads every report in `paths`, folders or files. A path that cannot be read
/// at all is an error; anything further down is named in the result.
pub fn collect(paths: &[PathBuf], limits: &Limits) -> Result<Collection> {
    collect_unseen(paths, limits, &mut HashSet::new(), &|| ())
}

/// As [`collect`], calling `done` after each file that was read, from any thread.
pub fn collect_counted(
    paths: &[PathBuf],
    limits: &Limits,
    done: &(dyn Fn() + Sync),
) -> Result<Collection> {
    collect_unseen(paths, limits, &mut HashSet::new(), done)
}

/// As [`collect`], leaving out files whose fingerprint is in `seen`, and adding
/// those that were read.
pub(super) fn collect_unseen(
    paths: &[PathBuf],
    limits: &Limits,
    seen: &mut HashSet<Fingerprint>,
    done: &(dyn Fn() + Sync),
) -> Result<Collection> {
    // Bounded, so that the walk never gets far ahead of the reading.
    let (sender, receiver) = sync_channel::<PathBuf>(256);
    let receiver = Mutex::new(receiver);
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..limits.workers.max(1))
            .map(|_| scope.spawn(|| read_all(&receiver, limits, done)))
            .collect();
        let mut all = Tally::default();
        let mut walk = Walk { limits, seen };
        let walked = paths.iter().try_for_each(|path| {
            walk.visit(path, &mut |found| match found {
                // Workers only leave once the sender is gone.
                Found::Report(path) => drop(sender.send(path)),
                Found::Not(skipped) => all.skip(skipped),
            })
            .map_err(|error| unreadable_folder(path, &error))
        });
        drop(sender);
        for worker in workers {
            match worker.join() {
                Ok(tally) => all.merge(tally),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        walked.map(|()| all.finish())
    })
}

fn unreadable_folder(path: &Path, error: &std::io::Error) -> Error {
    Error::new(Code::NoReports, "crash reports cannot be read there")
        .with("path", path.display())
        .with("reason", error)
        .next("name a folder that holds .ips or .crash files")
}

/// Takes paths until there are no more. The buffer is used for all of them.
fn read_all(
    receiver: &Mutex<Receiver<PathBuf>>,
    limits: &Limits,
    done: &(dyn Fn() + Sync),
) -> Tally {
    let mut tally = Tally::default();
    let mut buffer = Vec::new();
    loop {
        let next = match receiver.lock() {
            Ok(receiver) => receiver.recv(),
            Err(_) => return tally,
        };
        let Ok(path) = next else { return tally };
        match read_file(&path, limits, &mut buffer) {
            Ok(bytes) => {
                let name = path.file_name().unwrap_or_default().to_string_lossy();
                let report = crash::read(&name, bytes);
                tally.add(Incident { report, path, files: 1 });
            }
            Err(reason) => tally.skip(Skipped::new(path, reason)),
        }
        done();
        buffer.truncate(KEPT);
        buffer.shrink_to(KEPT);
    }
}

/// Reads a plain file whole, into `buffer`, which only ever grows: to clear it
/// would mean to write it twice. What a path names may have changed since the
/// walk, so the open file is what counts: a pipe put there meanwhile neither
/// blocks the opening nor is read.
pub(super) fn read_file<'a>(
    path: &Path,
    limits: &Limits,
    buffer: &'a mut Vec<u8>,
) -> Result<&'a [u8], String> {
    let flags = OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let opened = OpenOptions::new().read(true).custom_flags(flags.bits().cast_signed()).open(path);
    let mut file = opened.map_err(|error| error.to_string())?;
    let metadata = file.metadata().map_err(|error| error.to_string())?;
    if let Some(reason) = reason_against(&metadata, limits) {
        return Err(reason);
    }
    // A byte more than the file has, so that its end shows.
    let mut room = usize::try_from(metadata.len()).unwrap_or(usize::MAX).saturating_add(1);
    let mut filled = 0;
    loop {
        if buffer.len() < room {
            buffer.resize(room, 0);
        }
        match file.read(&mut buffer[filled..]) {
            Ok(0) => return Ok(&buffer[..filled]),
            Ok(count) => filled += count,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error.to_string()),
        }
        if filled as u64 > limits.bytes {
            return Err(format!("grew beyond {} bytes while being read", limits.bytes));
        }
        if filled == buffer.len() {
            room = filled * 2;
        }
    }
}

/// What one worker has found so far.
#[derive(Default)]
struct Tally {
    incidents: HashMap<String, Incident>,
    files: u64,
    skipped: Vec<Skipped>,
}

impl Tally {
    fn skip(&mut self, skipped: Skipped) {
        self.files += 1;
        self.skipped.push(skipped);
    }

    fn add(&mut self, incident: Incident) {
        self.files += incident.files;
        self.insert(incident);
    }

    fn insert(&mut self, mut incident: Incident) {
        let key = incident.report.incident.clone();
        if let Some(other) = self.incidents.remove(&key) {
            let files = incident.files + other.files;
            // A whole copy before one that broke off, then the first by name,
            // so that the order of reading does not show.
            let rank =
                |each: &Incident| (each.report.class == Class::Unreadable, each.path.clone());
            if rank(&other) < rank(&incident) {
                incident = other;
            }
            incident.files = files;
        }
        self.incidents.insert(key, incident);
    }

    fn merge(&mut self, other: Tally) {
        self.files += other.files;
        self.skipped.extend(other.skipped);
        other.incidents.into_values().for_each(|incident| self.insert(incident));
    }

    fn finish(self) -> Collection {
        let mut collection =
            Collection { files: self.files, unreadable: self.skipped, ..Collection::default() };
        for incident in self.incidents.into_values() {
            collection.copies += incident.files - 1;
            if incident.report.class == Class::Unreadable {
                let reason = incident.report.evidence.because;
                collection.unreadable.push(Skipped::new(incident.path, reason));
            } else {
                collection.incidents.push(incident);
            }
        }
        collection.unreadable.sort();
        collection.incidents.sort_by(|a, b| {
            let key = |each: &Incident| (each.report.captured, each.report.incident.clone());
            key(a).cmp(&key(b))
        });
        collection
    }
}
