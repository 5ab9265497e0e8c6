//! Whether the loader takes the patched driver, tried before the first write.
//!
//! A driver that the window server rejects leaves a Mac without windows, and no file shows
//! beforehand whether it will be rejected. Two trials come close: a library without an
//! Apple signature in a program of Apple's, which meets the rule the driver will meet, and
//! `dlopen` of the patched copy, which meets every other rule. A rejection blocks; a trial
//! that could not be made blocks too, until the owner consents to do without it.

use agxpatch_core::check::{Check, Status};
use agxpatch_core::error::{Code, Error, Result};
use agxpatch_host::{Host, LoadTrial, Loading};

use super::plan::Options;

const PLATFORM: &str = "library-in-apples-program";
const COPY: &str = "patched-copy-loads";

/// Tries both.
///
/// # Errors
/// [`Code::NotLoaded`] for a rejection, [`Code::NotReady`] for a trial that was not made
/// and without consent to go on.
pub(super) fn check(
    host: &dyn Host,
    canary: Option<&[u8]>,
    patched: &[u8],
    options: Options,
) -> Result<Vec<Check>> {
    let checks = vec![
        tried(host, PLATFORM, &LoadTrial::PlatformProcess { library: canary })?,
        tried(host, COPY, &LoadTrial::OwnProcess { image: patched })?,
    ];
    let with = |error: Error, status: Status| {
        let those = checks.iter().filter(|check| check.status == status);
        those.fold(error, |error, check| error.with(check.name, &check.detail))
    };
    let has = |status: Status| checks.iter().any(|check| check.status == status);
    if has(Status::Fail) {
        let error = Error::new(Code::NotLoaded, "dyld refused to load the patched driver");
        return Err(with(error, Status::Fail).next(format!(
            "if library validation was switched off since the last start, sudo shutdown -r now, \
             then {}; else agxpatch selftest --report selftest.json shows what is rejected",
            options.command()
        )));
    }
    if has(Status::Skipped) && !options.untested_load {
        let message = "whether the loader takes the patched driver could not be tried";
        let error = with(Error::new(Code::NotReady, message), Status::Skipped);
        let consenting = Options { untested_load: true, ..options };
        return Err(error.next(format!("to go ahead without it: {}", consenting.command())));
    }
    Ok(checks)
}

fn tried(host: &dyn Host, name: &'static str, trial: &LoadTrial<'_>) -> Result<Check> {
    Ok(match host.try_load(trial)? {
        Loading::Accepted => Check::pass(name, "loaded in a child process"),
        Loading::Rejected(said) => Check::fail(name, said),
        Loading::NotTried(why) => Check::skipped(name, why),
    })
}
