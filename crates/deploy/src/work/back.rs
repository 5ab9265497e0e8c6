//! The steps back: the original driver in its place, and what was staged removed.

use std::path::Path;

use super::Work;
use crate::driver_patcher::Content;
use crate::manifest::LiveDriver;
use crate::volume as live;
use crate::{files, layout};
use agxpatch_core::error::{Code, Error, Result};
use agxpatch_host::machine;

impl Work<'_> {
    /// Puts the original back, where the patched driver stands. A volume that an
    /// update has taken over is left as it is.
    pub(super) fn restore(&mut self) -> Result<()> {
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
    pub(super) fn leave(&mut self, live: LiveDriver, reason: Error) -> Result<()> {
        if !self.snapshot_alone {
            return Err(reason);
        }
        self.live = Some(live);
        self.notes.push(format!("the driver on the live volume was left alone: {reason}"));
        Ok(())
    }

    /// The original driver: the backup, or the kit's copy, or the one that runs.
    pub(super) fn original(&self) -> Result<Vec<u8>> {
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

    pub(super) fn unmark(&self) -> Result<()> {
        if self.unmountable.is_some() {
            return Ok(());
        }
        for path in [self.volume_manifest(), layout::manifest()] {
            files::remove_if_present(self.host, &layout::unfinished(&path))?;
            files::remove_if_present(self.host, &path)?;
        }
        Ok(())
    }

    pub(super) fn unstage(&self) -> Result<()> {
        // A manifest that was being written again, too, when the Mac was restarted.
        for path in [layout::backup(&self.manifest.original_sha256), layout::manifest()] {
            files::remove_if_present(self.host, &layout::unfinished(&path))?;
        }
        let path = layout::staged(&self.manifest.patched_sha256);
        files::remove_if_present(self.host, &layout::unfinished(&path))?;
        files::remove_if_present(self.host, &path)?;
        files::remove_directory_if_empty(self.host, &layout::staging())
    }
}
