//! The way back, on Macs where something else is odd: it is never cut off.

use std::path::Path;

use agxpatch_core::error::Code;
use agxpatch_deploy::{self as deploy, LiveDriver, Recovered, Reverted, State, layout};
use agxpatch_host::{Command, CsrConfig, Host, Tool};
use agxpatch_simulate::mac::{DRIVER, Said, SimulatedMac, Terminal};

use crate::bench::*;
use crate::faults::active_mac;

const MENU: &str = "This computer has several macOS installations:\n  1: Pirates\n  2: 💬\n\n\
                    Pick a macOS installation (1..2): ";
const UPDATER: &str = "/System/Volumes/Update/mnt1";

fn kit_exists(mac: &SimulatedMac) -> bool {
    mac.metadata(&layout::recovery_script()).unwrap().is_some()
}

/// Mounts the live volume as Apple's updater does.
fn updater_mounts(mac: &SimulatedMac) {
    let words = ["-o", "nobrowse", "-t", "apfs", "/dev/disk3s1", UPDATER];
    mac.ask(&Command::effect(Tool::Mount, words)).unwrap();
}

fn live_driver(mac: &SimulatedMac) -> Vec<u8> {
    let mac = mac.fork().unwrap();
    updater_mounts(&mac);
    mac.read(&layout::on_volume(Path::new(UPDATER), Path::new(DRIVER))).unwrap().bytes
}

fn notes(reverted: Reverted) -> String {
    match reverted {
        Reverted::Done { notes, .. } => notes.join("; "),
        other => panic!("{other:?}"),
    }
}

fn set_words(mac: &SimulatedMac, line: &str, said: Said) {
    mac.change(|machine| machine.said.insert(line.to_owned(), said)).unwrap();
}

fn reverted_to_clean(mac: &SimulatedMac) {
    reboot(mac);
    assert_eq!(state(mac), State::Clean);
    assert_eq!(mac.read(Path::new(DRIVER)).unwrap().bytes, ORIGINAL);
}

#[test]
fn several_installations_of_macos_take_neither_deploy_nor_revert_away() {
    let mac = open_mac();
    set_words(&mac, "csrutil", Said { rc: 1, out: MENU.into(), ..Said::default() });
    deploy(&mac).unwrap();
    reboot(&mac);
    assert_eq!(state(&mac), State::Active);
    revert(&mac).unwrap();
    reverted_to_clean(&mac);
}

#[test]
fn the_kit_is_kept_until_a_restart_has_shown_clean() {
    let mac = active_mac();
    revert(&mac).unwrap();
    assert!(kit_exists(&mac));
    // The patched snapshot came up all the same, on a Mac where the choice was not cleared.
    let patched = mac.fork().unwrap();
    patched
        .change(|machine| {
            let ours = machine.snapshots.iter().rfind(|snapshot| !snapshot.sealed);
            machine.tagged = ours.map(|snapshot| snapshot.name.clone());
        })
        .unwrap();
    reboot(&patched);
    assert_eq!(state(&patched), State::Active);
    assert!(kit_exists(&patched));
    revert(&patched).unwrap();
    reverted_to_clean(&patched);

    reverted_to_clean(&mac);
    assert!(kit_exists(&mac));
    assert!(matches!(revert(&mac).unwrap(), Reverted::Already { kit_removed: true, .. }));
    assert!(!kit_exists(&mac));
    assert_eq!(mac.metadata(&layout::reverted()).unwrap(), None);
}

#[test]
fn an_unknown_driver_on_the_live_volume_leaves_apples_snapshot_to_choose() {
    let mac = active_mac();
    mac.plant_on_live_volume(DRIVER, b"an unknown driver").unwrap();
    let notes = notes(revert(&mac).unwrap());
    assert!(notes.contains("unknown driver"), "{notes}");
    reverted_to_clean(&mac);
    assert_eq!(live_driver(&mac), b"an unknown driver");
    let facts = deploy::gather(&mac, &Bench).unwrap();
    assert_eq!(facts.reverted.as_ref().unwrap().live, LiveDriver::Unknown);
    let next = next_of(&mac, &facts, State::Clean);
    assert!(!next.is_sound(), "{next:?}");
    // Recover is not what helps, and does not fail either.
    assert!(matches!(recover(&mac).unwrap(), Recovered::Nothing { state: State::Clean }));
}

#[test]
fn without_any_kept_original_the_one_that_runs_after_the_restart_is_put_back() {
    let mac = active_mac();
    mac.remove_file(&layout::recovery_original(Path::new(DRIVER))).unwrap();
    for name in mac.list(&layout::backups()).unwrap() {
        mac.remove_file(&layout::backup(&name)).unwrap();
    }
    let notes = notes(revert(&mac).unwrap());
    assert!(notes.contains("no copy of the original"), "{notes}");
    assert_eq!(live_driver(&mac), PATCHED);
    reverted_to_clean(&mac);
    let recovered = recover(&mac).unwrap();
    assert!(
        matches!(recovered, Recovered::Reconciled { state: State::Clean, .. }),
        "{recovered:?}"
    );
    assert_eq!(live_driver(&mac), ORIGINAL);
    assert!(matches!(recover(&mac).unwrap(), Recovered::Nothing { .. }));
}

#[test]
fn with_filesystem_protections_on_again_the_lines_for_recovery_are_printed() {
    let mac = active_mac();
    mac.change(|machine| machine.active_csr &= !CsrConfig::UNRESTRICTED_FS.0).unwrap();
    let error = revert(&mac).unwrap_err();
    assert_eq!(error.code(), Code::NotReady, "{error:?}");
    let next = error.advice().unwrap();
    assert!(next.contains("restore.sh") && next.contains("/Volumes/Data/"), "{next}");
    // Nothing is left half done: no state that only recover could end.
    assert_eq!(state(&mac), State::Active);
    assert_eq!(mac.metadata(&layout::journal()).unwrap(), None);
    assert!(kit_exists(&mac));
    assert!(matches!(recover(&mac).unwrap(), Recovered::Nothing { state: State::Active }));
}

#[test]
fn on_the_updaters_mount_apples_snapshot_is_chosen_alone_and_the_volume_put_right_later() {
    let mac = active_mac();
    updater_mounts(&mac);
    let notes = notes(revert(&mac).unwrap());
    assert!(notes.contains("only Apple's snapshot is chosen"), "{notes}");
    reverted_to_clean(&mac);
    assert_eq!(live_driver(&mac), PATCHED);
    assert!(matches!(recover(&mac).unwrap(), Recovered::Reconciled { .. }));
    assert_eq!(live_driver(&mac), ORIGINAL);
}

#[test]
fn a_snapshot_of_the_updater_is_not_a_way_back() {
    let mac = active_mac();
    mac.change(|machine| {
        for snapshot in machine.snapshots.iter_mut().filter(|snapshot| snapshot.sealed) {
            snapshot.name = "com.apple.os.update-MSUPrepareUpdate".into();
            snapshot.sealed = false;
        }
    })
    .unwrap();
    let before = mac.machine().unwrap();
    assert_eq!(revert(&mac).unwrap_err().code(), Code::NoWayBack);
    assert!(mac.machine().unwrap() == before, "the choice must not be cleared");
    let facts = deploy::gather(&mac, &Bench).unwrap();
    let next = next_of(&mac, &facts, State::Active);
    assert!(next.checks.iter().any(
        |check| check.name == "way-back" && check.status == agxpatch_core::check::Status::Fail
    ));
}

#[test]
fn the_way_back_is_the_snapshot_that_ran_and_not_the_first_of_the_list() {
    let mac = open_mac();
    mac.change(|machine| {
        let mut other = machine.snapshots[0].clone();
        other.name = "com.apple.os.update-MSUPrepareUpdate".into();
        other.sealed = false;
        machine.snapshots.insert(0, other);
    })
    .unwrap();
    let booted = mac.machine().unwrap().booted;
    let deploy::Deployed::Done { plan, .. } = deploy(&mac).unwrap() else { panic!() };
    assert_eq!(plan.sealed, booted);
    assert_eq!(plan.manifest.way_back(), Some(booted.as_str()));
}

#[test]
fn a_bless_that_fails_after_it_chose_counts_as_chosen_and_is_undone() {
    let mac = open_mac();
    let line = "bless --mount /private/var/db/agxpatch/mount --create-snapshot";
    set_words(&mac, line, Said { rc: 1, after_work: true, ..Said::default() });
    let error = deploy(&mac).unwrap_err();
    assert_eq!(error.code(), Code::RolledBack, "{error:?}");
    assert_eq!(mac.machine().unwrap().tagged, None);
    reverted_to_clean(&mac);

    // Without anybody who could give the password, recover is what is left to do.
    let mac = open_mac();
    set_words(&mac, line, Said { rc: 1, after_work: true, ..Said::default() });
    mac.change(|machine| machine.terminal = Terminal::None).unwrap();
    assert_eq!(deploy(&mac).unwrap_err().code(), Code::HalfDone);
    mac.change(|machine| machine.terminal = Terminal::RightPassword).unwrap();
    recover(&mac).unwrap();
    reverted_to_clean(&mac);
}

#[test]
fn a_bless_that_says_nothing_known_is_believed_by_the_lists_of_snapshots() {
    let mac = open_mac();
    let line = "bless --mount /private/var/db/agxpatch/mount --create-snapshot";
    let err = "Executing \"/sbin/mount\"\nReturned 0\nVolume /m will boot from snapshot \
               com.apple.bless.0A1B2C3D-1111-4222-8333-444455556666Executing \"/sbin/umount\"";
    set_words(&mac, line, Said { err: err.into(), after_work: true, ..Said::default() });
    let deploy::Deployed::Done { snapshot, .. } = deploy(&mac).unwrap() else { panic!() };
    assert_eq!(mac.machine().unwrap().tagged, Some(snapshot));
}

#[test]
fn a_bless_that_makes_no_snapshot_undoes_the_deployment() {
    let mac = open_mac();
    set_words(&mac, "bless", Said::default());
    let error = deploy(&mac).unwrap_err();
    assert_eq!(error.code(), Code::RolledBack, "{error:?}");
    assert_eq!(live_driver(&mac), ORIGINAL);
}

#[test]
fn a_refusal_of_bless_after_it_cleared_the_choice_is_named() {
    let line = "bless --mount /private/var/db/agxpatch/mount --last-sealed-snapshot";
    for (code, told) in [
        (302, "signing server"),
        (410, "Code=410"),
        (112, "Code=112"),
        // None of them is the beginning of another.
        (1030, "Code=1030"),
        (3021, "Code=3021"),
    ] {
        let mac = active_mac();
        let err = format!("Bootability failed Error Domain=BYErrorDomain Code={code} \"words\"\n");
        set_words(&mac, line, Said { rc: 1, err, after_work: true, ..Said::default() });
        let notes = notes(revert(&mac).unwrap());
        assert!(notes.contains(told), "{notes}");
        assert!(!notes.contains("password was wrong"), "{notes}");
        assert_eq!(notes.contains("signing server"), code == 302, "{notes}");
        reverted_to_clean(&mac);
    }
}

#[test]
fn a_choice_that_was_not_cleared_is_an_error_and_recover_ends_it() {
    let mac = active_mac();
    let line = "bless --mount /private/var/db/agxpatch/mount --last-sealed-snapshot";
    let err = "Coulnd't revert current boot snapshot on volume /m: Operation not permitted\n";
    set_words(&mac, line, Said { rc: 1, err: err.into(), ..Said::default() });
    let error = revert(&mac).unwrap_err();
    assert_eq!(error.code(), Code::HalfDone, "{error:?}");
    mac.change(|machine| machine.said.clear()).unwrap();
    recover(&mac).unwrap();
    reverted_to_clean(&mac);
}

#[test]
fn a_background_security_improvement_is_not_an_update_of_the_driver() {
    let mac = active_mac();
    // The owner chose Apple's snapshot in recoveryOS, and an improvement was installed.
    mac.change(|machine| {
        machine.release.build = "24G4190a".into();
        machine.tagged = None;
    })
    .unwrap();
    reboot(&mac);
    let facts = deploy::gather(&mac, &Bench).unwrap();
    assert_eq!(facts.release.as_ref().unwrap().supplement.as_deref(), Some("24G4190a"));
    assert_ne!(facts.state(), State::UpdatedAway);
    recover(&mac).unwrap();
    assert_eq!(state(&mac), State::Clean);
    assert_eq!(live_driver(&mac), ORIGINAL);
}

#[test]
fn the_next_start_of_a_deployment_is_looked_at() {
    type Change = fn(&SimulatedMac);
    let cases: [(&str, deploy::Expected, Change); 5] = [
        ("next-library-validation", deploy::Expected::BlackScreen, |mac| {
            mac.set_library_validation(true).unwrap();
        }),
        ("next-sip-debugging", deploy::Expected::BlackScreen, |mac| {
            mac.change(|m| m.active_csr &= !CsrConfig::TASK_FOR_PID.0).unwrap();
        }),
        ("next-authenticated-root", deploy::Expected::NoStart, |mac| {
            mac.change(|m| m.active_csr &= !CsrConfig::UNAUTHENTICATED_ROOT.0).unwrap();
        }),
        ("next-filevault", deploy::Expected::NoStart, |mac| {
            mac.change(|m| m.filevault = agxpatch_simulate::mac::FileVault::On).unwrap();
        }),
        ("way-back", deploy::Expected::PatchedDriver, |mac| {
            mac.change(|m| m.snapshots.retain(|snapshot| !snapshot.sealed)).unwrap();
        }),
    ];
    for (name, expected, change) in cases {
        let mac = active_mac();
        assert!(deploy::verify(&mac, &Bench).unwrap().holds);
        change(&mac);
        let seen = deploy::verify(&mac, &Bench).unwrap();
        assert!(!seen.holds, "{name}");
        assert_eq!(seen.next_start.expected, expected, "{name}");
        let failed = seen
            .next_start
            .checks
            .iter()
            .filter(|check| check.status == agxpatch_core::check::Status::Fail);
        assert_eq!(failed.map(|check| check.name).collect::<Vec<_>>(), [name]);
        assert!(!seen.next_start.remedies.is_empty(), "{name}");
    }
}

#[test]
fn an_unrecorded_snapshot_that_boots_next_is_noticed() {
    let mac = open_mac();
    updater_mounts(&mac);
    mac.ask(&Command::effect(Tool::Bless, ["--mount", UPDATER, "--create-snapshot"])).unwrap();
    mac.ask(&Command::effect(Tool::Umount, [UPDATER])).unwrap();
    let facts = deploy::gather(&mac, &Bench).unwrap();
    assert_eq!(facts.state(), State::Clean);
    let next = next_of(&mac, &facts, State::Clean);
    assert_eq!(next.expected, deploy::Expected::Unknown, "{next:?}");
    assert!(!next.is_sound());
}

#[test]
fn a_tool_that_hangs_under_the_lock_leaves_nothing_mounted() {
    for line in ["codesign", "bless", "umount"] {
        let mac = open_mac();
        set_words(&mac, line, Said { hangs: true, ..Said::default() });
        let error = deploy(&mac).unwrap_err();
        mac.change(|machine| machine.said.clear()).unwrap();
        if mac.metadata(&layout::journal()).unwrap().is_some() {
            recover(&mac).unwrap();
        }
        assert!(mac.machine().unwrap().mounted_by_hand().is_empty(), "{line}: {error:?}");
    }
}

/// The next start by the records alone, the live volume not looked at.
fn next_of(mac: &SimulatedMac, facts: &deploy::Facts, state: State) -> deploy::NextStart {
    let live = deploy::LiveVolume::NotLooked("in this test".to_owned());
    deploy::next_start(mac, facts, state, &live)
}
