//! What lies on the live volume while Apple's snapshot runs: it is looked at, and a
//! patched driver that lurks there can be taken back.

use std::path::Path;

use agxpatch_core::check::{Check, Status};
use agxpatch_deploy::{self as deploy, Expected, Reverted, State, layout};
use agxpatch_host::{Command, CsrConfig, Host, Tool};
use agxpatch_simulate::mac::{DRIVER, Fault, Reach, Release, Said, SimulatedMac, survive};

use crate::bench::{deploy, *};
use crate::faults::active_mac;

fn live_volume(mac: &SimulatedMac) -> Check {
    let seen = deploy::verify(mac, &Bench).unwrap();
    assert!(mac.machine().unwrap().mounted_by_hand().is_empty());
    assert_eq!(mac.metadata(&layout::look_point()).unwrap(), None);
    seen.checks.iter().find(|check| check.name == "live-volume").unwrap().clone()
}

/// Clean, with the records of an earlier deployment and its revert.
fn clean_mac() -> SimulatedMac {
    let mac = active_mac();
    revert(&mac).unwrap();
    reboot(&mac);
    assert!(matches!(revert(&mac).unwrap(), Reverted::Already { kit_removed: true, .. }));
    mac
}

#[test]
fn a_look_finds_what_is_on_the_volume() {
    type Change = fn(&SimulatedMac);
    let cases: [(&str, Status, Change); 6] = [
        ("the driver that runs", Status::Pass, |_| {}),
        ("a patched driver", Status::Fail, |mac| {
            mac.plant_on_live_volume(DRIVER, PATCHED).unwrap();
        }),
        ("an unknown driver", Status::Fail, |mac| {
            mac.plant_on_live_volume(DRIVER, b"an unknown driver").unwrap();
        }),
        ("build 24H1", Status::Pass, |mac| {
            mac.stage_update(Release { version: "15.8".into(), build: "24H1".into() }).unwrap();
        }),
        ("only root", Status::Skipped, |mac| mac.change(|m| m.user = 501).unwrap()),
        ("Filesystem Protections", Status::Skipped, |mac| {
            mac.change(|m| m.active_csr &= !CsrConfig::UNRESTRICTED_FS.0).unwrap();
        }),
    ];
    for (detail, status, change) in cases {
        let mac = clean_mac();
        change(&mac);
        let seen = live_volume(&mac);
        assert_eq!(seen.status, status, "{seen:?}");
        assert!(seen.detail.contains(detail), "{seen:?}");
    }
}

#[test]
fn after_an_update_the_volume_is_looked_at_too() {
    let mac = active_mac();
    let release = Release { version: "15.8".into(), build: "24H1".into() };
    mac.install_update(release, ORIGINAL).unwrap();
    assert_eq!(state(&mac), State::UpdatedAway);
    assert_eq!(live_volume(&mac).status, Status::Pass);
    mac.plant_on_live_volume(DRIVER, PATCHED).unwrap();
    assert_eq!(live_volume(&mac).status, Status::Fail);
}

#[test]
fn a_mac_that_was_never_deployed_to_is_not_mounted_and_not_written_to() {
    let mac = open_mac();
    let before = mac.machine().unwrap();
    assert_eq!(live_volume(&mac).status, Status::Skipped);
    assert!(mac.machine().unwrap() == before);
}

#[test]
fn revert_takes_back_a_patched_driver_that_lurks_on_the_volume_of_a_clean_mac() {
    let mac = clean_mac();
    mac.plant_on_live_volume(DRIVER, PATCHED).unwrap();
    assert!(matches!(revert(&mac).unwrap(), Reverted::Done { restart: false, .. }));
    assert_eq!(live_volume(&mac).status, Status::Pass);
    assert_eq!(state(&mac), State::Clean);
    reboot(&mac);
    assert!(matches!(revert(&mac).unwrap(), Reverted::Already { kit_removed: true, .. }));
    assert_eq!(state(&mac), State::Clean);
}

#[test]
fn revert_chooses_apples_snapshot_where_another_is_marked_for_the_next_start() {
    let mac = clean_mac();
    let at = "/System/Volumes/Update/mnt1";
    for command in [
        Command::effect(Tool::Mount, ["-o", "nobrowse", "-t", "apfs", "/dev/disk3s1", at]),
        Command::effect(Tool::Bless, ["--mount", at, "--create-snapshot"]),
        Command::effect(Tool::Umount, [at]),
    ] {
        mac.ask(&command).unwrap();
    }
    assert!(mac.machine().unwrap().tagged.is_some());
    let next = deploy::verify(&mac, &Bench).unwrap().next_start;
    assert_eq!(next.expected, Expected::Unknown);
    assert_eq!(next.remedies, ["sudo agxpatch revert"]);
    assert!(matches!(revert(&mac).unwrap(), Reverted::Done { restart: false, .. }));
    assert_eq!(mac.machine().unwrap().tagged, None);
    reboot(&mac);
    assert_eq!(state(&mac), State::Clean);
}

#[test]
fn a_look_that_is_cut_off_leaves_nothing_that_deploy_or_recover_stumble_over() {
    let mac = clean_mac();
    let effects = |mac: &SimulatedMac| {
        let before = mac.effects().unwrap();
        deploy::verify(mac, &Bench).unwrap();
        mac.effects().unwrap() - before
    };
    for nth in 1..=effects(&mac.fork().unwrap()) {
        for reach in Reach::ALL {
            let struck = mac.fork().unwrap();
            struck.inject(nth, Fault::Kill { reach }).unwrap();
            survive(|| deploy::verify(&struck, &Bench)).unwrap_err();
            let struck = struck.process();
            let other = struck.fork().unwrap();
            deploy(&struck).unwrap_or_else(|error| panic!("{nth} {reach:?}: {error:?}"));
            recover(&other).unwrap_or_else(|error| panic!("{nth} {reach:?}: {error:?}"));
            for mac in [struck, other] {
                let left = mac.machine().unwrap().mounted_by_hand();
                assert!(left.is_empty(), "{nth} {reach:?}: {left:?}");
            }
        }
    }
}

#[test]
fn a_volume_that_cannot_be_mounted_is_not_looked_at_and_the_reason_is_given() {
    let mac = clean_mac();
    let err = "mount_apfs: volume could not be mounted: Operation already in progress\n";
    let said = Said { rc: 75, err: err.into(), ..Said::default() };
    mac.change(|machine| machine.said = [("mount".to_owned(), said)].into()).unwrap();
    let seen = live_volume(&mac);
    assert_eq!(seen.status, Status::Skipped);
    assert!(seen.detail.contains("already in progress"), "{seen:?}");
    assert!(mac.read(Path::new(DRIVER)).is_ok());
}
