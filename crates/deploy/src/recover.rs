//! Finishing or undoing whatever a crash left.
//!
//! The journal says what was begun. Whether a deployment is to be finished or
//! undone hangs on one thing, the snapshot the next boot comes from, and macOS
//! does not tell that in a documented way. So it is inferred: after a restart
//! from the snapshot that runs; before one from what the journal has of `bless`.
//! Where `bless` was interrupted, it is run again: making another snapshot is
//! harmless, asks for no password, and settles the matter.

use serde::Serialize;

use super::bless::Owner;
use super::driver_patcher::DriverPatcher;
use super::journal::{Head, Journal};
use super::manifest::{LiveDriver, Manifest};
use super::plan::require_root;
use super::revert::{check_owner, forget_records, run};
use super::state::{self, Facts, State};
use super::step::{Operation, Progress, Step};
use super::volume as live;
use super::work::{Work, take_lock};
use super::{files, kit, layout};
use agxpatch_core::error::Result;
use agxpatch_host::Host;
use agxpatch_host::machine;

/// What recovery did.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case", tag = "outcome")]
pub enum Recovered {
    /// Nothing was interrupted.
    Nothing {
        /// The state the machine is in.
        state: State,
    },
    /// A record contradicted the machine and was set right.
    Reconciled {
        /// The state the machine is in now.
        state: State,
        /// What a person should know.
        notes: Vec<String>,
    },
    /// An interrupted operation was brought to an end.
    Done {
        /// What had been begun.
        begun: Operation,
        /// How it was ended.
        ended: Operation,
        /// The state the machine is in now.
        state: State,
        /// What a person should know.
        notes: Vec<String>,
    },
}

/// Finishes or undoes an interrupted operation.
pub fn recover(
    host: &dyn Host,
    patcher: &dyn DriverPatcher,
    owner: Owner,
    progress: &dyn Progress,
) -> Result<Recovered> {
    require_root(host, "recover")?;
    if host.metadata(std::path::Path::new(layout::STATE))?.is_none() {
        return Ok(Recovered::Nothing { state: state::gather(host, patcher)?.state() });
    }
    let lock = take_lock(host)?;
    let facts = state::gather(host, patcher)?;
    let Some(journal) = Journal::read(host)? else {
        return without_journal(host, patcher, &facts, lock, progress);
    };
    let begun = journal.head.operation;
    let ended = decide(&journal, &facts);
    if asks_for_password(ended, &journal, &facts) {
        check_owner(host, &owner, "recover")?;
    }
    let mut work = Work::new(host, patcher, progress, journal.head.manifest.clone(), lock);
    work.owner = owner;
    work.journal = Some(journal);
    run(&mut work, ended)?;
    let notes = work.notes;
    Ok(Recovered::Done { begun, ended, state: state::gather(host, patcher)?.state(), notes })
}

/// How an interrupted operation is brought to an end.
pub fn decide(journal: &Journal, facts: &Facts) -> Operation {
    let undo =
        if journal.has_begun(Step::StageInPlace) { Operation::Undo } else { Operation::Cancel };
    if journal.head.operation == Operation::Revert {
        return Operation::Revert;
    }
    if journal.has_begun(Step::Undoing) {
        return undo;
    }
    let same_session = facts.session.as_ref() == Some(&journal.head.session);
    if same_session {
        return match journal.snapshot() {
            Some(_) => Operation::Finish,
            None if journal.has_begun(Step::Snapshot) => Operation::Complete,
            None => undo,
        };
    }
    if runs(facts, &journal.head.manifest) { Operation::Finish } else { undo }
}

/// Whether the snapshot that runs is of this deployment.
fn runs(facts: &Facts, manifest: &Manifest) -> bool {
    facts.booted_manifest.as_ref().is_some_and(|booted| booted.same_deployment(manifest))
}

/// Whether Apple's snapshot will have to be chosen.
fn asks_for_password(operation: Operation, journal: &Journal, facts: &Facts) -> bool {
    match operation {
        Operation::Revert => true,
        Operation::Undo => journal.snapshot().is_some() || !facts.runs_sealed(),
        _ => false,
    }
}

/// Nothing was interrupted. Files that were never finished are removed, and a
/// record of a deployment that Apple's snapshot came back from by another way,
/// such as the script for recoveryOS, is set right together with the live volume.
fn without_journal(
    host: &dyn Host,
    patcher: &dyn DriverPatcher,
    facts: &Facts,
    lock: agxpatch_host::Lock,
    progress: &dyn Progress,
) -> Result<Recovered> {
    tidy(host)?;
    let state = facts.state();
    let sealed = facts.runs_sealed();
    let stale = facts.manifest.as_ref().filter(|_| sealed && state == State::Unknown);
    let not_restored = facts.reverted.as_ref().filter(|reverted| {
        sealed && state == State::Clean && reverted.live == LiveDriver::NotRestored
    });
    let stale = stale.or(not_restored.map(|reverted| &reverted.manifest));
    let Some(manifest) = stale.cloned() else {
        if state == State::Clean && facts.reverted.is_none() {
            kit::remove(host)?;
        } else if state == State::Clean && facts.revert_before_restart().is_some() {
            forget_records(host)?;
        }
        return Ok(Recovered::Nothing { state });
    };
    let head = Head {
        schema: Head::SCHEMA.to_owned(),
        operation: Operation::Deploy,
        session: machine::boot_session(host)?,
        manifest: manifest.clone(),
    };
    // What lies on the live volume is not known, so it is to be looked at.
    let journal = Journal::create_after(host, head, &[Step::StageInPlace])?;
    let mut work = Work::new(host, patcher, progress, manifest, lock);
    work.journal = Some(journal);
    run(&mut work, Operation::Undo)?;
    if work.live == Some(LiveDriver::Original) {
        forget_records(host)?;
    }
    let notes = work.notes;
    Ok(Recovered::Reconciled { state: state::gather(host, patcher)?.state(), notes })
}

/// Removes what a crash before the first line of a journal may have left, or one
/// whose journal the script for recoveryOS took away.
fn tidy(host: &dyn Host) -> Result<()> {
    live::unmount(host)?;
    live::unmount_at(host, &layout::look_point())?;
    kit::remove_unfinished(host)?;
    for path in [layout::journal(), layout::manifest(), layout::pending(), layout::reverted()] {
        files::remove_if_present(host, &layout::unfinished(&path))?;
    }
    for (directory, all) in [(layout::backups(), false), (layout::staging(), true)] {
        if host.metadata(&directory)?.is_none() {
            continue;
        }
        for name in host.list(&directory)?.iter().filter(|name| all || name.ends_with(".new")) {
            files::remove_if_present(host, &directory.join(name))?;
        }
    }
    files::remove_directory_if_empty(host, &layout::staging())
}
