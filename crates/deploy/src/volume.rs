//! Mounting the live system volume, and replacing the one file on it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{files, layout};
use agxpatch_core::error::{Code, Error, Result};
use agxpatch_host::volume::{self, SystemVolume};
use agxpatch_host::{Command, Host, Tool};

/// Mounts the live volume read-write in our own directory, or uses it where an
/// interrupted run left it mounted there.
pub fn mount(host: &dyn Host) -> Result<PathBuf> {
    let at = layout::mount_point();
    let system = volume::system_volume(host)?;
    if is_mounted_here(&system) {
        return Ok(at);
    }
    if let Some(elsewhere) = &system.mounted_at {
        return Err(Error::new(Code::MountRefused, "the live volume is mounted elsewhere")
            .with("at", elsewhere)
            .next("an update may be under way: let it finish, restart, and try again"));
    }
    files::make_directory(host, &at, 0o700)?;
    let command = Command::effect(Tool::Mount, ["-o", "nobrowse", "-t", "apfs"])
        .argument(format!("/dev/{}", system.device))
        .argument(&at);
    host.ask(&command).map_err(explain_mount)?;
    if !is_mounted_here(&volume::system_volume(host)?) {
        return Err(Error::new(Code::WrongVolume, "the live volume is not where it was mounted")
            .with("at", at.display()));
    }
    Ok(at)
}

fn is_mounted_here(system: &SystemVolume) -> bool {
    system.mounted_at.as_deref().map(Path::new) == Some(&layout::mount_point())
}

/// A refusal by its own code, with what the words of `mount` are known to mean. A
/// failing disk stays what it is.
fn explain_mount(error: Error) -> Error {
    let told: String = error.context().iter().map(|(_, value)| value.as_str()).collect();
    let next = if told.contains("Operation not permitted") || told.contains("Permission denied") {
        "agxpatch check-sip shows which protections are on"
    } else if told.contains("Resource busy") || told.contains("already in progress") {
        "an update may be under way: let it finish, restart, and try again"
    } else if told.contains("invalid file system") {
        "leave safe mode and try again"
    } else {
        return error;
    };
    let refused = Error::new(Code::MountRefused, "the live volume cannot be mounted for writing");
    let context = error.context().iter();
    context.fold(refused, |refused, (name, value)| refused.with(name, value)).next(next)
}

/// How often unmounting is tried, and how long is waited in between.
const MAX_UNMOUNTS: u32 = 5;
const BETWEEN: Duration = Duration::from_secs(1);

/// Unmounts what [`mount`] mounted, and removes the directory. A volume that was
/// just written to may be busy for some seconds, with the system's own indexing.
pub fn unmount(host: &dyn Host) -> Result<()> {
    let at = layout::mount_point();
    if is_mounted_here(&volume::system_volume(host)?) {
        let command = Command::effect(Tool::Umount, [] as [&str; 0]).argument(&at);
        let mut left = MAX_UNMOUNTS - 1;
        while left > 0 && !host.run(&command)?.succeeded() {
            host.pause(BETWEEN);
            left -= 1;
        }
        if left == 0 {
            host.ask(&command)?;
        }
    }
    files::remove_directory_if_empty(host, &at)
}

/// Writes `bytes` beside the driver, as root's with these permission bits, forced
/// to the disk. It has no other name yet.
pub fn write_beside(host: &dyn Host, driver: &Path, bytes: &[u8], mode: u32) -> Result<PathBuf> {
    let beside = layout::beside(driver);
    host.write_new(&beside, bytes, mode)?;
    host.set_owner(&beside, 0, 0)?;
    host.sync_file(&beside)?;
    files::sync_parent(host, &beside)?;
    Ok(beside)
}

/// Gives what lies beside the driver its name.
pub fn take_name(host: &dyn Host, driver: &Path) -> Result<()> {
    host.rename(&layout::beside(driver), driver)?;
    files::sync_parent(host, driver)
}
