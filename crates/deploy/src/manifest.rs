//! What is written down: what a deployment is about, and which restart is due.
//!
//! Records are read by other versions than the one that wrote them, so every
//! field that is not indispensable may be missing and unknown ones are ignored.

use std::path::Path;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::{files, layout};
use agxpatch_core::error::{Code, Error, Result};
use agxpatch_host::{Host, volume};

/// What was, or is to be, deployed: the manifest on both volumes and the head of
/// the journal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// `agxpatch.manifest/1`.
    pub schema: String,
    /// The version of the tool.
    #[serde(default)]
    pub tool: String,
    /// The name of the patch.
    #[serde(default)]
    pub patch: String,
    /// The digest of the plan that was agreed to.
    #[serde(default)]
    pub plan: String,
    /// The file that was replaced.
    pub driver: String,
    /// The SHA-256 of the original.
    pub original_sha256: String,
    /// Its permission bits.
    pub original_mode: u32,
    /// Its BSD flags, for the record: the replacement carries none.
    #[serde(default)]
    pub original_flags: u32,
    /// The SHA-256 of what replaced it.
    pub patched_sha256: String,
    /// The macOS it was made for.
    #[serde(default)]
    pub version: String,
    /// Its build.
    pub build: String,
    /// The snapshot macOS ran from when it was deployed.
    #[serde(default)]
    pub booted: String,
    /// Apple's sealed snapshot that a revert goes back to: the one that ran before the
    /// first deployment. Records of version 0.1.0 have it in `booted` only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sealed: Option<String>,
    /// The volume group of this macOS, which tells it from others on the disk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// When, by the Mac's clock.
    #[serde(default)]
    pub time: String,
}

impl Manifest {
    /// The form written by this version.
    pub const SCHEMA: &'static str = "agxpatch.manifest/1";

    /// The name of the sealed snapshot to go back to, where the records have it.
    pub fn way_back(&self) -> Option<&str> {
        let named = self.sealed.as_deref().or(Some(self.booted.as_str()));
        named.filter(|name| volume::is_sealed_release(name))
    }
}

/// A change that a restart brings into force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pending {
    /// `agxpatch.pending/1`.
    pub schema: String,
    /// What comes into force.
    pub change: Change,
    /// The boot session in which it was made; any other means that the Mac was
    /// restarted since.
    pub session: String,
    /// The snapshot that comes up, where its name is known.
    #[serde(default)]
    pub snapshot: Option<String>,
}

/// What a restart brings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Change {
    /// The patched driver.
    Deploy,
    /// The original one.
    Revert,
}

impl Pending {
    /// The form written by this version.
    pub const SCHEMA: &'static str = "agxpatch.pending/1";
}

/// A deployment that was taken back. Until a restart has shown Apple's snapshot
/// running, the patched one may come up once more, and this record with the kit for
/// recoveryOS is the way back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RevertRecord {
    /// `agxpatch.reverted/1`.
    pub schema: String,
    /// The boot session in which it was taken back.
    pub session: String,
    /// What is on the live volume since.
    pub live: LiveDriver,
    /// What had been deployed.
    pub manifest: Manifest,
}

impl RevertRecord {
    /// The form written by this version.
    pub const SCHEMA: &'static str = "agxpatch.reverted/1";
}

/// What is known of the driver on the live volume after a revert.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LiveDriver {
    /// It is the original again, or an update has replaced it.
    Original,
    /// The volume could not be written, so the patched driver may still be there. It
    /// comes back with the next snapshot that anybody makes of the volume.
    NotRestored,
    /// It is neither the original nor the patched one, and was left alone.
    Unknown,
}

/// Reads a record, or nothing where there is none.
pub fn read<T: DeserializeOwned>(host: &dyn Host, path: &Path) -> Result<Option<T>> {
    let Some(file) = host.read_if_present(path)? else { return Ok(None) };
    files::check_file(path, &file.metadata)?;
    let record = serde_json::from_slice(&file.bytes).map_err(|reason| {
        Error::new(Code::Altered, "an agxpatch record cannot be read")
            .with("file", path.display())
            .with("reason", reason)
    })?;
    Ok(Some(record))
}

/// Writes a record for everybody to read.
pub fn write<T: Serialize>(host: &dyn Host, path: &Path, record: &T) -> Result<()> {
    files::write_whole(host, path, &text(record)?, 0o644)
}

/// A record as it is written.
pub fn text<T: Serialize>(record: &T) -> Result<Vec<u8>> {
    let mut text = serde_json::to_vec_pretty(record).map_err(|reason| {
        Error::new(Code::Bug, "a record cannot be written").with("reason", reason)
    })?;
    text.push(b'\n');
    Ok(text)
}

/// The manifest on a system volume mounted at `root`.
pub fn on_volume(host: &dyn Host, root: &Path) -> Result<Option<Manifest>> {
    read(host, &layout::on_volume(root, Path::new(layout::VOLUME_MANIFEST)))
}
