//! The result of a run: every trial, and how to count them again.

use std::path::PathBuf;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::comparison::{Account, Comparison, against_first};
use super::configuration::{Configuration, Environment};
use super::plan::Plan;
use super::trial::{Trial, Verdict};
use crate::diagnostics::Incident;
use agxpatch_core::error::{Code, Error, Result};

const SCHEMA: &str = "agxpatch.stress-report/1";

/// What was run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Subject {
    /// The workload's name, or the command's.
    pub name: String,
    /// The command line.
    pub command: Vec<String>,
    /// What each configuration did to the environment; what it adds to the command line
    /// follows from its name.
    pub environments: Vec<(Configuration, Environment)>,
    /// The time a trial was allowed.
    pub timeout_seconds: f64,
    /// Whether the command says what it did.
    pub measures: bool,
}

/// Where it was run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// Operating system.
    pub system: String,
    /// Its kernel's version.
    pub kernel: String,
    /// Architecture of this program.
    pub architecture: String,
    /// Cores this process may use.
    pub cores: usize,
}

impl Machine {
    /// The machine this runs on.
    pub fn here() -> Machine {
        let uname = rustix::system::uname();
        Machine {
            system: uname.sysname().to_string_lossy().into_owned(),
            kernel: uname.release().to_string_lossy().into_owned(),
            architecture: std::env::consts::ARCH.to_owned(),
            cores: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
        }
    }
}

/// A whole run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StressReport {
    /// What was run.
    pub subject: Subject,
    /// Where.
    pub machine: Machine,
    /// The GPU driver that ran, where the machine was asked for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub driver_sha256: Option<String>,
    /// Which trials were to be made.
    pub plan: Plan,
    /// When it began.
    pub began: Timestamp,
    /// When it ended.
    pub ended: Timestamp,
    /// Whether it was ended before all trials were made.
    pub interrupted: bool,
    /// Where crash reports were looked for; empty if there was no such place.
    pub report_folders: Vec<PathBuf>,
    /// Incidents that were there before.
    pub known_before: u64,
    /// Every trial, in order.
    pub trials: Vec<Trial>,
    /// Incidents of the time of the run that belong to no trial.
    #[serde(skip_deserializing)]
    pub unattributed: Vec<Incident>,
}

/// A run with all that is computed from it, as it is shown and kept.
#[derive(Clone, Debug, Serialize)]
pub struct Counted<'a> {
    /// What each configuration came to, in the order of the plan.
    pub accounts: Vec<Account>,
    /// Every configuration against the first.
    pub comparisons: Vec<Comparison>,
    /// Where it is kept, once it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kept: Option<PathBuf>,
    /// The run.
    #[serde(flatten)]
    pub report: &'a StressReport,
}

#[derive(Serialize, Deserialize)]
struct File<Contents> {
    schema: String,
    #[serde(flatten)]
    contents: Contents,
}

impl StressReport {
    /// The run, counted.
    pub fn counted(&self) -> Counted<'_> {
        let accounts = self.accounts();
        Counted { comparisons: against_first(&accounts), accounts, kept: None, report: self }
    }

    /// What each configuration came to, with each value, in the order of the plan.
    pub fn accounts(&self) -> Vec<Account> {
        let variants = self.plan.each_variant();
        let of = |configuration: &Configuration| {
            let one = |variant: &_| Account::of(configuration, *variant, &self.trials);
            variants.iter().map(one).collect::<Vec<_>>()
        };
        self.plan.configurations.iter().flat_map(of).collect()
    }

    /// Every configuration against the first.
    pub fn comparisons(&self) -> Vec<Comparison> {
        against_first(&self.accounts())
    }

    /// Whether every trial completed, and all were made.
    pub fn is_clean(&self) -> bool {
        !self.interrupted && self.trials.iter().all(|trial| trial.verdict == Verdict::Completed)
    }

    /// As kept in a file: the trials, and what is computed from them.
    pub fn to_json(&self) -> Result<String> {
        let file = File { schema: SCHEMA.to_owned(), contents: self.counted() };
        serde_json::to_string_pretty(&file).map(|text| text + "\n").map_err(|error| {
            Error::new(Code::Bug, "the report cannot be serialised").with("reason", error)
        })
    }

    /// Reads what [`StressReport::to_json`] wrote. What had been computed is left
    /// aside and computed again.
    pub fn from_json(text: &str) -> Result<StressReport> {
        let broken = |reason: String| {
            Error::new(Code::BadStressReport, "the stress report cannot be read")
                .with("reason", reason)
                .next("run agxpatch stress again")
        };
        let file: File<StressReport> =
            serde_json::from_str(text).map_err(|error| broken(error.to_string()))?;
        if file.schema != SCHEMA {
            return Err(broken(format!("its schema is not {SCHEMA}")));
        }
        Ok(file.contents)
    }
}
