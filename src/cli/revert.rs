//! `sudo agxpatch revert`: take the patched driver back.

use std::io::{self, Write};

use serde::Serialize;

use super::Session;
use super::machine::{self, OwnerArgs, Worked};
use crate::report::Report;
use crate::report::style::{GOOD, RESET, STRONG, WARN};
use agxpatch_core::error::Result;
use agxpatch_core::exit::Exit;
use agxpatch_deploy::{self as deploy, Manifest, Reverted};

/// Restore Apple's driver and select Apple's sealed snapshot for the next start
///
/// bless asks for the password of an owner of this Mac.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Show what would be done and change nothing.
    #[arg(long)]
    dry_run: bool,

    /// Go ahead without asking.
    #[arg(long)]
    yes: bool,

    #[command(flatten)]
    owner: OwnerArgs,
}

#[derive(Serialize)]
struct Reversion {
    #[serde(flatten)]
    reverted: Reverted,
    /// In a rehearsal, what would have been done.
    #[serde(skip_serializing_if = "Option::is_none")]
    rehearsal: Option<Vec<String>>,
    /// What is missing in the record of commands.
    #[serde(skip_serializing_if = "Option::is_none")]
    record_note: Option<String>,
    /// The protections that are off, and how each is switched on again.
    protections_off: Vec<String>,
}

/// Runs the command.
pub fn run(args: Args, session: &Session) -> Result<Exit> {
    let owner = args.owner.owner()?;
    let scripted = args.owner.scripted("revert --yes");
    let mut consent = |manifest: &Manifest| match args.yes || args.dry_run {
        true => Ok(()),
        false => machine::ask("Apple's driver will be put back.", manifest, &scripted),
    };
    let Worked { result, rehearsal, record_note } =
        machine::work(session, args.dry_run, |host, patcher, progress| {
            deploy::revert(host, patcher, owner, &mut consent, progress)
        })?;
    let protections_off = deploy::protections_off(session.host()?.as_ref());
    session.show(&Reversion { reverted: result, rehearsal, record_note, protections_off })
}

impl Reversion {
    fn still_off(&self, out: &mut dyn Write, heading: &str) -> io::Result<()> {
        if self.protections_off.is_empty() {
            return Ok(());
        }
        writeln!(out, "{heading}")?;
        self.protections_off.iter().try_for_each(|line| writeln!(out, "  {line}"))
    }
}

impl Report for Reversion {
    const SCHEMA: &'static str = "agxpatch.revert/1";

    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        if let Some(rehearsal) = &self.rehearsal {
            writeln!(out, "{STRONG}What would be done{RESET}; nothing was changed")?;
            return rehearsal.iter().try_for_each(|line| writeln!(out, "  {line}"));
        }
        match &self.reverted {
            Reverted::Already { state, kit_removed } => {
                writeln!(out, "{GOOD}nothing to revert{RESET}: {}", state.about())?;
                if !kit_removed {
                    return Ok(());
                }
                writeln!(out, "The recovery kit of the earlier revert was removed.")?;
                self.still_off(out, "These protections are off:")
            }
            Reverted::Forgotten => {
                writeln!(out, "an update had replaced the patched driver; its records are removed")
            }
            Reverted::Done { restart, manifest, notes } => {
                writeln!(
                    out,
                    "{GOOD}reverted{RESET}: Apple's driver of {} is back",
                    manifest.build
                )?;
                let notes = notes.iter().chain(&self.record_note);
                notes
                    .into_iter()
                    .try_for_each(|note| writeln!(out, "{WARN}note:{RESET} {note}"))?;
                match restart {
                    true => {
                        writeln!(out, "The patched one runs until you {STRONG}restart{RESET}.")?
                    }
                    false => {
                        writeln!(out, "Apple's driver is the one that runs, so no restart is due.")?
                    }
                }
                self.still_off(out, "These protections are off. When a restart has shown CLEAN:")
            }
        }
    }
}
