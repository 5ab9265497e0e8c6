//! `agxpatch demo`: the whole story, told by the commands themselves.
//!
//! Every step is a command line that is printed and then run as if it had been
//! typed, on a synthetic driver and a simulated Mac in a temporary directory.

use std::ffi::OsString;
use std::path::Path;

use crate::report::style::{FAINT, RESET, STRONG};
use agxpatch_core::error::{Code, Error, Result};
use agxpatch_core::exit::Exit;

use super::{Session, deploy};

/// Show every step on a synthetic driver and a simulated Mac
#[derive(clap::Args, Debug)]
pub struct Args {}

/// A step: what it shows, the command line, and the exit code it ends with.
type Step = (&'static str, &'static [&'static str], Exit);

const STEPS: &[Step] = &[
    (
        "A driver with the published code at the published addresses; the rest is made up.",
        &["synth", "driver"],
        Exit::Success,
    ),
    ("What is it, and where is the race?", &["inspect", "driver"], Exit::Success),
    (
        "Is the rewrite right, for all inputs and all interleavings?",
        &["prove", "driver"],
        Exit::Success,
    ),
    ("Write the patched, resealed copy.", &["patch", "driver", "-o", "patched"], Exit::Success),
    ("Check it from the file alone.", &["verify", "--file", "patched"], Exit::Success),
    ("Patching it again changes nothing.", &["patch", "patched", "-o", "again"], Exit::Success),
    (
        "A simulated Mac as shipped: what blocks the fix?",
        &["--simulate", "mac", "simulate", "new"],
        Exit::Success,
    ),
    ("", &["--simulate", "mac", "check-sip"], Exit::Blocked),
    ("", &["--simulate", "mac", "doctor"], Exit::Blocked),
    (
        "The same after its owner switched off what a deployment needs off.",
        &["--simulate", "open", "simulate", "new", "--open"],
        Exit::Success,
    ),
    ("", &["--simulate", "open", "doctor", "--unlisted-build"], Exit::Success),
    (
        "Deploy. A person is asked; a script agrees to a plan by its digest.",
        &["--simulate", "open", "deploy", "--unlisted-build", "--yes", "--plan", DIGEST],
        Exit::Success,
    ),
    ("", &["--simulate", "open", "simulate", "reboot"], Exit::Success),
    ("", &["--simulate", "open", "verify"], Exit::Success),
    ("And back.", &["--simulate", "open", "revert", "--yes"], Exit::Success),
    ("", &["--simulate", "open", "simulate", "reboot"], Exit::Success),
    ("", &["--simulate", "open", "status"], Exit::Success),
];

/// Runs the command.
pub fn run(_: Args, session: &Session) -> Result<Exit> {
    let failed = |reason: std::io::Error| {
        Error::new(Code::WriteFailed, "the demo could not create a working directory")
            .with("reason", reason)
    };
    let directory = tempfile::tempdir().map_err(failed)?;
    for (about, arguments, expected) in STEPS {
        if !session.json {
            if !about.is_empty() {
                anstream::println!("\n{STRONG}{about}{RESET}");
            }
            anstream::println!("{FAINT}${RESET} agxpatch {}", arguments.join(" "));
        }
        let exit = super::run_words(words(directory.path(), arguments, session)?, session)?;
        if exit != *expected {
            return Err(unexpected(session)
                .with("step", arguments.join(" "))
                .with("exit", exit.code()));
        }
    }
    if session.json {
        return Ok(Exit::Success);
    }
    anstream::println!("\n{FAINT}Nothing outside of a temporary directory was touched.{RESET}");
    Ok(Exit::Success)
}

fn unexpected(session: &Session) -> Error {
    let what = "a step of the demo did not end as it should";
    match &session.catalog {
        None => Error::new(Code::Bug, what),
        Some(directory) => Error::new(Code::CatalogueBroken, what)
            .with("catalogue", directory.display())
            .next("the demo uses the built-in catalogue; run it without --catalog"),
    }
}

/// Stands for the digest of the plan, which is not known before.
const DIGEST: &str = "DIGEST";

/// The words of a step, with the names of files put into the directory.
fn words(directory: &Path, arguments: &[&str], session: &Session) -> Result<Vec<OsString>> {
    const FILES: [&str; 5] = ["driver", "patched", "again", "mac", "open"];
    let mut words = vec![OsString::from("agxpatch")];
    for word in arguments {
        words.push(match *word {
            DIGEST => {
                let simulate = Some(directory.join("open"));
                deploy::digest(&Session { simulate, ..session.clone() })?.into()
            }
            word if FILES.contains(&word) => directory.join(word).into(),
            word => word.into(),
        });
    }
    Ok(words)
}
