//! Macs on which macOS refuses root something: without Full Disk Access (TCC), managed by an
//! organisation (MDM), or on an external disk that ignores ownership.

use std::path::Path;

use agxpatch_core::check::Status;
use agxpatch_core::error::Code;
use agxpatch_deploy::doctor::{self, Consent, Finding, Verdict};
use agxpatch_deploy::{self as deploy, Expected, Reverted, State, layout};
use agxpatch_host::Host;
use agxpatch_simulate::mac::{Boot, DRIVER, Fault, FileVault, SimulatedMac};

use crate::bench::{deploy, *};
use crate::faults::{Verb, active_mac, effects, nothing_left};

fn finding(mac: &SimulatedMac, name: &str) -> Finding {
    let judge = |_: &[u8]| Verdict::Listed { name: "small".into() };
    let found = doctor::examine(mac, &judge, Consent::default()).unwrap().findings;
    found.into_iter().find(|finding| finding.check.name == name).unwrap()
}

fn refuse_full_disk_access(mac: &SimulatedMac, refused: bool) {
    mac.change(|machine| machine.no_full_disk_access = refused).unwrap();
}

fn ignore_ownership(mac: &SimulatedMac) {
    mac.change(|machine| (machine.external, machine.ownership_ignored) = (true, true)).unwrap();
}

fn reverted_to_clean(mac: &SimulatedMac) {
    reboot(mac);
    assert_eq!(state(mac), State::Clean);
    assert_eq!(mac.read(Path::new(DRIVER)).unwrap().bytes, ORIGINAL);
}

#[test]
fn without_full_disk_access_a_deployment_is_undone_and_names_the_switch() {
    let mac = open_mac();
    refuse_full_disk_access(&mac, true);
    let error = deploy(&mac).unwrap_err();
    assert_eq!(error.code(), Code::RolledBack, "{error:?}");
    assert!(error.advice().unwrap().contains("Full Disk Access"), "{error:?}");
    assert_eq!(state(&mac), State::Clean);
    nothing_left(&mac, "refused Full Disk Access");
    refuse_full_disk_access(&mac, false);
    deploy(&mac).unwrap();
}

#[test]
fn without_full_disk_access_a_revert_names_the_switch_and_the_lines_for_recovery() {
    let mac = active_mac();
    refuse_full_disk_access(&mac, true);
    let error = revert(&mac).unwrap_err();
    assert_eq!(error.code(), Code::NotReady, "{error:?}");
    assert!(format!("{error:?}").contains("Full Disk Access"), "{error:?}");
    assert!(error.advice().unwrap().contains("restore.sh"), "{error:?}");
    assert_eq!(state(&mac), State::Active);
    assert!(mac.metadata(&layout::recovery_script()).unwrap().is_some());
    refuse_full_disk_access(&mac, false);
    revert(&mac).unwrap();
    reverted_to_clean(&mac);
}

#[test]
fn without_full_disk_access_the_live_volume_is_not_looked_at_and_verify_gives_the_reason() {
    let mac = active_mac();
    revert(&mac).unwrap();
    reboot(&mac);
    refuse_full_disk_access(&mac, true);
    let seen = deploy::verify(&mac, &Bench).unwrap();
    let live = seen.checks.iter().find(|check| check.name == "live-volume").unwrap();
    // The record of the revert says what is on it.
    assert_eq!(live.status, Status::Pass, "{live:?}");
    assert!(live.detail.contains("put back"), "{live:?}");
    assert!(mac.machine().unwrap().mounted_by_hand().is_empty());
}

#[test]
fn a_profile_that_requires_filevault_is_noticed_before_the_start_it_prevents() {
    let mac = open_mac();
    mac.change(|machine| machine.profile_requires_filevault = true).unwrap();
    deploy(&mac).unwrap();
    reboot(&mac);
    assert_eq!(mac.machine().unwrap().filevault, FileVault::Deferred);
    let seen = deploy::verify(&mac, &Bench).unwrap();
    assert_eq!(seen.next_start.expected, Expected::NoStart);
    assert_eq!(seen.next_start.remedies, ["sudo agxpatch revert"]);
    let remedies = format!("{:?}", finding(&mac, "filevault").remedies);
    assert!(remedies.contains("Device Management"), "{remedies}");

    let heedless = mac.fork().unwrap();
    revert(&mac).unwrap();
    reverted_to_clean(&mac);
    let blocked = deploy(&mac).unwrap_err();
    assert_eq!(blocked.code(), Code::NotReady, "FileVault is on by now: {blocked:?}");

    // An owner who restarts all the same has one more start, and then the way back of recoveryOS.
    reboot(&heedless);
    assert_eq!(heedless.machine().unwrap().filevault, FileVault::On);
    assert!(matches!(heedless.reboot().unwrap(), Boot::Panic { .. }));
    crate::faults::run_script(&heedless);
    reverted_to_clean(&heedless);
}

#[test]
fn every_state_of_filevault_that_is_not_off_blocks_with_a_remedy() {
    for filevault in [
        FileVault::On,
        FileVault::Encrypting(3),
        FileVault::Decrypting(97),
        FileVault::OnAfterRestart,
        FileVault::OffAfterRestart,
        FileVault::Deferred,
        FileVault::MasterKeychain,
    ] {
        let mac = open_mac();
        mac.change(|machine| machine.filevault = filevault).unwrap();
        let finding = finding(&mac, "filevault");
        assert!(finding.is_blocker() && !finding.remedies.is_empty(), "{finding:?}");
        assert_eq!(deploy(&mac).unwrap_err().code(), Code::NotReady, "{filevault:?}");
    }
}

#[test]
fn ignored_ownership_is_refused_before_anything_is_written_to_the_volume() {
    let mac = open_mac();
    let live =
        |mac: &SimulatedMac| serde_json::to_value(mac.machine().unwrap()).unwrap()["live"].clone();
    let before = live(&mac);
    ignore_ownership(&mac);
    let ownership = finding(&mac, "volume-ownership");
    assert_eq!(ownership.check.status, Status::Skipped);
    assert!(ownership.check.detail.contains("enableOwnership disk3s1"), "{ownership:?}");
    let error = deploy(&mac).unwrap_err();
    assert_eq!(error.code(), Code::RolledBack, "{error:?}");
    assert!(error.advice().unwrap().contains("diskutil enableOwnership disk3s1"), "{error:?}");
    assert_eq!(live(&mac), before);
    assert_eq!(state(&mac), State::Clean);
    nothing_left(&mac, "ownership ignored");

    mac.change(|machine| machine.ownership_ignored = false).unwrap();
    deploy(&mac).unwrap();
    reboot(&mac);
    assert_eq!(state(&mac), State::Active);
}

#[test]
fn a_revert_does_not_depend_on_ownership() {
    let mac = active_mac();
    ignore_ownership(&mac);
    let start = mac.fork().unwrap();
    assert!(matches!(revert(&mac).unwrap(), Reverted::Done { restart: true, .. }));
    reverted_to_clean(&mac);
    for nth in 1..=effects(&start, Verb::Revert) {
        let mac = start.fork().unwrap();
        mac.inject(nth, Fault::InputOutput).unwrap();
        drop(revert(&mac));
        recover(&mac).unwrap_or_else(|error| panic!("{nth}: {error:?}"));
        reboot(&mac);
        if state(&mac) == State::Active {
            revert(&mac).unwrap();
            reboot(&mac);
        }
        assert_eq!(state(&mac), State::Clean, "{nth}");
    }
}
