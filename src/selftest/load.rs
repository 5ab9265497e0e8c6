//! Whether the loader takes what it is given, tried in a child process.
//!
//! A library that the system turns away can take its process down with it, so
//! the loading is done by another run of this program, which does that and
//! nothing else. Three files are tried: the installed driver and an unchanged
//! copy of it, to tell what is wrong with a file from what is wrong with its
//! place, and the patched copy.

use std::path::Path;
use std::process::Command;

use crate::launch::environment::LIBRARY;
use agxpatch_core::check::Check;
use agxpatch_host::driver::DriverBundle;
use agxpatch_host::load_trial::LOAD_IN_CHILD;

use super::child;
use super::driver::Driver;
use super::report_redactor::ReportRedactor;
use super::scratch::Scratch;
use super::{Inputs, NO_GUARD};

/// The checks, in the order of what they say.
pub(super) const CHECKS: [&str; 4] =
    ["installed-driver-loads", "unchanged-copy-loads", "patched-copy-loads", "guard-loads"];

/// Tries each file.
pub(super) fn checks(scratch: &Scratch, driver: &Driver, inputs: &Inputs<'_>) -> Vec<Check> {
    let redactor = &inputs.redactor;
    let [installed, unchanged, patched, library] = CHECKS;
    let copy = |name: &'static str, folder: &str, file: &str, bytes: Option<&[u8]>, none: &str| {
        match bytes.map(|bytes| scratch.put(&[folder, file], bytes)) {
            None => Check::skipped(name, none),
            Some(Ok(path)) => try_to_load(name, &path, redactor),
            Some(Err(reason)) => Check::skipped(name, format!("no copy can be written: {reason}")),
        }
    };
    let (original, rewritten) = (driver.installed.as_deref(), driver.patched.as_deref());
    let nothing = "there is nothing to copy";
    let bundle = driver.bundle.as_ref();
    let name = bundle.map_or("driver", DriverBundle::name);
    vec![
        bundle.map_or_else(
            || Check::skipped(installed, "no driver of Apple's is asked for"),
            |bundle| try_to_load(installed, &bundle.executable(), redactor),
        ),
        copy(unchanged, "unchanged", name, original, nothing),
        copy(patched, "patched", name, rewritten, "there is no patched copy to load"),
        copy(library, "guard", LIBRARY, inputs.guard.as_deref(), NO_GUARD),
    ]
}

fn try_to_load(name: &'static str, library: &Path, redactor: &ReportRedactor) -> Check {
    let done = std::env::current_exe()
        .and_then(|program| child::run(Command::new(program).args(LOAD_IN_CHILD).arg(library)));
    match done {
        Err(reason) => Check::skipped(name, format!("no child process: {reason}")),
        Ok(done) if done.well() => Check::pass(name, "loaded, and its initialisers ran"),
        Ok(done) => Check::fail(name, redactor.without(&done.sentence())),
    }
}
