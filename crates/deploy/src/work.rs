//! Carrying out steps, one at a time, each noted in the journal before it begins.
//!
//! All sequences share this: what a step does depends only on what it is about
//! (a manifest) and on what is found, never on who runs it. So every step can be
//! run again, which is what recovery does. Here is their order; the steps themselves
//! stand in the files below.

mod afterwards;
mod back;
mod forward;
mod snapshots;

use std::path::{Path, PathBuf};

use super::bless::Owner;
use super::driver_patcher::DriverPatcher;
use super::journal::{Head, Journal};
use super::manifest::{LiveDriver, Manifest};
use super::plan::Plan;
use super::step::{Operation, Progress, Step};
use super::volume as live;
use super::{files, kit, layout};
use agxpatch_core::error::{Code, Error, Result};
use agxpatch_host::machine;
use agxpatch_host::volume::{self, BLESSED_PREFIX};
use agxpatch_host::{Host, Lock};

/// The work on one operation.
pub(super) struct Work<'a> {
    pub host: &'a dyn Host,
    pub patcher: &'a dyn DriverPatcher,
    pub progress: &'a dyn Progress,
    pub owner: Owner,
    pub manifest: Manifest,
    /// Original and patched driver, where a plan brought them.
    pub plan: Option<&'a Plan>,
    pub journal: Option<Journal>,
    pub lock: Option<Lock>,
    /// What a person should hear in the end.
    pub notes: Vec<String>,
    /// Whether Apple's snapshot may be chosen although the live volume cannot be put
    /// right. A deployment that is rolled back must put it right.
    pub snapshot_alone: bool,
    /// Where `bless` is pointed at instead of our own mount, once it turned out that
    /// the live volume cannot be mounted.
    pub unmountable: Option<PathBuf>,
    /// What is known of the driver on the live volume.
    pub live: Option<LiveDriver>,
}

/// Takes the lock, making the directory it lies in.
pub(super) fn take_lock(host: &dyn Host) -> Result<Lock> {
    files::make_directory(host, Path::new(layout::STATE), 0o755)?;
    host.lock(&layout::lock())
}

impl<'a> Work<'a> {
    /// Work under the lock that takes a deployment back or ends an interrupted one.
    pub fn new(
        host: &'a dyn Host,
        patcher: &'a dyn DriverPatcher,
        progress: &'a dyn Progress,
        manifest: Manifest,
        lock: Lock,
    ) -> Work<'a> {
        Work {
            host,
            patcher,
            progress,
            owner: Owner::AtTerminal,
            manifest,
            plan: None,
            journal: None,
            lock: Some(lock),
            notes: Vec::new(),
            snapshot_alone: true,
            unmountable: None,
            live: None,
        }
    }
}

impl Work<'_> {
    /// Runs the steps of an operation, from the first that is not done already.
    pub fn run(&mut self, operation: Operation) -> Result<()> {
        let started = |step: Step| match step {
            Step::Lock => self.lock.is_some(),
            Step::Journal => self.journal.is_some(),
            _ => false,
        };
        let steps: Vec<Step> =
            operation.steps().iter().copied().filter(|step| !started(*step)).collect();
        for step in steps {
            self.progress.begins(operation, step);
            self.go_on(operation, step)?;
            if let Some(journal) = self.journal.as_mut().filter(|_| step != Step::Close) {
                journal.begin(self.host, step)?;
            }
            self.perform(operation, step)?;
            self.progress.ends(operation, step);
        }
        self.lock = None;
        Ok(())
    }

    /// Refuses a step of a deployment that the user wants given up. What undoes or
    /// finishes is never given up, and neither is what follows the snapshot.
    fn go_on(&self, operation: Operation, step: Step) -> Result<()> {
        match self.progress.gives_up() {
            Some(why) if operation == Operation::Deploy && step <= Step::Snapshot => {
                Err(Error::new(Code::NoConsent, "the deployment was cancelled").with("reason", why))
            }
            _ => Ok(()),
        }
    }

    fn perform(&mut self, operation: Operation, step: Step) -> Result<()> {
        match step {
            Step::Lock => self.lock = Some(take_lock(self.host)?),
            Step::Journal => self.open_journal(operation)?,
            // The line that announces it is all there is to it.
            Step::Undoing => {}
            Step::Backup => self.backup()?,
            Step::RecoveryKit => kit::write(self.host, &self.manifest, self.planned()?)?,
            Step::Stage => self.stage()?,
            Step::Mount => self.mount()?,
            Step::Recheck => self.recheck()?,
            Step::StageInPlace => self.beside()?,
            Step::Rename => live::take_name(self.host, &self.driver())?,
            Step::ReadBack => self.read_back()?,
            Step::Manifest => self.write_manifests()?,
            Step::Snapshot => self.snapshot()?,
            Step::Confirm => self.confirm()?,
            Step::Restore => self.restore()?,
            Step::RemoveManifests => self.unmark()?,
            Step::SelectSealedSnapshot => self.seal(operation)?,
            Step::Unmount => live::unmount(self.host)?,
            Step::Unstage => self.unstage()?,
            Step::RemoveKit => self.remove_kit(operation)?,
            Step::Pending => self.note_pending(operation)?,
            Step::Close => Journal::close(self.host)?,
        }
        Ok(())
    }

    fn planned(&self) -> Result<&Plan> {
        self.plan.ok_or_else(|| Error::new(Code::Bug, "a step needs a plan and there is none"))
    }

    /// The driver on the mounted live volume.
    fn driver(&self) -> PathBuf {
        layout::on_volume(&layout::mount_point(), Path::new(&self.manifest.driver))
    }

    fn volume_manifest(&self) -> PathBuf {
        layout::on_volume(&layout::mount_point(), Path::new(layout::VOLUME_MANIFEST))
    }

    fn open_journal(&mut self, operation: Operation) -> Result<()> {
        let head = Head {
            schema: Head::SCHEMA.to_owned(),
            operation,
            session: machine::boot_session(self.host)?,
            manifest: self.manifest.clone(),
        };
        self.journal = Some(Journal::create(self.host, head)?);
        Ok(())
    }

    fn mount(&mut self) -> Result<()> {
        match live::mount(self.host) {
            Err(error) if self.snapshot_alone && error.code() == Code::MountRefused => {
                let elsewhere = volume::system_volume(self.host)?.mounted_at;
                self.unmountable = Some(elsewhere.map_or_else(|| "/".into(), PathBuf::from));
                let why = error.context().iter().map(|(_, value)| value.trim()).next_back();
                let advice = error.advice().map(|advice| format!("; remedy: {advice}"));
                self.notes.push(format!(
                    "the live volume cannot be changed, so only Apple's snapshot is chosen: {error} \
                     ({}){}",
                    why.unwrap_or_default(),
                    advice.unwrap_or_default()
                ));
                Ok(())
            }
            mounted => mounted.map(drop),
        }
    }

    fn runs_from_ours(&self) -> Result<bool> {
        let booted = volume::booted_snapshot(self.host)?;
        Ok(booted.is_some_and(|name| name.starts_with(BLESSED_PREFIX)))
    }
}
