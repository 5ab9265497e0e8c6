//! `sudo agxpatch recover`: finish or undo what an interrupted run left.

use std::io::{self, Write};

use serde::Serialize;

use super::Session;
use super::machine::{self, OwnerArgs};
use crate::report::Report;
use crate::report::style::{GOOD, RESET, STRONG, WARN};
use agxpatch_core::error::Result;
use agxpatch_core::exit::Exit;
use agxpatch_deploy::{self as deploy, Recovered};

/// Finish or undo what an interrupted deploy or revert left
#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(flatten)]
    owner: OwnerArgs,
}

/// Runs the command.
pub fn run(args: Args, session: &Session) -> Result<Exit> {
    let owner = args.owner.owner()?;
    let worked = machine::work(session, false, |host, patcher, progress| {
        deploy::recover(host, patcher, owner, progress)
    })?;
    session.show(&Recovery { recovered: worked.result, record_note: worked.record_note })
}

#[derive(Serialize)]
struct Recovery {
    #[serde(flatten)]
    recovered: Recovered,
    /// What is missing in the record of commands.
    #[serde(skip_serializing_if = "Option::is_none")]
    record_note: Option<String>,
}

impl Report for Recovery {
    const SCHEMA: &'static str = "agxpatch.recover/1";

    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        let state = match &self.recovered {
            Recovered::Nothing { state } => {
                writeln!(out, "{GOOD}nothing to recover{RESET}")?;
                state
            }
            Recovered::Reconciled { state, notes } => {
                writeln!(out, "{GOOD}recovered{RESET}: records and live volume were reconciled")?;
                notes.iter().try_for_each(|note| writeln!(out, "{WARN}note:{RESET} {note}"))?;
                state
            }
            Recovered::Done { begun, ended, state, notes } => {
                writeln!(out, "{GOOD}recovered{RESET}: {begun} was interrupted, ended by {ended}")?;
                notes.iter().try_for_each(|note| writeln!(out, "{WARN}note:{RESET} {note}"))?;
                state
            }
        };
        self.record_note.iter().try_for_each(|note| writeln!(out, "{WARN}note:{RESET} {note}"))?;
        writeln!(out, "{STRONG}{}{RESET}: {}", state.name(), state.about())
    }
}
