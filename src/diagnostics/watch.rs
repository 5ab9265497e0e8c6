//! Looking again and again, reading only what has changed.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use super::collect::{Incident, Limits, collect_unseen};
use super::walk::Fingerprint;
use crate::crash::CrashReport;
use agxpatch_core::error::Result;

/// Remembers which files and incidents it has seen.
pub struct Watcher {
    paths: Vec<PathBuf>,
    limits: Limits,
    files: HashSet<Fingerprint>,
    incidents: HashSet<String>,
}

impl Watcher {
    /// Which of the paths are not there now.
    pub fn missing(&self) -> impl Iterator<Item = &Path> {
        self.paths.iter().map(PathBuf::as_path).filter(|path| !path.exists())
    }

    /// Watches `paths`.
    pub fn new(paths: Vec<PathBuf>, limits: Limits) -> Watcher {
        Watcher { paths, limits, files: HashSet::new(), incidents: HashSet::new() }
    }

    /// The incidents that have come since the last look; at the first look, all.
    /// A report that was still being written is read again once it has grown.
    /// What is not there, or not any more, is looked for again the next time:
    /// macOS makes the folder with the first report.
    pub fn look(&mut self) -> Result<Vec<Incident>> {
        let there = |path: &&PathBuf| path.exists();
        let paths: Vec<PathBuf> = self.paths.iter().filter(there).cloned().collect();
        let found = collect_unseen(&paths, &self.limits, &mut self.files, &|| ())?;
        let unseen = |incident: &Incident| {
            let report = &incident.report;
            // A text without its end is still being written.
            if report.incomplete.is_some() {
                return false;
            }
            let died = report.death.clone().is_none_or(|death| self.incidents.insert(death));
            self.incidents.insert(report.incident.clone()) && (died || is_death(report))
        };
        Ok(found.incidents.into_iter().filter(unseen).collect())
    }
}

/// Whether the report has no identifier of its own.
fn is_death(report: &CrashReport) -> bool {
    report.death.as_ref() == Some(&report.incident)
}
