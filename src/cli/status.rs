//! `agxpatch status`: one line, and what is pending.

use std::io::{self, Write};

use serde::Serialize;

use super::{Session, files};
use crate::report::Report;
use crate::report::style::{BAD, RESET, STRONG};
use agxpatch_core::check;
use agxpatch_core::error::Result;
use agxpatch_core::exit::Exit;
use agxpatch_deploy::{self as deploy, EnginePatcher, Facts, NextStart, State};

/// Show in one line whether the patch is active, and what is pending
#[derive(clap::Args, Debug)]
pub struct Args {}

#[derive(Serialize)]
struct Status {
    state: State,
    next_start: NextStart,
    /// After a revert: the protections that are off, and how to switch them on again.
    protections_off: Vec<String>,
    facts: Facts,
}

/// Runs the command.
pub fn run(_: Args, session: &Session) -> Result<Exit> {
    let engine = files::engine(session)?;
    let host = session.host()?;
    let patcher = EnginePatcher::new(&engine);
    let facts = deploy::gather(host.as_ref(), &patcher)?;
    let state = facts.state();
    let live = deploy::look_at_live_volume(host.as_ref(), &patcher, &facts, state);
    let next_start = deploy::next_start(host.as_ref(), &facts, state, &live);
    let protections_off = match state {
        State::Clean => deploy::protections_off(host.as_ref()),
        _ => Vec::new(),
    };
    session.show(&Status { state, next_start, protections_off, facts })
}

impl Report for Status {
    const SCHEMA: &'static str = "agxpatch.status/1";

    fn exit(&self) -> Exit {
        if self.next_start.is_sound() { Exit::Success } else { Exit::Mismatch }
    }

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
        writeln!(out, "  next start: {}", self.next_start.expected.about())?;
        for check in
            self.next_start.checks.iter().filter(|check| check.status == check::Status::Fail)
        {
            writeln!(out, "  {BAD}{}{RESET}: {}", check.name, check.detail)?;
        }
        for remedy in &self.next_start.remedies {
            writeln!(out, "  before the next start: {remedy}")?;
        }
        if self.facts.reverted.is_some() && !self.protections_off.is_empty() {
            writeln!(out, "  still off since the deployment:")?;
            for line in &self.protections_off {
                writeln!(out, "    {line}")?;
            }
            writeln!(out, "  the recovery kit is kept until: sudo agxpatch revert")?;
        }
        match self.facts.next(self.state) {
            Some(next) => writeln!(out, "  next: {next}"),
            None => Ok(()),
        }
    }
}
