//! `agxpatch patch FILE -o OUT`: write the patched, resealed copy.

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::report::style::{GOOD, RESET, STRONG, WARN};
use crate::report::{Report, printable};
use crate::storage::{self, Input};
use agxpatch_core::address::VmAddr;
use agxpatch_core::edit::{Edit, sha256};
use agxpatch_core::error::{Code, Error, Result};
use agxpatch_core::exit::Exit;
use agxpatch_core::finder::Verdict;
use agxpatch_core::macho::Universal;
use agxpatch_core::patch::{
    self, EARLIER_CLEAR, Engine, Extent, FilePlan, MeaningOutcome, MeaningPlan, ORIGINAL,
    Occurrence, Outcome, Plan, PlannedWord, Site, Sites, State,
};
use agxpatch_core::proof::rewrite::ByRefinement;
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

    /// Patch the place that holds this address, whatever its method. May be given
    /// several times; all places are patched or none.
    #[arg(long, value_name = "ADDRESS")]
    at: Vec<VmAddr>,

    /// Accept a file whose signature does not fit it, and renew every digest.
    #[arg(long)]
    reseal: bool,

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
    /// The sites, each with its rewrite.
    sites: Vec<Rewrite>,
    /// Further places where the sequence stands, which are left alone.
    elsewhere: Vec<Occurrence>,
    /// The functions that are rewritten because of what they do, where no signature
    /// describes them.
    by_meaning: Option<MeaningPlan>,
    source_sha256: Option<String>,
    edits: Vec<Edit>,
    defects: Vec<String>,
    does_not_fix: Vec<String>,
}

/// A site and what becomes of it.
#[derive(Serialize)]
struct Rewrite {
    site: Site,
    words: Vec<PlannedWord>,
    proof: Option<Judgement>,
    /// Why there is no proof, where the user asked to go on without.
    unproven: Option<Error>,
}

/// Runs the command on several threads: one reads the file while the other compiles
/// the catalogue; then one digests the file and one checks its signature, which take
/// longest, while this one plans and proves.
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
        let digest = scope.spawn(|| sha256(&input.bytes));
        let sound = scope.spawn(|| match args.reseal {
            true => Ok(()),
            false => patch::refuse_broken(&Universal::parse(&input.bytes)?),
        });
        let planned = propose(&engine, &input.bytes, &args);
        let sound = sound.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        let mut report = carry_out(&engine, &input, output, &args, sound.and(planned))?;
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
    proposal: Result<Proposal>,
) -> Result<Patching> {
    let file = args.file.display().to_string();
    let mut report = match proposal? {
        Proposal::Already(sites) => return Ok(already(file, *sites)),
        Proposal::ByMeaning(MeaningOutcome::Already(_)) => return Ok(by_meaning(file, None)),
        Proposal::ByMeaning(MeaningOutcome::Plan(plan)) => by_meaning(file, Some(*plan)),
        Proposal::Original(edits) => original(file, edits),
        Proposal::Proven(plan, proofs) => patching(engine, file, *plan, proofs),
    };
    if let Some(output) = output {
        storage::write_edited(output, input, &report.edits, args.force)?;
        report.outcome = "written";
        report.output = Some(output.display().to_string());
    }
    Ok(report)
}

/// A proof, or the reason why there is none, which does not stop the user.
type Proof = std::result::Result<Judgement, Error>;

/// What to do, with the proofs that allow it, one for each rewrite.
enum Proposal {
    Already(Box<Sites>),
    Proven(Box<FilePlan>, Vec<Proof>),
    ByMeaning(MeaningOutcome),
    /// The original code that the file keeps goes back.
    Original(Vec<Edit>),
}

fn propose(engine: &Engine, bytes: &[u8], args: &Args) -> Result<Proposal> {
    let file = Universal::parse(bytes)?;
    let selection = files::selection(&args.at);
    let planned = match engine.plan_selected(&file, args.patch.as_deref(), &selection) {
        // Where the sequence is not, its meaning may be.
        Err(error) if error.code() == Code::NoMatch && args.at.is_empty() => {
            return without_signature(engine, &file, args, error);
        }
        planned => planned?,
    };
    let plan = match planned {
        Outcome::Already(sites) if !args.reseal => return Ok(Proposal::Already(sites)),
        Outcome::Already(sites) => Box::new(engine.plan_of_standing(&file, *sites)?),
        Outcome::Plan(plan) => plan,
    };
    let mut plan = plan;
    if args.reseal {
        plan.renew_every_digest(&file)?;
    }
    let prove = |rewrite: &Plan| prove(engine, &file, rewrite, args);
    let proofs = plan.rewrites.iter().map(prove).collect::<Result<_>>()?;
    Ok(Proposal::Proven(plan, proofs))
}

/// What the finder proposes for a file that no signature describes; `error` says that
/// none does.
fn without_signature(
    engine: &Engine,
    file: &Universal<'_>,
    args: &Args,
    error: Error,
) -> Result<Proposal> {
    if args.patch.as_deref() == Some(ORIGINAL) {
        return match engine.plan_original(file) {
            Ok(edits) => Ok(Proposal::Original(edits)),
            // Where no code was rewritten by meaning, the signature's absence says more.
            Err(reason) if reason.code() == Code::NoMatch && !is_rewritten(engine, file) => {
                Err(error)
            }
            Err(reason) => Err(reason),
        };
    }
    let by_name = args.patch.as_deref().filter(|name| *name != EARLIER_CLEAR);
    match (by_name, engine.plan_by_meaning(file, &ByRefinement)) {
        (None, Ok(outcome)) => Ok(Proposal::ByMeaning(outcome)),
        (None, Err(refused)) if refused.code() != Code::NoMatch => Err(refused),
        _ => Err(error),
    }
}

/// Whether the file's methods clear in time, as a rewrite by meaning leaves them.
fn is_rewritten(engine: &Engine, file: &Universal<'_>) -> bool {
    let examined = engine.examine(file, Extent::Named).unwrap_or_default().functions;
    examined.iter().any(|one| one.verdict == Verdict::ClearsUnderLock)
}

/// The report of putting back the original code that a file keeps.
fn original(file: String, edits: Vec<Edit>) -> Patching {
    let none = by_meaning(file, None);
    Patching {
        outcome: "planned",
        patch: ORIGINAL.to_owned(),
        edits,
        does_not_fix: Vec::new(),
        ..none
    }
}

/// The report of a plan by meaning, or of a file that needs none.
fn by_meaning(file: String, plan: Option<MeaningPlan>) -> Patching {
    Patching {
        file,
        output: None,
        outcome: if plan.is_some() { "planned" } else { "already" },
        patch: EARLIER_CLEAR.to_owned(),
        sites: Vec::new(),
        elsewhere: Vec::new(),
        source_sha256: None,
        edits: plan.as_ref().map(|plan| plan.edits.clone()).unwrap_or_default(),
        by_meaning: plan,
        defects: Vec::new(),
        does_not_fix: DOES_NOT_FIX.map(str::to_owned).to_vec(),
    }
}

/// What an earlier clear leaves open.
const DOES_NOT_FIX: [&str; 3] = [
    "two threads that both release one object still give its block back twice",
    "two threads that both release one object still destroy its block twice",
    "code that reads the field without the lock may still find a block that was given back",
];

fn prove(engine: &Engine, file: &Universal<'_>, rewrite: &Plan, args: &Args) -> Result<Proof> {
    if rewrite.patch == ORIGINAL {
        return Ok(Err(Error::new(Code::NoProofFor, "the compiler's own code is put back")));
    }
    let judged = proof::judge(engine, file, rewrite);
    match &judged {
        Ok(judgement) => proof::allow(judgement, rewrite, args.patch.is_some())?,
        Err(error) if args.unproven && error.code() == Code::NoProofFor => {}
        Err(error) => return Err(error.clone()),
    }
    Ok(judged)
}

fn patching(engine: &Engine, file: String, plan: FilePlan, proofs: Vec<Proof>) -> Patching {
    let notes = engine.catalogue().patch(&plan.patch).ok();
    let sites = plan.rewrites.into_iter().zip(proofs).map(|(rewrite, proof)| {
        let (proof, unproven) = match proof {
            Ok(judgement) => (Some(judgement), None),
            Err(error) => (None, Some(error)),
        };
        Rewrite { site: rewrite.site, words: rewrite.words, proof, unproven }
    });
    Patching {
        file,
        output: None,
        outcome: "planned",
        sites: sites.collect(),
        elsewhere: plan.elsewhere,
        by_meaning: None,
        defects: notes.map(|patch| patch.defects.clone()).unwrap_or_default(),
        does_not_fix: notes.map(|patch| patch.does_not_fix.clone()).unwrap_or_default(),
        patch: plan.patch,
        source_sha256: None,
        edits: plan.edits,
    }
}

fn already(file: String, found: Sites) -> Patching {
    let patch = found.state().map(State::to_string).unwrap_or_default();
    let unchanged = |site| Rewrite { site, words: Vec::new(), proof: None, unproven: None };
    Patching {
        file,
        output: None,
        outcome: "already",
        patch,
        sites: found.sites.into_iter().map(unchanged).collect(),
        elsewhere: found.elsewhere,
        by_meaning: None,
        source_sha256: None,
        edits: Vec::new(),
        defects: Vec::new(),
        does_not_fix: Vec::new(),
    }
}

impl Report for Patching {
    const SCHEMA: &'static str = "agxpatch.patch/2";

    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        if self.outcome == "already" {
            return self.already(out);
        }
        for rewrite in &self.sites {
            let place = &rewrite.site.place;
            writeln!(
                out,
                "{STRONG}{}{RESET} in {}, {} (file offset {})",
                self.patch,
                place.architecture,
                printable(place.name()),
                place.offset
            )?;
            files::show_window(out, &rewrite.words)?;
        }
        if let Some(plan) = &self.by_meaning {
            show_by_meaning(out, plan)?;
        }
        files::show_elsewhere(out, &self.elsewhere)?;
        files::show_edits(out, &self.edits)?;
        self.proofs(out)?;
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

fn show_by_meaning(out: &mut dyn Write, plan: &MeaningPlan) -> io::Result<()> {
    for one in &plan.rewritten {
        let name = one.examined.name.as_deref().unwrap_or("a function without a name");
        let (at, architecture) = (one.examined.function, one.examined.architecture);
        let name = printable(name);
        writeln!(out, "{STRONG}{EARLIER_CLEAR}{RESET} in {architecture}, {name} at {at}")?;
        let differences: BTreeSet<&str> =
            one.proofs.iter().flat_map(|proof| proof.permissions.iter().copied()).collect();
        let differences = Vec::from_iter(differences).join(", ");
        writeln!(out, "  {GOOD}proven{RESET}: it differs from the original by {differences}")?;
    }
    for one in &plan.refused {
        let name = one.examined.name.as_deref().unwrap_or("a function without a name");
        let (at, name) = (one.examined.function, printable(name));
        writeln!(out, "{WARN}clears late, not rewritten:{RESET} {name} at {at}: {}", one.refused)?;
    }
    files::show_not_examined(out, plan.not_examined)?;
    match plan.original_kept {
        true => {
            writeln!(out, "--patch original puts the original code back from the new file alone")
        }
        false => writeln!(
            out,
            "{WARN}the signature leaves no room for the original code:{RESET} only the file this \
             was made from brings it back"
        ),
    }
}

impl Patching {
    fn already(&self, out: &mut dyn Write) -> io::Result<()> {
        if self.sites.is_empty() {
            let file = printable(&self.file);
            return writeln!(out, "{file}: {GOOD}clears under the lock{RESET}; nothing written");
        }
        for Rewrite { site, .. } in &self.sites {
            writeln!(
                out,
                "{}: {GOOD}already {}{RESET} at {} in {}; nothing written",
                printable(&self.file),
                site.state,
                site.place.window.start,
                site.place.architecture
            )?;
        }
        Ok(())
    }

    /// What was proven, once where it is the same for all sites.
    fn proofs(&self, out: &mut dyn Write) -> io::Result<()> {
        let mut said = Vec::new();
        for Rewrite { proof, unproven, .. } in &self.sites {
            let sentence = match (proof, unproven) {
                (Some(judgement), _) => judgement.sentence(),
                (None, Some(reason)) => format!("{WARN}not proven:{RESET} {}", reason.message()),
                (None, None) => continue,
            };
            if !said.contains(&sentence) {
                writeln!(out, "{sentence}")?;
                said.push(sentence);
            }
        }
        Ok(())
    }
}
