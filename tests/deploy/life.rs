//! A deployment from its beginning to its end.

use agxpatch::deploy::{Deployed, Recovered, Reverted, State};
use agxpatch::host::Host;
use agxpatch::simulate::mac::DRIVER;

use crate::bench::*;

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
    let seen = agxpatch::deploy::verify(&mac, &Bench).unwrap();
    assert!(seen.holds, "{:#?}", seen.checks);

    assert!(matches!(deploy(&mac).unwrap(), Deployed::Already { state: State::Active, .. }));

    let reverted = revert(&mac).unwrap();
    assert!(matches!(reverted, Reverted::Done { restart: true, .. }), "{reverted:?}");
    assert_eq!(state(&mac), State::RevertPending);
    assert!(matches!(revert(&mac).unwrap(), Reverted::Already { state: State::RevertPending }));
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
