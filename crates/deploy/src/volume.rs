//! Mounting the live system volume, and replacing the one file on it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{files, layout};
use agxpatch_core::error::{Code, Error, Result};
use agxpatch_host::sip::Sip;
use agxpatch_host::volume;
use agxpatch_host::{Command, CsrConfig, Host, Tool};

/// Mounts the live volume read-write in our own directory, or uses it where an
/// interrupted run left it mounted there.
pub fn mount(host: &dyn Host) -> Result<PathBuf> {
    let at = layout::mount_point();
    // A look at it that did not come to its end.
    unmount_at(host, &layout::look_point())?;
    let system = volume::system_volume(host)?;
    if is(system.mounted_at.as_deref(), &at) {
        return Ok(at);
    }
    if let Some(elsewhere) = &system.mounted_at {
        return Err(Error::new(Code::MountRefused, "the live volume is mounted elsewhere")
            .with("at", elsewhere)
            .next("let the macOS update finish; then sudo shutdown -r now, and run this again"));
    }
    mount_at(host, &system.device, &at, "nobrowse").map_err(|error| explain_mount(host, error))?;
    if !is(volume::live_mount(host)?.as_deref(), &at) {
        return Err(Error::new(
            Code::WrongVolume,
            "the live volume is no longer where it was mounted",
        )
        .with("at", at.display()));
    }
    Ok(at)
}

/// Mounts a device, with these options of `mount`, at a directory of its own.
pub fn mount_at(host: &dyn Host, device: &str, at: &Path, options: &str) -> Result<()> {
    files::make_directory(host, at, 0o700)?;
    let command = Command::effect(Tool::Mount, ["-o", options, "-t", "apfs"])
        .argument(format!("/dev/{device}"))
        .argument(at);
    host.ask(&command).map(drop)
}

/// Whether what is mounted at one place, if anything, is mounted at the other.
fn is(mounted: Option<&str>, at: &Path) -> bool {
    mounted.map(Path::new) == Some(at)
}

/// What a program without Full Disk Access may lack, root's included.
const FULL_DISK_ACCESS: &str = "System Settings > Privacy & Security > Full Disk Access: switch it \
                                on for the terminal (over ssh: Sharing > Remote Login, allow full \
                                disk access), open a new one, and the same again";

/// A refusal by its own code, with what the words of `mount` are known to mean. A
/// failing disk stays what it is.
fn explain_mount(host: &dyn Host, error: Error) -> Error {
    let told: String = error.context().iter().map(|(_, value)| value.as_str()).collect();
    let writable = || Sip::ask(host).is_ok_and(|sip| sip.bits.allows(CsrConfig::UNRESTRICTED_FS));
    let next = if told.contains("Operation not permitted") || told.contains("Permission denied") {
        // The protection is off, so what forbids it is macOS's privacy control (TCC).
        match writable() {
            true => FULL_DISK_ACCESS,
            false => "agxpatch check-sip",
        }
    } else if told.contains("Resource busy") || told.contains("already in progress") {
        "let the macOS update finish; then sudo shutdown -r now, and run this again"
    } else if told.contains("invalid file system") {
        "sudo shutdown -r now (without the Shift key: this is safe mode), and the same again"
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
    unmount_at(host, &layout::mount_point())
}

/// The same for an own directory that the volume may be mounted at.
pub fn unmount_at(host: &dyn Host, at: &Path) -> Result<()> {
    // The directory is there as long as anything is mounted in it.
    if host.metadata(at)?.is_none() {
        return Ok(());
    }
    match volume::live_mount(host) {
        Ok(mounted) if is(mounted.as_deref(), at) => umount(host, at)?,
        Ok(_) => {}
        // What diskutil does not tell does not keep anything mounted.
        Err(error) => umount(host, at).map_err(|_| error)?,
    }
    files::remove_directory_if_empty(host, at)
}

/// Tries some times, and in the end by force, which is the way on from a tool that hangs.
fn umount(host: &dyn Host, at: &Path) -> Result<()> {
    let command = Command::effect(Tool::Umount, [] as [&str; 0]).argument(at);
    for attempt in 1..=MAX_UNMOUNTS {
        match host.run(&command) {
            Ok(output) if output.succeeded() => return Ok(()),
            Err(_) => break,
            Ok(_) if attempt < MAX_UNMOUNTS => host.pause(BETWEEN),
            Ok(_) => {}
        }
    }
    host.ask(&Command::effect(Tool::Umount, ["-f"]).argument(at)).map(drop)
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
