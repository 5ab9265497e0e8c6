//! Where everything is kept.
//!
//! What the program keeps lies on the data volume, which survives updates, in
//! one directory that belongs to root. The records anybody may read, so that
//! `agxpatch status` needs no privilege; originals and patched copies only root.
//! The kit for recoveryOS lies where a person finds it there.

use std::path::{Path, PathBuf};

/// The directory of records and copies.
pub const STATE: &str = "/private/var/db/agxpatch";
/// The kit for recoveryOS.
pub const RECOVERY: &str = "/Users/Shared/agxpatch/recovery";
/// The manifest on a system volume, by its path there.
pub const VOLUME_MANIFEST: &str = "/System/Library/CoreServices/agxpatch.json";

/// The lock.
pub fn lock() -> PathBuf {
    in_state("lock")
}

/// What is going on.
pub fn journal() -> PathBuf {
    in_state("journal")
}

/// What is deployed.
pub fn manifest() -> PathBuf {
    in_state("manifest.json")
}

/// What else is kept in the manifest's folder, under this name.
pub fn beside_manifest(name: &str) -> PathBuf {
    in_state(name)
}

/// Which restart is due.
pub fn pending() -> PathBuf {
    in_state("pending.json")
}

/// What was taken back, kept until a restart has shown Apple's snapshot running.
pub fn reverted() -> PathBuf {
    in_state("reverted.json")
}

/// The record of commands of the last run.
pub fn log() -> PathBuf {
    in_state("last.log")
}

/// The original with this SHA-256.
pub fn backup(sha256: &str) -> PathBuf {
    backups().join(sha256)
}

/// The directory of originals.
pub fn backups() -> PathBuf {
    in_state("backup")
}

/// The patched copy with this SHA-256.
pub fn staged(sha256: &str) -> PathBuf {
    staging().join(sha256)
}

/// The directory of patched copies.
pub fn staging() -> PathBuf {
    in_state("staged")
}

/// Where the live volume is mounted.
pub fn mount_point() -> PathBuf {
    in_state("mount")
}

/// Where the live volume is mounted to be looked at.
pub fn look_point() -> PathBuf {
    in_state("look")
}

/// The script for recoveryOS.
pub fn recovery_script() -> PathBuf {
    Path::new(RECOVERY).join("restore.sh")
}

/// The original next to it, of the driver at this path.
pub fn recovery_original(driver: &Path) -> PathBuf {
    let name = driver.file_name().and_then(|name| name.to_str()).unwrap_or("driver");
    Path::new(RECOVERY).join(format!("{name}{ORIGINAL}"))
}

/// How the original's name ends in the kit.
pub const ORIGINAL: &str = ".original";

/// The file a replacement is written to before it takes the driver's name.
pub fn beside(driver: &Path) -> PathBuf {
    let name = driver.file_name().and_then(|name| name.to_str()).unwrap_or("driver");
    driver.with_file_name(format!(".{name}.agxpatch"))
}

/// The file `path` is written to before it takes its name.
pub fn unfinished(path: &Path) -> PathBuf {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or("file");
    path.with_file_name(format!("{name}.new"))
}

/// A path of the system volume below the place where that is mounted.
pub fn on_volume(root: &Path, path: &Path) -> PathBuf {
    root.join(path.strip_prefix("/").unwrap_or(path))
}

fn in_state(name: &str) -> PathBuf {
    Path::new(STATE).join(name)
}
