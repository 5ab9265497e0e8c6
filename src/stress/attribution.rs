//! Which crash report belongs to which trial.
//!
//! macOS writes a report some seconds after the crash, so reports are matched
//! after the run, not after each trial. A report is a trial's if its process is
//! the child or was started by it; else if it died in GPU code while the trial
//! ran, when no other run did. Any other report of that time is named
//! and not counted.

use std::path::PathBuf;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::trial::Trial;
use crate::crash::Class;
use crate::diagnostics::{CLOCK_SLACK, Incident};

/// A crash report that was put down to a trial.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attributed {
    /// The incident.
    pub incident: String,
    /// Its class.
    pub class: Class,
    /// The process that died.
    pub process: Option<String>,
    /// Its identifier.
    pub pid: Option<u64>,
    /// The report.
    pub path: PathBuf,
    /// What ties it to the trial.
    pub by: Tie,
}

/// What ties a report to a trial.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Tie {
    /// The child itself died.
    Process,
    /// A process the child had started died.
    Parent,
    /// A process died in GPU code while the trial ran.
    Time,
}

/// Puts each of `incidents` down to one of `trials`; returns the rest.
pub fn attribute(trials: &mut [Trial], incidents: Vec<Incident>) -> Vec<Incident> {
    let mut rest = Vec::new();
    for incident in incidents {
        let best = trials
            .iter()
            .enumerate()
            .filter_map(|(index, trial)| Some((tie(trial, &incident)?, index)))
            .min();
        match best.and_then(|(tie, index)| Some((tie, trials.get_mut(index)?))) {
            Some((tie, trial)) => trial.reports.push(attributed(incident, tie)),
            None => rest.push(incident),
        }
    }
    rest
}

fn tie(trial: &Trial, incident: &Incident) -> Option<Tie> {
    let report = &incident.report;
    let pid = Some(u64::from(trial.pid));
    // Process identifiers are used again; a report of another time is of
    // another process.
    if report.captured.is_some_and(|captured| !ran_at(trial, captured, CLOCK_SLACK)) {
        return None;
    }
    if report.pid == pid {
        return Some(Tie::Process);
    }
    if report.parent_pid == pid {
        return Some(Tie::Parent);
    }
    let captured = report.captured?;
    let counts = report.class.family().counts();
    (counts && ran_at(trial, captured, SignedDuration::ZERO)).then_some(Tie::Time)
}

fn ran_at(trial: &Trial, moment: Timestamp, slack: SignedDuration) -> bool {
    let lasted = SignedDuration::try_from_secs_f64(trial.seconds).unwrap_or(SignedDuration::MAX);
    let ended = trial.started.saturating_add(lasted.saturating_add(slack));
    let began = trial.started.saturating_sub(slack);
    match (began, ended) {
        (Ok(began), Ok(ended)) => (began..=ended).contains(&moment),
        _ => false,
    }
}

fn attributed(incident: Incident, by: Tie) -> Attributed {
    let report = incident.report;
    Attributed {
        incident: report.incident,
        class: report.class,
        process: report.process,
        pid: report.pid,
        path: incident.path,
        by,
    }
}
