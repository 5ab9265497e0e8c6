//! `agxpatch verify`: judge this machine, or with `--file FILE` a patched file from
//! the file alone.

use std::io::{self, Write};
use std::path::PathBuf;

use serde::Serialize;

use crate::check::{self, Check};
use crate::deploy::{self, EngineWorkshop, State, Verification};
use crate::error::Result;
use crate::exit::Exit;
use crate::patch::{self, Site};
use crate::proof;
use crate::report::style::{BAD, GOOD, RESET, STRONG, WARN};
use crate::report::{self, Report};
use crate::storage;

use super::{Session, files};

/// Check that the patch is in force on this Mac, or that a file is patched, whole
/// and correctly sealed.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Check this file and not the machine's driver.
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
}

#[derive(Serialize)]
struct FileVerification {
    file: String,
    holds: bool,
    checks: Vec<Check>,
    site: Option<Site>,
}

/// Runs the command.
pub fn run(args: Args, session: &Session) -> Result<Exit> {
    let engine = files::engine(session)?;
    let Some(path) = args.file else {
        let shop = EngineWorkshop { engine: &engine };
        return session.show(&deploy::verify(session.host()?.as_ref(), &shop)?);
    };
    let input = storage::read(&path)?;
    let (mut checks, site) = patch::verify(&engine, &input.bytes)?;
    checks.push(proof::check_standing(&engine, &input.bytes));
    let file = path.display().to_string();
    session.show(&FileVerification { file, holds: check::none_failed(&checks), checks, site })
}

impl Report for FileVerification {
    const SCHEMA: &'static str = "agxpatch.verify-file/1";

    fn exit(&self) -> Exit {
        if self.holds { Exit::Success } else { Exit::Mismatch }
    }

    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        report::checks(out, &self.checks)?;
        match self.holds {
            true => writeln!(out, "{GOOD}{} is patched and sealed{RESET}", self.file),
            false => writeln!(out, "{BAD}{} is not a sound patched driver{RESET}", self.file),
        }
    }
}

impl Report for Verification {
    const SCHEMA: &'static str = "agxpatch.verify/1";

    fn exit(&self) -> Exit {
        if self.holds { Exit::Success } else { Exit::Mismatch }
    }

    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        report::checks(out, &self.checks)?;
        let colour = match self.state {
            State::Active if self.holds => GOOD,
            State::Clean | State::PendingReboot | State::RevertPending => WARN,
            _ => BAD,
        };
        writeln!(out, "{colour}{}{RESET}: {}", self.state.name(), self.state.about())?;
        match self.state.next() {
            Some(next) => writeln!(out, "next: {STRONG}{next}{RESET}"),
            None => Ok(()),
        }
    }
}
