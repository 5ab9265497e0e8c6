//! What crash reports a command left: counting before it and after.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::{Incident, Limits, Mark, collect};
use agxpatch_core::error::Result;

/// How long macOS may take to write a report after the crash; the time the
/// published wrapper allowed.
pub const SETTLE: Duration = Duration::from_secs(6);

/// Begun before a command runs, ended after it.
pub struct Vigil {
    folders: Vec<PathBuf>,
    mark: Mark,
}

/// What a command left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Aftermath {
    /// Incidents known before.
    pub before: u64,
    /// Incidents known after; macOS may have deleted some meanwhile.
    pub after: u64,
    /// Those that are new, oldest first. What else ran on the machine may have
    /// left some of them: whose they are, their process identifiers tell.
    pub new: Vec<Incident>,
}

impl Vigil {
    /// Counts what is there now. Folders that do not exist are left out, because
    /// macOS makes them with the first report.
    pub fn begin(folders: Vec<PathBuf>) -> Result<Vigil> {
        let existing = existing(&folders);
        let known = collect(&existing, &Limits::default())?;
        Ok(Vigil { folders, mark: Mark::of(&known, Timestamp::now()) })
    }

    /// Waits `settle` for reports that are still being written, or until `stop`
    /// is set; see [`SETTLE`].
    pub fn wait(&self, settle: Duration, stop: &AtomicBool) {
        let until = Instant::now() + settle;
        while !stop.load(Ordering::Relaxed) && !self.folders().is_empty() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            std::thread::sleep(left.min(Duration::from_millis(100)));
        }
    }

    /// Counts again.
    pub fn end(&self) -> Result<Aftermath> {
        let found = collect(&self.folders(), &Limits::default())?;
        Ok(Aftermath {
            before: self.mark.known() as u64,
            after: found.incidents.len() as u64,
            new: self.mark.new_in(&found).cloned().collect(),
        })
    }

    /// The folders that are there now and can be read.
    pub fn folders(&self) -> Vec<PathBuf> {
        existing(&self.folders)
    }
}

/// Those that can be read: the system's reports are for administrators only.
fn existing(folders: &[PathBuf]) -> Vec<PathBuf> {
    folders.iter().filter(|folder| folder.read_dir().is_ok()).cloned().collect()
}
