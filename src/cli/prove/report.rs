//! What `agxpatch prove` shows of a rewrite.

use std::io::{self, Write};

use serde::Serialize;

use crate::report::style::{BAD, FAINT, GOOD, RESET, STRONG, WARN};
use crate::report::{self, Report, printable};
use agxpatch_core::check::Status;
use agxpatch_core::exit::Exit;
use agxpatch_core::finder::RewriteKind;
use agxpatch_core::patch::{Examined, Site};
use agxpatch_core::proof::html::LOCKLESS;
use agxpatch_core::proof::interleaving::{ASKED, Act, Move, Outcome, Property, Trace, Violation};
use agxpatch_core::proof::steps::Room;
use agxpatch_core::proof::{ProofReport, Verdict};

#[derive(Serialize)]
pub(super) struct Proving {
    pub(super) file: String,
    pub(super) patch: String,
    /// What a signature found.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) site: Option<Site>,
    /// The function that is rewritten because of what it does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) function: Option<Examined>,
    pub(super) threads: u8,
    #[serde(flatten)]
    pub(super) shown: ProofReport,
    /// Whether a reader that takes no lock is lost under the patched version.
    pub(super) lockless_reader_is_lost: bool,
    /// What another thread can meet under each version of the function, and under two
    /// rewrites that are known as an order of steps only.
    pub(super) comparison: Vec<Compared>,
    /// What the patch does not fix, in words.
    pub(super) does_not_fix: Vec<String>,
    pub(super) written: Vec<String>,
}

/// A column of the table that compares rewrites.
#[derive(Serialize)]
pub(super) struct Compared {
    pub(super) rewrite: String,
    pub(super) summary: &'static str,
    /// Whether it is in the file or made from it, and not an order of steps alone.
    pub(super) emitted: bool,
    /// How many states the interleavings have.
    pub(super) states: usize,
    pub(super) outcomes: Vec<Outcome>,
}

impl Report for Proving {
    const SCHEMA: &'static str = "agxpatch.prove/1";

    fn exit(&self) -> Exit {
        match self.shown.verdict {
            Verdict::Holds => Exit::Success,
            Verdict::DeclaredDefect | Verdict::Refuted => Exit::Unproven,
        }
    }

    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        let (style, verdict) = match self.shown.verdict {
            Verdict::Holds if self.shown.versions.is_err() => {
                (WARN, "proven on every path, but not for threads that interleave,")
            }
            Verdict::Holds => (GOOD, "proven"),
            Verdict::DeclaredDefect => (WARN, "has the defect it declares"),
            Verdict::Refuted => (BAD, "refuted"),
        };
        writeln!(
            out,
            "{STRONG}{}{RESET} {style}{verdict}{RESET} {}",
            self.patch,
            printable(&self.place())
        )?;
        self.summary(out)?;
        self.differences(out)?;
        if self.shown.verdict != Verdict::Holds {
            self.failures(out)?;
        }
        self.original(out)?;
        self.table(out)?;
        if self.lockless_reader_is_lost {
            writeln!(out, "  {WARN}not saved{RESET}  {LOCKLESS}")?;
        }
        for path in &self.written {
            writeln!(out, "  {FAINT}wrote {}{RESET}", printable(path))?;
        }
        Ok(())
    }
}

impl Compared {
    fn title(&self) -> String {
        let mark = if self.emitted { "" } else { "*" };
        format!("{}{mark}", self.rewrite)
    }
}

impl Proving {
    /// Where it is, in words.
    fn place(&self) -> String {
        match (&self.site, &self.function) {
            (Some(site), _) => {
                let place = &site.place;
                format!("at {} in {}, {}", place.window.start, place.architecture, place.name())
            }
            (None, Some(one)) => {
                let name = one.name.as_deref().unwrap_or("a function without a name");
                format!("at {} in {}, {name}", one.function, one.architecture)
            }
            (None, None) => String::new(),
        }
    }

    /// How the rewrite differs from the original, where no signature says what it is
    /// about.
    fn differences(&self, out: &mut dyn Write) -> io::Result<()> {
        let Some(permissions) = &self.shown.permissions else { return Ok(()) };
        let names: Vec<&str> = permissions.iter().map(|one| one.as_str()).collect();
        match (self.shown.verdict, names.as_slice()) {
            (Verdict::Refuted, _) => {
                let failed = self.shown.with_status(Status::Fail);
                let failed: Vec<&str> = failed.iter().map(|check| check.name).collect();
                writeln!(
                    out,
                    "  it differs from the original where no permission allows it: {}",
                    failed.join(", ")
                )
            }
            (_, []) => writeln!(
                out,
                "  a strict refinement: the same stores, calls, loads and exits on every path"
            ),
            (_, names) => {
                writeln!(out, "  it differs from the original by {}", names.join(", "))
            }
        }
    }

    fn summary(&self, out: &mut dyn Write) -> io::Result<()> {
        let skipped = self.shown.with_status(Status::Skipped);
        let not_looked_at = match skipped.len() {
            0 => String::new(),
            count => format!(", {count} not looked at"),
        };
        writeln!(
            out,
            "  {} of {} obligations hold{not_looked_at}{}",
            self.shown.with_status(Status::Pass).len(),
            self.shown.checks().len(),
            self.explored()
        )?;
        // What was not looked at is never left unsaid.
        report::checks(out, &skipped)
    }

    /// How many states the interleavings have.
    fn explored(&self) -> String {
        let Ok(versions) = &self.shown.versions else { return String::new() };
        let states = versions.after.interleavings.states();
        format!("; {states} states of {} threads in every order", self.threads)
    }

    fn failures(&self, out: &mut dyn Write) -> io::Result<()> {
        report::checks(out, &self.shown.with_status(Status::Fail))?;
        let Ok(versions) = &self.shown.versions else { return Ok(()) };
        for (property, name) in ASKED {
            if let Some(found) = versions.after.interleavings.violation(property) {
                writeln!(out, "  {STRONG}a shortest way to violate {name}{RESET}")?;
                trace(out, &found.trace)?;
            }
        }
        Ok(())
    }

    /// What another thread can meet, a line each, with the versions that allow it.
    fn table(&self, out: &mut dyn Write) -> io::Result<()> {
        if self.comparison.is_empty() {
            return Ok(());
        }
        writeln!(out, "  {STRONG}what another thread can meet{RESET}, by version of the function")?;
        let rows = self.comparison.iter().map(|column| column.outcomes.len()).min().unwrap_or(0);
        for row in 0..rows {
            let cells = self.comparison.iter().map(|column| (column, &column.outcomes[row]));
            let possible: Vec<String> = cells
                .clone()
                .filter(|(_, outcome)| outcome.possible)
                .map(|(column, _)| column.title())
                .collect();
            let what = cells.map(|(_, outcome)| outcome.what).next().unwrap_or_default();
            let under = match possible.as_slice() {
                [] => "none".to_owned(),
                all if all.len() == self.comparison.len() => "every version".to_owned(),
                some => some.join(", "),
            };
            writeln!(out, "    {what}: {STRONG}{under}{RESET}")?;
        }
        for column in self.comparison.iter().filter(|column| !column.emitted) {
            let (title, summary, name) = (column.title(), column.summary, &column.rewrite);
            let written = match RewriteKind::of_name(name) {
                Some(_) => format!("an order of steps, which --patch {name} writes by meaning"),
                None => "an order of steps, which is not written yet".to_owned(),
            };
            writeln!(out, "    {FAINT}{title} {summary}: {written}{RESET}")?;
        }
        Ok(())
    }

    /// The race the patch is there for, as the model finds it in the original.
    fn original(&self, out: &mut dyn Write) -> io::Result<()> {
        let Ok(versions) = &self.shown.versions else { return Ok(()) };
        let locking = &versions.before.interleavings.locking;
        for room in Room::BOTH {
            let race =
                |v: &&Violation| v.property == Property::NoRaceWindow && v.room == Some(room);
            if let Some(found) = locking.violations.iter().find(race) {
                // Those before the lock are the same in every version.
                let locked = |made: &Move| matches!(made.act, Act::Enter { .. });
                let first = found.trace.moves.iter().position(locked).map_or(0, |at| at + 1);
                let steps: Vec<String> = found
                    .trace
                    .moves
                    .iter()
                    .skip(first)
                    .filter_map(|made| made.at().map(|at| format!("{at} {}", made.says())))
                    .collect();
                writeln!(
                    out,
                    "  {FAINT}the original races where the {room}: {}, and self->_impl still points at it{RESET}",
                    steps.join(", ")
                )?;
            }
        }
        Ok(())
    }
}

fn trace(out: &mut dyn Write, trace: &Trace) -> io::Result<()> {
    for made in &trace.moves {
        let at = made.at().map(|at| at.to_string()).unwrap_or_default();
        writeln!(out, "    {:<12} {at:<10} {}", made.thread, made.says())?;
    }
    Ok(())
}
