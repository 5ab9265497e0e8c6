//! What is told of a run: in a file, and in lines where there is reason to.

use std::path::PathBuf;

use serde::Serialize;
use serde_json::Value;

use super::aftermath::Crash;
use super::child::Ended;
use super::coalescing::CoalescingOff;
use super::mode::Mode;
use super::races::Races;
use super::resolve::Step;
use super::scoped::Copy;
use super::summary::GuardSummary;
use super::verdict::Verdict;

/// One start of the command.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Attempt {
    /// When it began.
    pub began: jiff::Timestamp,
    /// Seconds until it ended.
    pub seconds: f64,
    /// Its process.
    pub pid: u32,
    /// How it ended.
    pub ended: Ended,
}

/// Everything about one run. Schema `agxpatch.run/1`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RunReport {
    /// Name and version of this form.
    pub schema: &'static str,
    /// The version of this program.
    pub agxpatch: &'static str,
    /// What was asked for.
    pub command: Vec<String>,
    /// The program that was started.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// The file behind its links.
    pub image: PathBuf,
    /// What was passed over to get there.
    pub steps: Vec<Step>,
    /// What was expected of the library; none where none was inserted.
    pub verdict: Option<Verdict>,
    /// The guard's mode.
    pub guard: Mode,
    /// The copy of the driver, if one was asked for.
    pub driver: Option<Copy>,
    /// Variables that differ from those agxpatch was started with, by name; null
    /// where one was removed.
    pub environment: Vec<(String, Option<String>)>,
    /// Each start.
    pub attempts: Vec<Attempt>,
    /// The exit code passed on.
    pub exit: i32,
    /// Crash reports of the run.
    pub crashes: Vec<Crash>,
    /// How many processes told of themselves from inside.
    pub processes: usize,
    /// What the library wrote in those of them that loaded a driver.
    pub inside: Vec<Value>,
    /// What the guard did in all processes; none where none of them loaded a driver.
    pub guarded: Option<GuardSummary>,
    /// What was seen of coalescing where it was to be off; none where it was not, or no
    /// process loaded a driver.
    pub coalescing_off: Option<CoalescingOff>,
    /// The races that the library found between the threads of a process.
    pub races: Races,
    /// What was said on standard error.
    pub said: Vec<String>,
}

/// The schema of [`RunReport`].
pub const SCHEMA: &str = "agxpatch.run/1";

impl RunReport {
    /// Ends this process as the command ended.
    pub fn end(&self) -> ! {
        if let Some(attempt) = self.attempts.last() {
            attempt.ended.pass_on();
        }
        std::process::exit(self.exit)
    }
}
