//! The crash reports a run left.
//!
//! Only files that changed since the run began are read, so a healthy run costs
//! a look at two folders. macOS writes a report some seconds after the crash: a
//! run that died of one is waited for, a run that did not is not.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use crate::crash::Class;
use crate::diagnostics::{Incident, Limits, collect};
use agxpatch_core::error::Result;

/// One crash report of the run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Crash {
    /// The incident's identifier.
    pub incident: String,
    /// Its class.
    pub class: Class,
    /// The process that died.
    pub process: Option<String>,
    /// Its identifier.
    pub pid: Option<u64>,
    /// Whether it is the command, or was started by it; else it died in GPU code
    /// while the command ran, and may be another's.
    pub ours: bool,
    /// The report.
    pub path: PathBuf,
}

/// Looks for reports from its making on.
pub struct CrashWatch {
    folders: Vec<PathBuf>,
    began: SystemTime,
}

/// Clocks of reports, of files and of this process are read at different
/// moments.
const SLACK: Duration = Duration::from_secs(2);
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(200);

impl CrashWatch {
    /// Begins.
    pub fn begin(folders: Vec<PathBuf>) -> CrashWatch {
        CrashWatch { folders, began: SystemTime::now() }
    }

    /// Waits until there is a report on one of `pids`, at most `settle` and until
    /// `stop`, and returns all that belong to the run.
    ///
    /// # Errors
    /// Where a folder of reports cannot be read.
    pub fn wait(&self, pids: &[u32], settle: Duration, stop: &AtomicBool) -> Result<Vec<Crash>> {
        let until = Instant::now() + settle;
        loop {
            let found = self.look(pids)?;
            let left = until.saturating_duration_since(Instant::now());
            let told = found.iter().any(|crash| crash.ours);
            if told || left.is_zero() || stop.load(Ordering::Relaxed) || !self.any_folder() {
                return Ok(found);
            }
            std::thread::sleep(left.min(PAUSE));
        }
    }

    /// The reports there are now.
    ///
    /// # Errors
    /// Where a folder of reports cannot be read.
    pub fn look(&self, pids: &[u32]) -> Result<Vec<Crash>> {
        let recent: Vec<PathBuf> =
            self.folders.iter().flat_map(|folder| self.changed(folder)).collect();
        let found = collect(&recent, &Limits::default())?;
        Ok(found.incidents.into_iter().filter_map(|incident| self.crash(incident, pids)).collect())
    }

    fn any_folder(&self) -> bool {
        self.folders.iter().any(|folder| folder.is_dir())
    }

    /// Files of a folder that changed since the run began.
    fn changed(&self, folder: &Path) -> Vec<PathBuf> {
        let since = self.began.checked_sub(SLACK).unwrap_or(self.began);
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        let mut changed: Vec<PathBuf> = entries
            .filter(|entry| {
                let metadata = entry.metadata();
                metadata.is_ok_and(|file| {
                    file.is_file() && file.modified().is_ok_and(|time| time >= since)
                })
            })
            .map(|entry| entry.path())
            .collect();
        changed.sort();
        changed
    }

    fn crash(&self, incident: Incident, pids: &[u32]) -> Option<Crash> {
        let report = incident.report;
        let began = Timestamp::try_from(self.began).ok()?;
        let slack = SignedDuration::try_from(SLACK).ok()?;
        let from = began.checked_sub(slack).ok()?;
        // A report that was archived again while the command ran.
        if report.captured.is_some_and(|captured| captured < from) {
            return None;
        }
        let is_one = |pid: Option<u64>| pids.iter().any(|each| Some(u64::from(*each)) == pid);
        let ours = is_one(report.pid) || is_one(report.parent_pid);
        (ours || report.class.family().counts()).then_some(Crash {
            incident: report.incident,
            class: report.class,
            process: report.process,
            pid: report.pid,
            ours,
            path: incident.path,
        })
    }
}
