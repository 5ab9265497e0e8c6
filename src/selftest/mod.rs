//! Everything only a Mac can show, asked of the Mac it runs on, in one go.
//!
//! This program is written and tested where there is no Mac. What it believes
//! about one — how the system's tools answer, what the driver holds, what the
//! loader accepts — is checked here by whoever has one, without changing
//! anything of it: the questions of [`crate::host`] are asked and their answers
//! held against the forms the program knows (`machine`), the driver that is
//! installed is inspected, planned, proven and patched in memory (`driver`), and
//! a patched copy in a temporary directory and the guard are loaded by a child
//! process (`load`).
//!
//! The result is meant to be attached to a public report. It is made of what
//! this program says about things and never of the things: no user name, serial
//! number or volume identifier (`private`), and no byte of the driver.
//!
//! It does not say that the fix works. That only a workload can show.

mod driver;
mod load;
mod machine;
mod private;

use std::path::PathBuf;

use serde::Serialize;

use crate::check::{self, Check};
use crate::error::Result;
use crate::host::Host;
use crate::patch::Engine;

pub use load::{Loaded, load_here};
pub use private::Private;

/// Some checks about one thing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Section {
    /// What they are about.
    pub title: &'static str,
    /// The checks.
    pub checks: Vec<Check>,
}

/// What the selftest saw.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Selftest {
    /// Whether nothing failed. What was skipped says why.
    pub passed: bool,
    /// The checks by what they are about.
    pub sections: Vec<Section>,
}

/// What the selftest may use besides the machine.
pub struct Means<'a> {
    /// Looks for the sequence, plans and proves.
    pub engine: &'a Engine,
    /// The guard library, where one was found.
    pub guard: Option<PathBuf>,
    /// What must not be in the result.
    pub private: Private,
}

/// Asks everything. A question that cannot be answered is a check that failed,
/// never an end of the asking.
///
/// # Errors
/// Only if the machine is gone.
pub fn run(host: &dyn Host, means: &Means<'_>) -> Result<Selftest> {
    let questions = machine::checks(host, &means.private);
    let file = machine::installed_driver(host);
    let (driver, patched) = driver::checks(means.engine, file);
    let loading = load::checks(host, patched, means);
    let sections = vec![
        Section { title: "what the system answers", checks: questions },
        Section { title: "the driver that is installed", checks: driver },
        Section { title: "what the loader accepts, in a child process", checks: loading },
    ];
    let passed = sections.iter().all(|section| check::none_failed(&section.checks));
    Ok(Selftest { passed, sections })
}
