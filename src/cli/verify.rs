//! `agxpatch verify`: judge this machine, or with `--file FILE` a patched file from
//! the file alone.

use std::io::{self, Write};
use std::path::PathBuf;

use serde::Serialize;

use crate::report::style::{BAD, GOOD, RESET, STRONG, WARN};
use crate::report::{self, Report};
use crate::storage;
use agxpatch_core::address::VmAddr;
use agxpatch_core::check::{self, Check, Status};
use agxpatch_core::error::Result;
use agxpatch_core::exit::Exit;
use agxpatch_core::patch::{self, KEPT, Site};
use agxpatch_core::proof;
use agxpatch_deploy::{self as deploy, EnginePatcher, State, Verification};

use super::stress::Effort;
use super::{Session, effect, files};

/// Check that the patch is active on this Mac, or that a file is patched and correctly sealed
#[derive(clap::Args, Debug)]
#[command(mut_group("Effort", |effort| effort.requires("stress")))]
pub struct Args {
    /// Check this file instead of the Mac's driver.
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,

    /// Check the place that holds this address, whatever its method, as `patch --at`.
    #[arg(long, value_name = "ADDRESS", requires = "file")]
    at: Vec<VmAddr>,

    /// Run a workload too, the transformer unless another is named, and keep the
    /// run in the manifest's folder: before a deployment to compare with, after
    /// it with the comparison. Needs root; the workload runs as the user behind
    /// sudo.
    #[arg(long, conflicts_with = "file")]
    stress: bool,

    #[command(flatten, next_help_heading = "With --stress")]
    effort: Effort,
}

#[derive(Serialize)]
struct FileVerification {
    file: String,
    holds: bool,
    checks: Vec<Check>,
    sites: Vec<Site>,
}

/// Runs the command.
pub fn run(args: Args, session: &Session) -> Result<Exit> {
    let engine = files::engine(session)?;
    let Some(path) = args.file else {
        let patcher = EnginePatcher::new(&engine);
        let host = session.host()?;
        let found = deploy::verify(host.as_ref(), &patcher)?;
        let exit = session.show(&found)?;
        if !args.stress {
            return Ok(exit);
        }
        let ran = effect::run(host.as_ref(), &found, &args.effort, session)?;
        return Ok(if exit == Exit::Success { ran } else { exit });
    };
    let input = storage::read(&path)?;
    let selection = files::selection(&args.at);
    let (mut checks, found) = patch::verify(&engine, &input.bytes, &selection)?;
    checks.push(proof::check_standing(&engine, &input.bytes, &selection));
    let file = path.display().to_string();
    let sites = found.map(|found| found.sites).unwrap_or_default();
    session.show(&FileVerification { file, holds: check::none_failed(&checks), checks, sites })
}

impl FileVerification {
    /// Whether the file shows that it was rewritten: a patch of the catalogue stands in it, or
    /// it keeps the code it had before.
    fn is_patched(&self) -> bool {
        let kept = |check: &Check| check.name == KEPT && check.status == Status::Pass;
        !self.sites.is_empty() || self.checks.iter().any(kept)
    }
}

impl Report for FileVerification {
    const SCHEMA: &'static str = "agxpatch.verify-file/2";

    fn exit(&self) -> Exit {
        if self.holds { Exit::Success } else { Exit::Mismatch }
    }

    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        report::checks(out, &self.checks)?;
        let file = report::printable(&self.file);
        match self.holds {
            true if self.is_patched() => writeln!(out, "{GOOD}{file} is patched and sealed{RESET}"),
            // A compiler's own code may do so as well.
            true => writeln!(out, "{GOOD}{file} clears in time and is sealed{RESET}"),
            false => writeln!(out, "{BAD}{file} is not a sound patched driver{RESET}"),
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
        writeln!(
            out,
            "next start: {} ({})",
            self.next_start.expected.about(),
            self.next_start.certainty
        )?;
        for remedy in &self.next_start.remedies {
            writeln!(out, "before the next start: {STRONG}{remedy}{RESET}")?;
        }
        match self.facts.next(self.state) {
            Some(next) => writeln!(out, "next: {STRONG}{next}{RESET}"),
            None => Ok(()),
        }
    }
}
