//! `agxpatch patch FILE -o OUT`: write the patched, resealed copy.

use std::io::{self, Write};
use std::path::PathBuf;

use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::edit::{self, Edit, Hex};
use crate::error::{Code, Error, Result};
use crate::exit::Exit;
use crate::macho::Universal;
use crate::patch::{Engine, Outcome, PlannedWord, Site};
use crate::report::Report;
use crate::report::style::{GOOD, RESET, STRONG, WARN};
use crate::storage;

use super::{Session, files};

/// Write a patched, re-signed copy of a driver and show what changed.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// The driver. It is never written to.
    file: PathBuf,

    /// Where to write the patched copy.
    #[arg(short, long, value_name = "OUT", required_unless_present = "dry_run")]
    output: Option<PathBuf>,

    /// Show what would change and write nothing.
    #[arg(long)]
    dry_run: bool,

    /// Apply this patch instead of the default one: its name, its alias, or
    /// `original` for the way back.
    #[arg(long, value_name = "NAME")]
    patch: Option<String>,

    /// Replace the output if it exists.
    #[arg(long)]
    force: bool,
}

#[derive(Serialize)]
struct Patching {
    file: String,
    output: Option<String>,
    /// What became of it: `written`, `planned`, or `already`.
    outcome: &'static str,
    patch: String,
    site: Site,
    source_sha256: Option<String>,
    words: Vec<PlannedWord>,
    edits: Vec<Edit>,
    defects: Vec<String>,
    does_not_fix: Vec<String>,
}

/// Runs the command.
pub fn run(args: Args, session: &Session) -> Result<Exit> {
    let mut input = storage::read(&args.file)?;
    if let Some(output) = args.output.as_deref().filter(|_| !args.dry_run) {
        storage::check_output(&input, output, args.force)?;
    }
    let engine = files::engine(session)?;
    let (outcome, sha256) = plan_and_digest(&engine, &input.bytes, args.patch.as_deref());
    let file = args.file.display().to_string();
    let report = match outcome? {
        Outcome::Already(site) => already(file, *site),
        Outcome::Plan(plan) => {
            let output = args.output.filter(|_| !args.dry_run);
            let notes = engine.catalogue().patch(&plan.patch).ok();
            let report = Patching {
                file,
                output: output.as_ref().map(|path| path.display().to_string()),
                outcome: if output.is_some() { "written" } else { "planned" },
                defects: notes.map(|patch| patch.defects.clone()).unwrap_or_default(),
                does_not_fix: notes.map(|patch| patch.does_not_fix.clone()).unwrap_or_default(),
                patch: plan.patch,
                site: plan.site,
                source_sha256: Some(sha256),
                words: plan.words,
                edits: plan.edits,
            };
            if let Some(output) = output {
                edit::apply(&mut input.bytes, &report.edits)?;
                storage::write(&output, &input.bytes, Some(&input), args.force)?;
            }
            report
        }
    };
    session.show(&report)
}

/// Plans while another thread digests the whole input, which takes longest.
fn plan_and_digest(
    engine: &Engine,
    bytes: &[u8],
    patch: Option<&str>,
) -> (Result<Outcome>, String) {
    std::thread::scope(|scope| {
        let digest = scope.spawn(|| Hex(&Sha256::digest(bytes)).to_string());
        let outcome = Universal::parse(bytes).and_then(|file| engine.plan(&file, patch));
        match digest.join() {
            Ok(digest) => (outcome, digest),
            Err(_) => {
                let lost = Error::new(Code::Bug, "the digest of the input was lost");
                (outcome.and(Err(lost)), String::new())
            }
        }
    })
}

fn already(file: String, site: Site) -> Patching {
    Patching {
        file,
        output: None,
        outcome: "already",
        patch: site.state.to_string(),
        site,
        source_sha256: None,
        words: Vec::new(),
        edits: Vec::new(),
        defects: Vec::new(),
        does_not_fix: Vec::new(),
    }
}

impl Report for Patching {
    const SCHEMA: &'static str = "agxpatch.patch/1";

    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        let place = &self.site.place;
        if self.outcome == "already" {
            return writeln!(
                out,
                "{}: {GOOD}already {}{RESET} at {} in {}; nothing written",
                self.file, self.site.state, place.window.start, place.architecture
            );
        }
        writeln!(
            out,
            "{STRONG}{}{RESET} in {}, {} (file offset {})",
            self.patch,
            place.architecture,
            place.method.as_deref().unwrap_or("a function without a name"),
            place.offset
        )?;
        files::show_window(out, &self.words)?;
        files::show_edits(out, &self.edits)?;
        for defect in &self.defects {
            writeln!(out, "{WARN}known defect:{RESET} {defect}")?;
        }
        for gap in &self.does_not_fix {
            writeln!(out, "{WARN}does not fix:{RESET} {gap}")?;
        }
        match &self.output {
            Some(output) => writeln!(out, "{GOOD}wrote{RESET} {output}"),
            None => writeln!(out, "dry run: nothing written"),
        }
    }
}
