//! What crash reports a command left.
//!
//! macOS writes a report some seconds after the crash, and clocks of reports, files and
//! processes are read at different moments: both allowances are here, for `run` and
//! `stress` alike. `run` reads only files that changed since the command began, so a
//! healthy run costs a look at two folders; `stress` also counts what was there before.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use jiff::{SignedDuration, Timestamp};

use super::{Incident, Limits, Mark, collect};
use agxpatch_core::error::Result;

/// How long macOS may take to write a report after the crash; the time the
/// published wrapper allowed.
pub const SETTLE: Duration = Duration::from_secs(6);

/// How far the clocks of reports, of files and of this process may be apart.
pub const CLOCK_SLACK: SignedDuration = SignedDuration::from_secs(2);

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(200);

/// Begun before a command runs, asked after it.
pub struct CrashWatch {
    folders: Vec<PathBuf>,
    began: SystemTime,
    /// What was there before, where that is counted.
    known: Option<Mark>,
}

/// What a command left, beside what was there before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Aftermath {
    /// Incidents known before.
    pub before: u64,
    /// Incidents known after; macOS may have deleted some since.
    pub after: u64,
    /// Those that are new, oldest first. What else ran on the machine may have
    /// left some of them: whose they are, their process identifiers tell.
    pub new: Vec<Incident>,
}

impl CrashWatch {
    /// Begins, without reading anything.
    pub fn begin(folders: Vec<PathBuf>) -> CrashWatch {
        CrashWatch { folders, began: SystemTime::now(), known: None }
    }

    /// Begins and counts what is there now.
    ///
    /// # Errors
    /// Where a folder of reports cannot be read.
    pub fn begin_counting(folders: Vec<PathBuf>) -> Result<CrashWatch> {
        let known = collect(&existing(&folders), &Limits::default())?;
        let known = Some(Mark::of(&known, Timestamp::now()));
        Ok(CrashWatch { known, ..CrashWatch::begin(folders) })
    }

    /// Waits `settle` for reports that are still being written, or until `stop`
    /// is set; see [`SETTLE`].
    pub fn wait(&self, settle: Duration, stop: &AtomicBool) {
        let until = Instant::now() + settle;
        while self.pause(until, stop) {}
    }

    /// Waits until `enough` holds of the incidents since the beginning, at most
    /// `settle` and until `stop`, and returns them.
    ///
    /// # Errors
    /// Where a report's folder cannot be read.
    pub fn wait_until(
        &self,
        settle: Duration,
        stop: &AtomicBool,
        enough: impl Fn(&[Incident]) -> bool,
    ) -> Result<Vec<Incident>> {
        let until = Instant::now() + settle;
        loop {
            let found = self.incidents()?;
            if enough(&found) || !self.pause(until, stop) {
                return Ok(found);
            }
        }
    }

    /// Sleeps a little; whether there is a reason to look again.
    fn pause(&self, until: Instant, stop: &AtomicBool) -> bool {
        let left = until.saturating_duration_since(Instant::now());
        // macOS makes a folder with the first report, of which none came yet.
        if left.is_zero() || stop.load(Ordering::Relaxed) || self.folders().is_empty() {
            return false;
        }
        std::thread::sleep(left.min(PAUSE));
        true
    }

    /// The incidents since the beginning, by the files that changed since. A report
    /// that was only archived again is of an earlier time and left out.
    ///
    /// # Errors
    /// Where a file that changed is gone again.
    pub fn incidents(&self) -> Result<Vec<Incident>> {
        let changed: Vec<PathBuf> =
            self.folders.iter().flat_map(|folder| self.changed(folder)).collect();
        let found = collect(&changed, &Limits::default())?;
        let from = self.from();
        let since = |incident: &Incident| match (incident.report.captured, from) {
            (Some(captured), Some(from)) => captured >= from,
            _ => true,
        };
        Ok(found.incidents.into_iter().filter(since).collect())
    }

    /// Counts again.
    ///
    /// # Errors
    /// Where a folder of reports cannot be read.
    pub fn end(&self) -> Result<Aftermath> {
        let found = collect(&self.folders(), &Limits::default())?;
        let known = self.known.as_ref();
        let is_new = |incident: &&Incident| known.is_none_or(|known| known.is_new(incident));
        Ok(Aftermath {
            before: known.map_or(0, Mark::known) as u64,
            after: found.incidents.len() as u64,
            new: found.incidents.iter().filter(is_new).cloned().collect(),
        })
    }

    /// The folders that are there now and can be read.
    pub fn folders(&self) -> Vec<PathBuf> {
        existing(&self.folders)
    }

    fn from(&self) -> Option<Timestamp> {
        Timestamp::try_from(self.began).ok()?.checked_sub(CLOCK_SLACK).ok()
    }

    /// Files of a folder that changed since the beginning.
    fn changed(&self, folder: &Path) -> Vec<PathBuf> {
        let slack = CLOCK_SLACK.unsigned_abs();
        let since = self.began.checked_sub(slack).unwrap_or(self.began);
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        let mut changed: Vec<PathBuf> = entries
            .filter(|entry| {
                entry.metadata().is_ok_and(|file| {
                    file.is_file() && file.modified().is_ok_and(|time| time >= since)
                })
            })
            .map(|entry| entry.path())
            .collect();
        changed.sort();
        changed
    }
}

/// Those that can be read: the system's reports are for administrators only.
fn existing(folders: &[PathBuf]) -> Vec<PathBuf> {
    folders.iter().filter(|folder| folder.read_dir().is_ok()).cloned().collect()
}
