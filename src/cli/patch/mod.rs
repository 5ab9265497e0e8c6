//! `agxpatch patch FILE -o OUT`: write the patched, resealed copy.

mod report;

use std::path::PathBuf;
use std::thread::ScopedJoinHandle;

use crate::storage;
use agxpatch_core::address::VmAddr;
use agxpatch_core::edit::{Edit, sha256};
use agxpatch_core::error::{Code, Error, Result};
use agxpatch_core::exit::Exit;
use agxpatch_core::finder::RewriteKind;
use agxpatch_core::macho::Universal;
use agxpatch_core::patch::{
    self, Engine, Examined, Extent, FilePlan, MeaningOutcome, ORIGINAL, Outcome, Plan, Sites,
};
use agxpatch_core::proof::rewrite::ByRefinement;
use agxpatch_core::proof::{self, Judgement};

use super::{Session, files};
pub(super) use report::does_not_fix;
use report::{PLANNED, Patching, already, already_by_meaning, by_meaning, original, patching};

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

    /// Apply this patch instead of the default one: its name or its alias; by meaning
    /// `clear-under-lock`, or `take` or `reread`, which also keep two threads from giving one
    /// block back; or `original` for the way back.
    #[arg(long, value_name = "NAME")]
    patch: Option<String>,

    /// Patch the place that holds this address, whatever its method. May be given
    /// several times; all places are patched or none.
    #[arg(long, value_name = "ADDRESS")]
    at: Vec<VmAddr>,

    /// Accept a file that does not match its code signature, and renew every digest.
    #[arg(long)]
    reseal: bool,

    /// Replace the output if it exists.
    #[arg(long)]
    force: bool,

    /// Write the copy even if no proof exists for it, such as for a custom signature. A rewrite
    /// that the proof rejects is still refused.
    #[arg(long)]
    unproven: bool,
}

/// Runs the command on several threads. One reads the file while this one compiles the
/// catalogue; then one checks the signature, which takes longest, and one copies the file to
/// where the output will be, while this one plans and proves. The copy is dropped if the answer
/// is no.
pub fn run(args: Args, session: &Session) -> Result<Exit> {
    let (input, engine) = std::thread::scope(|scope| {
        let reading = scope.spawn(|| storage::read(&args.file));
        let engine = files::engine(session).inspect(Engine::warm_up);
        (joined(reading), engine)
    });
    let input = input?;
    let output = args.output.as_deref().filter(|_| !args.dry_run);
    if let Some(output) = output {
        storage::check_output(output, Some(&input), args.force)?;
    }
    let engine = engine?;
    let (proposal, draft, digest) = std::thread::scope(|scope| {
        let sound = scope.spawn(|| match args.reseal {
            true => Ok(()),
            false => patch::refuse_broken(&Universal::parse(&input.bytes)?),
        });
        let draft = output.map(|output| scope.spawn(|| input.draft(output)));
        // The text does not show it.
        let digest = session.json.then(|| scope.spawn(|| sha256(&input.bytes)));
        let planned = propose(&engine, &input.bytes, &args);
        (joined(sound).and(planned), draft.map(joined), digest.map(joined))
    });
    let mut report = described(&engine, args.file.display().to_string(), proposal?);
    report.source_sha256 = digest;
    if let (PLANNED, Some(draft), Some(output)) = (report.outcome, draft, output) {
        let draft = draft?;
        draft.edit(&input.bytes, &report.edits)?;
        draft.finish(args.force)?;
        report.outcome = "written";
        report.output = Some(output.display().to_string());
    }
    session.show(&report)
}

fn joined<T>(thread: ScopedJoinHandle<'_, T>) -> T {
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

fn described(engine: &Engine, file: String, proposal: Proposal) -> Patching {
    match proposal {
        Proposal::Already(sites) => already(file, *sites),
        Proposal::ByMeaning(MeaningOutcome::Already(examined)) => {
            already_by_meaning(file, &examined)
        }
        Proposal::ByMeaning(MeaningOutcome::Plan(plan)) => by_meaning(file, Some(*plan)),
        Proposal::Original(edits) => original(file, edits),
        Proposal::Proven(plan, proofs) => patching(engine, file, *plan, proofs),
    }
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
    let kind = args.patch.as_deref().and_then(RewriteKind::of_name);
    if let Some(kind) = kind {
        require_no_place(args, kind)?;
        return Ok(Proposal::ByMeaning(engine.plan_by_meaning_as(&file, kind, &ByRefinement)?));
    }
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

/// A rewrite by meaning is of all functions that clear late.
fn require_no_place(args: &Args, kind: RewriteKind) -> Result<()> {
    if args.at.is_empty() {
        return Ok(());
    }
    Err(Error::new(Code::BadArgument, "a rewrite by meaning is of every function that clears late")
        .with("patch", kind.name())
        .next("leave --at out"))
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
    if args.patch.is_some() {
        return Err(error);
    }
    match engine.plan_by_meaning(file, &ByRefinement) {
        Ok(outcome) => Ok(Proposal::ByMeaning(outcome)),
        Err(refused) if refused.code() != Code::NoMatch => Err(refused),
        Err(_) => Err(error),
    }
}

/// Whether the file's methods clear in time, as a rewrite by meaning leaves them.
fn is_rewritten(engine: &Engine, file: &Universal<'_>) -> bool {
    let examined = engine.examine(file, Extent::Named).unwrap_or_default().functions;
    examined.iter().any(Examined::clears_in_time)
}

fn prove(engine: &Engine, file: &Universal<'_>, rewrite: &Plan, args: &Args) -> Result<Proof> {
    if rewrite.patch == ORIGINAL {
        return Ok(Err(Error::new(Code::NoProofFor, "the compiler's own code is restored")));
    }
    let judged = proof::judge(engine, file, rewrite);
    match &judged {
        Ok(judgement) => proof::allow(judgement, rewrite, args.patch.is_some())?,
        Err(error) if args.unproven && error.code() == Code::NoProofFor => {}
        Err(error) => return Err(error.clone()),
    }
    Ok(judged)
}
