//! A claim with its evidence.
//!
//! Everything this tool asserts about a file or a machine is a [`Check`]:
//! PASS or FAIL, or SKIPPED where it could not be looked at, each with the
//! reason. A verifier returns all its checks, never only the first that failed.

use std::fmt;

use serde::Serialize;

/// What became of one check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Status {
    /// Looked at, and as it must be.
    Pass,
    /// Looked at, and not as it must be.
    Fail,
    /// Not looked at; the detail says why.
    Skipped,
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Status::Pass => "PASS",
            Status::Fail => "FAIL",
            Status::Skipped => "SKIPPED",
        })
    }
}

/// One named claim, whether it holds, and what was seen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// Stable, kebab-case; scripts may select by it.
    pub name: &'static str,
    /// What became of it.
    pub status: Status,
    /// What was seen, or why it was not looked at.
    pub detail: String,
}

impl Check {
    /// A check that holds.
    pub fn pass(name: &'static str, detail: impl Into<String>) -> Check {
        Check { name, status: Status::Pass, detail: detail.into() }
    }

    /// A check that does not hold.
    pub fn fail(name: &'static str, detail: impl Into<String>) -> Check {
        Check { name, status: Status::Fail, detail: detail.into() }
    }

    /// A check that could not be made, and why.
    pub fn skipped(name: &'static str, reason: impl Into<String>) -> Check {
        Check { name, status: Status::Skipped, detail: reason.into() }
    }

    /// PASS if `holds`, else FAIL, with the same detail.
    pub fn from(name: &'static str, holds: bool, detail: impl Into<String>) -> Check {
        if holds { Check::pass(name, detail) } else { Check::fail(name, detail) }
    }
}

/// Whether no check failed. Skipped ones do not count as failures, and their
/// presence is for the report to say.
pub fn none_failed(checks: &[Check]) -> bool {
    checks.iter().all(|check| check.status != Status::Fail)
}
