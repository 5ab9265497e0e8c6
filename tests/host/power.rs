//! Power, crashes and boots.

use std::path::Path;

use agxpatch_host::{Command, CsrConfig, Host, Input, Tool};
use agxpatch_simulate::mac::{
    Boot, DRIVER as PATH, Fault, FileVault, Loss, Mode, Release, Signer, SimulatedMac, survive,
};

use super::{DRIVER, bless, deploy, mount, open_mac};

const FILE: &str = "/private/var/db/file";

/// Replaces a file the right way, or without forcing its content to the disk.
fn replace(host: &dyn Host, careful: bool) -> agxpatch_core::Result<()> {
    let beside = Path::new("/private/var/db/file.new");
    host.write_new(beside, b"new", 0o600)?;
    if careful {
        host.sync_file(beside)?;
    }
    host.rename(beside, Path::new(FILE))?;
    host.sync_directory(Path::new("/private/var/db"))
}

/// What is at the file after each fault at each effect and a reboot.
fn outcomes(careful: bool) -> Vec<Vec<u8>> {
    let start = SimulatedMac::in_memory(DRIVER);
    start.plant(FILE, b"old").unwrap();
    let trial = start.fork().unwrap();
    let before = trial.effects().unwrap();
    replace(&trial, careful).unwrap();
    let effects = trial.effects().unwrap() - before;
    assert_eq!(effects, if careful { 4 } else { 3 });
    let mut outcomes = Vec::new();
    for nth in 1..=effects {
        for fault in Fault::all() {
            let mac = start.fork().unwrap();
            mac.inject(nth, fault).unwrap();
            let ended = survive(|| replace(&mac, careful));
            assert_eq!(ended.is_err(), fault.is_crash(), "{fault:?} at {nth}");
            assert!(!matches!(ended, Ok(Ok(()))), "{fault:?} at {nth} was not noticed");
            let mac = mac.process();
            if matches!(fault, Fault::Power { .. }) {
                let gone = survive(|| mac.read(Path::new(FILE))).unwrap_err();
                assert_eq!((gone.mode, gone.struck), (Mode::Off, None));
                mac.reboot().unwrap();
            }
            outcomes.push(mac.read(Path::new(FILE)).unwrap().bytes);
        }
    }
    outcomes
}

#[test]
fn a_file_replaced_with_care_is_old_or_new_after_every_fault() {
    let outcomes = outcomes(true);
    assert_eq!(outcomes.len(), 4 * Fault::all().len());
    assert!(outcomes.iter().all(|bytes| bytes == b"old" || bytes == b"new"));
    assert!(outcomes.iter().any(|bytes| bytes == b"new"));
}

#[test]
fn a_file_named_before_it_was_synced_can_come_back_empty() {
    assert!(outcomes(false).iter().any(Vec::is_empty));
}

#[test]
fn a_name_that_was_not_synced_can_be_lost() {
    let mac = open_mac();
    let path = Path::new("/private/var/db/new");
    mac.write_new(path, b"x", 0o600).unwrap();
    mac.sync_file(path).unwrap();
    mac.power_off(Loss::Everything).unwrap();
    mac.reboot().unwrap();
    assert!(mac.metadata(path).unwrap().is_none());
}

#[test]
fn a_full_disk_leaves_half_a_file_and_says_so() {
    let mac = open_mac();
    mac.change(|machine| machine.free = 3).unwrap();
    let path = Path::new("/private/var/db/new");
    let error = mac.write_new(path, b"four", 0o600).unwrap_err();
    assert!(error.context().iter().any(|(_, value)| value == "No space left on device"));
    assert_eq!(mac.read(path).unwrap().bytes, b"fo");
}

#[test]
fn a_patched_snapshot_boots_where_everything_is_open() {
    let mac = open_mac();
    deploy(&mac, b"patched");
    mac.declare_signer(b"patched", Signer::AdHoc).unwrap();
    let Boot::Up { snapshot } = mac.reboot().unwrap() else { panic!("no windows") };
    assert!(snapshot.starts_with("com.apple.bless."));
    assert_eq!(mac.read(Path::new(PATH)).unwrap().bytes, b"patched");
}

#[test]
fn the_screen_stays_black_where_library_validation_is_on_or_the_signature_broken() {
    let mac = open_mac();
    deploy(&mac, b"patched");
    let broken = mac.fork().unwrap();
    assert!(matches!(broken.reboot().unwrap(), Boot::WithoutWindows { .. }));
    mac.declare_signer(b"patched", Signer::AdHoc).unwrap();
    mac.set_library_validation(true).unwrap();
    assert!(matches!(mac.reboot().unwrap(), Boot::WithoutWindows { .. }));
    assert!(!mac.machine().unwrap().gui);
    // The switch does not count while the debugging restrictions are on.
    mac.set_library_validation(false).unwrap();
    let restricted = CsrConfig(0x86f & !CsrConfig::TASK_FOR_PID.0);
    assert!(matches!(mac.set_protections(restricted).unwrap(), Boot::WithoutWindows { .. }));
}

#[test]
fn a_patched_snapshot_panics_with_the_authenticated_root_on_or_filevault() {
    let mac = open_mac();
    deploy(&mac, b"patched");
    let other = mac.fork().unwrap();
    assert!(matches!(mac.set_protections(CsrConfig::DISABLED).unwrap(), Boot::Panic { .. }));
    let gone = survive(|| mac.read(Path::new(PATH))).unwrap_err();
    assert!(matches!(gone.mode, Mode::Panicked(_)), "{gone:?}");
    other.change(|machine| machine.filevault = FileVault::On).unwrap();
    assert!(matches!(other.reboot().unwrap(), Boot::Panic { .. }));
}

#[test]
fn without_a_snapshot_nothing_boots() {
    let mac = open_mac();
    mac.change(|machine| machine.snapshots.clear()).unwrap();
    assert!(matches!(mac.reboot().unwrap(), Boot::Panic { .. }));
}

#[test]
fn an_update_takes_the_patch_away_and_changes_the_build() {
    let mac = open_mac();
    deploy(&mac, b"patched");
    let release = Release { version: "15.8".into(), build: "24H1".into() };
    mac.stage_update(release.clone()).unwrap();
    let boot = mac.install_update(release, b"next driver").unwrap();
    assert!(matches!(boot, Boot::Up { .. }));
    assert_eq!(mac.read(Path::new(PATH)).unwrap().bytes, b"next driver");
    assert_eq!(agxpatch_host::machine::release(&mac).unwrap().build, "24H1");
    assert_eq!(agxpatch_host::volume::staged_update(&mac, None).unwrap(), None);
    assert_eq!(mac.machine().unwrap().snapshots.len(), 1);
}

#[test]
fn going_back_to_the_sealed_snapshot_leaves_the_live_volume_patched() {
    let mac = open_mac();
    deploy(&mac, b"patched");
    mac.declare_signer(b"patched", Signer::AdHoc).unwrap();
    mac.reboot().unwrap();
    assert!(mount(&mac).succeeded());
    assert!(bless(&mac, "--last-sealed-snapshot", Input::Terminal).succeeded());
    let live = format!("{}{PATH}", super::MOUNT);
    assert_eq!(mac.read(Path::new(&live)).unwrap().bytes, b"patched");
    mac.reboot().unwrap();
    assert_eq!(mac.read(Path::new(PATH)).unwrap().bytes, DRIVER);
}

#[test]
fn a_boot_has_a_session_of_its_own() {
    let mac = open_mac();
    let first = agxpatch_host::machine::boot_session(&mac).unwrap();
    mac.reboot().unwrap();
    assert_ne!(agxpatch_host::machine::boot_session(&mac).unwrap(), first);
}

#[test]
fn recovery_leaves_volumes_unmounted_until_diskutil_mounts_them() {
    let mac = open_mac();
    mac.change(|machine| machine.unmounted_in_recovery = vec!["Macintosh HD".into()]).unwrap();
    mac.reboot_to_recovery().unwrap();
    let system = Path::new("/Volumes/Macintosh HD/System");
    assert_eq!(mac.metadata(system).unwrap(), None);
    assert!(mac.metadata(Path::new("/Volumes/Data/Users")).unwrap().is_some());
    let mount = |name: &str| mac.run(&Command::effect(Tool::Diskutil, ["mount", name])).unwrap();
    assert!(!mount("Elsewhere").succeeded());
    assert!(mount("Macintosh HD").succeeded());
    assert!(mac.metadata(system).unwrap().is_some());
    // Read-only, as recoveryOS mounts it.
    let file = system.join("x");
    assert!(mac.write_new(&file, b"", 0o644).is_err());
    mac.ask(&Command::effect(Tool::Mount, ["-uw", "/Volumes/Macintosh HD"])).unwrap();
    mac.write_new(&file, b"", 0o644).unwrap();
}
