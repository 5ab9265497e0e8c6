//! Power off, power on, updates: what happens to a Mac between two boots.
//!
//! A boot takes the snapshot that is tagged as root, or the newest sealed one
//! where none is. An unsealed snapshot needs the authenticated root switched
//! off in the LocalPolicy, otherwise the kernel panics; so it does without any
//! snapshot. A driver that Apple did not sign is turned away by
//! every platform process, the window server first, unless library validation is
//! off and the debugging restrictions allow that to count.

use serde::Serialize;

use super::factory::{self, LIBRARY_VALIDATION, Model};
use super::machine::{FileVault, Machine, Mode, Mount, Place, Release, Signer, device};
use super::store::{Held, Objects};
use super::volume::{Loss, Object, Volume};
use super::{SimulatedMac, files};
use agxpatch_core::error::Result;
use agxpatch_host::CsrConfig;

/// How a boot went.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "boot")]
pub enum Boot {
    /// macOS is up and draws windows.
    Up {
        /// The snapshot it runs from.
        snapshot: String,
    },
    /// macOS is up, and the screen stays black: only `ssh` gets in.
    WithoutWindows {
        /// The snapshot it runs from.
        snapshot: String,
        /// Why.
        reason: String,
    },
    /// The kernel panicked.
    Panic {
        /// What it said.
        reason: String,
    },
}

/// Boots a Mac whose power is off.
pub(super) fn boot(machine: &mut Machine) -> Boot {
    machine.boots += 1;
    machine.clock += 60;
    machine.mounts.clear();
    machine.active_csr = machine.policy_csr & !CsrConfig::APPLE_INTERNAL.0;
    let chosen = machine
        .tagged
        .clone()
        .filter(|name| machine.snapshot(name).is_some())
        .or_else(|| machine.last_sealed().map(|snapshot| snapshot.name.clone()));
    let Some(snapshot) = chosen else {
        return panic(
            machine,
            "Rooting from the live fs of a sealed volume is not allowed on a RELEASE build",
        );
    };
    let sealed = machine.snapshot(&snapshot).is_some_and(|snapshot| snapshot.sealed);
    let policy = CsrConfig(machine.policy_csr);
    if !sealed && !policy.allows(CsrConfig::UNAUTHENTICATED_ROOT) {
        return panic(machine, "the root snapshot's seal is broken and must be intact");
    }
    if machine.filevault == FileVault::OnAfterRestart {
        machine.filevault = FileVault::On;
    }
    if !sealed && machine.filevault.is_encrypted() {
        return panic(machine, "the root snapshot's seal is broken and FileVault is on");
    }
    log_in(machine);
    machine.booted = snapshot.clone();
    machine.mode = Mode::Running;
    mount_system_volumes(machine);
    let reason = windows_lost(machine);
    machine.gui = reason.is_none();
    match reason {
        None => Boot::Up { snapshot },
        Some(reason) => Boot::WithoutWindows { snapshot, reason },
    }
}

/// What a restart and the login after it make of FileVault.
fn log_in(machine: &mut Machine) {
    machine.filevault = match machine.filevault {
        FileVault::OffAfterRestart => FileVault::Off,
        FileVault::Deferred => FileVault::On,
        other => other,
    };
    if machine.filevault == FileVault::Off && machine.profile_requires_filevault {
        machine.filevault = FileVault::Deferred;
    }
}

fn panic(machine: &mut Machine, reason: &str) -> Boot {
    machine.mode = Mode::Panicked(reason.to_owned());
    machine.gui = false;
    Boot::Panic { reason: reason.to_owned() }
}

/// Why the window server would not get its driver; none where it does.
fn windows_lost(machine: &Machine) -> Option<String> {
    let volume = &machine.snapshot(&machine.booted)?.volume;
    if machine.metal_plugin.as_ref().is_some_and(|name| machine.shared_cache.contains(name)) {
        return None;
    }
    let Some(driver) = files::object_on(volume, &machine.driver_path()) else {
        return Some("the driver is missing".to_owned());
    };
    if driver == machine.empty {
        return Some("the driver is empty".to_owned());
    }
    if machine.signed.get(&driver) == Some(&Signer::Apple) {
        return None;
    }
    if machine.signed.get(&driver) == Some(&Signer::Broken) {
        return Some("the driver's code signature is invalid".to_owned());
    }
    let honoured = CsrConfig(machine.active_csr).allows(CsrConfig::TASK_FOR_PID);
    if honoured && library_validation_off(machine) {
        return None;
    }
    Some(format!("Library Validation failed: {}", super::loader::NOT_PLATFORM))
}

/// Whether the preference file that switches library validation off is there
/// and says so.
pub(super) fn library_validation_off(machine: &Machine) -> bool {
    // The content's hash tells, so that no bytes need be read at boot.
    let set = super::store::name_of(library_validation_file(true).as_bytes());
    files::object_on(&machine.data, LIBRARY_VALIDATION) == Some(set)
}

/// The preference file with the switch set or cleared.
pub(super) fn library_validation_file(off: bool) -> String {
    let text = factory::property_list(&[("DisableLibraryValidation", "")]);
    text.replace("<string></string>", if off { "<true/>" } else { "<false/>" })
}

/// What macOS itself mounts: what, the device, where, and whether read-only.
fn mount((place, device, at, read_only): (Place, &str, &str, bool)) -> Mount {
    Mount { place, device: device.to_owned(), at: at.to_owned(), read_only, by_system: true }
}

fn mount_system_volumes(machine: &mut Machine) {
    let booted = Place::Snapshot(machine.booted.clone());
    machine.mounts = [
        (booted, device::BOOTED, "/", true),
        (Place::Preboot, device::PREBOOT, "/System/Volumes/Preboot", false),
        (Place::Update, device::UPDATE, "/System/Volumes/Update", false),
        (Place::Data, device::DATA, "/System/Volumes/Data", false),
    ]
    .map(mount)
    .into();
}

/// Power goes, and unforced writes with it as `loss` says.
pub(super) fn lose_power(machine: &mut Machine, loss: Loss) {
    let empty = machine.empty.clone();
    for volume in [&mut machine.live, &mut machine.data, &mut machine.preboot, &mut machine.update]
    {
        Volume::lose_power(volume, loss, &empty);
    }
    machine.mounts.clear();
    machine.mode = Mode::Off;
    machine.gui = false;
}

/// Boots recoveryOS, where the volumes are under `/Volumes` and the system
/// volume is mounted read-only.
fn boot_recovery(machine: &mut Machine) {
    machine.boots += 1;
    machine.mounts = [
        (Place::Base, "disk2s1", "/", false),
        (Place::Live, device::SYSTEM, &format!("/Volumes/{}", machine.system_name), true),
        (Place::Data, device::DATA, &format!("/Volumes/{}", machine.data_name), false),
        (Place::Preboot, device::PREBOOT, "/System/Volumes/Preboot", false),
    ]
    .map(mount)
    .into();
    // recoveryOS often leaves the system volume unmounted, and the data volume where it
    // is locked.
    let hidden = machine.unmounted_in_recovery.clone();
    machine
        .mounts
        .retain(|mount| !hidden.iter().any(|name| mount.at == format!("/Volumes/{name}")));
    machine.active_csr = machine.policy_csr | CsrConfig::UNRESTRICTED_FS.0;
    machine.mode = Mode::Recovery;
}

impl SimulatedMac {
    /// Shuts the Mac down in good order where it is up, and boots it.
    pub fn reboot(&self) -> Result<Boot> {
        self.store.work(|held| {
            shut_down(&mut held.machine);
            self.judge_drivers(held)?;
            Ok(boot(&mut held.machine))
        })
    }

    /// Has the driver of every snapshot judged, as the kernel will at boot.
    fn judge_drivers(&self, held: &mut Held) -> Result<()> {
        let path = held.machine.driver_path();
        let volumes = held.machine.snapshots.iter().map(|snapshot| &snapshot.volume);
        let drivers: Vec<Object> =
            volumes.filter_map(|volume| files::object_on(volume, &path)).collect();
        for driver in drivers {
            if !held.machine.signed.contains_key(&driver) {
                let signer = (self.judge)(&held.content(&driver)?);
                held.machine.signed.insert(driver, signer);
            }
        }
        Ok(())
    }

    /// Shuts the Mac down and boots recoveryOS.
    pub fn reboot_to_recovery(&self) -> Result<()> {
        self.store.work(|held| {
            shut_down(&mut held.machine);
            boot_recovery(&mut held.machine);
            Ok(())
        })
    }

    /// Pulls the plug.
    pub fn power_off(&self, loss: Loss) -> Result<()> {
        self.change(|machine| lose_power(machine, loss))
    }

    /// Switches library validation off or on for the whole Mac, as its owner
    /// would with `defaults write`.
    pub fn set_library_validation(&self, on: bool) -> Result<()> {
        self.plant(LIBRARY_VALIDATION, library_validation_file(!on).as_bytes())
    }

    /// Sets the LocalPolicy and boots with it.
    pub fn set_protections(&self, csr: CsrConfig) -> Result<Boot> {
        self.change(|machine| machine.policy_csr = csr.0)?;
        self.reboot()
    }

    /// Opens every door a change of the system volume needs: protection bits,
    /// authenticated root, FileVault, library validation; then reboots.
    pub fn open_for_deployment(&self) -> Result<Boot> {
        self.set_library_validation(false)?;
        self.change(|machine| machine.filevault = FileVault::Off)?;
        self.set_protections(CsrConfig::DISABLED | CsrConfig::UNAUTHENTICATED_ROOT)
    }

    /// Lets the updater download and prepare another release: the live volume
    /// names its build already, and the plan of the update lies on its volume.
    pub fn stage_update(&self, release: Release) -> Result<()> {
        let text = factory::system_version(&release);
        self.plant_on_live_volume(factory::SYSTEM_VERSION, text.as_bytes())?;
        let plan = format!(
            "<plist version=\"1.0\"><dict><key>update-asset-attributes</key><dict>\
             <key>Build</key><string>{}</string><key>OSVersion</key><string>{}</string>\
             </dict></dict></plist>\n",
            release.build, release.version
        );
        self.plant("/System/Volumes/Update/Update.plist", plan.as_bytes())
    }

    /// Installs another release with its driver and boots it: a new sealed
    /// snapshot is the only one, and nothing is staged any more.
    pub fn install_update(&self, release: Release, driver: &[u8]) -> Result<Boot> {
        self.store.work(|held| {
            let objects = Objects::default();
            let plugin = held.machine.metal_plugin.clone();
            let plugin = plugin.unwrap_or_else(|| factory::PLUGIN.to_owned());
            let model = Model { release: release.clone(), plugin };
            let live = factory::system_volume(&objects, &model, driver);
            for bytes in objects.all() {
                held.keep(&bytes)?;
            }
            let signed = held.keep(driver)?;
            let machine = &mut held.machine;
            shut_down(machine);
            machine.signed.insert(signed, Signer::Apple);
            machine.live = live.into();
            machine.shared_cache.clear();
            if model.driver_is_cached() {
                machine.shared_cache.push(model.plugin);
            }
            machine.release = release;
            machine.update = factory::update_volume().into();
            machine.update_preparing = false;
            factory::seal_live_volume(machine);
            Ok(boot(machine))
        })
    }
}

fn shut_down(machine: &mut Machine) {
    if machine.is_up() {
        machine.sync_all();
    }
    machine.mounts.clear();
    machine.mode = Mode::Off;
}
