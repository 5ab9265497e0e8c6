//! Mounting the live system volume, and replacing the one file on it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{files, layout};
use agxpatch_core::error::{Code, Error, Result};
use agxpatch_host::volume::{self, SystemVolume};
use agxpatch_host::{Command, Host, Input, Tool};

/// Mounts the live volume read-write in our own directory, or uses it where an
/// interrupted run left it mounted there.
pub fn mount(host: &dyn Host) -> Result<PathBuf> {
    let at = layout::mount_point();
    let system = volume::system_volume(host)?;
    if is_mounted_here(&system) {
        return Ok(at);
    }
    if let Some(elsewhere) = &system.mounted_at {
        return Err(Error::new(Code::WrongVolume, "somebody else has mounted the live volume")
            .with("at", elsewhere)
            .next("unmount it there and try again"));
    }
    files::make_directory(host, &at, 0o700)?;
    let command = Command::effect(Tool::Mount, ["-o", "nobrowse", "-t", "apfs"])
        .argument(format!("/dev/{}", system.device))
        .argument(&at);
    host.ask(&command).map_err(explain_mount)?;
    if !host.is_rehearsal() && !is_mounted_here(&volume::system_volume(host)?) {
        return Err(Error::new(Code::WrongVolume, "the live volume is not where it was mounted")
            .with("at", at.display()));
    }
    Ok(at)
}

fn is_mounted_here(system: &SystemVolume) -> bool {
    system.mounted_at.as_deref().map(Path::new) == Some(&layout::mount_point())
}

/// Adds what an exit code of `mount` is known to mean.
fn explain_mount(error: Error) -> Error {
    let told: String = error.context().iter().map(|(_, value)| value.as_str()).collect();
    let next = if told.contains("Operation not permitted") {
        "look at the protections: agxpatch check-sip"
    } else if told.contains("Resource busy") || told.contains("already in progress") {
        "an update may be under way: let it end, restart, and try again"
    } else if told.contains("invalid file system") {
        "leave safe mode and try again"
    } else {
        return error;
    };
    error.next(next)
}

/// How often unmounting is tried, and how long is waited in between.
const TRIES: u32 = 5;
const BETWEEN: Duration = Duration::from_secs(1);

/// Unmounts what [`mount`] mounted, and removes the directory. A volume that was
/// just written to may be busy for some seconds, with the system's own indexing.
pub fn unmount(host: &dyn Host) -> Result<()> {
    let at = layout::mount_point();
    let mounted = host.is_rehearsal() || is_mounted_here(&volume::system_volume(host)?);
    if mounted {
        let command = Command::effect(Tool::Umount, [] as [&str; 0]).argument(&at);
        let mut left = TRIES - 1;
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

/// Makes a snapshot of the live volume and chooses it for the next boot. Asks
/// nobody anything. Returns its name.
pub fn create_snapshot(host: &dyn Host, mount: &Path) -> Result<String> {
    let command = Command::effect(Tool::Bless, ["--mount"])
        .argument(mount)
        .argument("--create-snapshot")
        .argument("--verbose");
    let output = host.ask(&command)?;
    let text = output.text() + &output.complaint();
    let name = text.lines().find_map(|line| line.split_once("will boot from snapshot "));
    let name = name.map(|(_, name)| name.trim()).filter(|name| is_blessed(name));
    name.map(str::to_owned).ok_or_else(|| {
        agxpatch_host::unknown_answer(&command, "will boot from snapshot com.apple.bless…", &output)
    })
}

fn is_blessed(name: &str) -> bool {
    name.starts_with(volume::BLESSED_PREFIX) && !name.contains(char::is_whitespace)
}

/// Whose password `bless` is to be given when it goes back to Apple's snapshot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Owner {
    /// The person at the terminal types it, asked by `bless` itself.
    #[default]
    AtTerminal,
    /// A local owner of the machine and the password.
    Named {
        /// The short name.
        user: String,
        /// The password, passed on and kept nowhere.
        password: Vec<u8>,
    },
}

/// How often a person may mistype the password.
const PASSWORDS: u32 = 3;
/// What `bless` says of a wrong one.
const WRONG_PASSWORD: &str = "Failed to authenticate owner";
/// What it says where it has cleared the choice already and fails at what follows.
const CLEARED: [&str; 3] = [WRONG_PASSWORD, "Bootability failed", "getlogin() failed"];

/// How going back to Apple's snapshot went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sealed {
    /// As it should.
    Chosen,
    /// The choice of our snapshot was cleared, which is what counts, and then
    /// the owner's password was not accepted. What `bless` said.
    NotAuthenticated(String),
}

/// Chooses Apple's sealed snapshot for the next boot. `bless` clears the choice of
/// any other first and asks for the owner's password afterwards.
pub fn choose_sealed(host: &dyn Host, mount: &Path, owner: &Owner) -> Result<Sealed> {
    let mut command = Command::effect(Tool::Bless, ["--mount"])
        .argument(mount)
        .argument("--last-sealed-snapshot");
    command = match owner {
        Owner::AtTerminal => command.input(Input::Terminal),
        Owner::Named { user, password } => {
            let command = command.argument("--user").argument(user).argument("--stdinpass");
            command.input(Input::Secret(password.clone()))
        }
    };
    let mut tries = if *owner == Owner::AtTerminal { PASSWORDS } else { 1 };
    loop {
        let output = host.run(&command)?;
        let complaint = output.complaint();
        tries -= 1;
        if output.succeeded() {
            return Ok(Sealed::Chosen);
        } else if complaint.contains(WRONG_PASSWORD) && tries > 0 {
            continue;
        } else if CLEARED.iter().any(|text| complaint.contains(text)) {
            return Ok(Sealed::NotAuthenticated(complaint.trim().to_owned()));
        }
        return Err(agxpatch_host::tool_failed(&command, &output));
    }
}
