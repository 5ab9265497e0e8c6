//! The steps towards a patched driver, up to the snapshot that will hold it.

use super::Work;
use crate::volume as live;
use crate::{files, layout, manifest};
use agxpatch_core::error::{Code, Error, Result};
use agxpatch_host::machine::{self, Signer};
use agxpatch_host::{trust, volume};

impl Work<'_> {
    pub(super) fn backup(&self) -> Result<()> {
        files::make_directory(self.host, &layout::backups(), 0o700)?;
        let path = layout::backup(&self.manifest.original_sha256);
        files::keep(self.host, &path, &self.planned()?.original, 0o600)
    }

    pub(super) fn stage(&self) -> Result<()> {
        files::make_directory(self.host, &layout::staging(), 0o700)?;
        let path = layout::staged(&self.manifest.patched_sha256);
        files::keep(self.host, &path, &self.planned()?.patched.bytes, 0o600)
    }

    /// The volume that was mounted must be the one the plan was made for.
    pub(super) fn recheck(&self) -> Result<()> {
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

    pub(super) fn beside(&self) -> Result<()> {
        let bytes = &self.planned()?.patched.bytes;
        let mode = self.manifest.original_mode;
        live::write_beside(self.host, &self.driver(), bytes, mode).map(drop)
    }

    pub(super) fn read_back(&self) -> Result<()> {
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
    pub(super) fn accepted_by_codesign(&self) -> Result<()> {
        match machine::signer(self.host, &self.driver())? {
            Signer::AdHoc => Ok(()),
            other => {
                Err(Error::new(Code::VerifyFailed, "codesign does not accept the patched driver")
                    .with("file", self.driver().display())
                    .with("codesign", other))
            }
        }
    }

    pub(super) fn write_manifests(&self) -> Result<()> {
        manifest::write(self.host, &self.volume_manifest(), &self.manifest)?;
        manifest::write(self.host, &layout::manifest(), &self.manifest)
    }
}
