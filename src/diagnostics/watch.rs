//! Looking again and again, reading only what has changed.

use std::collections::HashSet;
use std::path::PathBuf;

use super::collect::{Incident, Limits, collect_unseen};
use super::walk::Fingerprint;
use crate::error::Result;

/// Remembers which files and incidents it has seen.
pub struct Watcher {
    paths: Vec<PathBuf>,
    limits: Limits,
    files: HashSet<Fingerprint>,
    incidents: HashSet<String>,
}

impl Watcher {
    /// Watches `paths`.
    pub fn new(paths: Vec<PathBuf>, limits: Limits) -> Watcher {
        Watcher { paths, limits, files: HashSet::new(), incidents: HashSet::new() }
    }

    /// The incidents that have come since the last look; at the first look, all.
    /// A report that was still being written is read again once it has grown.
    pub fn look(&mut self) -> Result<Vec<Incident>> {
        let found = collect_unseen(&self.paths, &self.limits, &mut self.files)?;
        let unseen = |incident: &Incident| self.incidents.insert(incident.report.incident.clone());
        Ok(found.incidents.into_iter().filter(unseen).collect())
    }
}
