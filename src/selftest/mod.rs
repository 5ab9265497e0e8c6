//! Everything only a Mac can show, asked of the Mac it runs on, in one go.
//!
//! This program is written and tested where there is no Mac. What it believes
//! about one — how the system's tools answer, what the driver holds, what the
//! loader and Metal accept — is checked here on a real one, without changing
//! anything of it: the questions of [`agxpatch_host`] are asked and their answers
//! held against the forms the program knows (`machine`), the driver that is
//! installed is inspected, planned, proven and patched in memory (`driver`,
//! `function`, `bundle`), copies of it and the guard are loaded by child processes
//! (`load`), and Metal makes a device with each of them (`metal`, `judge`). What is
//! written goes to one temporary directory (`scratch`).
//!
//! The result is meant to be attached to a public report. It is made of what
//! this program says about things and never of the things: no user name, serial
//! number or volume identifier (`report_redactor`), and no byte of the driver.
//!
//! It does not say that the fix works. That only a workload can show.

mod bundle;
mod child;
mod dispatch;
mod driver;
mod encode;
mod function;
mod in_child;
mod judge;
mod load;
mod machine;
mod metal;
mod report_redactor;
mod scratch;

use std::borrow::Cow;

use serde::Serialize;

use agxpatch_core::check::{self, Check};
use agxpatch_core::patch::Engine;
use agxpatch_host::{Host, Kind};

pub use in_child::{Loaded, device_here, load_here};
pub use report_redactor::ReportRedactor;

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
pub struct Inputs<'a> {
    /// Looks for the sequence, plans and proves.
    pub engine: &'a Engine,
    /// The guard library's bytes, where there is one.
    pub guard: Option<Cow<'a, [u8]>>,
    /// What must not be in the result.
    pub redactor: ReportRedactor,
}

/// Why what needs the guard is skipped without one.
const NO_GUARD: &str = "this build does not include the guard library; name one with --guard";

/// Asks everything. A question that cannot be answered is a check that failed,
/// never an end of the asking.
pub fn run(host: &dyn Host, inputs: &Inputs<'_>) -> Selftest {
    let questions = machine::checks(host, &inputs.redactor);
    let (about, driver) = driver::checks(host, inputs.engine);
    let [loading, metal] = tried(host, &driver, inputs);
    let sections = vec![
        Section { title: "what the system answers", checks: questions },
        Section { title: "the driver that is installed", checks: about },
        Section { title: "what the loader takes, in child processes", checks: loading },
        Section { title: "what Metal takes, in child processes", checks: metal },
    ];
    let passed = sections.iter().all(|section| check::none_failed(&section.checks));
    Selftest { passed, sections }
}

/// What is tried with the loader and with Metal.
fn tried(host: &dyn Host, driver: &driver::Driver, inputs: &Inputs<'_>) -> [Vec<Check>; 2] {
    let skipped = |reason: &str| {
        [&load::CHECKS[..], &metal::CHECKS[..]]
            .map(|names| names.iter().map(|name| Check::skipped(name, reason)).collect())
    };
    if host.kind() != Kind::Real {
        return skipped("this Mac exists only as data: it has no loader and no Metal");
    }
    match scratch::Scratch::new() {
        Ok(scratch) => {
            [load::checks(&scratch, driver, inputs), metal::checks(host, &scratch, inputs)]
        }
        Err(reason) => skipped(&format!("no temporary directory can be made: {reason}")),
    }
}
