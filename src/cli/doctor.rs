//! `agxpatch doctor`: every check that blocks the fix, and the depths that are available.

use std::cell::RefCell;
use std::io::{self, Write};

use serde::Serialize;

use super::{Session, files, limits};
use crate::report::Report;
use crate::report::style::{BAD, FAINT, GOOD, RESET, STRONG, WARN};
use agxpatch_core::check::{Check, Status};
use agxpatch_core::error::Result;
use agxpatch_core::exit::Exit;
use agxpatch_core::macho::Universal;
use agxpatch_core::patch::{self, Engine, Extent};
use agxpatch_deploy::doctor::{
    self, Consent, Depth, DepthState, Diagnosis, EngineJudge, Finding, Judge, Where,
};
use agxpatch_deploy::{self as deploy, EnginePatcher, LiveVolume, NextStart, State};

/// Check this Mac for anything that blocks the fix, and list the available depths
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Accept a driver whose hash is not listed, if it is Apple's and the proof
    /// accepts the rewrite.
    #[arg(long)]
    unlisted_build: bool,
}

/// Runs the command.
pub fn run(args: Args, session: &Session) -> Result<Exit> {
    let host = session.host()?;
    let engine = files::engine(session)?;
    let functions = RefCell::default();
    // The bytes are looked at where they are judged, so that they are not read again.
    let judge = |bytes: &[u8]| {
        functions.replace(examined(&engine, bytes));
        EngineJudge { engine: &engine }.judge(bytes)
    };
    let consent = Consent { unlisted_build: args.unlisted_build };
    let diagnosis = doctor::examine(host.as_ref(), &judge, consent)?;
    let facts = deploy::gather(host.as_ref(), &EnginePatcher::new(&engine))?;
    let state = facts.state();
    let live = LiveVolume::NotLooked("sudo agxpatch verify looks at it".to_owned());
    let next_start = deploy::next_start(host.as_ref(), &facts, state, &live);
    let functions = functions.take();
    session.show(&Examined { diagnosis, functions, state, next_start })
}

/// What the methods of a driver do, whatever the signatures say.
fn examined(engine: &Engine, bytes: &[u8]) -> Vec<patch::Examined> {
    let examined = Universal::parse(bytes).and_then(|file| engine.examine(&file, Extent::Named));
    // Whatever is wrong with the file is among the findings.
    examined.unwrap_or_default().functions
}

/// The machine with its state.
#[derive(Serialize)]
struct Examined {
    #[serde(flatten)]
    diagnosis: Diagnosis,
    /// What the installed driver's methods do with their blocks.
    functions: Vec<patch::Examined>,
    state: State,
    next_start: NextStart,
}

impl Report for Examined {
    const SCHEMA: &'static str = "agxpatch.doctor/1";

    fn exit(&self) -> Exit {
        let clean = self.diagnosis.is_clean() && self.next_start.is_sound();
        if clean { Exit::Success } else { Exit::Blocked }
    }

    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        show(out, &self.diagnosis)?;
        if !self.functions.is_empty() {
            writeln!(out, "\n{STRONG}What the installed driver does{RESET}")?;
            self.functions.iter().try_for_each(|one| files::show_verdict(out, one))?;
        }
        let state = self.state;
        writeln!(out, "\n{STRONG}{}{RESET}: {}", state.name(), state.about())?;
        let failed = |check: &&Check| check.status == Status::Fail;
        for check in self.next_start.checks.iter().filter(failed) {
            writeln!(out, "  {BAD}{}{RESET}: {}", check.name, check.detail)?;
        }
        for remedy in &self.next_start.remedies {
            writeln!(out, "  before the next start: {STRONG}{remedy}{RESET}")?;
        }
        Ok(())
    }
}

/// What was found, and which ways are open.
fn show(out: &mut dyn Write, diagnosis: &Diagnosis) -> io::Result<()> {
    writeln!(out, "{STRONG}This Mac{RESET}")?;
    let checks: Vec<_> = diagnosis.findings.iter().map(|finding| finding.check.clone()).collect();
    crate::report::checks(out, &checks)?;
    writeln!(out, "\n{STRONG}Ways to have the fix{RESET}, the recommended one first")?;
    for state in &diagnosis.depths {
        let (colour, word) = match (state.in_force, state.open, state.closed_by.is_empty()) {
            (true, ..) => (GOOD, "in force"),
            (false, true, _) => (GOOD, "open"),
            (false, false, false) => (BAD, "closed"),
            (false, false, true) => (WARN, "unknown"),
        };
        let (name, changes) = (state.depth.name(), state.depth.changes());
        writeln!(out, "  {name:<6}  {colour}{word:<8}{RESET}  {changes}")?;
        if state.open || state.in_force {
            writeln!(out, "                    {STRONG}{}{RESET}", state.command)?;
        } else {
            writeln!(out, "                    {FAINT}{}{RESET}", reasons(state))?;
        }
    }
    writeln!(out, "\n{STRONG}What the rewrite is worth{RESET}")?;
    limits::show(out)?;
    remedies(out, diagnosis)
}

/// Why a depth is not open.
fn reasons(state: &DepthState) -> String {
    let named = |before: &str, names: &[&str]| match names {
        [] => None,
        names => Some(format!("{before} {}", names.join(", "))),
    };
    let closed = named("by", &state.closed_by);
    let reasons = closed.into_iter().chain(named("not recorded:", &state.unknown_by));
    reasons.collect::<Vec<_>>().join("; ")
}

/// What the owner would do to open what is closed.
fn remedies(out: &mut dyn Write, diagnosis: &Diagnosis) -> io::Result<()> {
    if diagnosis.is_clean() {
        return writeln!(out, "\nNo check blocks deployment to the system volume.");
    }
    let (unknown, closing): (Vec<&Finding>, Vec<&Finding>) =
        diagnosis.blockers(Depth::System).partition(|finding| finding.is_unanswered());
    let block = match closing.len() {
        0 => "No recorded check blocks".to_owned(),
        1 => "1 check blocks".to_owned(),
        many => format!("{many} checks block"),
    };
    writeln!(out, "\n{STRONG}{block} deployment to the system volume{RESET}")?;
    let mut told: Vec<&str> = Vec::new();
    for finding in closing {
        remedies_of(out, finding, &mut told)?;
    }
    if !unknown.is_empty() {
        let names: Vec<&str> = unknown.iter().map(|finding| finding.check.name).collect();
        writeln!(out, "  not recorded, so not known: {}", names.join(", "))?;
    }
    writeln!(
        out,
        "{FAINT}agxpatch switches none of this off. Each is your decision, and costs \
         protection.{RESET}"
    )
}

fn remedies_of<'a>(
    out: &mut dyn Write,
    finding: &'a Finding,
    told: &mut Vec<&'a str>,
) -> io::Result<()> {
    let name = finding.check.name;
    if finding.remedies.is_empty() {
        writeln!(out, "  {name}: no command can fix this")?;
    }
    for remedy in &finding.remedies {
        let place = match remedy.place {
            Where::Terminal => "in a terminal",
            Where::Recovery => "in recoveryOS",
            Where::Settings => "in System Settings",
        };
        let again = if told.contains(&remedy.command.as_str()) { " (the same)" } else { "" };
        writeln!(out, "  {name}: {place}: {STRONG}{}{RESET}{again}", remedy.command)?;
        told.push(&remedy.command);
    }
    Ok(())
}
