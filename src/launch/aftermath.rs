//! The crash reports a run left, with what to do about each.
//!
//! A run that died of a crash is waited for, a run that did not is not.

use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use serde::Serialize;

use crate::crash::{Advice, Class, CrashReport, remedy};
use crate::diagnostics::{CrashWatch, Incident};
use agxpatch_core::error::Result;

/// One crash report of the run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Crash {
    /// The incident's identifier.
    pub incident: String,
    /// Its class.
    pub class: Class,
    /// Why it is of that class.
    pub because: String,
    /// What to do about it.
    pub advice: Advice,
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

/// Waits until there is a report on one of `pids`, at most `settle` and until
/// `stop`, and returns all that belong to the run.
///
/// # Errors
/// Where a folder of reports cannot be read.
pub fn crashes(
    watch: &CrashWatch,
    pids: &[u32],
    settle: Duration,
    stop: &AtomicBool,
) -> Result<Vec<Crash>> {
    let told = |found: &[Incident]| found.iter().any(|incident| is_ours(&incident.report, pids));
    let found = watch.wait_until(settle, stop, told)?;
    Ok(found.into_iter().filter_map(|incident| crash(incident, pids)).collect())
}

fn is_ours(report: &CrashReport, pids: &[u32]) -> bool {
    let is_one = |pid: Option<u64>| pids.iter().any(|each| Some(u64::from(*each)) == pid);
    is_one(report.pid) || is_one(report.parent_pid)
}

fn crash(incident: Incident, pids: &[u32]) -> Option<Crash> {
    let report = incident.report;
    let ours = is_ours(&report, pids);
    (ours || report.class.family().counts()).then(|| Crash {
        advice: remedy::advice(&report),
        because: report.evidence.because,
        incident: report.incident,
        class: report.class,
        process: report.process,
        pid: report.pid,
        ours,
        path: incident.path,
    })
}
