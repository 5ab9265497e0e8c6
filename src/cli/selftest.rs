//! `agxpatch selftest`: ask this Mac everything the program believes about it.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::error::{Code, Error, Result};
use crate::exit::Exit;
use crate::report::style::{BAD, GOOD, RESET, STRONG};
use crate::report::{self, Report};
use crate::selftest::{self, Loaded, Means, Private, Selftest};
use crate::storage;

use super::version::Version;
use super::{Session, files};

/// Check, without changing anything, what only a Mac can show.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Also write the result to this new file, to be attached to an issue: it
    /// holds no name of yours and no byte of the driver.
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,

    /// The guard library, if it is not where an installation puts it.
    #[arg(long, value_name = "FILE")]
    guard: Option<PathBuf>,

    /// Load this library and do nothing else.
    #[arg(long, hide = true, value_name = "FILE", exclusive = true)]
    load: Option<PathBuf>,
}

#[derive(Serialize)]
struct Selftested {
    program: Version,
    #[serde(flatten)]
    result: Selftest,
}

/// Runs the command.
pub fn run(args: Args, session: &Session) -> Result<Exit> {
    if let Some(library) = &args.load {
        return load(library);
    }
    let host = session.host()?;
    let engine = files::engine(session)?;
    let means = Means {
        engine: &engine,
        guard: args.guard.or_else(installed_guard),
        private: Private::new(names()),
    };
    let result = selftest::run(host.as_ref(), &means)?;
    let report = Selftested { program: Version::of_this_program()?, result };
    if let Some(path) = &args.report {
        let text = report::json(&report)?;
        storage::write(path, text.as_bytes(), false)?;
    }
    session.show(&report)
}

/// What the child process does.
fn load(library: &Path) -> Result<Exit> {
    match selftest::load_here(library) {
        Loaded::Yes => Ok(Exit::Success),
        Loaded::No(reason) => {
            Err(Error::new(Code::NotLoaded, reason).with("library", library.display()))
        }
    }
}

/// The guard beside the program, or in the `lib` next to its `bin`.
fn installed_guard() -> Option<PathBuf> {
    let program = std::env::current_exe().ok()?.canonicalize().ok()?;
    let directory = program.parent()?;
    let places = ["libagx_guard.dylib", "../lib/libagx_guard.dylib"];
    places.iter().map(|place| directory.join(place)).find(|path| path.exists())
}

/// The names of the person at this machine and of the machine.
fn names() -> Vec<String> {
    ["USER", "LOGNAME", "SUDO_USER", "HOSTNAME", "HOST"]
        .iter()
        .filter_map(|variable| std::env::var(variable).ok())
        .collect()
}

impl Report for Selftested {
    const SCHEMA: &'static str = "agxpatch.selftest/1";

    fn exit(&self) -> Exit {
        if self.result.passed { Exit::Success } else { Exit::Mismatch }
    }

    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        for section in &self.result.sections {
            writeln!(out, "{STRONG}{}{RESET}", section.title)?;
            report::checks(out, &section.checks)?;
            writeln!(out)?;
        }
        write!(out, "{}", self.program)?;
        match self.result.passed {
            true => writeln!(out, "{GOOD}nothing failed{RESET}"),
            false => writeln!(
                out,
                "{BAD}something failed{RESET}; a file from --report tells the maintainers what"
            ),
        }
    }
}
