//! Starting the command, again where that was asked for, and what is told of it.

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use agxpatch_core::error::{Code, Error, Result};

use super::aftermath::{self, Crash};
use super::child::Relay;
use super::coalescing::CoalescingOff;
use super::environment;
use super::guard_report::GuardReports;
use super::prepare::{Prepared, Request};
use super::run_report::{Attempt, RunReport, SCHEMA};
use super::summary::GuardSummary;
use super::verdict::Outcome;
use crate::diagnostics::{self, CrashWatch};
use crate::report::printable;

/// How a prepared command is run.
pub struct Supervision {
    /// How often it is started again after dying by one of the driver's signals.
    pub retries: u32,
    /// Where crash reports appear.
    pub folders: Vec<PathBuf>,
    /// How long they are waited for after such a death.
    pub settle: Duration,
    /// Whether a run that went well ends without a line.
    pub quiet: bool,
}

/// Runs the command to its end. `say` is called with each line worth saying, at
/// the moment it is.
///
/// # Errors
/// `CommandNotStarted`.
pub fn supervise(
    request: &Request<'_>,
    prepared: Prepared,
    supervision: &Supervision,
    say: &mut dyn FnMut(&str),
) -> Result<RunReport> {
    let mut said = Vec::new();
    let mut say = |line: String| {
        say(&line);
        said.push(line);
    };
    tell_expected(&prepared, &mut say);
    let relay = Relay::begin().map_err(|error| {
        Error::new(Code::Bug, "signals cannot be forwarded").with("reason", error)
    })?;
    let watch = CrashWatch::begin(supervision.folders.clone());
    let attempts = attempts(&prepared, supervision, &relay, &mut say)?;
    let exit = attempts.last().map_or(0, |attempt| attempt.ended.code());
    let crashes = crashes(&watch, &attempts, supervision, &relay, &mut say);
    let told = request.reports.as_deref().map(GuardReports::read).unwrap_or_default();
    told.broken.iter().map(Error::to_string).for_each(&mut say);
    told.other_version().into_iter().for_each(&mut say);
    if let Some(copy) = &prepared.copy {
        told.complaints(&copy.driver, exit != 0).into_iter().for_each(&mut say);
    }
    let coalescing_off = CoalescingOff::of(&told.reports);
    coalescing_off.iter().filter_map(CoalescingOff::complaint).for_each(&mut say);
    told.races.lines().into_iter().for_each(&mut say);
    let guarded = GuardSummary::of(&told.reports);
    let lines = guarded.iter().flat_map(|guarded| guarded.lines(supervision.quiet));
    lines.for_each(&mut say);
    let ended = Ending { attempts, exit, crashes, told, guarded, coalescing_off };
    Ok(account(request, prepared, ended, said))
}

fn tell_expected(prepared: &Prepared, say: &mut dyn FnMut(String)) {
    let program = prepared.target.program.display();
    if let Some(verdict) = prepared.verdict.as_ref().filter(|v| v.outcome != Outcome::Fine) {
        let reasons = verdict.reasons.join("; ");
        say(match verdict.outcome {
            Outcome::Unknown => {
                format!("whether the guard gets into {program} is not known: {reasons}")
            }
            _ => format!("the guard will do nothing in {program}: {reasons}"),
        });
    }
    let copy = prepared.copy.as_ref();
    if let Some(why) = copy.and_then(|copy| copy.replaced.as_ref()) {
        say(format!("the copy of the driver was made again: {why}"));
    }
}

fn attempts(
    prepared: &Prepared,
    supervision: &Supervision,
    relay: &Relay,
    say: &mut dyn FnMut(String),
) -> Result<Vec<Attempt>> {
    let mut attempts = Vec::new();
    loop {
        let attempt = attempt(prepared, relay)?;
        let ended = attempt.ended;
        attempts.push(attempt);
        let again = attempts.len() as u64 <= u64::from(supervision.retries);
        if !ended.as_the_driver_kills() || relay.is_ending() {
            return Ok(attempts);
        }
        if !again {
            if supervision.retries > 0 {
                say(format!("it {}, and is not started again", ended.words()));
            }
            return Ok(attempts);
        }
        let number = attempts.len();
        say(format!("it {}; started again, {number} of {}", ended.words(), supervision.retries));
    }
}

fn attempt(prepared: &Prepared, relay: &Relay) -> Result<Attempt> {
    let target = &prepared.target;
    let mut command = Command::new(&target.program);
    command.args(&target.arguments).env_clear().envs(&prepared.variables);
    let (began, clock) = (Timestamp::now(), Instant::now());
    let (pid, ended) = relay.run(&mut command).map_err(|error| {
        Error::new(Code::CommandNotStarted, "the command cannot be started")
            .with("program", target.program.display())
            .with("reason", error)
    })?;
    Ok(Attempt { began, seconds: clock.elapsed().as_secs_f64(), pid, ended })
}

fn crashes(
    watch: &CrashWatch,
    attempts: &[Attempt],
    supervision: &Supervision,
    relay: &Relay,
    say: &mut dyn FnMut(String),
) -> Vec<Crash> {
    let died = attempts.iter().any(|attempt| attempt.ended.as_the_driver_kills());
    let settle = if died { supervision.settle } else { Duration::ZERO };
    let pids: Vec<u32> = attempts.iter().map(|attempt| attempt.pid).collect();
    let crashes = match aftermath::crashes(watch, &pids, settle, relay.ending()) {
        Ok(crashes) => crashes,
        Err(error) => {
            say(error.to_string());
            Vec::new()
        }
    };
    crashes.iter().for_each(|crash| say(line(crash)));
    crashes
}

fn line(crash: &Crash) -> String {
    let process = crash.process.as_deref().unwrap_or("a process");
    let pid = crash.pid.map(|pid| format!(" ({pid})")).unwrap_or_default();
    let whose = if crash.ours { "" } else { ", perhaps of another command" };
    let (class, path) = (crash.class, crash.path.display());
    let because = printable(&crash.because);
    format!("crash of {process}{pid}{whose}: {class}\n  {path}\n  {because}\n{}", steps(crash))
}

/// What to do about a crash, indented below it.
fn steps(crash: &Crash) -> String {
    let mut lines = Vec::new();
    // Writing to memory cannot fail.
    drop(diagnostics::steps(&mut lines, &crash.advice));
    String::from_utf8_lossy(&lines).trim_end().to_owned()
}

/// What is known once the command has ended.
struct Ending {
    attempts: Vec<Attempt>,
    exit: i32,
    crashes: Vec<Crash>,
    told: GuardReports,
    guarded: Option<GuardSummary>,
    coalescing_off: Option<CoalescingOff>,
}

fn account(
    request: &Request<'_>,
    prepared: Prepared,
    ended: Ending,
    said: Vec<String>,
) -> RunReport {
    let text = |words: &[std::ffi::OsString]| {
        words.iter().map(|word| word.to_string_lossy().into_owned()).collect()
    };
    let Prepared { target, variables, verdict, copy } = prepared;
    let Ending { attempts, exit, crashes, told, guarded, coalescing_off } = ended;
    RunReport {
        schema: SCHEMA,
        agxpatch: env!("CARGO_PKG_VERSION"),
        command: text(request.command),
        program: target.program,
        arguments: text(&target.arguments),
        image: target.image,
        steps: target.steps,
        verdict,
        guard: request.mode,
        driver: copy,
        environment: environment::changes(&request.variables, &variables),
        attempts,
        exit,
        crashes,
        processes: told.reports.len(),
        inside: told.drivers().into_iter().cloned().collect(),
        guarded,
        coalescing_off,
        races: told.races,
        said,
    }
}
