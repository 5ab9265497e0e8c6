//! What a deployment refuses, each time without having changed anything.

use std::path::Path;

use agxpatch_core::error::{Code, Error};
use agxpatch_core::exit::Exit;
use agxpatch_deploy::{self as deploy, Deployed, Options, Owner, Plan, State, layout};
use agxpatch_host::{Command, CsrConfig, Host, Tool};
use agxpatch_simulate::mac::{
    DRIVER, FileVault, Release, SYSTEM_VERSION, Signer, SimulatedMac, Terminal,
};

use crate::bench::*;
use crate::faults::active_mac;

/// Runs `refused` and demands an error, and a Mac that is the same to the last
/// byte.
fn changes_nothing<T: std::fmt::Debug>(
    mac: &SimulatedMac,
    refused: impl FnOnce(&SimulatedMac) -> Result<T, Error>,
) -> Error {
    let before = mac.machine().unwrap();
    let error = refused(mac).unwrap_err();
    assert!(mac.machine().unwrap() == before, "{error:?} and yet something changed");
    error
}

type Blocker = (&'static str, fn(&SimulatedMac));

fn switch_on(mac: &SimulatedMac, bit: CsrConfig) {
    mac.change(|machine| machine.active_csr &= !bit.0).unwrap();
}

/// Another program makes a snapshot of the live volume and runs from it.
fn foreign_snapshot(mac: &SimulatedMac) {
    let at = "/System/Volumes/Update/mnt1";
    for command in [
        Command::effect(Tool::Mount, ["-o", "nobrowse", "-t", "apfs", "/dev/disk3s1", at]),
        Command::effect(Tool::Bless, ["--mount", at, "--create-snapshot"]),
        Command::effect(Tool::Umount, [at]),
    ] {
        mac.ask(&command).unwrap();
    }
    mac.reboot().unwrap();
}

const BLOCKERS: [Blocker; 13] = [
    ("booted-snapshot", foreign_snapshot),
    ("sealed-snapshot", |mac| {
        foreign_snapshot(mac);
        mac.change(|machine| machine.snapshots.retain(|snapshot| !snapshot.sealed)).unwrap();
    }),
    ("sip-filesystem", |mac| switch_on(mac, CsrConfig::UNRESTRICTED_FS)),
    ("sip-debugging", |mac| switch_on(mac, CsrConfig::TASK_FOR_PID)),
    ("authenticated-root", |mac| switch_on(mac, CsrConfig::UNAUTHENTICATED_ROOT)),
    ("filevault", |mac| mac.change(|m| m.filevault = FileVault::On).unwrap()),
    ("library-validation", |mac| mac.set_library_validation(true).unwrap()),
    ("macos", |mac| {
        let text = String::from_utf8(mac.read(Path::new(SYSTEM_VERSION)).unwrap().bytes).unwrap();
        mac.plant(SYSTEM_VERSION, text.replace("15.7.3", "14.2").as_bytes()).unwrap();
    }),
    ("metal-plugin", |mac| mac.change(|m| m.metal_plugin = Some("AMDMTLBronze".into())).unwrap()),
    ("free-space", |mac| mac.change(|m| m.free = 1000).unwrap()),
    ("boot-args", |mac| {
        mac.change(|m| m.boot_args = Some("amfi_get_out_of_my_way=1".into())).unwrap();
    }),
    ("staged-update", |mac| {
        mac.stage_update(Release { version: "15.8".into(), build: "24H1".into() }).unwrap();
    }),
    ("driver-build", |mac| {
        mac.declare_signer(b"an unknown driver", Signer::Apple).unwrap();
        mac.plant(DRIVER, b"an unknown driver").unwrap();
    }),
];

#[test]
fn every_blocker_alone_and_in_pairs_is_named_and_changes_nothing() {
    for (number, (name, bring_about)) in BLOCKERS.iter().enumerate() {
        for (other, also) in std::iter::once(&BLOCKERS[number]).chain(&BLOCKERS[number + 1..]) {
            // Where no driver is asked for there is none to judge.
            if *name == "metal-plugin" && *other == "driver-build" {
                continue;
            }
            let mac = open_mac();
            bring_about(&mac);
            also(&mac);
            let error = changes_nothing(&mac, deploy);
            assert_eq!(error.exit(), Exit::Blocked, "{name} and {other}: {error:?}");
            for expected in [name, other] {
                let named = error.context().iter().any(|(name, _)| name == expected);
                assert!(named, "{expected} is not named: {error:?}");
            }
        }
    }
}

#[test]
fn library_validation_alone_is_a_refusal_of_its_own() {
    let mac = open_mac();
    mac.set_library_validation(true).unwrap();
    let error = changes_nothing(&mac, deploy);
    assert_eq!(error.code(), Code::WindowsLost);
    assert!(error.context()[0].1.contains("screen would"), "{error:?}");
}

#[test]
fn without_root_nothing_is_done_and_the_command_is_named() {
    let mac = active_mac();
    mac.change(|machine| machine.user = 501).unwrap();
    for (refused, next) in [
        (changes_nothing(&mac, deploy), "sudo agxpatch deploy"),
        (changes_nothing(&mac, revert), "sudo agxpatch revert"),
        (changes_nothing(&mac, recover), "sudo agxpatch recover"),
    ] {
        assert_eq!((refused.code(), refused.advice()), (Code::NotRoot, Some(next)));
    }
    assert_eq!(state(&mac), State::Active, "anybody may ask for the state");
}

#[test]
fn without_consent_nothing_is_done() {
    let mac = open_mac();
    let refuse = |_: &Plan| Err(Error::new(Code::NoConsent, "no"));
    let error = changes_nothing(&mac, |mac| {
        deploy::deploy(mac, &Bench, Options::default(), &mut refuse.clone(), &())
    });
    assert_eq!(error.code(), Code::NoConsent);
}

#[test]
fn a_driver_swapped_between_plan_and_deploy_is_refused() {
    let mac = open_mac();
    let swap = |_: &Plan| mac.plant(DRIVER, OTHER);
    let error =
        deploy::deploy(&mac, &Bench, Options::default(), &mut swap.clone(), &()).unwrap_err();
    assert!(matches!(error.code(), Code::PlanChanged | Code::WrongState), "{error:?}");
    assert!(mac.machine().unwrap().mounted_by_hand().is_empty());
    assert_eq!(mac.machine().unwrap().snapshots.len(), 1);
}

#[test]
fn a_driver_that_differs_on_the_live_volume_is_refused_and_undone() {
    let mac = open_mac();
    mac.plant_on_live_volume(DRIVER, OTHER).unwrap();
    let error = deploy(&mac).unwrap_err();
    assert_eq!(error.code(), Code::RolledBack, "{error:?}");
    assert!(error.context().contains(&("step", "recheck".into())), "{error:?}");
    assert_eq!(state(&mac), State::Clean);
    crate::faults::nothing_left(&mac, "after the refusal");
}

#[test]
fn links_and_other_peoples_files_at_every_path_are_refused() {
    let digest = deploy::manifest::read::<deploy::Manifest>(&active_mac(), &layout::manifest());
    let manifest = digest.unwrap().unwrap();
    let files = [
        layout::lock(),
        layout::journal(),
        layout::manifest(),
        layout::pending(),
        layout::log(),
        layout::backup(&manifest.original_sha256),
        layout::staged(&manifest.patched_sha256),
        layout::recovery_script(),
        layout::recovery_original(Path::new(DRIVER)),
    ];
    let unfinished = files.iter().map(|path| layout::unfinished(path));
    for path in files.iter().cloned().chain(unfinished) {
        let path = path.to_str().unwrap();
        let plants: [fn(&SimulatedMac, &str); 3] = [
            |mac, path| mac.plant_link(path, "/private/var/root/secret").unwrap(),
            |mac, path| {
                mac.plant("/private/var/root/secret", ORIGINAL).unwrap();
                mac.plant_hard_link("/private/var/root/secret", path).unwrap();
            },
            |mac, path| mac.plant_directory(path, 501, 0o777).unwrap(),
        ];
        for (kind, plant) in plants.iter().enumerate() {
            let mac = open_mac();
            plant(&mac, path);
            let error = changes_nothing(&mac, deploy);
            assert_eq!(error.exit(), Exit::Blocked, "{path} {kind}: {error:?}");
        }
    }
}

#[test]
fn directories_others_may_write_to_are_refused() {
    for directory in [
        layout::STATE,
        "/private/var/db",
        "/Users/Shared/agxpatch",
        layout::RECOVERY,
        layout::backups().to_str().unwrap(),
        layout::staging().to_str().unwrap(),
        layout::mount_point().to_str().unwrap(),
    ] {
        for (user, mode) in [(501, 0o755), (0, 0o777), (0, 0o775)] {
            let mac = open_mac();
            mac.plant_directory(directory, user, mode).unwrap();
            let error = changes_nothing(&mac, deploy);
            assert_eq!(error.code(), Code::PathRefused, "{directory} {mode:o}: {error:?}");
        }
        let mac = open_mac();
        if directory != "/private/var/db" {
            mac.plant_link(directory, "/private/tmp").unwrap();
            changes_nothing(&mac, deploy);
        }
    }
}

#[test]
fn an_altered_backup_refuses_a_deployment_and_leaves_a_revert_the_kits_original() {
    let mac = active_mac();
    let manifest: deploy::Manifest =
        deploy::manifest::read(&mac, &layout::manifest()).unwrap().unwrap();
    let backup = layout::backup(&manifest.original_sha256);
    mac.plant(backup.to_str().unwrap(), b"something else").unwrap();
    revert(&mac).unwrap();
    reboot(&mac);
    assert_eq!(state(&mac), State::Clean);
    assert_eq!(changes_nothing(&mac, deploy).code(), Code::Altered);
}

#[test]
fn an_edited_manifest_is_noticed_and_the_snapshots_own_is_reverted_by() {
    let mac = active_mac();
    let path = layout::manifest();
    let text = String::from_utf8(mac.read(&path).unwrap().bytes).unwrap();
    mac.plant(path.to_str().unwrap(), b"{}").unwrap();
    assert_eq!(state(&mac), State::Unknown);
    changes_nothing(&mac, deploy);

    let other = text.replace("\"original_sha256\": \"", "\"original_sha256\": \"00");
    mac.plant(path.to_str().unwrap(), other.as_bytes()).unwrap();
    assert_eq!(state(&mac), State::ActiveOther);
    revert(&mac).unwrap();
    reboot(&mac);
    assert_eq!(state(&mac), State::Clean);
}

#[test]
fn two_at_once_are_refused() {
    let mac = open_mac();
    let intrude = |_: &Plan| {
        let other = mac.process();
        deploy(&other).map(drop)
    };
    // Another one deploys while the first waits for consent.
    let error =
        deploy::deploy(&mac, &Bench, Options::default(), &mut intrude.clone(), &()).unwrap_err();
    assert_eq!(error.code(), Code::WrongState, "{error:?}");
    assert_eq!(state(&mac), State::PendingReboot);

    let mac = open_mac();
    mac.plant_directory(layout::STATE, 0, 0o755).unwrap();
    let _held = mac.process().lock(&layout::lock()).unwrap();
    assert_eq!(deploy(&mac).unwrap_err().code(), Code::Locked);
    assert_eq!(deploy(&mac).unwrap_err().exit(), Exit::Blocked);
}

#[test]
fn a_revert_without_anyone_to_give_the_password_does_not_begin() {
    let mac = active_mac();
    mac.change(|machine| machine.terminal = Terminal::None).unwrap();
    let error = changes_nothing(&mac, revert);
    assert_eq!((error.code(), error.exit()), (Code::NoTerminal, Exit::Blocked));

    let owner = Owner::Named { user: "owner".into(), password: b"correct horse\n".to_vec() };
    deploy::revert(&mac, &Bench, owner, &mut |_| Ok(()), &()).unwrap();
    reboot(&mac);
    assert_eq!(state(&mac), State::Clean);
}

#[test]
fn a_wrong_password_after_the_choice_was_cleared_is_told_and_the_revert_holds() {
    let mac = active_mac();
    mac.change(|machine| machine.terminal = Terminal::WrongPassword).unwrap();
    let deploy::Reverted::Done { notes, .. } = revert(&mac).unwrap() else { panic!() };
    assert!(notes[0].contains("the password was wrong, or"), "{notes:?}");
    reboot(&mac);
    assert_eq!(state(&mac), State::Clean);
}

#[test]
fn an_interrupted_run_is_to_be_recovered_first() {
    let mac = open_mac();
    mac.inject(
        30,
        agxpatch_simulate::mac::Fault::Kill { reach: agxpatch_simulate::mac::Reach::After },
    )
    .unwrap();
    agxpatch_simulate::mac::survive(|| deploy(&mac)).unwrap_err();
    let mac = mac.process();
    for refused in [changes_nothing(&mac, deploy), changes_nothing(&mac, revert)] {
        assert_eq!((refused.code(), refused.exit()), (Code::Interrupted, Exit::Blocked));
    }
    recover(&mac).unwrap();
    deploy(&mac).unwrap();
}

#[test]
fn an_update_takes_the_patch_away_and_leaves_records_to_forget() {
    let mac = active_mac();
    mac.install_update(Release { version: "15.8".into(), build: "24H1".into() }, ORIGINAL).unwrap();
    assert_eq!(state(&mac), State::UpdatedAway);
    let again = mac.fork().unwrap();
    assert!(matches!(revert(&mac).unwrap(), deploy::Reverted::Forgotten));
    assert_eq!(state(&mac), State::Clean);

    assert!(matches!(deploy(&again).unwrap(), Deployed::Done { .. }));
    reboot(&again);
    assert_eq!(state(&again), State::Active);
}

#[test]
fn another_programs_snapshot_is_foreign() {
    let mac = active_mac();
    mac.plant_on_live_volume(DRIVER, b"whatever").unwrap();
    mac.change(|machine| machine.booted.clone()).unwrap();
    let driver = deploy::Driver {
        sha256: "x".into(),
        content: deploy::Content::Unknown { reason: "y".into() },
        signer: None,
    };
    let mut facts = deploy::gather(&mac, &Bench).unwrap();
    facts.booted_manifest = None;
    facts.driver = Some(driver);
    assert_eq!(facts.state(), State::Foreign);
    facts.snapshot = Some("com.example.other".into());
    assert_eq!(facts.state(), State::Foreign);
    facts.snapshot = None;
    assert_eq!(facts.state(), State::Unknown);
}
