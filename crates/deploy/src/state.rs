//! What state the machine is in, as a function of what was seen of it.
//!
//! Gathering asks the host; judging is pure. No single sign decides: the file's
//! hash, its disassembly, who signed it, the snapshot that runs, the manifest that
//! snapshot carries, the records on the data volume and the boot session are put
//! together, and signs that contradict each other are [`State::Unknown`].

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::driver_patcher::{Content, DriverPatcher};
use super::journal::Journal;
use super::manifest::{self, Change, Manifest, Pending, RevertRecord};
use super::{files, layout};
use agxpatch_core::error::{Code, Result};
use agxpatch_host::Host;
use agxpatch_host::driver::DriverBundle;
use agxpatch_host::machine::{self, Release, Signer};
use agxpatch_host::volume::{self, BLESSED_PREFIX};

/// The states of a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum State {
    /// As Apple made it.
    Clean,
    /// Deployed, and in force from the next restart on.
    PendingReboot,
    /// The deployed driver is the one that runs.
    Active,
    /// A patched driver runs that is not the deployed one.
    ActiveOther,
    /// Taken back, and gone from the next restart on.
    RevertPending,
    /// Deployed once, and replaced by an update of macOS since.
    UpdatedAway,
    /// Another program changed the system volume.
    Foreign,
    /// The signs contradict each other, or are missing.
    Unknown,
}

impl State {
    /// Every state.
    pub const ALL: [State; 8] = [
        State::Clean,
        State::PendingReboot,
        State::Active,
        State::ActiveOther,
        State::RevertPending,
        State::UpdatedAway,
        State::Foreign,
        State::Unknown,
    ];

    /// As printed.
    pub fn name(self) -> &'static str {
        match self {
            State::Clean => "CLEAN",
            State::PendingReboot => "PENDING_REBOOT",
            State::Active => "ACTIVE",
            State::ActiveOther => "ACTIVE_OTHER",
            State::RevertPending => "REVERT_PENDING",
            State::UpdatedAway => "UPDATED_AWAY",
            State::Foreign => "FOREIGN",
            State::Unknown => "UNKNOWN",
        }
    }

    /// In one sentence.
    pub fn about(self) -> &'static str {
        match self {
            State::Clean => "the driver is Apple's, and so is the snapshot that runs",
            State::PendingReboot => "the patched driver comes into force with the next restart",
            State::Active => "the patched driver is the one that runs",
            State::ActiveOther => "a patched driver runs that agxpatch has no record of",
            State::RevertPending => "Apple's driver comes back with the next restart",
            State::UpdatedAway => "an update of macOS has replaced the patched driver",
            State::Foreign => "another program changed the system volume",
            State::Unknown => "the signs contradict each other, or are missing",
        }
    }

    /// What one would do next, where there is something.
    pub fn next(self) -> Option<&'static str> {
        match self {
            State::PendingReboot | State::RevertPending => Some("sudo shutdown -r now"),
            State::UpdatedAway => {
                Some("agxpatch doctor shows whether the new driver has the defect")
            }
            State::ActiveOther => Some("sudo agxpatch revert"),
            State::Unknown => Some("sudo agxpatch recover"),
            State::Foreign => Some(
                "undo it with the program that made the change, or choose Apple's snapshot in \
                 recoveryOS: bless --mount \"/Volumes/Macintosh HD\" --last-sealed-snapshot",
            ),
            State::Clean | State::Active => None,
        }
    }
}

/// What was seen of the installed driver.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Driver {
    /// The SHA-256 of the file.
    pub sha256: String,
    /// What its code holds.
    #[serde(flatten)]
    pub content: Content,
    /// Who signed it, where `codesign` could be asked.
    pub signer: Option<Signer>,
}

/// Everything the state is judged by. A sign that could not be had is missing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Facts {
    /// The macOS that runs.
    pub release: Option<Release>,
    /// Where the driver is that everything here is about.
    pub driver_path: Option<PathBuf>,
    /// The driver of the running system, where it is a file.
    pub driver: Option<Driver>,
    /// Whether the driver is in the dyld shared cache and not a file.
    pub driver_in_shared_cache: bool,
    /// The snapshot that runs.
    pub snapshot: Option<String>,
    /// The boot session.
    pub session: Option<String>,
    /// The manifest in the snapshot that runs.
    pub booted_manifest: Option<Manifest>,
    /// The manifest on the data volume.
    pub manifest: Option<Manifest>,
    /// The restart that is due.
    pub pending: Option<Pending>,
    /// What was taken back, until a restart has shown that it is gone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reverted: Option<RevertRecord>,
    /// The operation that was begun and not ended, if any.
    pub journal: Option<Journaled>,
    /// What could not be had, and why.
    pub missing: Vec<String>,
}

/// What a journal tells at a glance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Journaled {
    /// The operation that was begun.
    pub operation: super::step::Operation,
    /// The step that was begun last.
    pub step: Option<super::step::Step>,
}

/// Looks at the machine and changes nothing.
pub fn gather(host: &dyn Host, patcher: &dyn DriverPatcher) -> Result<Facts> {
    let mut missing = Vec::new();
    let release = had("macOS", machine::release(host), &mut missing);
    let snapshot = had("system volume", volume::booted_snapshot(host), &mut missing).flatten();
    let session = had("boot session", machine::boot_session(host), &mut missing);
    let booted = manifest::on_volume(host, Path::new("/"));
    let booted = had("manifest of the running system", booted, &mut missing).flatten();
    let manifest = manifest::read(host, &layout::manifest());
    let manifest = had("manifest", manifest, &mut missing).flatten();
    let reverted: Result<Option<RevertRecord>> = manifest::read(host, &layout::reverted());
    let reverted = had("record of the revert", reverted, &mut missing).flatten();
    let pending = manifest::read(host, &layout::pending());
    let journal = Journal::read(host).map(|journal| {
        journal.map(|j| Journaled { operation: j.head.operation, step: j.last_step() })
    });
    let recorded = [&booted, &manifest].into_iter().flatten();
    let recorded = recorded.chain(reverted.as_ref().map(|reverted| &reverted.manifest)).next();
    let path = had("GPU driver", driver_path(host, recorded), &mut missing);
    let cached = path.as_deref().map(|path| host.shared_cache_contains(path)).transpose()?;
    let cached = cached.flatten() == Some(true);
    let driver = path.as_deref().filter(|_| !cached).map(|path| driver(host, patcher, path));
    let driver = driver.and_then(|driver| had("driver", driver, &mut missing));
    Ok(Facts {
        release,
        driver_path: path,
        driver,
        driver_in_shared_cache: cached,
        snapshot,
        session,
        booted_manifest: booted,
        manifest,
        pending: had("pending record", pending, &mut missing).flatten(),
        reverted,
        journal: had("journal", journal, &mut missing).flatten(),
        missing,
    })
}

/// The driver that was deployed, where there is a record of one, so that it can be
/// taken back whatever the I/O registry says; else the one this Mac's GPU asks for.
fn driver_path(host: &dyn Host, recorded: Option<&Manifest>) -> Result<PathBuf> {
    let recorded = recorded.and_then(|m| DriverBundle::of_executable(Path::new(&m.driver)));
    match recorded {
        Some(bundle) => Ok(bundle.executable()),
        None => DriverBundle::installed(host).map(|bundle| bundle.executable()),
    }
}

/// What stands for an answer that a recording lacks.
const NOT_RECORDED: &str = "not recorded";

/// An answer, or a note why there is none.
fn had<T>(what: &str, answer: Result<T>, missing: &mut Vec<String>) -> Option<T> {
    match answer {
        Ok(answer) => Some(answer),
        Err(error) => {
            missing.push(match error.code() {
                Code::NotRecorded => format!("{what}: {NOT_RECORDED}"),
                _ => format!("{what}: {error}"),
            });
            None
        }
    }
}

fn driver(host: &dyn Host, patcher: &dyn DriverPatcher, path: &Path) -> Result<Driver> {
    let bytes = host.read(path)?.bytes;
    let signer = machine::signer(host, path).ok();
    Ok(Driver { sha256: files::sha256(&bytes), content: patcher.look(&bytes), signer })
}

impl Facts {
    /// The state these facts amount to.
    pub fn state(&self) -> State {
        let (Some(snapshot), Some(release)) = (&self.snapshot, &self.release) else {
            return State::Unknown;
        };
        // A record that is there and cannot be read may say anything.
        if !self.missing.is_empty() {
            return State::Unknown;
        }
        let Some(driver) = &self.driver else {
            // What is in the shared cache is Apple's, as long as the snapshot is.
            return match self.driver_in_shared_cache && self.runs_sealed() {
                true => self.recorded(release),
                false => State::Unknown,
            };
        };
        if volume::is_sealed_release(snapshot) {
            self.sealed(driver, release)
        } else if snapshot.starts_with(BLESSED_PREFIX) {
            self.blessed(driver)
        } else {
            State::Foreign
        }
    }

    /// Apple's snapshot runs.
    fn sealed(&self, driver: &Driver, release: &Release) -> State {
        if driver.is_patched() || driver.signer.as_ref() != Some(&Signer::Apple) {
            return State::Foreign;
        }
        self.recorded(release)
    }

    /// Apple's driver runs: what the records say of it.
    fn recorded(&self, release: &Release) -> State {
        match (&self.manifest, self.due()) {
            (None, None) => State::Clean,
            (Some(_), Some(Change::Deploy)) => State::PendingReboot,
            (Some(manifest), None) if manifest.build != release.build => State::UpdatedAway,
            _ => State::Unknown,
        }
    }

    /// A snapshot runs that `bless` made.
    fn blessed(&self, driver: &Driver) -> State {
        let Some(booted) = &self.booted_manifest else {
            return if driver.is_patched() { State::ActiveOther } else { State::Foreign };
        };
        let as_deployed = booted.patched_sha256 == driver.sha256;
        // A revert that did not take effect leaves its own record.
        let reverted = self.reverted.as_ref().map(|reverted| &reverted.manifest);
        let records = self.manifest.iter().chain(reverted);
        let on_record = records.into_iter().any(|m| m.same_deployment(booted));
        match self.due() {
            Some(Change::Revert) => State::RevertPending,
            Some(Change::Deploy) => State::PendingReboot,
            None if as_deployed && on_record => State::Active,
            None if driver.is_patched() => State::ActiveOther,
            None => State::Foreign,
        }
    }

    /// What one would do next about `state`, which these facts amount to.
    pub fn next(&self, state: State) -> Option<&'static str> {
        match state {
            State::Unknown if self.only_not_recorded() => {
                Some("on the Mac itself: agxpatch selftest --record FILE records every question")
            }
            State::Foreign if self.has_records() => Some("sudo agxpatch revert"),
            _ => state.next(),
        }
    }

    /// Whether Apple's sealed snapshot is the one that runs.
    pub fn runs_sealed(&self) -> bool {
        self.snapshot.as_deref().is_some_and(volume::is_sealed_release)
    }

    /// Whether something is missing, and all that is was not recorded.
    pub fn only_not_recorded(&self) -> bool {
        let lacks = |what: &String| what.contains(NOT_RECORDED);
        !self.missing.is_empty() && self.missing.iter().all(lacks)
    }

    /// Whether an answer is missing because it was not recorded.
    pub fn was_not_recorded(&self, what: &str) -> bool {
        self.missing
            .iter()
            .any(|missing| missing.starts_with(what) && missing.contains(NOT_RECORDED))
    }

    /// Whether any record of a deployment is left.
    pub fn has_records(&self) -> bool {
        self.manifest.is_some() || self.booted_manifest.is_some() || self.reverted.is_some()
    }

    /// A revert that a restart has followed since.
    pub fn revert_before_restart(&self) -> Option<&RevertRecord> {
        let reverted = self.reverted.as_ref()?;
        let session = self.session.as_ref()?;
        (reverted.session != *session).then_some(reverted)
    }

    /// The change the next restart of this session brings, if one is on record.
    pub fn due(&self) -> Option<Change> {
        let pending = self.pending.as_ref()?;
        (Some(&pending.session) == self.session.as_ref()).then_some(pending.change)
    }
}

impl Driver {
    fn is_patched(&self) -> bool {
        matches!(self.content, Content::Patched { .. })
    }
}

impl Manifest {
    /// Whether both are about the same file put in place of the same file.
    pub fn same_deployment(&self, other: &Manifest) -> bool {
        self.original_sha256 == other.original_sha256
            && self.patched_sha256 == other.patched_sha256
            && self.build == other.build
    }
}
