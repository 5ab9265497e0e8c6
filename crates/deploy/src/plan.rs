//! What is going to be done, before anything is: refused with all the reasons, or
//! laid out with a digest that a person or a script agrees to.

use std::path::Path;

use serde::Serialize;

use super::driver_patcher::{DriverPatcher, Patched};
use super::journal::Journal;
use super::manifest::{LiveDriver, Manifest};
use super::state::{self, Facts, State};
use super::step::{Operation, Step};
use super::{by_meaning, files, layout, loading};
use crate::doctor::{self, Consent, Depth, Diagnosis, Verdict};
use agxpatch_core::check::Check;
use agxpatch_core::error::{Code, Error, Result};
use agxpatch_host::driver::DriverBundle;
use agxpatch_host::volume::{self, SystemVolume};
use agxpatch_host::{FileKind, Host, trust};

/// What was decided before the plan was seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Go ahead on a driver whose hash is not listed, if it is Apple's and the
    /// proof accepts the rewrite.
    pub unlisted_build: bool,
    /// Go ahead where it cannot be tried whether the loader takes the patched driver.
    pub untested_load: bool,
}

impl Options {
    /// The command line that deploys with these options.
    pub fn command(self) -> String {
        let unlisted = if self.unlisted_build { " --unlisted-build" } else { "" };
        let untested = if self.untested_load { " --allow-untested-load" } else { "" };
        format!("sudo agxpatch deploy{unlisted}{untested}")
    }
}

/// A deployment that nothing stands in the way of.
#[derive(Clone, Debug, Serialize)]
pub struct Plan {
    /// What a script names with `--plan` to agree: a SHA-256 over everything here
    /// that decides what is done.
    pub digest: String,
    /// What is replaced by what.
    pub manifest: Manifest,
    /// The live volume's device.
    pub device: String,
    /// Apple's snapshot, which a revert goes back to.
    pub sealed: String,
    /// Whether the rewrite was derived for this build, and is not a published one.
    pub derived: bool,
    /// How many places of the file change.
    pub places: usize,
    /// How many bytes.
    pub bytes: usize,
    /// What was proven of the rewrite.
    pub proof: Vec<Check>,
    /// Whether the loader takes the patched driver, as far as it was tried.
    pub loading: Vec<Check>,
    /// The steps, in order.
    pub steps: Vec<PlannedStep>,
    /// Where the script for recoveryOS will be.
    pub recovery: String,
    #[serde(skip)]
    pub(super) original: Vec<u8>,
    #[serde(skip)]
    pub(super) patched: Patched,
}

/// A step as a plan shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct PlannedStep {
    /// Its name in the journal.
    pub step: Step,
    /// What is done.
    pub about: &'static str,
}

/// What there is to do.
#[derive(Clone, Debug)]
pub enum Prepared {
    /// Nothing: it is deployed.
    Already(Box<Facts>),
    /// This.
    Plan(Box<Plan>),
}

/// Looks at everything and changes nothing.
///
/// # Errors
/// Every reason not to deploy, each with its own code; blockers all at once.
pub fn prepare(host: &dyn Host, patcher: &dyn DriverPatcher, options: Options) -> Result<Prepared> {
    require_root(host, "deploy")?;
    check_places(host)?;
    refuse_interrupted(host)?;
    let facts = state::gather(host, patcher)?;
    let state = facts.state();
    match state {
        State::Active | State::PendingReboot => return Ok(Prepared::Already(Box::new(facts))),
        State::RevertPending => return Err(wrong_state(&facts, state).next("sudo shutdown -r now")),
        _ => {}
    }
    let consent = Consent { unlisted_build: options.unlisted_build };
    let judge = |bytes: &[u8]| patcher.judge(bytes);
    let diagnosis = doctor::examine(host, &judge, consent)?;
    if !diagnosis.is_clean() {
        return Err(blocked(&diagnosis));
    }
    if !matches!(state, State::Clean | State::UpdatedAway) {
        return Err(wrong_state(&facts, state));
    }
    let reverted = facts.reverted.as_ref().map(|reverted| reverted.live);
    if reverted == Some(LiveDriver::NotRestored) {
        let error = wrong_state(&facts, state);
        return Err(error
            .with("live volume", "an earlier revert could not put the original back there")
            .next("sudo agxpatch recover"));
    }
    plan(host, patcher, &facts, options).map(|plan| Prepared::Plan(Box::new(plan)))
}

fn plan(
    host: &dyn Host,
    patcher: &dyn DriverPatcher,
    facts: &Facts,
    options: Options,
) -> Result<Plan> {
    let system = volume::system_volume(host)?;
    let path = DriverBundle::installed(host)?.executable();
    let file = host.read(&path)?;
    let patched = patcher.patch(&file.bytes)?;
    let release = facts.release.clone().ok_or_else(|| unknown("the release"))?;
    let booted = system.snapshot.clone().ok_or_else(|| unknown("the snapshot that runs"))?;
    let sealed = way_back(host, &system, facts)?;
    let manifest = Manifest {
        schema: Manifest::SCHEMA.to_owned(),
        tool: env!("CARGO_PKG_VERSION").to_owned(),
        patch: patched.patch.clone(),
        plan: String::new(),
        driver: path.display().to_string(),
        original_sha256: files::sha256(&file.bytes),
        original_mode: file.metadata.mode,
        original_flags: file.metadata.flags,
        patched_sha256: files::sha256(&patched.bytes),
        version: release.version,
        build: release.build,
        booted,
        sealed: Some(sealed.clone()),
        group: Some(system.group.clone()),
        time: String::new(),
    };
    check_copies(host, &manifest)?;
    let loading = loading::check(host, patcher.canary(), &patched.bytes, options)?;
    let digest = files::sha256(&super::manifest::text(&(&manifest, &system.device, &sealed))?);
    Ok(Plan {
        manifest: Manifest { plan: digest.clone(), time: host.now().to_string(), ..manifest },
        digest,
        device: system.device,
        sealed,
        derived: patched.derived,
        places: patched.edits.len(),
        bytes: patched.edits.iter().map(|edit| edit.new.len()).sum(),
        proof: patched.proof.clone(),
        loading,
        steps: planned(Operation::Deploy),
        recovery: layout::recovery_script().display().to_string(),
        original: file.bytes,
        patched,
    })
}

/// The sealed snapshot that a revert goes back to: the one that runs, or where a patched
/// one runs already, the one that ran before it. It must still exist.
fn way_back(host: &dyn Host, system: &SystemVolume, facts: &Facts) -> Result<String> {
    let running = system.snapshot.as_deref().filter(|name| volume::is_sealed_release(name));
    let records = facts.booted_manifest.as_ref().or(facts.manifest.as_ref());
    let name = running.or(records.and_then(Manifest::way_back));
    let listed = volume::snapshots(host, &system.device)?;
    let listed = |name: &&str| listed.iter().any(|snapshot| snapshot.name == *name);
    name.filter(listed).map(str::to_owned).ok_or_else(|| unknown("a sealed snapshot to go back to"))
}

/// The steps of an operation as they are shown.
pub fn planned(operation: Operation) -> Vec<PlannedStep> {
    let show = |step: &Step| PlannedStep { step: *step, about: step.about() };
    operation.steps().iter().map(show).collect()
}

/// Demands the right to change the system.
pub fn require_root(host: &dyn Host, command: &str) -> Result<()> {
    if host.effective_user() == 0 {
        return Ok(());
    }
    Err(Error::new(Code::NotRoot, "only root may change the system volume")
        .with("user", host.effective_user())
        .next(format!("sudo agxpatch {command}")))
}

/// Refuses where an earlier run did not end.
pub(super) fn refuse_interrupted(host: &dyn Host) -> Result<()> {
    let Some(journal) = Journal::read(host)? else { return Ok(()) };
    let step = journal.last_step().map_or("none", Step::name);
    Err(Error::new(Code::Interrupted, "an earlier run was interrupted")
        .with("operation", journal.head.operation)
        .with("last step", step)
        .next("sudo agxpatch recover"))
}

/// The refusal of a command that `state` does not allow.
pub fn wrong_state(facts: &Facts, state: State) -> Error {
    let error = Error::new(Code::WrongState, format!("the machine is {}", state.name()))
        .with("state", state.about());
    let error = facts.missing.iter().fold(error, |error, what| error.with("missing", what));
    match facts.next(state) {
        Some(next) => error.next(next),
        None => error.next("sudo agxpatch verify"),
    }
}

fn unknown(what: &str) -> Error {
    Error::new(Code::WrongState, "required machine state could not be determined")
        .with("what", what)
}

/// All blockers as one refusal. Library validation alone has a code of its own,
/// because everything else would work and the owner would sit before a black
/// screen; so has a driver that could not bring its original code back, because
/// nothing the owner does changes that.
fn blocked(diagnosis: &Diagnosis) -> Error {
    let blockers: Vec<_> = diagnosis.blockers(Depth::System).collect();
    let all_are = |name| blockers.iter().all(|finding| finding.check.name == name);
    let error = match &diagnosis.driver {
        _ if all_are("library-validation") => {
            Error::new(Code::WindowsLost, "with library validation on, the screen would stay black")
        }
        Verdict::Unrestorable { found } if all_are("driver-build") => {
            return by_meaning::unrestorable(found);
        }
        _ => Error::new(Code::NotReady, "conditions on this Mac block the change"),
    };
    let error = blockers
        .iter()
        .fold(error, |error, finding| error.with(finding.check.name, &finding.check.detail));
    match diagnosis.is_in_shared_cache() {
        true => error.next(Depth::Guard.command()),
        false => error.next("agxpatch doctor"),
    }
}

/// Looks at every path that is going to be written: no links, and nothing that is
/// or could be another user's.
fn check_places(host: &dyn Host) -> Result<()> {
    for directory in [
        Path::new(layout::STATE),
        &layout::backups(),
        &layout::staging(),
        &layout::mount_point(),
        &layout::look_point(),
        Path::new(layout::RECOVERY),
    ] {
        trust::only_root_can_change(host, directory)?;
        let kind = host.metadata(directory)?.map(|metadata| metadata.kind);
        if kind.is_some_and(|kind| kind != FileKind::Directory) {
            return Err(Error::new(Code::PathRefused, "the path is not a directory")
                .with("path", directory.display()));
        }
    }
    for file in [
        layout::lock(),
        layout::journal(),
        layout::manifest(),
        layout::pending(),
        layout::log(),
        layout::reverted(),
        layout::recovery_script(),
    ] {
        files::check_writable(host, &file)?;
    }
    Ok(())
}

/// The same for the copies of this driver; a kept original must be what it was.
fn check_copies(host: &dyn Host, manifest: &Manifest) -> Result<()> {
    let backup = layout::backup(&manifest.original_sha256);
    files::check_writable(host, &backup)?;
    files::check_writable(host, &layout::recovery_original(Path::new(&manifest.driver)))?;
    files::check_writable(host, &layout::staged(&manifest.patched_sha256))?;
    if host.metadata(&backup)?.is_some() {
        files::read_exactly(host, &backup, &manifest.original_sha256)?;
    }
    Ok(())
}
