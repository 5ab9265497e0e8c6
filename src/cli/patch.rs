//! `agxpatch patch FILE -o OUT`: write the patched, resealed copy.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::report::style::{GOOD, RESET, STRONG, WARN};
use crate::report::{Report, printable};
use crate::storage::{self, Input};
use agxpatch_core::edit::{Edit, Hex};
use agxpatch_core::error::{Code, Error, Result};
use agxpatch_core::exit::Exit;
use agxpatch_core::macho::Universal;
use agxpatch_core::patch::{Engine, ORIGINAL, Outcome, Plan, PlannedWord, Site};
use agxpatch_core::proof::{self, Judgement};

use super::{Session, files};

/// Write a patched, re-signed copy of a driver and show every byte that changes
///
/// The source file is never changed. A rewrite that the proof rejects is never written.
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

    /// Write the copy even where the proof has nothing to say, as for a
    /// signature of your own. A rewrite that the proof refuses stays refused.
    #[arg(long)]
    unproven: bool,
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
    proof: Option<Judgement>,
    /// Why there is no proof, where the user asked to go on without.
    unproven: Option<Error>,
    defects: Vec<String>,
    does_not_fix: Vec<String>,
}

/// Runs the command, on two threads: one reads the file while the other compiles
/// the catalogue, and digests it, which takes longest, while the other plans,
/// proves and writes.
pub fn run(args: Args, session: &Session) -> Result<Exit> {
    let (input, engine) = std::thread::scope(|scope| {
        let reading = scope.spawn(|| storage::read(&args.file));
        let engine = files::engine(session).inspect(Engine::warm_up);
        (reading.join(), engine)
    });
    let input = input.unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
    let output = args.output.as_deref().filter(|_| !args.dry_run);
    if let Some(output) = output {
        storage::check_output(output, Some(&input), args.force)?;
    }
    let engine = engine?;
    let report: Result<Patching> = std::thread::scope(|scope| {
        let digest = scope.spawn(|| Hex(&Sha256::digest(&*input.bytes)).to_string());
        let mut report = carry_out(&engine, &input, output, &args)?;
        report.source_sha256 = digest.join().ok();
        Ok(report)
    });
    session.show(&report?)
}

fn carry_out(
    engine: &Engine,
    input: &Input,
    output: Option<&Path>,
    args: &Args,
) -> Result<Patching> {
    let file = args.file.display().to_string();
    let (plan, proof) = match propose(engine, &input.bytes, args)? {
        Proposal::Already(site) => return Ok(already(file, *site)),
        Proposal::Proven(plan, proof) => (plan, proof),
    };
    let mut report = patching(engine, file, *plan);
    match proof {
        Ok(judgement) => report.proof = Some(judgement),
        Err(error) => report.unproven = Some(error),
    }
    if let Some(output) = output {
        storage::write_edited(output, input, &report.edits, args.force)?;
        report.outcome = "written";
        report.output = Some(output.display().to_string());
    }
    Ok(report)
}

/// What to do, with the proof that allows it.
enum Proposal {
    Already(Box<Site>),
    Proven(Box<Plan>, std::result::Result<Judgement, Error>),
}

fn propose(engine: &Engine, bytes: &[u8], args: &Args) -> Result<Proposal> {
    let file = Universal::parse(bytes)?;
    let plan = match engine.plan(&file, args.patch.as_deref())? {
        Outcome::Already(site) => return Ok(Proposal::Already(site)),
        Outcome::Plan(plan) => plan,
    };
    if plan.patch == ORIGINAL {
        let same = Error::new(Code::NoProofFor, "the compiler's own code is put back");
        return Ok(Proposal::Proven(plan, Err(same)));
    }
    let judged = proof::judge(engine, &file, &plan);
    match &judged {
        Ok(judgement) => proof::allow(judgement, &plan, args.patch.is_some())?,
        Err(error) if args.unproven && error.code() == Code::NoProofFor => {}
        Err(error) => return Err(error.clone()),
    }
    Ok(Proposal::Proven(plan, judged))
}

fn patching(engine: &Engine, file: String, plan: Plan) -> Patching {
    let notes = engine.catalogue().patch(&plan.patch).ok();
    Patching {
        file,
        output: None,
        outcome: "planned",
        proof: None,
        unproven: None,
        defects: notes.map(|patch| patch.defects.clone()).unwrap_or_default(),
        does_not_fix: notes.map(|patch| patch.does_not_fix.clone()).unwrap_or_default(),
        patch: plan.patch,
        site: plan.site,
        source_sha256: None,
        words: plan.words,
        edits: plan.edits,
    }
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
        proof: None,
        unproven: None,
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
                printable(&self.file),
                self.site.state,
                place.window.start,
                place.architecture
            );
        }
        writeln!(
            out,
            "{STRONG}{}{RESET} in {}, {} (file offset {})",
            self.patch,
            place.architecture,
            printable(place.name()),
            place.offset
        )?;
        files::show_window(out, &self.words)?;
        files::show_edits(out, &self.edits)?;
        match (&self.proof, &self.unproven) {
            (Some(judgement), _) => writeln!(out, "{}", judgement.sentence())?,
            (None, Some(reason)) => {
                writeln!(out, "{WARN}not proven:{RESET} {}", reason.message())?;
            }
            (None, None) => {}
        }
        for defect in &self.defects {
            writeln!(out, "{WARN}known defect:{RESET} {}", printable(defect))?;
        }
        for gap in &self.does_not_fix {
            writeln!(out, "{WARN}does not fix:{RESET} {}", printable(gap))?;
        }
        match &self.output {
            Some(output) => writeln!(out, "{GOOD}wrote{RESET} {}", printable(output)),
            None => writeln!(out, "dry run: nothing written"),
        }
    }
}
