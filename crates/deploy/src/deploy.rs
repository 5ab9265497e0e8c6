//! Putting the patched driver in force.
//!
//! Until the snapshot is made and confirmed, a step that fails has everything
//! undone that was done. From then on the next boot is decided, and what is left
//! is tidying up: that is tried once more, and else left to `recover`.

use serde::Serialize;

use super::driver_patcher::DriverPatcher;
use super::journal::Journal;
use super::manifest::Manifest;
use super::plan::{Options, Plan, Prepared, prepare, refuse_interrupted, wrong_state};
use super::state::{self, Facts, State};
use super::step::{Operation, Progress, Step};
use super::volume as live;
use super::work::{Work, take_lock};
use super::{files, layout};
use agxpatch_core::error::{Code, Error, Result};
use agxpatch_host::Host;

/// What became of a deployment.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case", tag = "outcome")]
pub enum Deployed {
    /// It was deployed before.
    Already {
        /// `ACTIVE` or `PENDING_REBOOT`.
        state: State,
        /// What is deployed.
        manifest: Option<Box<Manifest>>,
    },
    /// It is, from the next restart on.
    Done {
        /// What was agreed to.
        plan: Box<Plan>,
        /// The snapshot that comes up.
        snapshot: String,
        /// What a person should know.
        notes: Vec<String>,
    },
}

/// Deploys. `consent` is shown the plan and returns an error where consent is refused.
///
/// # Errors
/// Refusals change nothing. [`Code::RolledBack`] where a step failed and all was
/// undone, [`Code::HalfDone`] where that failed too.
pub fn deploy(
    host: &dyn Host,
    patcher: &dyn DriverPatcher,
    options: Options,
    consent: &mut dyn FnMut(&Plan) -> Result<()>,
    progress: &dyn Progress,
) -> Result<Deployed> {
    let plan = match prepare(host, patcher, options)? {
        Prepared::Plan(plan) => plan,
        Prepared::Already(facts) => {
            return Ok(Deployed::Already {
                state: facts.state(),
                manifest: facts.manifest.map(Box::new),
            });
        }
    };
    consent(&plan)?;
    progress.begins(Operation::Deploy, Step::Lock);
    let lock = take_lock(host)?;
    still_holds(host, patcher, &plan)?;
    progress.ends(Operation::Deploy, Step::Lock);
    let mut work = Work {
        plan: Some(&plan),
        snapshot_alone: false,
        ..Work::new(host, patcher, progress, plan.manifest.clone(), lock)
    };
    if let Err(cause) = work.run(Operation::Deploy) {
        after_failure(&mut work, cause)?;
    }
    let snapshot = work.journal.as_ref().and_then(Journal::snapshot).unwrap_or_default().to_owned();
    let notes = work.notes;
    Ok(Deployed::Done { plan, snapshot, notes })
}

/// What the plan rests on, once more now that no other process is at work.
fn still_holds(host: &dyn Host, patcher: &dyn DriverPatcher, plan: &Plan) -> Result<()> {
    refuse_interrupted(host)?;
    let facts: Facts = state::gather(host, patcher)?;
    let state = facts.state();
    if !matches!(state, State::Clean | State::UpdatedAway) {
        return Err(wrong_state(&facts, state));
    }
    let driver = facts.driver.map(|driver| driver.sha256).unwrap_or_default();
    let build = facts.release.map(|release| release.build).unwrap_or_default();
    if driver == plan.manifest.original_sha256 && build == plan.manifest.build {
        return Ok(());
    }
    Err(Error::new(Code::PlanChanged, "the driver is not the one the plan was made for")
        .with("planned", format!("{} of {}", plan.manifest.original_sha256, plan.manifest.build))
        .with("found", format!("{driver} of {build}"))
        .next("look at the new plan: sudo agxpatch deploy --dry-run"))
}

/// Undoes what was done, or finishes what is decided. Returns only in the latter
/// case, and if it succeeded.
fn after_failure(work: &mut Work<'_>, cause: Error) -> Result<()> {
    let Some(journal) = &work.journal else { return Err(not_begun(work.host, cause)) };
    let step = journal.last_step().map_or("none", Step::name);
    let begun = |step| journal.has_begun(step);
    let way = if begun(Step::Unmount) {
        Operation::Finish
    } else if begun(Step::StageInPlace) {
        Operation::Undo
    } else {
        Operation::Cancel
    };
    match (way, work.run(way)) {
        (Operation::Finish, Ok(())) => {
            work.notes.push(format!("{step} failed at first and was done again: {cause}"));
            Ok(())
        }
        (_, Ok(())) => Err(told(
            Error::new(
                Code::RolledBack,
                "the deployment failed, and the completed steps were undone",
            ),
            step,
            &cause,
        )),
        (_, Err(second)) => {
            leave_unmounted(work);
            let error = Error::new(Code::HalfDone, "the deployment failed, and so did undoing it");
            Err(told(error, step, &cause)
                .with("then", describe(&second))
                .next("sudo agxpatch recover"))
        }
    }
}

/// Nothing was done yet but the journal, of which something may be left.
fn not_begun(host: &dyn Host, cause: Error) -> Error {
    let removed = Journal::close(host)
        .and_then(|()| files::remove_if_present(host, &layout::unfinished(&layout::journal())));
    match removed {
        Ok(()) => told(
            Error::new(Code::RolledBack, "the deployment failed before anything was changed"),
            Step::Journal.name(),
            &cause,
        ),
        Err(_) => cause,
    }
}

/// Nothing that agxpatch mounted stays mounted, whatever else went wrong.
pub(super) fn leave_unmounted(work: &Work<'_>) {
    // The failure that led here is the one to tell.
    drop(live::unmount(work.host));
}

pub(super) fn told(error: Error, step: &str, cause: &Error) -> Error {
    let error = error.with("step", step).with("cause", describe(cause));
    let error = cause.context().iter().fold(error, |error, (name, value)| error.with(name, value));
    match cause.advice() {
        Some(advice) => error.next(advice.to_owned()),
        None => error,
    }
}

fn describe(error: &Error) -> String {
    error.to_string()
}
