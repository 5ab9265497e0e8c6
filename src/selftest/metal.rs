//! What Metal makes of the guard and of a patched copy, in processes of their own.
//!
//! Everything `agxpatch run` rests on is believed and not seen: that dyld inserts
//! the guard, that its hooks find the encoders' classes, that Metal takes the
//! bundle its lookup is answered with, or dyld a folder's leaf name. So it is
//! tried as `run` does it, on the smallest program there is that makes a Metal
//! device. That is this one: a copy of it that has given up the hardened runtime
//! ([`codesign::without_hardened_runtime`]), for into this one itself nothing can
//! be inserted. The device is made and a few empty encoders on it (`encode`),
//! and two threads compute on it, whose results are checked (`dispatch`).
//!
//! The library reports from inside which driver was loaded and what its code is;
//! what follows from that is for [`super::judge`].

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::launch::environment::{Wanted, Way, compose};
use crate::launch::guard_report::GuardReports;
use crate::launch::{Variables, library, scoped};
use agxpatch_core::check::Check;
use agxpatch_core::codesign;
use agxpatch_core::edit;
use agxpatch_core::error::{Code, Error, Result};
use agxpatch_core::macho::{Architecture, Universal};
use agxpatch_host::machine::{self, LibraryValidation};
use agxpatch_host::{CsrConfig, Host};

use super::Inputs;
use super::child;
use super::judge::{self, ChildRun, Insertion};
use super::scratch::Scratch;

/// What the child is started with, so that [`crate::cli`] and this agree.
const DEVICE: [&str; 2] = ["selftest", "--device"];

/// The checks, in the order of what they say.
pub(super) const CHECKS: [&str; 8] = [
    "metal-device",
    "guard-inserted",
    "encoder-classes-known",
    "coalescing-seen",
    "coalescing-off",
    "copy-by-lookup",
    "copy-by-path",
    "insertion-into-apples-program",
];

/// Tries each way.
pub(super) fn checks(host: &dyn Host, scratch: &Scratch, inputs: &Inputs<'_>) -> Vec<Check> {
    let [device, inserted, classes, seen, coalescing, by_lookup, by_path, apples] = CHECKS;
    let all = |reason: &str| CHECKS.map(|name| Check::skipped(name, reason)).to_vec();
    let program = match probe(scratch) {
        Ok(program) => program,
        Err(error) => return all(&inputs.redactor.without(&error.to_string())),
    };
    let trial = Trial { scratch, program: &program };
    let mut checks = vec![judge::device(device, &trial.run(None))];
    let Some(guard) = inputs.guard.as_deref() else {
        checks.extend(CHECKS[1..].iter().map(|name| Check::skipped(name, super::NO_GUARD)));
        return checks;
    };
    let guard = match library::unpack(host, scratch.root(), guard) {
        Ok(guard) => guard,
        Err(error) => return all(&inputs.redactor.without(&error.to_string())),
    };
    let plain = Wanted { library: Some(guard.clone()), ..Wanted::default() };
    let guarded = trial.run(Some(&plain));
    checks.push(judge::guard(inserted, &guarded));
    checks.push(judge::encoder_classes(classes, &guarded));
    checks.push(judge::coalescing_seen(seen, &guarded));
    let without = Wanted { no_coalescing: true, ..plain.clone() };
    checks.push(judge::coalescing_off(coalescing, &trial.run(Some(&without))));
    for (name, way) in [(by_lookup, Way::Lookup), (by_path, Way::Path)] {
        checks.push(match scoped::prepare(host, scratch.root(), inputs.engine, way) {
            Ok(copy) => {
                let wanted = Wanted { driver: Some(copy.driver.clone()), ..plain.clone() };
                judge::copy(name, &trial.run(Some(&wanted)), &copy.driver)
            }
            Err(error) => Check::skipped(name, format!("no copy was made: {error}")),
        });
    }
    checks.push(apples_program(apples, host, &guard));
    for check in &mut checks {
        check.detail = inputs.redactor.without(&check.detail);
    }
    checks
}

/// A copy of this program that libraries may be inserted into: its arm64 slice
/// alone, so that it is that one whatever its parent runs as.
fn probe(scratch: &Scratch) -> Result<PathBuf> {
    let failed = |reason: std::io::Error| {
        Error::new(Code::ReadFailed, "this program cannot be copied").with("reason", reason)
    };
    let program = std::env::current_exe().and_then(std::fs::read).map_err(failed)?;
    scratch.put(&["probe"], &soft(&program)?).map_err(failed)
}

fn soft(program: &[u8]) -> Result<Vec<u8>> {
    let file = Universal::parse(program)?;
    let slice = file.slice(Architecture::ARM64)?;
    let signature = slice
        .image()?
        .code_signature()
        .ok_or_else(|| Error::new(Code::NoSignature, "this program has no signature to change"))?;
    let mut thin = slice.bytes.to_vec();
    edit::apply(&mut thin, &codesign::without_hardened_runtime(slice.bytes, signature)?)?;
    Ok(thin)
}

struct Trial<'a> {
    scratch: &'a Scratch,
    program: &'a Path,
}

impl Trial<'_> {
    fn run(&self, wanted: Option<&Wanted>) -> ChildRun {
        let reports = match tempfile::tempdir_in(self.scratch.root()) {
            Ok(folder) => folder,
            Err(error) => return ChildRun { done: Err(error), inside: Ok(None) },
        };
        let ours = |name: &OsStr| {
            let name = name.to_string_lossy();
            name.starts_with("DYLD_") || name.starts_with("AGX_GUARD")
        };
        let mut variables: Variables =
            std::env::vars_os().filter(|(name, _)| !ours(name)).collect();
        if let Some(wanted) = wanted {
            variables = compose(
                variables,
                &Wanted { reports: Some(reports.path().into()), ..wanted.clone() },
            );
        }
        let mut command = Command::new(self.program);
        let done = child::run(command.args(DEVICE).env_clear().envs(variables));
        let mut told = GuardReports::read(reports.path());
        let inside = told.broken.pop().map_or_else(|| Ok(told.reports.pop()), Err);
        ChildRun { done, inside }
    }
}

/// A program of Apple's with no duty and no output.
const APPLES: &str = "/usr/bin/true";

/// What becomes of a library that Apple did not sign in a program of Apple's is
/// what would become of a re-signed driver in the window server.
fn apples_program(name: &'static str, host: &dyn Host, guard: &Path) -> Check {
    let expected = match expectation(host) {
        Ok(expected) => expected,
        Err(error) => return Check::skipped(name, format!("{error}")),
    };
    let wanted = Wanted { library: Some(guard.to_owned()), ..Wanted::default() };
    let variables = compose(Variables::new(), &wanted);
    match child::run(Command::new(APPLES).env_clear().envs(variables)) {
        Err(reason) => Check::skipped(name, format!("no child process: {reason}")),
        Ok(done) => judge::insertion(name, &done, expected),
    }
}

/// What the published facts foretell for the protections of this machine.
fn expectation(host: &dyn Host) -> Result<Insertion> {
    let bits = host.csr_active_config()?.unwrap_or(CsrConfig::PROTECTED);
    Ok(if !bits.allows(CsrConfig::TASK_FOR_PID) {
        Insertion::Dropped
    } else if machine::library_validation(host)? == LibraryValidation::Off {
        Insertion::Inserted
    } else {
        Insertion::Refused
    })
}
