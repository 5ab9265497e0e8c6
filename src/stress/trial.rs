//! One trial: how the child ended, what it measured, what is to be made of it.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::attribution::Attributed;
use super::configuration::Configuration;
use super::plan::{Variant, label};
use crate::crash::Assertion;

/// How a child ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Ended {
    /// It exited.
    Exited {
        /// With this code.
        code: i32,
    },
    /// A signal ended it.
    Signalled {
        /// The signal's number.
        number: i32,
        /// Its name without `SIG`.
        name: String,
        /// Whether it was a shell in between that told of the signal, by exiting
        /// with 128 and its number.
        by_shell: bool,
    },
    /// It was ended because its time was up.
    TimedOut,
}

/// The signals a crash shows as. Numbers are macOS's, except that of `BUS`,
/// which is asked of the system.
const CRASHES: [(i32, &str); 6] =
    [(4, "ILL"), (5, "TRAP"), (6, "ABRT"), (8, "FPE"), (9, "KILL"), (11, "SEGV")];

fn bus() -> i32 {
    rustix::process::Signal::BUS.as_raw()
}

fn signal_name(number: i32) -> Option<&'static str> {
    if number == bus() {
        return Some("BUS");
    }
    CRASHES.iter().find_map(|(each, name)| (*each == number).then_some(*name))
}

impl Ended {
    /// From an exit code, behind which a shell may have hidden a signal: 139 is
    /// a segmentation fault, 134 an abort, 133 a trap, 137 a kill.
    pub fn exited(code: i32) -> Ended {
        match signal_name(code - 128) {
            Some(name) => {
                Ended::Signalled { number: code - 128, name: name.to_owned(), by_shell: true }
            }
            None => Ended::Exited { code },
        }
    }

    /// From a signal.
    pub fn signalled(number: i32) -> Ended {
        let name = signal_name(number).map_or_else(|| number.to_string(), str::to_owned);
        Ended::Signalled { number, name, by_shell: false }
    }
}

/// What a workload says of its own run, in one line of JSON.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Measurement {
    /// Version of the line.
    pub agxpatch_workload: u32,
    /// The workload's name.
    pub workload: String,
    /// The torch device it ran on.
    pub device: String,
    /// Threads that worked at once.
    pub threads: u32,
    /// Operations that came to their end.
    pub operations: u64,
    /// Operations there should have been; none if it ran for a time.
    pub expected: Option<u64>,
    /// Seconds they took together, set-up excluded.
    pub seconds: f64,
    /// What went wrong, a line each.
    pub errors: Vec<String>,
    /// The largest difference from the CPU's result, where it was compared.
    pub max_difference: Option<f64>,
    /// The largest difference there may be.
    pub tolerance: Option<f64>,
}

impl Measurement {
    /// The last line of `output` that is a measurement.
    pub fn find(output: &str) -> Option<Measurement> {
        output.lines().rev().find_map(|line| serde_json::from_str(line.trim()).ok())
    }

    /// Operations a second; none where no time passed.
    pub fn rate(&self) -> Option<f64> {
        (self.seconds > 0.0).then(|| self.operations as f64 / self.seconds)
    }

    /// Why the result is not what it should be, if it is not.
    pub fn fault(&self) -> Option<String> {
        if let Some(error) = self.errors.first() {
            return Some(format!("{} errors, the first: {error}", self.errors.len()));
        }
        if let Some(expected) = self.expected.filter(|expected| *expected != self.operations) {
            return Some(format!("{} of {expected} operations", self.operations));
        }
        match (self.max_difference, self.tolerance) {
            (Some(difference), Some(tolerance)) if difference <= tolerance => None,
            (_, None) => None,
            (Some(difference), Some(tolerance)) => {
                Some(format!("differs from the CPU by {difference:e}, more than {tolerance:e}"))
            }
            (None, Some(_)) => Some("no finite difference from the CPU".into()),
        }
    }
}

/// What is to be made of a trial.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// It came to its end with everything done.
    Completed,
    /// It was killed by a signal, or failed and left a crash report.
    Crashed,
    /// It exited with 0 while one of its processes crashed.
    CrashedSilently,
    /// It did not end in time.
    TimedOut,
    /// It failed in another way.
    Failed,
}

impl Verdict {
    /// Whether a process died.
    pub fn is_crash(self) -> bool {
        matches!(self, Verdict::Crashed | Verdict::CrashedSilently)
    }
}

/// One trial.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Trial {
    /// Its place in the run, from 1.
    pub number: u32,
    /// Its round, from 0.
    pub round: u32,
    /// What it ran under.
    pub configuration: Configuration,
    /// With which of the values, where it is run with several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<Variant>,
    /// With one thread only, to measure efficiency against.
    pub baseline: bool,
    /// When it began.
    pub started: Timestamp,
    /// Seconds until it ended.
    pub seconds: f64,
    /// Its process.
    pub pid: u32,
    /// How it ended.
    pub ended: Ended,
    /// What it measured.
    pub measured: Option<Measurement>,
    /// A Metal assertion it printed.
    pub assertion: Option<Assertion>,
    /// The crash reports it left.
    pub reports: Vec<Attributed>,
    /// GPU calls that the guard refused in it: work that was not done.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub refused: u64,
    /// What is to be made of it.
    pub verdict: Verdict,
    /// Why, where it did not complete.
    pub reason: Option<String>,
    /// The end of what it printed on standard error.
    pub stderr: String,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl Trial {
    /// What it ran under and with, as people are told.
    pub fn label(&self) -> String {
        let one_thread = if self.baseline { ", one thread" } else { "" };
        label(&self.configuration, self.variant) + one_thread
    }

    /// Decides the verdict from everything else; `measures` tells whether the
    /// workload is one that must say what it did.
    pub fn judge(&mut self, measures: bool) {
        let (verdict, reason) = self.verdict(measures);
        self.verdict = verdict;
        self.reason = reason;
    }

    fn verdict(&self, measures: bool) -> (Verdict, Option<String>) {
        let report = self.reports.first().map(|report| report.class.to_string());
        let with_report = |text: String| match &report {
            Some(class) => format!("{text}; report of class {class}"),
            None => text,
        };
        match (&self.ended, &report) {
            (Ended::Signalled { name, by_shell, .. }, _) => {
                let teller = if *by_shell { ", as a shell tells" } else { "" };
                (Verdict::Crashed, Some(with_report(format!("SIG{name}{teller}"))))
            }
            (Ended::TimedOut, None) => (Verdict::TimedOut, Some("time-out".into())),
            (Ended::TimedOut, Some(_)) => (Verdict::Crashed, Some(with_report("time-out".into()))),
            (Ended::Exited { code: 0 }, Some(_)) => {
                (Verdict::CrashedSilently, Some(with_report("exit code 0".into())))
            }
            (Ended::Exited { code: 0 }, None) if self.refused > 0 => {
                (Verdict::Failed, Some(format!("{} GPU calls were refused", self.refused)))
            }
            (Ended::Exited { code: 0 }, None) => match self.fault(measures) {
                Some(fault) => (Verdict::Failed, Some(fault)),
                None => (Verdict::Completed, None),
            },
            (Ended::Exited { code }, Some(_)) => {
                (Verdict::Crashed, Some(with_report(format!("exit code {code}"))))
            }
            (Ended::Exited { code }, None) => {
                let fault = self.fault(false).map(|fault| format!(": {fault}")).unwrap_or_default();
                (Verdict::Failed, Some(format!("exit code {code}{fault}")))
            }
        }
    }

    fn fault(&self, measures: bool) -> Option<String> {
        match &self.measured {
            Some(measured) => measured.fault(),
            None => measures.then(|| "it printed no result".into()),
        }
    }

    /// Operations a second: the workload's own figure, or for any other command
    /// runs a second. None unless the trial completed.
    pub fn rate(&self) -> Option<f64> {
        if self.verdict != Verdict::Completed {
            return None;
        }
        match &self.measured {
            Some(measured) => measured.rate(),
            None => (self.seconds > 0.0).then(|| 1.0 / self.seconds),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Configuration, Ended, Timestamp, Trial, Verdict};

    #[test]
    fn a_trial_with_refused_calls_is_not_complete() {
        let mut trial = Trial {
            number: 1,
            round: 0,
            configuration: Configuration::Guarded(crate::launch::Mode::Guard),
            variant: None,
            baseline: false,
            started: Timestamp::UNIX_EPOCH,
            seconds: 1.0,
            pid: 1,
            ended: Ended::Exited { code: 0 },
            measured: None,
            assertion: None,
            reports: Vec::new(),
            refused: 0,
            verdict: Verdict::Failed,
            reason: None,
            stderr: String::new(),
        };
        trial.judge(false);
        assert_eq!(trial.verdict, Verdict::Completed);
        trial.refused = 12;
        trial.judge(false);
        assert_eq!(trial.verdict, Verdict::Failed);
        assert_eq!(trial.reason.as_deref(), Some("12 GPU calls were refused"));
        assert_eq!(trial.rate(), None);
    }
}
