//! Taking a deployment back: the original on the live volume, and Apple's sealed
//! snapshot for the next boot. One without the other would not last: the sealed
//! snapshot alone leaves the patched file where the next snapshot is made from.
//!
//! Nothing here depends on the version that deployed: the manifest tells which
//! original to put back, the backup is named by its hash.

use serde::Serialize;

use super::deploy::{leave_unmounted, told};
use super::plan::{refuse_interrupted, require_root, wrong_state};
use super::record::Manifest;
use super::state::{self, Facts, State};
use super::step::{Operation, Progress, Step};
use super::volume::Owner;
use super::work::{Work, take_lock};
use super::workshop::Workshop;
use super::{files, kit, layout};
use crate::doctor;
use agxpatch_core::error::{Code, Error, Result};
use agxpatch_host::sip::Sip;
use agxpatch_host::volume;
use agxpatch_host::{CsrConfig, Host};

/// What became of a revert.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case", tag = "outcome")]
pub enum Reverted {
    /// There was nothing to take back.
    Already {
        /// `CLEAN` or `REVERT_PENDING`.
        state: State,
    },
    /// An update had replaced the driver; the records of it were removed.
    Forgotten,
    /// Taken back.
    Done {
        /// Whether a restart is due to be rid of the patched driver.
        restart: bool,
        /// What is put back.
        manifest: Box<Manifest>,
        /// What a person should know.
        notes: Vec<String>,
    },
}

/// Takes back what is deployed.
pub fn revert(
    host: &dyn Host,
    shop: &dyn Workshop,
    owner: Owner,
    consent: &mut dyn FnMut(&Manifest) -> Result<()>,
    progress: &dyn Progress,
) -> Result<Reverted> {
    require_root(host, "revert")?;
    refuse_interrupted(host)?;
    let facts = state::gather(host, shop)?;
    let state = facts.state();
    match state {
        State::Clean | State::RevertPending => return Ok(Reverted::Already { state }),
        State::UpdatedAway => return forget(host),
        State::Foreign => return Err(wrong_state(&facts, state)),
        _ => {}
    }
    let manifest = deployed(host, &facts)?;
    check_way_back(host, &manifest, &owner)?;
    consent(&manifest)?;
    let lock = take_lock(host)?;
    refuse_interrupted(host)?;
    let mut work = Work {
        host,
        shop,
        progress,
        owner,
        manifest,
        plan: None,
        journal: None,
        lock: Some(lock),
        notes: Vec::new(),
    };
    run(&mut work, Operation::Revert)?;
    let restart = host.metadata(&layout::pending())?.is_some();
    let notes = work.notes;
    Ok(Reverted::Done { restart, manifest: Box::new(work.manifest), notes })
}

/// Runs a sequence that is not to be undone but finished.
pub(super) fn run(work: &mut Work<'_>, operation: Operation) -> Result<()> {
    let Err(cause) = work.run(operation) else { return Ok(()) };
    if cause.code() == Code::MachineGone {
        return Err(cause);
    }
    leave_unmounted(work);
    let step = work.journal.as_ref().and_then(super::journal::Journal::last_step);
    let error = Error::new(Code::HalfDone, format!("the {operation} did not come to its end"));
    let told = told(error, step.map_or("none", Step::name), &cause);
    Err(match cause.advice() {
        Some(advice) => told.next(format!("{advice}; then sudo agxpatch recover")),
        None => told.next("sudo agxpatch recover"),
    })
}

/// What is deployed: by the records, or by the one backup there is of this build.
fn deployed(host: &dyn Host, facts: &Facts) -> Result<Manifest> {
    if let Some(manifest) = facts.manifest.clone().or_else(|| facts.booted_manifest.clone()) {
        return Ok(manifest);
    }
    let none = || {
        Error::new(Code::NoWayBack, "no record tells which original to put back")
            .with("backups", layout::backups().display())
            .next("choose Apple's snapshot in recoveryOS: bless --mount VOLUME --last-sealed-snapshot")
    };
    let kept = match host.metadata(&layout::backups())? {
        Some(_) => host.list(&layout::backups())?,
        None => Vec::new(),
    };
    let [original] = kept.as_slice() else { return Err(none()) };
    let driver = facts.driver.as_ref().ok_or_else(none)?;
    let release = facts.release.as_ref().ok_or_else(none)?;
    Ok(Manifest {
        schema: Manifest::SCHEMA.to_owned(),
        tool: String::new(),
        patch: String::new(),
        plan: String::new(),
        driver: doctor::driver_path().display().to_string(),
        original_sha256: original.clone(),
        original_mode: 0o755,
        original_flags: 0,
        patched_sha256: driver.sha256.clone(),
        version: release.version.clone(),
        build: release.build.clone(),
        booted: facts.snapshot.clone().unwrap_or_default(),
        time: host.now().to_string(),
    })
}

/// Everything a revert needs, before it begins.
pub(super) fn check_way_back(host: &dyn Host, manifest: &Manifest, owner: &Owner) -> Result<()> {
    check_owner(host, owner)?;
    let backup = layout::backup(&manifest.original_sha256);
    if host.metadata(&backup)?.is_none() {
        return Err(Error::new(Code::NoWayBack, "the original is not kept any more")
            .with("backup", backup.display())
            .next("choose Apple's snapshot in recoveryOS: bless --mount VOLUME --last-sealed-snapshot"));
    }
    files::read_exactly(host, &backup, &manifest.original_sha256)?;
    let device = volume::system_volume(host)?.device;
    let snapshots = volume::snapshots(host, &device)?;
    if !snapshots.iter().any(volume::Snapshot::is_sealed_release) {
        return Err(Error::new(Code::NoWayBack, "there is no sealed snapshot to go back to")
            .with("volume", device)
            .next("reinstall macOS, which keeps your data and makes one"));
    }
    if Sip::ask(host)?.bits.allows(CsrConfig::UNRESTRICTED_FS) {
        return Ok(());
    }
    Err(Error::new(
        Code::NotReady,
        "Filesystem Protections are on: the live volume cannot be written",
    )
    .next(format!(
        "in recoveryOS: sh \"/Volumes/Macintosh HD - Data{}\"",
        layout::recovery_script().display()
    )))
}

/// `bless` asks for a password after it has cleared the choice, so whether anybody
/// can answer is to be known before.
pub(super) fn check_owner(host: &dyn Host, owner: &Owner) -> Result<()> {
    if *owner != Owner::AtTerminal || host.has_terminal() || host.is_rehearsal() {
        return Ok(());
    }
    Err(Error::new(
        Code::NoTerminal,
        "bless must ask for an owner's password and there is no terminal",
    )
    .next("run it from a terminal, or give --user NAME --password-stdin"))
}

/// Removes the records of a deployment an update has replaced.
fn forget(host: &dyn Host) -> Result<Reverted> {
    let _lock = take_lock(host)?;
    refuse_interrupted(host)?;
    for path in [layout::pending(), layout::manifest()] {
        files::remove_if_present(host, &path)?;
    }
    kit::remove(host)?;
    Ok(Reverted::Forgotten)
}
