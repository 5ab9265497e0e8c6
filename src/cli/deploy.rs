//! `sudo agxpatch deploy`: put the patched driver in force.

use std::io::{self, Write};

use serde::Serialize;

use super::Session;
use super::limits;
use super::machine::{self, Worked};
use crate::report::style::{FAINT, GOOD, RESET, STRONG, WARN};
use crate::report::{self, Report};
use agxpatch_core::error::{Code, Error, Result};
use agxpatch_core::exit::Exit;
use agxpatch_deploy::{self as deploy, Deployed, Options, Plan, kit};

/// Put the patched driver on this Mac's system volume
///
/// Shows a plan and asks before it changes anything. A script reads the plan with
/// --dry-run and applies it with --yes --plan DIGEST.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Show what would be done and change nothing.
    #[arg(long)]
    dry_run: bool,

    /// Go ahead without asking, if the plan has the digest given with --plan.
    #[arg(long, requires = "plan")]
    yes: bool,

    /// The digest of the plan to apply.
    #[arg(long, value_name = "DIGEST")]
    plan: Option<String>,

    /// Accept a driver whose hash is not listed, if it is Apple's and the proof
    /// accepts the rewrite.
    #[arg(long)]
    unlisted_build: bool,

    /// Deploy even where agxpatch cannot test that Apple's programs load the patched driver. If
    /// they reject it, the screen stays black.
    #[arg(long)]
    allow_untested_load: bool,
}

impl Args {
    fn options(&self) -> Options {
        Options { unlisted_build: self.unlisted_build, untested_load: self.allow_untested_load }
    }
}

#[derive(Serialize)]
struct Deployment {
    #[serde(flatten)]
    deployed: Deployed,
    /// In a rehearsal, what would have been done.
    #[serde(skip_serializing_if = "Option::is_none")]
    rehearsal: Option<Vec<String>>,
    /// What is missing in the record of commands.
    #[serde(skip_serializing_if = "Option::is_none")]
    record_note: Option<String>,
    /// What to type in recoveryOS, should the screen stay black.
    way_back: Vec<String>,
    /// The command line of this deployment, without the consent.
    #[serde(skip)]
    command: String,
}

/// Runs the command.
pub fn run(args: Args, session: &Session) -> Result<Exit> {
    let options = args.options();
    let Worked { result, rehearsal, record_note } =
        machine::work(session, args.dry_run, |host, patcher, progress| {
            let mut consent = |plan: &Plan| agree(&args, session, plan);
            deploy::deploy(host, patcher, options, &mut consent, progress)
        })?;
    let way_back = kit::how_to_run(session.host()?.as_ref());
    let command = options.command();
    session.show(&Deployment { deployed: result, rehearsal, record_note, way_back, command })
}

/// The digest of what would be done now, as `--dry-run` shows it.
pub fn digest(session: &Session) -> Result<String> {
    let options = Options { unlisted_build: true, untested_load: true };
    let mut digest = String::new();
    machine::work(session, true, |host, patcher, progress| {
        let mut consent = |plan: &Plan| {
            digest.clone_from(&plan.digest);
            Ok(())
        };
        deploy::deploy(host, patcher, options, &mut consent, progress)
    })?;
    Ok(digest)
}

/// Whether the owner agrees to this plan.
fn agree(args: &Args, session: &Session, plan: &Plan) -> Result<()> {
    let command = args.options().command();
    if let Some(digest) = &args.plan {
        if *digest != plan.digest {
            return Err(Error::new(
                Code::PlanChanged,
                "the plan is not the one that was confirmed",
            )
            .with("agreed", digest)
            .with("plan", &plan.digest)
            .next(format!("look at it: {command} --dry-run")));
        }
        if args.yes {
            return Ok(());
        }
    }
    if args.dry_run {
        return Ok(());
    }
    if !session.json {
        report::print(|out| show_plan(out, plan))?;
    }
    let script = format!("{command} --yes --plan {}", plan.digest);
    machine::ask("This changes the system volume.", &plan.manifest, &script)
}

/// What a person must know of a rewrite that comes from no catalogue.
const DERIVED: &str = "no signature describes this build: the rewrite was derived for it from what \
                       its code does, and proven; it is not published, and has never been run on \
                       a Mac";

fn show_plan(out: &mut dyn Write, plan: &Plan) -> io::Result<()> {
    let manifest = &plan.manifest;
    writeln!(out, "{STRONG}Plan{RESET} {}", plan.digest)?;
    writeln!(out, "  macOS     {} ({})", manifest.version, manifest.build)?;
    writeln!(out, "  driver    {}", manifest.driver)?;
    writeln!(out, "  from      {}", manifest.original_sha256)?;
    writeln!(out, "  to        {}", manifest.patched_sha256)?;
    writeln!(
        out,
        "  patch     {}: {} bytes in {} places; {} obligations proven",
        manifest.patch,
        plan.bytes,
        plan.places,
        plan.proof.len()
    )?;
    if plan.derived {
        writeln!(out, "  {WARN}derived{RESET}   {DERIVED}")?;
    }
    writeln!(out, "  volume    {}", plan.device)?;
    writeln!(out, "  way back  {}", plan.sealed)?;
    for check in &plan.loading {
        writeln!(out, "  loads     {} {}: {}", check.status, check.name, check.detail)?;
    }
    limits::show(out)?;
    writeln!(out, "{STRONG}Steps{RESET}")?;
    for (number, step) in plan.steps.iter().enumerate() {
        writeln!(out, "  {:>2}  {}", number + 1, step.about)?;
    }
    writeln!(out, "{FAINT}A step that fails has everything before it undone.{RESET}")
}

impl Report for Deployment {
    const SCHEMA: &'static str = "agxpatch.deploy/1";

    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        match (&self.deployed, &self.rehearsal) {
            (Deployed::Already { state, manifest }, _) => {
                let patch = manifest.as_ref().map_or("", |manifest| manifest.patch.as_str());
                writeln!(out, "{GOOD}already deployed{RESET}: {patch}, {}", state.about())
            }
            (Deployed::Done { plan, .. }, Some(rehearsal)) => {
                show_plan(out, plan)?;
                writeln!(out, "{STRONG}What would be done{RESET}; nothing was changed")?;
                rehearsal.iter().try_for_each(|line| writeln!(out, "  {line}"))?;
                writeln!(out, "to apply this plan: {} --yes --plan {}", self.command, plan.digest)
            }
            (Deployed::Done { plan, snapshot, notes }, None) => {
                writeln!(out, "{GOOD}deployed{RESET}: {} in {snapshot}", plan.manifest.patch)?;
                let notes = notes.iter().chain(&self.record_note);
                notes
                    .into_iter()
                    .try_for_each(|note| writeln!(out, "{WARN}note:{RESET} {note}"))?;
                writeln!(out, "It comes into force when you {STRONG}restart{RESET}.")?;
                writeln!(out, "Afterwards: agxpatch verify. The way back: sudo agxpatch revert.")?;
                writeln!(out, "Should the screen stay black:")?;
                self.way_back.iter().try_for_each(|line| writeln!(out, "  {line}"))
            }
        }
    }
}
