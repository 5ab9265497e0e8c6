//! `agxpatch status`: one line, and what is pending.

use std::io::{self, Write};

use serde::Serialize;

use super::{Session, files};
use crate::report::Report;
use crate::report::style::{BAD, RESET, STRONG};
use agxpatch_core::error::Result;
use agxpatch_core::exit::Exit;
use agxpatch_deploy::{self as deploy, EngineWorkshop, Facts, State};

/// Show in one line whether the patch is active, and what is pending
#[derive(clap::Args, Debug)]
pub struct Args {}

#[derive(Serialize)]
struct Status {
    state: State,
    facts: Facts,
}

/// Runs the command.
pub fn run(_: Args, session: &Session) -> Result<Exit> {
    let engine = files::engine(session)?;
    let facts = deploy::gather(session.host()?.as_ref(), &EngineWorkshop { engine: &engine })?;
    session.show(&Status { state: facts.state(), facts })
}

impl Report for Status {
    const SCHEMA: &'static str = "agxpatch.status/1";

    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "{STRONG}{}{RESET}: {}", self.state.name(), self.state.about())?;
        if let Some(journal) = &self.facts.journal {
            let step = journal.step.map_or("none", |step| step.name());
            writeln!(
                out,
                "  {BAD}interrupted{RESET}: {} stopped at {step}; sudo agxpatch recover",
                journal.operation
            )?;
        }
        for missing in &self.facts.missing {
            writeln!(out, "  {BAD}not known{RESET}: {missing}")?;
        }
        match self.state.next() {
            Some(next) => writeln!(out, "  next: {next}"),
            None => Ok(()),
        }
    }
}
