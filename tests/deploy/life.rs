//! A deployment from its beginning to its end.

use agxpatch_core::check::Status;
use agxpatch_deploy::{
    self as deploy, Deployed, Manifest, Recovered, Reverted, State, layout, manifest,
};
use agxpatch_host::Host;
use agxpatch_host::dry_run::DryRun;
use agxpatch_simulate::mac::{DRIVER, Fault, Reach, survive};

use crate::bench::{deploy, *};
use crate::faults::active_mac;

#[test]
fn deploy_restart_verify_revert_restart() {
    let mac = open_mac();
    assert_eq!(state(&mac), State::Clean);

    let deployed = deploy(&mac).unwrap();
    let Deployed::Done { plan, snapshot, notes } = deployed else { panic!("{deployed:?}") };
    assert!(notes.is_empty());
    assert!(snapshot.starts_with("com.apple.bless."));
    assert_eq!(plan.digest.len(), 64);
    assert_eq!(state(&mac), State::PendingReboot);
    assert!(mac.machine().unwrap().mounted_by_hand().is_empty());

    assert_eq!(reboot(&mac), snapshot);
    assert_eq!(state(&mac), State::Active);
    assert_eq!(mac.read(DRIVER.as_ref()).unwrap().bytes, PATCHED);
    let seen = agxpatch_deploy::verify(&mac, &Bench).unwrap();
    assert!(seen.holds, "{:#?}", seen.checks);

    assert!(matches!(deploy(&mac).unwrap(), Deployed::Already { state: State::Active, .. }));

    let reverted = revert(&mac).unwrap();
    assert!(matches!(reverted, Reverted::Done { restart: true, .. }), "{reverted:?}");
    assert_eq!(state(&mac), State::RevertPending);
    assert!(matches!(revert(&mac).unwrap(), Reverted::Already { state: State::RevertPending, .. }));
    reboot(&mac);
    assert_eq!(state(&mac), State::Clean);
    assert_eq!(mac.read(DRIVER.as_ref()).unwrap().bytes, ORIGINAL);
    assert!(matches!(recover(&mac).unwrap(), Recovered::Nothing { state: State::Clean }));

    deploy(&mac).unwrap();
    reboot(&mac);
    assert_eq!(state(&mac), State::Active);
}

#[test]
fn reverting_before_the_restart_leaves_no_restart_due() {
    let mac = open_mac();
    deploy(&mac).unwrap();
    assert!(matches!(revert(&mac).unwrap(), Reverted::Done { restart: false, .. }));
    assert_eq!(state(&mac), State::Clean);
    reboot(&mac);
    assert_eq!(state(&mac), State::Clean);
}

#[test]
fn a_deployment_by_another_version_is_reverted() {
    let mac = active_mac();
    let manifest: Manifest = manifest::read(&mac, &layout::manifest()).unwrap().unwrap();
    // Only what no version can do without, and something this one never heard of.
    let text = format!(
        "{{\"schema\": \"agxpatch.manifest/9\", \"driver\": \"{}\", \"build\": \"{}\", \
         \"original_sha256\": \"{}\", \"original_mode\": 493, \"patched_sha256\": \"{}\", \
         \"moon\": \"waning\"}}",
        manifest.driver, manifest.build, manifest.original_sha256, manifest.patched_sha256
    );
    mac.plant(layout::manifest().to_str().unwrap(), text.as_bytes()).unwrap();
    assert_eq!(state(&mac), State::Active);
    revert(&mac).unwrap();
    reboot(&mac);
    assert_eq!(state(&mac), State::Clean);
}

#[test]
fn without_any_record_the_one_kept_original_is_put_back() {
    let mac = active_mac();
    mac.remove_file(&layout::manifest()).unwrap();
    mac.plant_on_live_volume(layout::VOLUME_MANIFEST, b"gone").unwrap();
    assert_eq!(state(&mac), State::ActiveOther);
    revert(&mac).unwrap();
    reboot(&mac);
    assert_eq!(state(&mac), State::Clean);
    assert_eq!(mac.read(DRIVER.as_ref()).unwrap().bytes, ORIGINAL);
}

#[test]
fn a_rehearsal_changes_nothing_and_tells_the_commands() {
    let mac = open_mac();
    let before = mac.machine().unwrap();
    let rehearsal = DryRun::new(&mac);
    let consent = &mut |_: &deploy::Plan| Ok(());
    deploy::deploy(&rehearsal, &Bench, deploy::Options::default(), consent, &()).unwrap();
    let plan = rehearsal.plan().join("\n");
    for command in ["/sbin/mount", "--create-snapshot --verbose", "/sbin/umount"] {
        assert!(plan.contains(command), "{plan}");
    }
    assert!(mac.machine().unwrap() == before);
}

#[test]
fn an_interrupted_run_is_said_by_verify_and_status() {
    let mac = open_mac();
    mac.inject(40, Fault::Kill { reach: Reach::After }).unwrap();
    survive(|| deploy(&mac)).unwrap_err();
    let mac = mac.process();
    let seen = deploy::verify(&mac, &Bench).unwrap();
    let first = &seen.checks[0];
    assert_eq!((first.name, first.status), ("nothing-interrupted", Status::Fail));
    assert!(first.detail.starts_with("deploy stopped at "), "{}", first.detail);
    assert!(seen.facts.journal.is_some());
}
