//! Everything that may go wrong, at every effect, in every starting state.
//!
//! A test takes a starting state and strikes at every effect of a verb with every
//! fault. Each Mac that leaves is a starting state for `recover`, with and without a
//! restart before, in which `recover` is struck at every effect with every fault in
//! turn. What the faults of `recover` leave are starting states of `recover` again, until
//! no Mac comes that was not seen ([`search`]). Of each Mac on the way it is demanded that
//! `recover` and a restart bring it to a good end ([`demands`]): as Apple made it or with
//! the patch in force, running from a snapshot that exists, nothing left mounted or lying
//! about, the kept original unharmed. Macs that agxpatch cannot tell apart are visited once
//! ([`reading`]).
//!
//! Every effect of the verb is struck, always. Of the states that leaves, and that the
//! faults of `recover` leave, a fixed part is visited, and after a fixed part of the errors
//! every later effect is cut off; all of them with `AGXPATCH_KILL_ALL`.
//!
//! A process that is cut off hears nothing more, so the Macs it may leave are seen
//! by cutting copies off at each effect of one run. An error is heard and answered,
//! so each has a run of its own, within which every later effect is cut off too.

mod demands;
mod reading;
mod search;

use std::path::Path;
use std::sync::{Arc, Mutex};

use agxpatch_core::error::Error;
use agxpatch_deploy::{State, layout};
use agxpatch_host::Host;
use agxpatch_simulate::mac::{Boot, Fault, Fingerprint, Release, SimulatedMac, survive};

use crate::bench::*;
pub use demands::{nothing_left, run_script};
use search::nothing_leaves_between;

/// What is run when the fault strikes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Verb {
    Deploy,
    Revert,
    Recover,
}

impl Verb {
    pub fn run(self, mac: &SimulatedMac) -> Result<(), Error> {
        match self {
            Verb::Deploy => deploy(mac).map(drop),
            Verb::Revert => revert(mac).map(drop),
            Verb::Recover => recover(mac).map(drop),
        }
    }
}

/// Whether everything is tried, as once before a release, or a fixed part of it.
pub fn exhaustive() -> bool {
    std::env::var_os("AGXPATCH_KILL_ALL").is_some()
}

/// How many effects a verb has where nothing goes wrong.
pub fn effects(start: &SimulatedMac, verb: Verb) -> u64 {
    let mac = start.fork().unwrap();
    let before = mac.effects().unwrap();
    verb.run(&mac).unwrap();
    mac.effects().unwrap() - before
}

/// A Mac on which the patch is in force.
pub fn active_mac() -> SimulatedMac {
    let mac = open_mac();
    deploy(&mac).unwrap();
    reboot(&mac);
    mac
}

const ENDS: &[State] = &[State::Clean, State::Active];

#[test]
fn faults_in_a_first_deployment_leave_the_mac_clean_or_active() {
    assert!(nothing_leaves_between("CLEAN", open_mac(), Verb::Deploy, ENDS) > 1000);
}

#[test]
fn faults_in_a_later_deployment_leave_the_mac_clean_or_active() {
    let mac = active_mac();
    revert(&mac).unwrap();
    reboot(&mac);
    assert!(nothing_leaves_between("CLEAN after a revert", mac, Verb::Deploy, ENDS) > 1000);
}

#[test]
fn faults_in_a_deployment_after_an_update_leave_the_mac_clean_or_active() {
    let mac = updated_mac();
    let ends = &[State::Clean, State::Active, State::UpdatedAway];
    assert!(nothing_leaves_between("UPDATED_AWAY", mac, Verb::Deploy, ends) > 1000);
}

#[test]
fn faults_in_a_revert_leave_the_mac_clean_or_active() {
    assert!(nothing_leaves_between("ACTIVE", active_mac(), Verb::Revert, ENDS) > 500);
}

#[test]
fn faults_in_a_revert_before_the_restart_leave_the_mac_clean_or_active() {
    let mac = open_mac();
    deploy(&mac).unwrap();
    assert!(nothing_leaves_between("PENDING_REBOOT", mac, Verb::Revert, ENDS) > 500);
}

#[test]
fn faults_in_a_revert_without_records_leave_the_mac_clean_or_active() {
    let mac = active_mac();
    mac.remove_file(&layout::manifest()).unwrap();
    reboot(&mac);
    let ends = &[State::Clean, State::ActiveOther, State::Active];
    assert!(nothing_leaves_between("ACTIVE_OTHER", mac, Verb::Revert, ends) > 500);
}

#[test]
fn faults_in_the_removal_of_old_records_leave_the_mac_clean_or_active() {
    let ends = &[State::Clean, State::UpdatedAway, State::Active];
    assert!(nothing_leaves_between("UPDATED_AWAY", updated_mac(), Verb::Revert, ends) > 50);
}

#[test]
fn faults_in_a_recovery_of_records_leave_the_mac_clean_or_active() {
    let mac = active_mac();
    mac.change(|machine| machine.tagged = None).unwrap();
    reboot(&mac);
    assert_eq!(state(&mac), State::Unknown);
    let name = "records that contradict the Mac";
    assert!(nothing_leaves_between(name, mac, Verb::Recover, ENDS) > 500);
}

/// A Mac whose patched driver an update has replaced by the next original.
fn updated_mac() -> SimulatedMac {
    let mac = active_mac();
    let release = Release { version: "15.8".into(), build: "24H1".into() };
    assert!(matches!(mac.install_update(release, ORIGINAL).unwrap(), Boot::Up { .. }));
    assert_eq!(state(&mac), State::UpdatedAway);
    mac
}

#[test]
fn a_crash_that_is_witnessed_is_the_crash_that_strikes() {
    for (start, verb) in [(open_mac(), Verb::Deploy), (active_mac(), Verb::Revert)] {
        let shown: Arc<Mutex<Vec<(u64, Fault, Fingerprint)>>> = Arc::default();
        let keep = shown.clone();
        let before = start.effects().unwrap();
        let mac = start.fork().unwrap().witnessed(Arc::new(move |at, fault, mac| {
            keep.lock().unwrap().push((at - before, fault, mac.fingerprint().unwrap()));
        }));
        verb.run(&mac).unwrap();
        let shown = shown.lock().unwrap();
        assert_eq!(shown.len() as u64, 12 * effects(&start, verb));
        // Neighbours differ in the fault or the effect, so a stride meets all of both.
        let stride = if exhaustive() { 1 } else { 7 };
        for (nth, fault, fingerprint) in shown.iter().step_by(stride) {
            let mac = start.fork().unwrap();
            mac.inject(*nth, *fault).unwrap();
            survive(|| verb.run(&mac)).unwrap_err();
            assert_eq!(mac.fingerprint().unwrap(), *fingerprint, "{verb:?} {nth} {fault:?}");
        }
    }
}

#[test]
fn a_fingerprint_tells_macs_apart_by_what_a_program_can_see() {
    let mac = active_mac();
    let same = |other: &SimulatedMac| mac.fingerprint().unwrap() == other.fingerprint().unwrap();
    let other = mac.fork().unwrap();
    reboot(&other);
    reboot(&other);
    assert!(same(&other), "another session with the same past");
    other.write_new(Path::new("/private/var/db/x"), b"x", 0o600).unwrap();
    let unforced = other.fork().unwrap();
    assert!(!same(&other));
    other.sync_file(Path::new("/private/var/db/x")).unwrap();
    assert_ne!(other.fingerprint().unwrap(), unforced.fingerprint().unwrap(), "what is forced");
    other.remove_file(Path::new("/private/var/db/x")).unwrap();
    other.sync_directory(Path::new("/private/var/db")).unwrap();
    assert!(same(&other), "inodes that are gone");
    let empty = other.fork().unwrap();
    empty.write_new(Path::new("/private/var/db/x"), b"", 0o600).unwrap();
    let unforced = empty.fork().unwrap();
    empty.sync_file(Path::new("/private/var/db/x")).unwrap();
    let print = |mac: &SimulatedMac| mac.fingerprint().unwrap();
    assert_eq!(print(&empty), print(&unforced), "what is empty with and without being forced");
    other.change(|machine| machine.tagged = None).unwrap();
    assert!(!same(&other), "another snapshot for the next boot");
}
