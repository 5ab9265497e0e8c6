//! `agxpatch prove FILE`: why the rewrite is right, from the bytes.

mod report;

use std::path::{Path, PathBuf};

use crate::storage;
use agxpatch_core::address::VmAddr;
use agxpatch_core::error::{Code, Error, Result};
use agxpatch_core::exit::Exit;
use agxpatch_core::finder::RewriteKind;
use agxpatch_core::macho::Universal;
use agxpatch_core::patch::{Engine, Examined, Plan};
use agxpatch_core::proof::abstract_rewrite::AbstractRewrite;
use agxpatch_core::proof::html::{self, Page};
use agxpatch_core::proof::interleaving::check;
use agxpatch_core::proof::meaning::Rewriting;
use agxpatch_core::proof::{self, ProofReport, Version, Versions, tla};

use super::patch::does_not_fix;
use super::{Session, files};
use report::{Compared, Proving};

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

/// Runs the command.
pub fn run(args: Args, session: &Session) -> Result<Exit> {
    let input = storage::read(&args.file)?;
    if let Some(page) = &args.html {
        storage::check_output(page, Some(&input), args.force)?;
    }
    let engine = files::engine(session)?;
    let file = Universal::parse(&input.bytes)?;
    let kind = args.patch.as_deref().and_then(RewriteKind::of_name);
    let reports = match (kind, args.patch.as_deref()) {
        (Some(kind), _) => by_meaning(&engine, &input.bytes, &file, kind, &args)?,
        (None, name) => match proof::rewrites(&engine, &file, name, &files::selection(&args.at)) {
            // Where the sequence is not, its meaning may be.
            Err(absent) if name.is_none() && absent.code() == Code::NoMatch => {
                match by_meaning(&engine, &input.bytes, &file, RewriteKind::default(), &args) {
                    Err(error) if error.code() == Code::NoMatch => return Err(absent),
                    reports => reports?,
                }
            }
            plans => by_signature(&engine, &file, plans?, &args)?,
        },
    };
    let mut exit = Exit::Success;
    for report in reports {
        let of_site = session.show(&report)?;
        exit = if of_site == Exit::Success { exit } else { of_site };
    }
    Ok(exit)
}

/// Refuses to write about more than one function: what is written is about one.
fn require_one(args: &Args, places: &[String]) -> Result<()> {
    if places.len() < 2 || args.html.is_none() && args.emit_tla.is_none() {
        return Ok(());
    }
    Err(Error::new(
        Code::ManyMatches,
        "a page or specification covers one place, and the file has several",
    )
    .with_each("at", places)
    .next("choose one with --at ADDRESS"))
}

/// Proves the rewrite of every site of a signature.
fn by_signature(
    engine: &Engine,
    file: &Universal<'_>,
    plans: Vec<Plan>,
    args: &Args,
) -> Result<Vec<Proving>> {
    let named = |plan: &Plan| {
        let place = &plan.site.place;
        format!("{}, {}", place.window.start, place.name())
    };
    require_one(args, &plans.iter().map(named).collect::<Vec<_>>())?;
    let prove = |plan: Plan| {
        let shown = proof::examine(engine, file, &plan, args.threads)?;
        let does_not_fix = engine.catalogue().patch(&plan.patch)?.does_not_fix.clone();
        let place = &plan.site.place;
        let facts = vec![
            ("file", args.file.display().to_string()),
            ("slice", place.architecture.to_string()),
            ("window", format!("{}..{}", place.window.start, place.window.end)),
            ("patch", plan.patch.clone()),
        ];
        let subject = place.name().to_owned();
        let proving = proving(&plan.patch, shown, does_not_fix, args, &subject, facts)?;
        Ok(Proving { site: Some(plan.site), ..proving })
    };
    plans.into_iter().map(prove).collect()
}

/// Proves the rewrite of every function that clears late, or that was rewritten before.
fn by_meaning(
    engine: &Engine,
    bytes: &[u8],
    file: &Universal<'_>,
    kind: RewriteKind,
    args: &Args,
) -> Result<Vec<Proving>> {
    let rewriting = Rewriting::of(engine, bytes, file, kind)?;
    let is_chosen = |one: &&Examined| args.at.is_empty() || args.at.contains(&one.function);
    let chosen: Vec<&Examined> = rewriting.functions.iter().filter(is_chosen).collect();
    let name = |one: &Examined| one.name.clone().unwrap_or("a function without a name".to_owned());
    let listed = |one: &&Examined| format!("{}, {}", one.function, name(one));
    if chosen.is_empty() {
        return Err(Error::new(Code::NoMatch, "no function that is rewritten begins there")
            .with_each("at", rewriting.functions.iter().map(|one| listed(&one)))
            .next("choose one of these with --at ADDRESS"));
    }
    require_one(args, &chosen.iter().map(listed).collect::<Vec<_>>())?;
    let prove = |one: &Examined| {
        let shown = rewriting.prove(engine, one, args.threads)?;
        let kind = rewriting.kind(&shown);
        let patch = kind.name();
        let facts = vec![
            ("file", args.file.display().to_string()),
            ("slice", one.architecture.to_string()),
            ("function", one.function.to_string()),
            ("patch", patch.to_owned()),
        ];
        let does_not_fix = does_not_fix(kind);
        let proving = proving(patch, shown, does_not_fix, args, &name(one), facts)?;
        Ok(Proving { function: Some(one.clone()), ..proving })
    };
    chosen.into_iter().map(prove).collect()
}

/// Writes what was asked for, and says what was found.
fn proving(
    patch: &str,
    shown: ProofReport,
    does_not_fix: Vec<String>,
    args: &Args,
    subject: &str,
    facts: Vec<(&str, String)>,
) -> Result<Proving> {
    let mut written = Vec::new();
    if let Some(directory) = &args.emit_tla {
        written.extend(emit_tla(directory, patch, versions_of(&shown)?, args)?);
    }
    if let Some(page) = &args.html {
        let html = html::render(&page_of(subject, facts, &shown)?)?;
        storage::write(page, html.as_bytes(), args.force)?;
        written.push(page.display().to_string());
    }
    let comparison = match &shown.versions {
        Ok(versions) => compare(patch, versions, args.threads)?,
        Err(_) => Vec::new(),
    };
    let after = shown.versions.as_ref().ok().map(|versions| &versions.after);
    Ok(Proving {
        comparison,
        file: args.file.display().to_string(),
        does_not_fix,
        patch: patch.to_owned(),
        lockless_reader_is_lost: after.is_some_and(|v| v.interleavings.lockless_reader_is_lost()),
        site: None,
        function: None,
        threads: args.threads,
        shown,
        written,
    })
}

/// Both versions as a page or specification needs them.
fn versions_of(shown: &ProofReport) -> Result<&Versions> {
    shown.versions.as_ref().map_err(Error::clone)
}

/// More threads change nothing in the table and much in the time it takes.
const MAX_COMPARED_THREADS: u8 = 3;

/// The table of the original, the rewrite in hand, and the abstract rewrites.
fn compare(patch: &str, shown: &Versions, threads: u8) -> Result<Vec<Compared>> {
    let emitted = |rewrite: &str, summary, version: &Version| Compared {
        rewrite: rewrite.to_owned(),
        summary,
        emitted: true,
        states: version.interleavings.states(),
        outcomes: version.interleavings.outcomes(),
    };
    let mut columns = vec![
        emitted("original", "the code as the compiler made it", &shown.before),
        emitted(patch, "the rewrite that is proven here", &shown.after),
    ];
    let threads = threads.min(MAX_COMPARED_THREADS);
    // Beside a rewrite by meaning stand the others that there are; beside that of a
    // signature, which clears earlier too, those that exclude more.
    let others: Vec<AbstractRewrite> = match RewriteKind::of_name(patch) {
        Some(_) => AbstractRewrite::ALL.into_iter().filter(|one| one.name != patch).collect(),
        None => AbstractRewrite::STRONGER.to_vec(),
    };
    let explored: Vec<_> = std::thread::scope(|scope| {
        let original = &shown.before.steps;
        let start = |rewrite: &AbstractRewrite| {
            let rewrite = *rewrite;
            scope.spawn(move || check(&rewrite.of(original), threads))
        };
        let started: Vec<_> = others.iter().map(start).collect();
        let ended = started.into_iter().map(|one| one.join());
        ended.map(|one| one.unwrap_or_else(|panic| std::panic::resume_unwind(panic))).collect()
    });
    for (rewrite, found) in others.iter().zip(explored) {
        let found = found?;
        columns.push(Compared {
            rewrite: rewrite.name.to_owned(),
            summary: rewrite.summary,
            emitted: false,
            states: found.states(),
            outcomes: found.outcomes(),
        });
    }
    Ok(columns)
}

/// Writes the parametric module, the instances of both versions, and their
/// configurations. A file that is there and says the same is left alone.
fn emit_tla(directory: &Path, patch: &str, shown: &Versions, args: &Args) -> Result<Vec<String>> {
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
fn page_of<'a>(
    subject: &'a str,
    facts: Vec<(&'a str, String)>,
    shown: &'a ProofReport,
) -> Result<Page<'a>> {
    let versions = versions_of(shown)?;
    let version = |name: &'a str, version: &'a Version| html::Version {
        name,
        listing: &version.listing,
        steps: &version.steps,
        interleavings: &version.interleavings,
    };
    Ok(Page {
        subject,
        facts,
        before: version("original", &versions.before),
        after: version("patched", &versions.after),
        obligations: shown.checks(),
    })
}
