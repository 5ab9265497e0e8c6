//! Carrying out steps, one at a time, each noted in the journal before it begins.
//!
//! All sequences share this: what a step does depends only on what it is about
//! (a manifest) and on what is found, never on who runs it. So every step can be
//! run again, which is what recovery does.

use std::path::{Path, PathBuf};

use super::bless::{self, Owner, Sealed, SnapshotMade};
use super::driver_patcher::{Content, DriverPatcher};
use super::journal::{Head, Journal};
use super::manifest::{self, Change, LiveDriver, Manifest, Pending, RevertRecord};
use super::plan::Plan;
use super::step::{Operation, Progress, Step};
use super::volume as live;
use super::{files, kit, layout};
use agxpatch_core::error::{Code, Error, Result};
use agxpatch_host::machine::{self, Signer};
use agxpatch_host::volume::{self, BLESSED_PREFIX};
use agxpatch_host::{Host, Lock, trust};

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

    fn backup(&self) -> Result<()> {
        files::make_directory(self.host, &layout::backups(), 0o700)?;
        let path = layout::backup(&self.manifest.original_sha256);
        files::keep(self.host, &path, &self.planned()?.original, 0o600)
    }

    fn stage(&self) -> Result<()> {
        files::make_directory(self.host, &layout::staging(), 0o700)?;
        let path = layout::staged(&self.manifest.patched_sha256);
        files::keep(self.host, &path, &self.planned()?.patched.bytes, 0o600)
    }

    /// The volume that was mounted must be the one the plan was made for.
    fn recheck(&self) -> Result<()> {
        let root = layout::mount_point();
        let system = volume::system_volume(self.host)?;
        if system.ownership_ignored {
            return Err(Error::new(
                Code::WrongVolume,
                "ownership is ignored on the live volume, so no file on it would be root's",
            )
            .with("volume", &system.device)
            .next(format!(
                "sudo diskutil enableOwnership {}; then the same again",
                system.device
            )));
        }
        let build = machine::release_on(self.host, &root)?.build;
        if build != self.manifest.build {
            return Err(Error::new(Code::WrongVolume, "the live volume holds another build")
                .with("running", &self.manifest.build)
                .with("live volume", build)
                .next(
                    "install the prepared update: sudo softwareupdate --install --all --restart; \
                     then agxpatch doctor",
                ));
        }
        let file = self.host.read(&self.driver())?;
        files::check_file(&self.driver(), &file.metadata)?;
        let found = files::sha256(&file.bytes);
        if found != self.manifest.original_sha256 {
            return Err(Error::new(Code::WrongVolume, "the live volume holds another driver")
                .with("planned", &self.manifest.original_sha256)
                .with("found", found));
        }
        let manifest = self.volume_manifest();
        let unfinished = layout::unfinished(&manifest);
        for path in [layout::beside(&self.driver()), manifest, unfinished] {
            if self.host.metadata(&path)?.is_some() {
                return Err(agxpatch_host::exists(&path).next(
                    "an earlier change of the volume left it: sudo softwareupdate --install --all \
                     --restart replaces the volume; then sudo agxpatch deploy --dry-run",
                ));
            }
            trust::only_root_can_change(self.host, path.parent().unwrap_or(&path))?;
        }
        Ok(())
    }

    fn beside(&self) -> Result<()> {
        let bytes = &self.planned()?.patched.bytes;
        let mode = self.manifest.original_mode;
        live::write_beside(self.host, &self.driver(), bytes, mode).map(drop)
    }

    fn read_back(&self) -> Result<()> {
        files::read_exactly(self.host, &self.driver(), &self.manifest.patched_sha256)?;
        let mode = self.host.metadata(&self.driver())?.map(|metadata| metadata.mode);
        if mode != Some(self.manifest.original_mode) {
            return Err(Error::new(
                Code::Altered,
                "the driver's permissions are not the original's",
            )
            .with("file", self.driver().display()));
        }
        self.accepted_by_codesign()
    }

    /// Apple's own opinion, asked before any snapshot holds the file. Only within
    /// the bundle can it be had: the signature covers `Info.plist` and resources,
    /// and of a loose copy `codesign` says that these are missing.
    fn accepted_by_codesign(&self) -> Result<()> {
        match machine::signer(self.host, &self.driver())? {
            Signer::AdHoc => Ok(()),
            other => {
                Err(Error::new(Code::VerifyFailed, "codesign does not accept the patched driver")
                    .with("file", self.driver().display())
                    .with("codesign", other))
            }
        }
    }

    fn write_manifests(&self) -> Result<()> {
        manifest::write(self.host, &self.volume_manifest(), &self.manifest)?;
        manifest::write(self.host, &layout::manifest(), &self.manifest)
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

    /// Makes the snapshot, once more where `bless` failed after making one: another does
    /// no harm, and settles which one the next start boots from.
    fn snapshot(&mut self) -> Result<()> {
        let device = volume::system_volume(self.host)?.device;
        let root = layout::mount_point();
        let name = match bless::create_snapshot(self.host, &device, &root)? {
            SnapshotMade::Chosen(name) => name,
            SnapshotMade::MaybeChosen { name, cause } => {
                self.note_chosen(&name)?;
                let SnapshotMade::Chosen(name) = bless::create_snapshot(self.host, &device, &root)?
                else {
                    return Err(cause);
                };
                self.notes.push(format!("bless failed at first and was run once more: {cause}"));
                name
            }
        };
        self.note_chosen(&name)
    }

    fn note_chosen(&mut self, name: &str) -> Result<()> {
        let Some(journal) = &mut self.journal else { return Ok(()) };
        match journal.chosen(self.host, name) {
            Err(error) => {
                // The next boot is decided. Without the line a crash from here on
                // has the snapshot made once more, which does no harm.
                self.notes.push(format!("the snapshot's name was not noted: {error}"));
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }

    fn confirm(&mut self) -> Result<()> {
        let device = volume::system_volume(self.host)?.device;
        let name = self.journal.as_ref().and_then(Journal::snapshot).unwrap_or_default();
        let listed = volume::snapshots(self.host, &device)?;
        if listed.iter().any(|snapshot| snapshot.name == name) {
            return Ok(());
        }
        Err(Error::new(Code::SnapshotMissing, "bless created a snapshot that is not listed")
            .with("snapshot", name))
    }

    /// Puts the original back, where the patched driver stands. A volume that an
    /// update has taken over is left as it is.
    fn restore(&mut self) -> Result<()> {
        if self.unmountable.is_some() {
            self.live = Some(LiveDriver::NotRestored);
            return Ok(());
        }
        let driver = self.driver();
        files::remove_if_present(self.host, &layout::beside(&driver))?;
        if machine::release_on(self.host, &layout::mount_point())?.build != self.manifest.build {
            self.live = Some(LiveDriver::Original);
            self.notes.push(
                "the live volume holds another build by now; its driver was left alone".to_owned(),
            );
            return Ok(());
        }
        let found = self.host.read(&driver)?;
        let sha256 = files::sha256(&found.bytes);
        if sha256 == self.manifest.original_sha256 {
            self.live = Some(LiveDriver::Original);
            return Ok(());
        }
        let ours = sha256 == self.manifest.patched_sha256
            || matches!(self.patcher.look(&found.bytes), Content::Patched { .. });
        if !ours {
            return self.leave(
                LiveDriver::Unknown,
                Error::new(Code::WrongVolume, "the live volume holds an unknown driver")
                    .with("found", sha256)
                    .with("deployed", &self.manifest.patched_sha256)
                    .next("sudo agxpatch verify"),
            );
        }
        let bytes = match self.original() {
            Ok(bytes) => bytes,
            Err(error) => return self.leave(LiveDriver::NotRestored, error),
        };
        live::write_beside(self.host, &driver, &bytes, self.manifest.original_mode)?;
        live::take_name(self.host, &driver)?;
        // Whose file it is does not count on the way back: with ownership ignored it would
        // not be root's, and yet be Apple's.
        files::has_content(self.host, &driver, &self.manifest.original_sha256)?;
        self.live = Some(LiveDriver::Original);
        Ok(())
    }

    /// Leaves the driver on the live volume as it is, if Apple's snapshot alone will do.
    fn leave(&mut self, live: LiveDriver, reason: Error) -> Result<()> {
        if !self.snapshot_alone {
            return Err(reason);
        }
        self.live = Some(live);
        self.notes.push(format!("the driver on the live volume was left alone: {reason}"));
        Ok(())
    }

    /// The original driver: the backup, or the kit's copy, or the one that runs.
    fn original(&self) -> Result<Vec<u8>> {
        let hash = &self.manifest.original_sha256;
        let driver = Path::new(&self.manifest.driver);
        let kept = [layout::backup(hash), layout::recovery_original(driver)];
        let mut failures = Vec::new();
        for path in &kept {
            match files::read_exactly(self.host, path, hash) {
                Err(error) => failures.push(format!("{}: {error}", path.display())),
                found => return found,
            }
        }
        match self.host.read(driver) {
            Ok(running) if files::sha256(&running.bytes) == *hash => Ok(running.bytes),
            _ => Err(Error::new(Code::NoWayBack, "no copy of the original driver is left")
                .with("looked at", failures.join("; "))
                .next("after a restart from Apple's snapshot: sudo agxpatch recover")),
        }
    }

    fn unmark(&self) -> Result<()> {
        if self.unmountable.is_some() {
            return Ok(());
        }
        for path in [self.volume_manifest(), layout::manifest()] {
            files::remove_if_present(self.host, &layout::unfinished(&path))?;
            files::remove_if_present(self.host, &path)?;
        }
        Ok(())
    }

    /// Undoing a deployment whose snapshot was never chosen leaves nothing to do,
    /// and no one to ask for a password.
    fn seal(&mut self, operation: Operation) -> Result<()> {
        let chosen = self.journal.as_ref().is_some_and(|journal| journal.snapshot().is_some());
        if operation != Operation::Revert && !chosen && !self.runs_from_ours()? {
            return Ok(());
        }
        let mount = self.unmountable.clone().unwrap_or_else(layout::mount_point);
        if let Sealed::ClearedOnly(why) = bless::choose_sealed(self.host, &mount, &self.owner)? {
            self.notes.push(format!(
                "bless cleared the choice of the patched snapshot, and then {why}; after the \
                 restart, agxpatch verify shows which snapshot runs"
            ));
        }
        Ok(())
    }

    fn runs_from_ours(&self) -> Result<bool> {
        let booted = volume::booted_snapshot(self.host)?;
        Ok(booted.is_some_and(|name| name.starts_with(BLESSED_PREFIX)))
    }

    fn unstage(&self) -> Result<()> {
        // A manifest that was being written again, too, when the Mac was restarted.
        for path in [layout::backup(&self.manifest.original_sha256), layout::manifest()] {
            files::remove_if_present(self.host, &layout::unfinished(&path))?;
        }
        let path = layout::staged(&self.manifest.patched_sha256);
        files::remove_if_present(self.host, &layout::unfinished(&path))?;
        files::remove_if_present(self.host, &path)?;
        files::remove_directory_if_empty(self.host, &layout::staging())
    }

    /// Whether the patched driver may come up once more, so that the kit for recoveryOS
    /// is still needed.
    fn needs_way_back(&self, operation: Operation) -> Result<bool> {
        let chosen = self.journal.as_ref().is_some_and(|journal| journal.snapshot().is_some());
        let not_restored = self.live.is_some_and(|live| live != LiveDriver::Original);
        Ok(operation == Operation::Revert
            || chosen
            || not_restored
            || self.runs_from_ours()?
            || self.host.metadata(&layout::reverted())?.is_some())
    }

    fn remove_kit(&self, operation: Operation) -> Result<()> {
        match self.needs_way_back(operation)? {
            true => kit::remove_unfinished(self.host),
            false => kit::remove(self.host),
        }
    }

    /// Notes what was taken back, which a later command forgets when it sees that
    /// Apple's snapshot runs.
    fn note_revert(&self, operation: Operation, session: &str) -> Result<()> {
        if let (true, Some(live)) = (self.needs_way_back(operation)?, self.live) {
            let reverted = RevertRecord {
                schema: RevertRecord::SCHEMA.to_owned(),
                session: session.to_owned(),
                live,
                manifest: self.manifest.clone(),
            };
            manifest::write(self.host, &layout::reverted(), &reverted)?;
        }
        match operation {
            // What was cancelled had not written any, and an older one is still true.
            Operation::Cancel => Ok(()),
            _ => files::remove_if_present(self.host, &layout::manifest()),
        }
    }

    /// A restart is due where another snapshot comes up than the one that runs.
    fn note_pending(&self, operation: Operation) -> Result<()> {
        let ours_runs = self.runs_from_ours()?;
        let snapshot = self.journal.as_ref().and_then(Journal::snapshot).map(str::to_owned);
        let session = machine::boot_session(self.host)?;
        let change = match operation {
            Operation::Deploy | Operation::Complete | Operation::Finish => Change::Deploy,
            Operation::Undo | Operation::Cancel | Operation::Revert => Change::Revert,
        };
        // One that was being written when an earlier run ended.
        files::remove_if_present(self.host, &layout::unfinished(&layout::reverted()))?;
        match change {
            Change::Deploy => files::remove_if_present(self.host, &layout::reverted())?,
            Change::Revert => self.note_revert(operation, &session)?,
        }
        if ours_runs == (change == Change::Deploy) {
            files::remove_if_present(self.host, &layout::unfinished(&layout::pending()))?;
            return files::remove_if_present(self.host, &layout::pending());
        }
        let schema = Pending::SCHEMA.to_owned();
        let pending = Pending { schema, change, session, snapshot };
        manifest::write(self.host, &layout::pending(), &pending)
    }
}
