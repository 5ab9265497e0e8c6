//! Everything there is to know about a simulated Mac, as one value.
//!
//! The value is small: contents are named by their hash and kept apart, and a
//! volume is shared until it is changed. So a snapshot costs nothing, and
//! the whole Mac can be written to disk after each effect, or cloned a million
//! times in a test.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::fault::Plan;
use super::loader::Loader;
use super::shared::Shared;
use super::volume::{Object, Volume};

/// Device names, as on a Mac with one internal disk.
pub(super) mod device {
    pub const CONTAINER: &str = "disk3";
    pub const SYSTEM: &str = "disk3s1";
    pub const BOOTED: &str = "disk3s1s1";
    pub const PREBOOT: &str = "disk3s2";
    pub const UPDATE: &str = "disk3s4";
    pub const DATA: &str = "disk3s5";
    pub const GROUP: &str = "9A1B5C3D-0F6E-4B1A-8C42-5D5E7A9F0B11";
}

/// What the Mac is doing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// macOS is up.
    Running,
    /// macOS is up in safe mode, where `mount_apfs` is not to be had.
    Safe,
    /// recoveryOS is up, with the volumes under `/Volumes`.
    Recovery,
    /// Power is off.
    Off,
    /// The kernel panicked at boot; the reason.
    Panicked(String),
}

/// The state `fdesetup status` tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FileVault {
    /// Off.
    Off,
    /// On.
    On,
    /// On its way on, this many per cent done.
    Encrypting(u8),
    /// On its way off, this many per cent done.
    Decrypting(u8),
    /// Off, and on with the next restart.
    OnAfterRestart,
    /// Off as soon as the Mac was restarted.
    OffAfterRestart,
    /// Off until the user logs in again, as an organisation's profile has it.
    Deferred,
    /// Off, with an organisation's key installed.
    MasterKeychain,
}

impl FileVault {
    /// Whether the disk is, or is being, encrypted.
    pub(super) fn is_encrypted(self) -> bool {
        matches!(self, FileVault::On | FileVault::Encrypting(_) | FileVault::Decrypting(_))
    }
}

/// How `csrutil status` puts it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CsrutilForm {
    /// As macOS 12 to 26 on Apple Silicon: `enabled`, `disabled`, or `unknown
    /// (Custom Configuration)` with ten lines.
    Modern,
    /// As before: `enabled (Custom Configuration)` with seven lines.
    Older,
    /// With `(Apple Internal)` after the word.
    AppleInternal,
    /// These words, whatever the bits are.
    Fixed(String),
}

/// What happens at the terminal when a tool asks for a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Terminal {
    /// There is none.
    None,
    /// The owner types the right password.
    RightPassword,
    /// A wrong password is typed.
    WrongPassword,
    /// The person at the terminal of the process that runs the tool.
    Here,
}

/// Who signed a content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Signer {
    /// Apple, and the signature is intact.
    Apple,
    /// No signer: an intact ad-hoc signature.
    AdHoc,
    /// The signature does not fit the bytes, or there is none.
    Broken,
}

/// Which of the volumes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Place {
    Live,
    Snapshot(String),
    Data,
    Preboot,
    Update,
    /// The memory disk recoveryOS runs from.
    Base,
}

/// A mounted volume.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Mount {
    pub place: Place,
    pub device: String,
    pub at: String,
    pub read_only: bool,
    /// Whether the system mounted it at boot.
    pub by_system: bool,
}

/// A snapshot of the system volume.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// `com.apple.os.update-…` or `com.apple.bless.…`.
    pub name: String,
    /// Its UUID, in capitals.
    pub uuid: String,
    /// Its transaction number; later is larger.
    pub xid: u64,
    /// Whether its seal is intact.
    pub sealed: bool,
    pub(super) volume: Shared<Volume>,
}

/// The macOS that is installed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Release {
    /// Such as `15.7.3`.
    pub version: String,
    /// Such as `24G419`.
    pub build: String,
}

/// What a tool says instead of what it would.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Said {
    /// The exit code.
    #[serde(default)]
    pub rc: i32,
    /// Standard output.
    #[serde(default)]
    pub out: String,
    /// Standard error.
    #[serde(default)]
    pub err: String,
    /// Whether the tool does its work before it says that.
    #[serde(default)]
    pub after_work: bool,
    /// Whether the tool never ends.
    #[serde(default)]
    pub hangs: bool,
}

fn system_name() -> String {
    "Macintosh HD".to_owned()
}

fn data_name() -> String {
    "Data".to_owned()
}

/// A simulated Mac.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// The form of this file.
    pub(super) schema: u32,
    /// What it is doing.
    pub mode: Mode,
    /// What is running.
    pub release: Release,
    /// The protection bits the running kernel booted with.
    pub active_csr: u32,
    /// The bits of the LocalPolicy, in force from the next boot on.
    pub policy_csr: u32,
    /// How `csrutil` words it.
    pub csrutil: CsrutilForm,
    /// Whether the system call answers; when not, only the text is left.
    pub csr_syscall: bool,
    /// FileVault.
    pub filevault: FileVault,
    /// The NVRAM variable `boot-args`.
    pub boot_args: Option<String>,
    /// `MetalPluginName` in the I/O registry; none without an accelerator.
    pub metal_plugin: Option<String>,
    /// `MetalPluginClassName` in the I/O registry.
    pub metal_class: String,
    /// The driver bundles in the dyld shared cache, which have no file.
    #[serde(default)]
    pub shared_cache: Vec<String>,
    /// What tools say instead of what they would, by command line: the arguments after
    /// the tool's name may be left out.
    #[serde(default)]
    pub said: BTreeMap<String, Said>,
    /// Other installations of macOS on the disk: with any, `csrutil` asks which is meant.
    #[serde(default)]
    pub other_installations: Vec<String>,
    /// The name of the system volume.
    #[serde(default = "system_name")]
    pub system_name: String,
    /// The name of the data volume.
    #[serde(default = "data_name")]
    pub data_name: String,
    /// How the loader answers trials.
    #[serde(default)]
    pub loader: Loader,
    /// Whether macOS is on an external disk.
    #[serde(default)]
    pub external: bool,
    /// Whether "Ignore ownership on this volume" is set for the system volume: to root files
    /// keep their owner, new ones belong to `_unknown`, and a change of the owner is dropped.
    #[serde(default)]
    pub ownership_ignored: bool,
    /// Whether macOS refuses the terminal Full Disk Access (TCC), so that nothing started
    /// from it may mount a volume.
    #[serde(default)]
    pub no_full_disk_access: bool,
    /// Whether a profile of the organisation that manages the Mac (MDM) requires FileVault,
    /// which is then switched on again at the login after each start.
    #[serde(default)]
    pub profile_requires_filevault: bool,
    /// The names of the volumes that recoveryOS does not mount by itself.
    #[serde(default)]
    pub unmounted_in_recovery: Vec<String>,
    /// A system update is being prepared, and the volume is busy.
    pub update_preparing: bool,
    /// How often unmounting still fails because something has a file open.
    #[serde(default)]
    pub busy: u32,
    /// Bytes free in the container.
    pub free: u64,
    /// The user the processes act as; 0 is root.
    pub user: u32,
    /// The user who logged in.
    pub login: String,
    /// The terminal and who sits at it.
    pub terminal: Terminal,
    /// What the owner would type.
    pub password: String,
    /// Whether windows are drawn: false where the boot lost the driver.
    pub gui: bool,
    /// Seconds since 1970.
    pub clock: i64,
    /// How many times it has booted.
    pub boots: u64,
    /// Effects so far.
    pub effects: u64,
    /// The fault to come.
    pub fault: Option<Plan>,
    /// Says whether the snapshot volume's seal counts as broken, which is normal
    /// even on untouched machines.
    pub volume_seal_broken: bool,
    /// Who signed which content, where it is not to be told from the bytes.
    pub signed: BTreeMap<Object, Signer>,
    pub(super) empty: Object,
    pub(super) live: Shared<Volume>,
    pub(super) data: Shared<Volume>,
    pub(super) preboot: Shared<Volume>,
    pub(super) update: Shared<Volume>,
    pub(super) base: Shared<Volume>,
    /// Snapshots of the system volume, oldest first.
    pub snapshots: Vec<Snapshot>,
    /// The snapshot tagged as root, which the next boot takes.
    pub tagged: Option<String>,
    /// The snapshot that is running.
    pub booted: String,
    pub(super) mounts: Vec<Mount>,
    pub(super) next_xid: u64,
    pub(super) next_uuid: u64,
}

impl Machine {
    pub(super) fn volume(&self, place: &Place) -> Option<&Volume> {
        match place {
            Place::Live => Some(&self.live),
            Place::Snapshot(name) => self.snapshot(name).map(|snapshot| &*snapshot.volume),
            Place::Data => Some(&self.data),
            Place::Preboot => Some(&self.preboot),
            Place::Update => Some(&self.update),
            Place::Base => Some(&self.base),
        }
    }

    /// The volume to write to; none for snapshots, which never change.
    pub(super) fn volume_mut(&mut self, place: &Place) -> Option<&mut Volume> {
        let shared = match place {
            Place::Live => &mut self.live,
            Place::Snapshot(_) => return None,
            Place::Data => &mut self.data,
            Place::Preboot => &mut self.preboot,
            Place::Update => &mut self.update,
            Place::Base => &mut self.base,
        };
        Some(shared.own())
    }

    /// The driver that this Mac's GPU asks for.
    pub fn driver_path(&self) -> String {
        let names = self.metal_plugin.as_deref().unwrap_or(super::factory::PLUGIN);
        let apples = names.split(',').find(|name| name.starts_with("AGX"));
        super::factory::driver_path(apples.unwrap_or(names))
    }

    /// A snapshot by its name.
    pub fn snapshot(&self, name: &str) -> Option<&Snapshot> {
        self.snapshots.iter().find(|snapshot| snapshot.name == name)
    }

    /// The newest snapshot with an intact seal.
    pub fn last_sealed(&self) -> Option<&Snapshot> {
        self.snapshots.iter().filter(|snapshot| snapshot.sealed).max_by_key(|s| s.xid)
    }

    /// Whether macOS, in safe mode or not, is up.
    pub fn is_up(&self) -> bool {
        matches!(self.mode, Mode::Running | Mode::Safe | Mode::Recovery)
    }

    /// The volumes that were mounted by hand since boot, by mount point.
    pub fn mounted_by_hand(&self) -> Vec<String> {
        let by_hand = self.mounts.iter().filter(|mount| !mount.by_system);
        by_hand.map(|mount| mount.at.clone()).collect()
    }

    /// A UUID of its own, the same in every run.
    pub(super) fn fresh_uuid(&mut self) -> String {
        self.next_uuid += 1;
        format!("5151CA7E-0000-4000-8000-{:012X}", self.next_uuid)
    }

    /// The UUID of the running boot, as `kern.bootsessionuuid` tells it.
    pub fn boot_session(&self) -> String {
        format!("B0075E55-0000-4000-8000-{:012X}", self.boots)
    }

    pub(super) fn sync_all(&mut self) {
        for volume in
            [&mut self.live, &mut self.data, &mut self.preboot, &mut self.update, &mut self.base]
        {
            Volume::sync_shared(volume);
        }
    }
}
