//! Making the trials of a plan, one after the other.

use std::collections::BTreeMap;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command as Process;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use jiff::Timestamp;

use super::attribution::attribute;
use super::child::{self, Finished};
use super::configuration::{Configuration, Environment, Environments};
use super::plan::{Plan, Turn, Variant};
use super::report::{Machine, StressReport, Subject};
use super::trial::{Measurement, Trial, Verdict};
use super::workload::Command;
use crate::crash::Assertion;
use crate::diagnostics::CrashWatch;
use crate::launch::GuardSummary;
use crate::launch::environment::name;
use crate::launch::guard_report::GuardReports;
use agxpatch_core::error::{Code, Error, Result};

/// Whom the trials run as, where that is not the user of this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct User {
    /// Its number.
    pub user: u32,
    /// That of its group.
    pub group: u32,
}

impl User {
    /// Has a process started as this user, without root's further groups.
    pub fn take(self, process: &mut Process) {
        // The standard library gives up the other groups where root changes
        // the user.
        process.gid(self.group).uid(self.user);
    }
}

/// Everything a run needs.
pub struct Options<'a> {
    /// Which trials.
    pub plan: Plan,
    /// What is run.
    pub command: Command,
    /// How the reader should call it.
    pub name: String,
    /// Whom it runs as; only root may name another.
    pub user: Option<User>,
    /// The time a trial may take.
    pub timeout: Duration,
    /// Folders that crash reports appear in; those that do not exist are left
    /// out.
    pub reports: Vec<PathBuf>,
    /// How long to wait for reports after the last trial.
    pub settle: Duration,
    /// Set to end the run early; what was measured by then is reported.
    pub stop: &'a AtomicBool,
}

/// Makes all trials, calling `observe` after each with the number there will
/// be. Reports are not attributed yet when it is called.
pub fn run(
    options: &Options,
    environments: &dyn Environments,
    observe: &mut dyn FnMut(&Trial, usize),
) -> Result<StressReport> {
    // Before the first child starts, so that a run that cannot be made whole is
    // not begun.
    let prepared: BTreeMap<Configuration, Environment> = options
        .plan
        .configurations
        .iter()
        .map(|each| {
            each.arguments(options.command.measures)?;
            Ok((each.clone(), environments.environment(each)?))
        })
        .collect::<Result<_>>()?;
    let mut plan = options.plan.clone();
    if options.command.one_thread.is_none() {
        plan.baselines = 0;
    }
    let began = Timestamp::now();
    let watch = CrashWatch::begin_counting(options.reports.clone())?;

    let turns = plan.turns();
    let mut trials = Vec::with_capacity(turns.len());
    for turn in &turns {
        let Some(environment) = prepared.get(&turn.configuration) else { continue };
        let number = u32::try_from(trials.len() + 1).unwrap_or(u32::MAX);
        let Some(trial) = make(options, turn, environment, number)? else { break };
        observe(&trial, turns.len());
        trials.push(trial);
    }
    let interrupted = trials.len() < turns.len();
    if !interrupted {
        watch.wait(options.settle, options.stop);
    }
    let aftermath = watch.end()?;
    let unattributed = attribute(&mut trials, aftermath.new);
    trials.iter_mut().for_each(|trial| trial.judge(options.command.measures));
    Ok(StressReport {
        subject: subject(options, prepared),
        machine: Machine::here(),
        driver_sha256: None,
        plan,
        began,
        ended: Timestamp::now(),
        interrupted,
        report_folders: watch.folders(),
        known_before: aftermath.before,
        trials,
        unattributed,
    })
}

fn subject(options: &Options, environments: BTreeMap<Configuration, Environment>) -> Subject {
    let command = &options.command;
    Subject {
        name: options.name.clone(),
        command: command.words(),
        environments: environments.into_iter().collect(),
        timeout_seconds: options.timeout.as_secs_f64(),
        measures: command.measures,
    }
}

fn make(
    options: &Options,
    turn: &Turn,
    environment: &Environment,
    number: u32,
) -> Result<Option<Trial>> {
    if options.stop.load(Ordering::Relaxed) {
        return Ok(None);
    }
    let mut process = Process::new(&options.command.program);
    process.args(&options.command.arguments);
    process.args(turn.configuration.arguments(options.command.measures)?);
    if turn.baseline {
        process.args(options.command.one_thread.iter().flatten());
    }
    if let Some(Variant { of, value }) = turn.variant {
        process.arg(of.option()).arg(value.to_string());
    }
    if let Some(user) = options.user {
        user.take(&mut process);
    }
    for name in &environment.removed {
        process.env_remove(name);
    }
    process.envs(environment.set.iter().map(|(name, value)| (name, value)));
    let guard_reports = guard_reports(options, environment)?;
    if let Some(folder) = &guard_reports {
        process.env(name::REPORTS, folder.path());
    }
    let started = Timestamp::now();
    let finished = child::run(&mut process, options.timeout, options.stop).map_err(|error| {
        Error::new(Code::ChildNotStarted, "the workload failed to start")
            .with("program", options.command.program.to_string_lossy())
            .with("reason", error)
    })?;
    let refused = guard_reports
        .and_then(|folder| GuardSummary::of(&GuardReports::read(folder.path()).reports))
        .map_or(0, |summary| summary.refused);
    Ok(finished.map(|finished| {
        let mut trial = trial(turn, number, started, finished);
        trial.refused = refused;
        trial.judge(options.command.measures);
        trial
    }))
}

/// The folder in which the guard library reports what it refused, where the trial is given the library.
fn guard_reports(
    options: &Options,
    environment: &Environment,
) -> Result<Option<tempfile::TempDir>> {
    if !environment.set.iter().any(|(variable, _)| variable == name::MODE) {
        return Ok(None);
    }
    let failed = |error: std::io::Error| {
        Error::new(Code::WriteFailed, "cannot create a folder for the guard's reports")
            .with("reason", error)
    };
    let folder = tempfile::tempdir().map_err(failed)?;
    if let Some(User { user, group }) = options.user {
        std::os::unix::fs::chown(folder.path(), Some(user), Some(group)).map_err(failed)?;
    }
    Ok(Some(folder))
}

fn trial(turn: &Turn, number: u32, started: Timestamp, finished: Finished) -> Trial {
    const SHOWN: usize = 4096;
    let from = finished.stderr.len().saturating_sub(SHOWN);
    let from = (from..).find(|&index| finished.stderr.is_char_boundary(index)).unwrap_or(from);
    Trial {
        number,
        round: turn.round,
        configuration: turn.configuration.clone(),
        variant: turn.variant,
        baseline: turn.baseline,
        started,
        seconds: finished.lasted.as_secs_f64(),
        pid: finished.pid,
        ended: finished.ended,
        measured: Measurement::find(&finished.stdout),
        assertion: Assertion::in_text(&finished.stderr),
        reports: Vec::new(),
        refused: 0,
        verdict: Verdict::Failed,
        reason: None,
        stderr: finished.stderr[from..].to_owned(),
    }
}
