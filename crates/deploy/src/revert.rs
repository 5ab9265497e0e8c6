//! Taking a deployment back: the original on the live volume, and Apple's sealed
//! snapshot for the next boot. One without the other would not last: the sealed
//! snapshot alone leaves the patched file where the next snapshot is made from.
//!
//! Nothing here depends on the version that deployed: the manifest tells which
//! original to put back, the backup is named by its hash.

use serde::Serialize;

use super::bless::Owner;
use super::deploy::{leave_unmounted, told};
use super::driver_patcher::DriverPatcher;
use super::journal::Journal;
use super::manifest::{LiveDriver, Manifest};
use super::plan::{refuse_interrupted, require_root, wrong_state};
use super::state::{self, Facts, State};
use super::step::{Operation, Progress, Step};
use super::work::{Work, take_lock};
use super::{files, kit, layout, live_look};
use agxpatch_core::error::{Code, Error, Result};
use agxpatch_host::Host;
use agxpatch_host::volume::{self, Snapshot};

/// What became of a revert.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case", tag = "outcome")]
pub enum Reverted {
    /// There was nothing to take back.
    Already {
        /// `CLEAN` or `REVERT_PENDING`.
        state: State,
        /// Whether the recovery kit of an earlier revert was removed.
        kit_removed: bool,
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
    patcher: &dyn DriverPatcher,
    owner: Owner,
    consent: &mut dyn FnMut(&Manifest) -> Result<()>,
    progress: &dyn Progress,
) -> Result<Reverted> {
    require_root(host, "revert")?;
    refuse_interrupted(host)?;
    let facts = state::gather(host, patcher)?;
    let state = facts.state();
    match state {
        State::Clean if !patched_driver_lurks(host, patcher, &facts)? => {
            let kit_removed = forget_revert(host, &facts)?;
            return Ok(Reverted::Already { state, kit_removed });
        }
        State::RevertPending => return Ok(Reverted::Already { state, kit_removed: false }),
        State::UpdatedAway => return forget(host),
        State::Foreign if !facts.has_records() => return Err(wrong_state(&facts, state)),
        _ => {}
    }
    let manifest = deployed(host, &facts)?;
    let notes = check_way_back(host, &manifest, &owner)?;
    consent(&manifest)?;
    let lock = take_lock(host)?;
    refuse_interrupted(host)?;
    let mut work = Work::new(host, patcher, progress, manifest, lock);
    work.owner = owner;
    work.notes = notes;
    run(&mut work, Operation::Revert)?;
    let restart = host.metadata(&layout::pending())?.is_some();
    let notes = work.notes;
    Ok(Reverted::Done { restart, manifest: Box::new(work.manifest), notes })
}

/// Removes the record of a revert and the kit for recoveryOS, once a restart has shown
/// that Apple's snapshot runs.
pub(super) fn forget_revert(host: &dyn Host, facts: &Facts) -> Result<bool> {
    let done = facts.revert_before_restart().filter(|r| r.live != LiveDriver::NotRestored);
    if done.is_none() {
        return Ok(false);
    }
    let _lock = take_lock(host)?;
    refuse_interrupted(host)?;
    forget_records(host)?;
    Ok(true)
}

/// The kit first: a record without a kit is forgotten the next time, a kit without a
/// record only by `recover`.
pub(super) fn forget_records(host: &dyn Host) -> Result<()> {
    kit::remove(host)?;
    for path in [layout::pending(), layout::manifest(), layout::reverted()] {
        files::remove_if_present(host, &layout::unfinished(&path))?;
        files::remove_if_present(host, &path)?;
    }
    Ok(())
}

/// Runs a sequence that is not to be undone but finished.
pub(super) fn run(work: &mut Work<'_>, operation: Operation) -> Result<()> {
    let Err(cause) = work.run(operation) else { return Ok(()) };
    leave_unmounted(work);
    if work.unmountable.is_some() {
        return Err(not_chosen(work, operation, &cause));
    }
    let step = work.journal.as_ref().and_then(Journal::last_step);
    let error = Error::new(Code::HalfDone, format!("the {operation} did not come to its end"));
    let told = told(error, step.map_or("none", Step::name), &cause);
    Err(match cause.advice() {
        Some(advice) => told.next(format!("{advice}; then sudo agxpatch recover")),
        None => told.next("sudo agxpatch recover"),
    })
}

/// Neither could the live volume be mounted nor Apple's snapshot be chosen: nothing was
/// changed, so that the journal is closed, and recoveryOS is the way back.
fn not_chosen(work: &mut Work<'_>, operation: Operation, cause: &Error) -> Error {
    let error = Error::new(Code::NotReady, "macOS did not let agxpatch select Apple's snapshot");
    let error = told(error, Step::SelectSealedSnapshot.name(), cause);
    let error = work.notes.iter().fold(error, |error, note| error.with("volume", note));
    match Journal::close(work.host) {
        Err(_) => error.next("sudo agxpatch recover"),
        Ok(()) => {
            work.journal = None;
            let lines = kit::how_to_run(work.host).join("; ");
            error.next(format!("{operation} in recoveryOS: {lines}"))
        }
    }
}

/// Whether a patched driver may come up although Apple's runs: it lies on the live volume,
/// or diskutil marks a snapshot of `bless`'s for the next start.
fn patched_driver_lurks(
    host: &dyn Host,
    patcher: &dyn DriverPatcher,
    facts: &Facts,
) -> Result<bool> {
    let device = volume::system_volume(host)?.device;
    let marked = |snapshot: &Snapshot| snapshot.is_blessed() && snapshot.root_to == Some(true);
    if volume::snapshots(host, &device)?.iter().any(marked) {
        return Ok(true);
    }
    Ok(live_look::look(host, patcher, facts, State::Clean).is_patched())
}

/// What is deployed: by the records, or by the one backup there is of this build.
fn deployed(host: &dyn Host, facts: &Facts) -> Result<Manifest> {
    if facts.runs_sealed() && facts.manifest.is_none() {
        return running_original(host, facts);
    }
    let reverted = facts.reverted.as_ref().map(|reverted| &reverted.manifest);
    let on_record = facts.booted_manifest.as_ref().or(facts.manifest.as_ref()).or(reverted);
    if let Some(manifest) = on_record {
        return Ok(manifest.clone());
    }
    let none = || {
        Error::new(Code::NoWayBack, "no record shows which original to restore")
            .with("backups", layout::backups().display())
            .next("choose Apple's snapshot in recoveryOS: bless --mount VOLUME --last-sealed-snapshot")
    };
    let kept = match host.metadata(&layout::backups())? {
        Some(_) => host.list(&layout::backups())?,
        None => Vec::new(),
    };
    let [original] = kept.as_slice() else { return Err(none()) };
    described(host, facts, original.clone(), 0o755).ok_or_else(none)
}

/// Apple's driver runs, so it is the original, whatever was deployed.
fn running_original(host: &dyn Host, facts: &Facts) -> Result<Manifest> {
    let unknown = || Error::new(Code::NoWayBack, "the running driver could not be read");
    let path = facts.driver_path.as_ref().ok_or_else(unknown)?;
    let mode = host.metadata(path)?.map_or(0o755, |metadata| metadata.mode);
    let sha256 = facts.driver.as_ref().ok_or_else(unknown)?.sha256.clone();
    described(host, facts, sha256, mode).ok_or_else(unknown)
}

/// A manifest for what no record describes.
fn described(host: &dyn Host, facts: &Facts, original: String, mode: u32) -> Option<Manifest> {
    let release = facts.release.as_ref()?;
    Some(Manifest {
        schema: Manifest::SCHEMA.to_owned(),
        tool: String::new(),
        patch: String::new(),
        plan: String::new(),
        driver: facts.driver_path.as_ref()?.display().to_string(),
        original_sha256: original,
        original_mode: mode,
        original_flags: 0,
        patched_sha256: facts.driver.as_ref()?.sha256.clone(),
        version: release.version.clone(),
        build: release.build.clone(),
        booted: facts.snapshot.clone().unwrap_or_default(),
        sealed: None,
        group: None,
        time: host.now().to_string(),
    })
}

/// What a revert cannot do without, before it begins: a person who can give the
/// password, and a sealed snapshot to boot. Returns what its owner should know.
fn check_way_back(host: &dyn Host, manifest: &Manifest, owner: &Owner) -> Result<Vec<String>> {
    check_owner(host, owner, "revert --yes")?;
    let device = volume::system_volume(host)?.device;
    let snapshots = volume::snapshots(host, &device)?;
    let sealed: Vec<&str> =
        snapshots.iter().filter(|s| s.is_sealed_release()).map(|s| s.name.as_str()).collect();
    match (manifest.way_back(), sealed.as_slice()) {
        (_, []) => Err(Error::new(Code::NoWayBack, "there is no sealed snapshot to return to")
            .with("volume", device)
            .next(format!(
                "in recoveryOS: {} --new-snapshot (boots Apple's driver from a new snapshot); or \
                 reinstall macOS, which keeps your data and makes a sealed one",
                kit::command(host)
            ))),
        (Some(name), listed) if !listed.contains(&name) => Ok(vec![format!(
            "the snapshot that ran before the deployment is gone ({name}); the next start boots {}",
            listed.join(" or ")
        )]),
        _ => Ok(Vec::new()),
    }
}

/// `bless` asks for a password after it has cleared the choice, so whether anybody
/// can answer is to be known before.
pub(super) fn check_owner(host: &dyn Host, owner: &Owner, command: &str) -> Result<()> {
    if *owner != Owner::AtTerminal || host.has_terminal() {
        return Ok(());
    }
    Err(Error::new(Code::NoTerminal, "bless needs an owner's password, but there is no terminal")
        .next(format!(
            "printf '%s\\n' \"$PASSWORD\" | sudo agxpatch {command} --user NAME --password-stdin"
        )))
}

/// Removes the records of a deployment an update has replaced.
fn forget(host: &dyn Host) -> Result<Reverted> {
    let _lock = take_lock(host)?;
    refuse_interrupted(host)?;
    forget_records(host)?;
    Ok(Reverted::Forgotten)
}
