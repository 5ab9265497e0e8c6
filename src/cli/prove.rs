//! `agxpatch prove FILE`: why the rewrite is right, from the bytes.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::report::style::{BAD, FAINT, GOOD, RESET, STRONG, WARN};
use crate::report::{self, Report, printable};
use crate::storage;
use agxpatch_core::address::VmAddr;
use agxpatch_core::check::Status;
use agxpatch_core::error::{Code, Error, Result};
use agxpatch_core::exit::Exit;
use agxpatch_core::macho::Universal;
use agxpatch_core::patch::{Engine, Plan, Site};
use agxpatch_core::proof::abstract_rewrite::AbstractRewrite;
use agxpatch_core::proof::interleaving::{
    ASKED, Act, Move, Outcome, Property, Trace, Violation, check,
};
use agxpatch_core::proof::picture::{self, LOCKLESS, Page};
use agxpatch_core::proof::steps::Room;
use agxpatch_core::proof::{self, Shown, Verdict, Version, tla};

use super::{Session, files};

/// Prove a patch on this file's function, from its bytes
///
/// The proof covers all inputs on every path, and every interleaving of threads.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// The driver, original or patched.
    file: PathBuf,

    /// Prove this patch instead of the one the file holds, or else the default.
    #[arg(long, value_name = "NAME")]
    patch: Option<String>,

    /// Prove the rewrite of the place that holds this address, where the sequence
    /// occurs in several.
    #[arg(long, value_name = "ADDRESS")]
    at: Vec<VmAddr>,

    /// How many threads interleave; one of them reads, the others end encoders.
    #[arg(long, value_name = "N", default_value_t = 3,
          value_parser = clap::value_parser!(u8).range(2..=5))]
    threads: u8,

    /// Write the TLA+ specification of both versions, with configurations.
    #[arg(long, value_name = "DIR")]
    emit_tla: Option<PathBuf>,

    /// Write the proof as one self-contained page.
    #[arg(long, value_name = "OUT")]
    html: Option<PathBuf>,

    /// Replace files that exist.
    #[arg(long)]
    force: bool,
}

#[derive(Serialize)]
struct Proving {
    file: String,
    patch: String,
    site: Site,
    threads: u8,
    #[serde(flatten)]
    shown: Shown,
    /// Whether a reader that takes no lock is lost under the patched version.
    lockless_reader_is_lost: bool,
    /// What another thread can meet under each version of the function, and under two
    /// rewrites that are known as an order of steps only.
    comparison: Vec<Compared>,
    /// What the patch does not fix, in words.
    does_not_fix: Vec<String>,
    written: Vec<String>,
}

/// A column of the table that compares rewrites.
#[derive(Serialize)]
struct Compared {
    rewrite: String,
    summary: &'static str,
    /// Whether the program can write it.
    emitted: bool,
    outcomes: Vec<Outcome>,
}

/// Runs the command.
pub fn run(args: Args, session: &Session) -> Result<Exit> {
    let input = storage::read(&args.file)?;
    if let Some(page) = &args.html {
        storage::check_output(page, Some(&input), args.force)?;
    }
    let engine = files::engine(session)?;
    let file = Universal::parse(&input.bytes)?;
    let selection = files::selection(&args.at);
    let plans = proof::rewrites(&engine, &file, args.patch.as_deref(), &selection)?;
    if plans.len() > 1 && (args.html.is_some() || args.emit_tla.is_some()) {
        return Err(several(&plans));
    }
    let mut exit = Exit::Success;
    for plan in plans {
        let report = prove(&engine, &file, plan, &args)?;
        let of_site = session.show(&report)?;
        exit = if of_site == Exit::Success { exit } else { of_site };
    }
    Ok(exit)
}

/// What is written is about one function.
fn several(plans: &[Plan]) -> Error {
    let places = plans.iter().map(|plan| &plan.site.place);
    Error::new(
        Code::ManyMatches,
        "a page or specification covers one place, and the file has several",
    )
    .with_each("at", places.map(|place| format!("{}, {}", place.window.start, place.name())))
    .next("choose one with --at ADDRESS")
}

/// Proves the rewrite of one site and writes what was asked for.
fn prove(engine: &Engine, file: &Universal<'_>, plan: Plan, args: &Args) -> Result<Proving> {
    let shown = proof::examine(engine, file, &plan, args.threads)?;
    let mut written = Vec::new();
    if let Some(directory) = &args.emit_tla {
        written.extend(emit_tla(directory, &plan.patch, &shown, args)?);
    }
    if let Some(page) = &args.html {
        let html = picture::render(&page_of(&args.file, &plan, &shown))?;
        storage::write(page, html.as_bytes(), args.force)?;
        written.push(page.display().to_string());
    }
    let comparison = compare(&plan.patch, &shown, args.threads)?;
    Ok(Proving {
        comparison,
        file: args.file.display().to_string(),
        does_not_fix: engine.catalogue().patch(&plan.patch)?.does_not_fix.clone(),
        patch: plan.patch,
        lockless_reader_is_lost: shown.after.interleavings.lockless_reader_is_lost(),
        site: plan.site,
        threads: args.threads,
        shown,
        written,
    })
}

/// More threads change nothing in the table and much in the time it takes.
const MAX_COMPARED_THREADS: u8 = 3;

/// The table of the original, the rewrite in hand, and the abstract rewrites.
fn compare(patch: &str, shown: &Shown, threads: u8) -> Result<Vec<Compared>> {
    let emitted = |rewrite: &str, summary, version: &Version| Compared {
        rewrite: rewrite.to_owned(),
        summary,
        emitted: true,
        outcomes: version.interleavings.outcomes(),
    };
    let mut columns = vec![
        emitted("original", "the code as the compiler made it", &shown.before),
        emitted(patch, "the rewrite that is proven here", &shown.after),
    ];
    let threads = threads.min(MAX_COMPARED_THREADS);
    let explored = std::thread::scope(|scope| {
        let original = &shown.before.steps;
        let started = AbstractRewrite::ALL
            .map(|rewrite| scope.spawn(move || check(&rewrite.of(original), threads)));
        started.map(|one| one.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    });
    for (rewrite, found) in AbstractRewrite::ALL.iter().zip(explored) {
        columns.push(Compared {
            rewrite: rewrite.name.to_owned(),
            summary: rewrite.summary,
            emitted: false,
            outcomes: found?.outcomes(),
        });
    }
    Ok(columns)
}

/// Writes the parametric module, the instances of both versions, and their
/// configurations. A file that is there and says the same is left alone.
fn emit_tla(directory: &Path, patch: &str, shown: &Shown, args: &Args) -> Result<Vec<String>> {
    std::fs::create_dir_all(directory).map_err(|reason| {
        Error::new(Code::WriteFailed, "the directory cannot be created")
            .with("directory", directory.display())
            .with("reason", reason)
    })?;
    let mut all = vec![tla::parametric()];
    for (name, version) in [("original", &shown.before), (patch, &shown.after)] {
        let listing = [&version.approach[..], &version.listing].concat();
        all.extend(tla::instance(name, &version.steps, &listing, &version.interleavings));
    }
    let mut written = Vec::new();
    for file in all {
        let path = directory.join(&file.name);
        if std::fs::read(&path).is_ok_and(|there| there == file.text.as_bytes()) {
            continue;
        }
        if path.exists() && !args.force {
            return Err(Error::new(
                Code::OutputExists,
                "the output exists with different contents",
            )
            .with("output", path.display())
            .next("remove it, name another directory, or replace it with --force"));
        }
        storage::write(&path, file.text.as_bytes(), args.force)?;
        written.push(path.display().to_string());
    }
    Ok(written)
}

/// The page and everything it borrows from the proof.
fn page_of<'a>(file: &Path, plan: &'a Plan, shown: &'a Shown) -> Page<'a> {
    let place = &plan.site.place;
    let version = |name: &'a str, version: &'a Version| picture::Version {
        name,
        listing: &version.listing,
        steps: &version.steps,
        interleavings: &version.interleavings,
    };
    Page {
        subject: place.name(),
        facts: vec![
            ("file", file.display().to_string()),
            ("slice", place.architecture.to_string()),
            ("window", format!("{}..{}", place.window.start, place.window.end)),
            ("patch", plan.patch.clone()),
        ],
        before: version("original", &shown.before),
        after: version("patched", &shown.after),
        obligations: shown.checks(),
    }
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
        let place = &self.site.place;
        let (style, verdict) = match self.shown.verdict {
            Verdict::Holds => (GOOD, "proven"),
            Verdict::DeclaredDefect => (WARN, "has the defect it declares"),
            Verdict::Refuted => (BAD, "refuted"),
        };
        writeln!(
            out,
            "{STRONG}{}{RESET} {style}{verdict}{RESET} at {} in {}, {}",
            self.patch,
            place.window.start,
            place.architecture,
            printable(place.name())
        )?;
        self.summary(out)?;
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
    fn summary(&self, out: &mut dyn Write) -> io::Result<()> {
        let skipped = self.shown.with_status(Status::Skipped);
        let not_looked_at = match skipped.len() {
            0 => String::new(),
            count => format!(", {count} not looked at"),
        };
        writeln!(
            out,
            "  {} of {} obligations hold{not_looked_at}; {} states of {} threads in every order",
            self.shown.with_status(Status::Pass).len(),
            self.shown.checks().len(),
            self.shown.after.interleavings.states(),
            self.threads
        )?;
        // What was not looked at is never left unsaid.
        report::checks(out, &skipped)
    }

    fn failures(&self, out: &mut dyn Write) -> io::Result<()> {
        report::checks(out, &self.shown.with_status(Status::Fail))?;
        for (property, name) in ASKED {
            if let Some(found) = self.shown.after.interleavings.violation(property) {
                writeln!(out, "  {STRONG}a shortest way to violate {name}{RESET}")?;
                trace(out, &found.trace)?;
            }
        }
        Ok(())
    }

    /// What another thread can meet, a line each, with the versions that allow it.
    fn table(&self, out: &mut dyn Write) -> io::Result<()> {
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
            let (title, summary) = (column.title(), column.summary);
            writeln!(out, "    {FAINT}{title} {summary}; it is not written yet{RESET}")?;
        }
        Ok(())
    }

    /// The race the patch is there for, as the model finds it in the original.
    fn original(&self, out: &mut dyn Write) -> io::Result<()> {
        let locking = &self.shown.before.interleavings.locking;
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
