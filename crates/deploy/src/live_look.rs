//! What the live volume holds while Apple's snapshot runs.
//!
//! macOS runs from a snapshot, so the volume itself is not mounted, and what lies on it
//! shows only when the next snapshot of it is made. So it is mounted read-only for
//! the moment of a look, in a directory of our own and under the lock. Nothing is changed;
//! where it cannot be done, the reason is said.

use std::path::{Path, PathBuf};

use super::driver_patcher::{Content, DriverPatcher};
use super::state::{Facts, State};
use super::volume as live;
use super::{files, layout};
use agxpatch_core::error::{Code, Error, Result};
use agxpatch_host::driver::DriverBundle;
use agxpatch_host::sip::Sip;
use agxpatch_host::{CsrConfig, Host, machine, volume};

/// What a look at the live volume showed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LiveVolume {
    /// It was not looked at, and why.
    NotLooked(String),
    /// It holds this.
    Holds {
        /// The build of its macOS.
        build: String,
        /// The SHA-256 of its driver and what that is; none where it has no driver file.
        driver: Option<(String, Content)>,
    },
}

impl LiveVolume {
    /// Whether a patched driver lies on it.
    pub fn is_patched(&self) -> bool {
        matches!(self, LiveVolume::Holds { driver: Some((_, Content::Patched { .. })), .. })
    }
}

/// Looks, where Apple's snapshot runs and something may be wrong with the volume.
pub fn look(
    host: &dyn Host,
    patcher: &dyn DriverPatcher,
    facts: &Facts,
    state: State,
) -> LiveVolume {
    let answer = match why_not(host, facts, state) {
        Ok(Some(reason)) => return LiveVolume::NotLooked(reason),
        Ok(None) => mounted(host, &|root| seen(host, patcher, facts, root)),
        Err(error) => Err(error),
    };
    answer.unwrap_or_else(|error| LiveVolume::NotLooked(told(&error)))
}

/// Why there is no point in looking, or no right to.
fn why_not(host: &dyn Host, facts: &Facts, state: State) -> Result<Option<String>> {
    let reason = if !matches!(state, State::Clean | State::UpdatedAway) {
        "the snapshot that runs was made of it"
    } else if host.effective_user() != 0 {
        "only root may look: sudo agxpatch verify"
    } else if facts.journal.is_some() {
        "an interrupted run may have left it in between"
    } else if host.metadata(Path::new(layout::STATE))?.is_none() {
        "agxpatch has never changed it"
    } else {
        return Ok(None);
    };
    Ok(Some(reason.to_owned()))
}

/// Lets `see` see the volume: where it is mounted, or mounted for the moment.
fn mounted(host: &dyn Host, see: &dyn Fn(&Path) -> Result<LiveVolume>) -> Result<LiveVolume> {
    let system = volume::system_volume(host)?;
    if let Some(at) = system.mounted_at.as_deref() {
        return see(Path::new(at));
    }
    if !Sip::ask(host)?.bits.allows(CsrConfig::UNRESTRICTED_FS) {
        return Err(Error::new(Code::MountRefused, "Filesystem Protections are on"));
    }
    let _lock = host.lock(&layout::lock())?;
    let at = layout::look_point();
    let mounted = live::mount_at(host, &system.device, &at, "rdonly,nobrowse");
    let seen = mounted.and_then(|()| see(&at));
    live::unmount_at(host, &at)?;
    seen
}

fn seen(
    host: &dyn Host,
    patcher: &dyn DriverPatcher,
    facts: &Facts,
    root: &Path,
) -> Result<LiveVolume> {
    let build = machine::release_on(host, root)?.build;
    let driver = match &facts.driver_path {
        Some(path) => path.clone(),
        None => DriverBundle::installed(host)?.executable(),
    };
    let path: PathBuf = layout::on_volume(root, &driver);
    let file = host.read_if_present(&path)?;
    let driver = file.map(|file| (files::sha256(&file.bytes), patcher.look(&file.bytes)));
    Ok(LiveVolume::Holds { build, driver })
}

/// An error with what the tool said.
fn told(error: &Error) -> String {
    if matches!(error.code(), Code::NotRecorded | Code::ReplayOnly) {
        return "not recorded".to_owned();
    }
    let said = error.context().iter().find(|(name, _)| *name == "stderr");
    match said.and_then(|(_, text)| text.lines().next()) {
        Some(line) => format!("it cannot be mounted: {line}"),
        None => format!("it cannot be mounted: {}", error.message()),
    }
}
