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

use super::walk::{Candidate, Fingerprint, Found, Walk, reason_against, why};
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
    /// Reports of a crash are a few hundred KB, those of a process with thousands of
    /// threads more than 10 MB.
    fn default() -> Limits {
        let workers = std::thread::available_parallelism().map_or(1, NonZero::get);
        Limits { bytes: 64 << 20, depth: 8, workers }
    }
}

/// What a worker's buffer may hold on to between two files.
const MAX_KEPT: usize = 1 << 20;

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
    /// Files with a report's name, and other texts that hold a report.
    pub files: u64,
    /// Texts with another name that hold no report.
    pub others: u64,
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
    let (sender, receiver) = sync_channel::<Candidate>(256);
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
                Found::Candidate(candidate) => drop(sender.send(candidate)),
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
    let next = match error.kind() {
        ErrorKind::PermissionDenied => "run the command with sudo",
        _ => "name a folder that holds .ips or .crash files",
    };
    Error::new(Code::NoReports, "cannot read crash reports there")
        .with("path", path.display())
        .with("reason", why(error))
        .next(next)
}

/// Takes paths until there are no more. The buffer is used for all of them.
fn read_all(
    receiver: &Mutex<Receiver<Candidate>>,
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
        let Ok(Candidate { path, named }) = next else { return tally };
        match read_file(&path, limits, &mut buffer) {
            Ok(bytes) if !named && !crash::looks_like_report(bytes) => tally.others += 1,
            Ok(bytes) => {
                let name = path.file_name().unwrap_or_default().to_string_lossy();
                tally.add_file(crash::read_all(&name, bytes), path);
            }
            Err(reason) => tally.skip(Skipped::new(path, reason)),
        }
        done();
        buffer.truncate(MAX_KEPT);
        buffer.shrink_to(MAX_KEPT);
    }
}

/// Reads a plain file whole, into `buffer`, which only ever grows: to clear it
/// would mean to write it twice. What a path names may have changed since the
/// walk, so the open file is what counts: a pipe put there since neither
/// blocks the opening nor is read.
pub(super) fn read_file<'a>(
    path: &Path,
    limits: &Limits,
    buffer: &'a mut Vec<u8>,
) -> Result<&'a [u8], String> {
    let flags = OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let opened = OpenOptions::new().read(true).custom_flags(flags.bits().cast_signed()).open(path);
    let mut file = opened.map_err(|error| why(&error))?;
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
    others: u64,
    skipped: Vec<Skipped>,
}

impl Tally {
    fn skip(&mut self, skipped: Skipped) {
        self.files += 1;
        self.skipped.push(skipped);
    }

    /// The reports of one file.
    fn add_file(&mut self, reports: Vec<CrashReport>, path: PathBuf) {
        self.files += 1;
        for report in reports {
            self.insert(Incident { report, path: path.clone(), files: 1 });
        }
    }

    fn insert(&mut self, incident: Incident) {
        let key = incident.report.incident.clone();
        let incident = match self.incidents.remove(&key) {
            Some(other) => better(incident, other),
            None => incident,
        };
        self.incidents.insert(key, incident);
    }

    fn merge(&mut self, other: Tally) {
        self.files += other.files;
        self.others += other.others;
        self.skipped.extend(other.skipped);
        other.incidents.into_values().for_each(|incident| self.insert(incident));
    }

    /// Text reports of macOS 12 to 15 have no identifier: they are put to the report of
    /// the same death that has one.
    fn join_forms(&mut self) {
        let mut named = HashMap::new();
        for incident in self.incidents.values() {
            let report = &incident.report;
            if let Some(death) = report.death.as_ref().filter(|death| **death != report.incident) {
                named.insert(death.clone(), report.incident.clone());
            }
        }
        for (death, identifier) in named {
            if let Some(mut unnamed) = self.incidents.remove(&death) {
                unnamed.report.incident = identifier;
                self.insert(unnamed);
            }
        }
    }

    fn finish(mut self) -> Collection {
        self.join_forms();
        let (files, others) = (self.files, self.others);
        let mut collection =
            Collection { files, others, unreadable: self.skipped, ..Collection::default() };
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

/// Of two copies the one that tells more: a whole one before one that broke off, then
/// the first by name, so that the order of reading does not show.
fn better(one: Incident, other: Incident) -> Incident {
    let rank = |each: &Incident| {
        let report = &each.report;
        (report.class == Class::Unreadable, report.incomplete.is_some(), each.path.clone())
    };
    let files = one.files + other.files;
    let best = if rank(&other) < rank(&one) { other } else { one };
    Incident { files, ..best }
}
