//! What stands between this machine and the patch, all of it at once.
//!
//! The doctor asks every question there is and changes nothing. Each answer is
//! a [`Finding`]: a check with what it blocks and the commands its owner would
//! run about it. A question that could not be answered is a finding that blocks,
//! never a reason to stop asking. The program itself switches no protection off.
//!
//! From the findings follows which of the three depths are open: guarding one
//! process, giving one process a patched copy, or changing the system volume.
//! The one that asks least of the machine comes first.

mod depth;
mod driver;
mod examine;
mod filevault;
mod judge;
mod volume;

use serde::Serialize;

pub use depth::{Depth, DepthState};
pub use driver::{Judge, Verdict};
pub use judge::EngineJudge;

use agxpatch_core::check::{Check, Status};
use agxpatch_core::error::Result;
use agxpatch_host::driver::DriverBundle;
use agxpatch_host::{Host, machine::Release};

/// Where a command is to be typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Where {
    /// In a terminal of the running macOS.
    Terminal,
    /// In the terminal of recoveryOS: shut down, hold the power button, Options,
    /// Utilities.
    Recovery,
    /// In System Settings; the text is where to click.
    Settings,
}

/// Something the owner of the machine would do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Remedy {
    /// Where.
    #[serde(rename = "where")]
    pub place: Where,
    /// The exact command, or the place to click.
    pub command: String,
}

impl Remedy {
    fn terminal(command: impl Into<String>) -> Remedy {
        Remedy { place: Where::Terminal, command: command.into() }
    }

    fn recovery(command: impl Into<String>) -> Remedy {
        Remedy { place: Where::Recovery, command: command.into() }
    }

    fn settings(path: impl Into<String>) -> Remedy {
        Remedy { place: Where::Settings, command: path.into() }
    }
}

/// One answer of the machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What was looked at and what was seen.
    #[serde(flatten)]
    pub check: Check,
    /// The depths it closes.
    pub blocks: Vec<Depth>,
    /// What the owner would do about it, in this order.
    pub remedies: Vec<Remedy>,
}

impl Finding {
    fn good(name: &'static str, detail: impl Into<String>) -> Finding {
        Finding { check: Check::pass(name, detail), blocks: Vec::new(), remedies: Vec::new() }
    }

    fn bad(name: &'static str, detail: impl Into<String>, blocks: &[Depth]) -> Finding {
        Finding { check: Check::fail(name, detail), blocks: blocks.to_vec(), remedies: Vec::new() }
    }

    fn skipped(name: &'static str, reason: impl Into<String>) -> Finding {
        Finding { check: Check::skipped(name, reason), blocks: Vec::new(), remedies: Vec::new() }
    }

    fn remedy(mut self, remedy: Remedy) -> Finding {
        self.remedies.push(remedy);
        self
    }

    /// Whether it closes a depth.
    pub fn is_blocker(&self) -> bool {
        !self.blocks.is_empty()
    }

    /// Whether it has no answer, because a recording lacks it.
    pub fn is_unanswered(&self) -> bool {
        self.is_blocker() && self.check.status == Status::Skipped
    }
}

/// What the owner decided beforehand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Consent {
    /// A driver whose hash is not listed may be patched, if it is Apple's and
    /// the proof accepts the rewrite.
    pub unlisted_build: bool,
}

/// What the doctor saw.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Diagnosis {
    /// The macOS that runs, where it could be asked.
    pub release: Option<Release>,
    /// The driver bundle that this Mac's GPU asks for.
    pub plugin: Option<DriverBundle>,
    /// The SHA-256 of the installed driver, in hexadecimal.
    pub driver_sha256: Option<String>,
    /// What is thought of the installed driver.
    pub driver: Verdict,
    /// Every answer, in the order of asking.
    pub findings: Vec<Finding>,
    /// The three depths, the recommended one first.
    pub depths: Vec<DepthState>,
}

impl Diagnosis {
    /// The findings that close `depth`.
    pub fn blockers(&self, depth: Depth) -> impl Iterator<Item = &Finding> {
        self.findings.iter().filter(move |finding| finding.blocks.contains(&depth))
    }

    /// Whether the driver is in the dyld shared cache, so that there is no file to change.
    pub fn is_in_shared_cache(&self) -> bool {
        self.findings.iter().any(|one| one.check.detail == examine::IN_SHARED_CACHE)
    }

    /// Whether nothing stands in the way of changing the system volume.
    pub fn is_clean(&self) -> bool {
        self.blockers(Depth::System).next().is_none()
    }

    /// Checks that failed and yet close nothing.
    pub fn warnings(&self) -> impl Iterator<Item = &Finding> {
        let failed = |finding: &&Finding| finding.check.status == Status::Fail;
        self.findings.iter().filter(failed).filter(|finding| !finding.is_blocker())
    }
}

/// Asks the machine everything. Only a machine that is gone is an error.
pub fn examine(host: &dyn Host, judge: &dyn Judge, consent: Consent) -> Result<Diagnosis> {
    let mut diagnosis = examine::machine(host, judge, consent)?;
    diagnosis.depths = depth::depths(&diagnosis);
    Ok(diagnosis)
}
