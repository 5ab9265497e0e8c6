//! Whether the loader takes the patched driver: tried before the first write, and looked
//! for after the restart.

use agxpatch_core::check::{Check, Status};
use agxpatch_core::error::Code;
use agxpatch_deploy::{self as deploy, Deployed, Options, Plan, State};
use agxpatch_host::{Host, LoadTrial, Loading};
use agxpatch_simulate::mac::{Loader, Release, Said, SimulatedMac};

use crate::bench::*;
use crate::faults::active_mac;

fn open_with(loader: Loader) -> SimulatedMac {
    let mac = open_mac();
    mac.change(|machine| machine.loader = loader).unwrap();
    mac
}

fn deploy_with(mac: &SimulatedMac, options: Options) -> agxpatch_core::error::Result<Deployed> {
    agxpatch_deploy::deploy(mac, &Bench, options, &mut |_: &Plan| Ok(()), &())
}

#[test]
fn a_driver_that_dyld_rejects_is_refused_before_the_first_write() {
    for (loader, check) in [
        (Loader::RejectsCopy, "patched-copy-loads"),
        (Loader::RejectsLibrary, "library-in-apples-program"),
    ] {
        let mac = open_with(loader);
        let before = mac.machine().unwrap();
        // No consent outweighs a rejection.
        for untested_load in [false, true] {
            let options = Options { untested_load, ..Options::default() };
            let error = deploy_with(&mac, options).unwrap_err();
            assert_eq!(error.code(), Code::NotLoaded, "{error:?}");
            assert_eq!(error.context()[0].0, check, "{error:?}");
        }
        assert!(mac.machine().unwrap() == before, "{loader:?}");
    }
}

#[test]
fn a_trial_that_cannot_be_made_takes_a_consent_of_its_own() {
    let mac = open_with(Loader::Absent);
    let before = mac.machine().unwrap();
    let error = deploy_with(&mac, Options { unlisted_build: true, ..Options::default() });
    let error = error.unwrap_err();
    assert_eq!(error.code(), Code::NotReady, "{error:?}");
    let next = error.advice().unwrap();
    let command = "sudo agxpatch deploy --unlisted-build --allow-untested-load";
    assert!(next.ends_with(command), "{next}");
    assert!(mac.machine().unwrap() == before);

    let options = Options { untested_load: true, ..Options::default() };
    let Deployed::Done { plan, .. } = deploy_with(&mac, options).unwrap() else { panic!() };
    let skipped = |check: &Check| check.status == Status::Skipped;
    assert!(plan.loading.iter().all(skipped), "{:?}", plan.loading);
}

#[test]
fn the_simulated_loader_follows_the_protections_and_the_release() {
    let library = LoadTrial::PlatformProcess { library: None };
    let copy = LoadTrial::OwnProcess { image: PATCHED };
    let mac = open_mac();
    assert_eq!(mac.try_load(&library).unwrap(), Loading::Accepted);
    assert_eq!(mac.try_load(&copy).unwrap(), Loading::Accepted);
    let broken = LoadTrial::OwnProcess { image: b"unsigned code" };
    assert!(matches!(mac.try_load(&broken).unwrap(), Loading::Rejected(_)));
    mac.set_library_validation(true).unwrap();
    assert!(matches!(mac.try_load(&library).unwrap(), Loading::Rejected(_)));
    mac.change(|machine| machine.active_csr = 0).unwrap();
    assert!(matches!(mac.try_load(&library).unwrap(), Loading::NotTried(_)));
    for (version, loads) in [("14.3", false), ("14.4", true), ("15.0", true), ("26.0.1", true)] {
        let release = Release { version: version.into(), build: "24G419".into() };
        mac.change(|machine| machine.release = release).unwrap();
        assert_eq!(mac.try_load(&copy).unwrap() == Loading::Accepted, loads, "{version}");
    }
}

fn check(mac: &SimulatedMac, name: &str) -> Check {
    let seen = deploy::verify(mac, &Bench).unwrap();
    let found = seen.checks.iter().find(|check| check.name == name);
    found.unwrap_or_else(|| panic!("no {name} in {:#?}", seen.checks)).clone()
}

#[test]
fn after_the_restart_verify_shows_who_uses_the_driver() {
    let mac = active_mac();
    let used = check(&mac, "driver-in-use");
    assert_eq!(used.status, Status::Pass);
    assert!(used.detail.contains("WindowServer"), "{used:?}");
    assert_eq!(check(&mac, "driver-accepted").status, Status::Pass);

    // A user is not shown the processes of others.
    mac.change(|machine| machine.user = 501).unwrap();
    assert_eq!(check(&mac, "driver-in-use").status, Status::Skipped);
    mac.change(|machine| machine.user = 0).unwrap();

    // A tool that does not answer is not evidence of anything.
    let hangs = Said { hangs: true, ..Said::default() };
    mac.change(|machine| machine.said = [("log".to_owned(), hangs)].into()).unwrap();
    assert_eq!(check(&mac, "driver-accepted").status, Status::Skipped);
    assert!(deploy::verify(&mac, &Bench).unwrap().holds);
}

#[test]
fn a_driver_that_is_rejected_at_boot_is_seen_in_the_log_and_in_nobodys_memory() {
    let mac = active_mac();
    mac.set_library_validation(true).unwrap();
    mac.reboot().unwrap();
    assert_eq!(state(&mac), State::Active);
    let rejected = check(&mac, "driver-accepted");
    assert_eq!(rejected.status, Status::Fail);
    assert!(rejected.detail.contains("WindowServer(163)"), "{rejected:?}");
    assert_eq!(check(&mac, "driver-in-use").status, Status::Fail);
    assert!(!deploy::verify(&mac, &Bench).unwrap().holds);
}
