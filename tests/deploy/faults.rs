//! Everything that may go wrong, at every effect, in every starting state.
//!
//! Whatever struck, and whether the Mac was restarted before or after `recover`,
//! the end is a Mac that is as Apple made it or has the patch in force, boots a
//! snapshot that exists, has nothing left mounted or lying about, and keeps the
//! original unharmed.

use agxpatch::deploy::journal::Journal;
use agxpatch::deploy::{Recovered, State, layout};
use agxpatch::error::{Code, Error};
use agxpatch::host::{FileKind, Host};
use agxpatch::simulate::mac::{Boot, Fault, Loss, Reach, SimulatedMac};

use crate::bench::*;

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

/// How many effects a verb has where nothing goes wrong.
pub fn effects(start: &SimulatedMac, verb: Verb) -> u64 {
    let mac = start.fork().unwrap();
    let before = mac.effects().unwrap();
    verb.run(&mac).unwrap();
    mac.effects().unwrap() - before
}

/// Every fault in every form for the verbs themselves. For recovery, of which
/// there are dozens of starting states, power takes all that was not forced to
/// the disk with it, the worst of the three ways.
fn faults(verb: Verb) -> Vec<Fault> {
    let mut all = Fault::all();
    if verb == Verb::Recover {
        all.retain(|fault| {
            !matches!(fault, Fault::Power { loss: Loss::Contents | Loss::Nothing, .. })
        });
    }
    all
}

/// Strikes with the faults at every effect. Returns how often.
fn strike_everywhere(name: &str, start: &SimulatedMac, verb: Verb) -> usize {
    let mut points = 0;
    for nth in 1..=effects(start, verb) {
        for fault in faults(verb) {
            let mac = start.fork().unwrap();
            mac.inject(nth, fault).unwrap();
            let outcome = verb.run(&mac);
            assert!(mac.machine().unwrap().fault.is_none(), "{name} {nth}: {fault:?} was skipped");
            let context = format!("{name}, effect {nth}, {fault:?}, {outcome:?}");
            at_once(&mac, verb, &outcome, &context);
            ends_well(&mac, &context);
            points += 1;
        }
    }
    println!("{name}: {points} injection points");
    points
}

/// What an error promises must hold before anybody recovers anything.
fn at_once(mac: &SimulatedMac, verb: Verb, outcome: &Result<(), Error>, context: &str) {
    let Err(error) = outcome else { return };
    if verb == Verb::Deploy && error.code() == Code::RolledBack {
        assert_eq!(state(mac), State::Clean, "{context}");
        nothing_left(mac, context);
    } else if error.code() != Code::MachineGone {
        assert!(mac.machine().unwrap().mounted_by_hand().is_empty(), "{context}");
    }
}

/// Restart and recover, in both orders where the Mac is still up.
pub fn ends_well(mac: &SimulatedMac, context: &str) {
    let running = mac.machine().unwrap().is_up();
    if running {
        let other = mac.fork().unwrap();
        recover(&other).unwrap_or_else(|error| panic!("{context}: {error:?}"));
        nothing_left(&other, context);
        restart(&other, context);
        is_settled(&other, &format!("{context}, recovered first"));
    }
    let mac = mac.process();
    restart(&mac, context);
    let recovered = recover(&mac).unwrap_or_else(|error| panic!("{context}: {error:?}"));
    nothing_left(&mac, context);
    if state(&mac) == State::RevertPending {
        restart(&mac, context);
    }
    is_settled(&mac, &format!("{context}, restarted first, {recovered:?}"));
}

fn restart(mac: &SimulatedMac, context: &str) {
    match mac.reboot().unwrap() {
        Boot::Up { snapshot } => {
            assert!(mac.machine().unwrap().snapshot(&snapshot).is_some(), "{context}");
        }
        other => panic!("{context}: {other:?}"),
    }
}

/// CLEAN or ACTIVE, and a second look at recovery finds nothing to do.
fn is_settled(mac: &SimulatedMac, context: &str) {
    let settled = state(mac);
    assert!(matches!(settled, State::Clean | State::Active), "{context}: {settled:?}");
    let again = recover(mac).unwrap();
    assert!(matches!(again, Recovered::Nothing { .. }), "{context}: {again:?}");
    nothing_left(mac, context);
    if settled == State::Active {
        assert!(agxpatch::deploy::verify(mac, &Bench).unwrap().holds, "{context}");
        assert!(mac.metadata(&layout::recovery_script()).unwrap().is_some(), "{context}");
    }
}

/// Nothing mounted, no file half written, the kept original as it was.
pub fn nothing_left(mac: &SimulatedMac, context: &str) {
    assert!(mac.machine().unwrap().mounted_by_hand().is_empty(), "{context}: mounted");
    for path in [layout::journal(), layout::mount_point(), layout::staging()] {
        assert_eq!(mac.metadata(&path).unwrap(), None, "{context}: {}", path.display());
    }
    if mac.metadata(&layout::backups()).unwrap().is_some() {
        for name in mac.list(&layout::backups()).unwrap() {
            let kept = mac.read(&layout::backup(&name)).unwrap();
            assert_eq!(kept.bytes, ORIGINAL, "{context}: backup {name}");
            assert_eq!(kept.metadata.kind, FileKind::File);
        }
    }
    let everything = [layout::STATE, layout::RECOVERY].map(std::path::Path::new);
    for directory in everything.into_iter().filter(|d| mac.metadata(d).unwrap().is_some()) {
        for name in mac.list(directory).unwrap() {
            assert!(!name.ends_with(".new"), "{context}: {name} in {}", directory.display());
        }
    }
}

/// A Mac on which the patch is in force.
pub fn active_mac() -> SimulatedMac {
    let mac = open_mac();
    deploy(&mac).unwrap();
    reboot(&mac);
    mac
}

#[test]
fn nothing_that_strikes_a_first_deployment_leaves_the_mac_between() {
    assert!(strike_everywhere("deploy on CLEAN", &open_mac(), Verb::Deploy) > 1000);
}

#[test]
fn nothing_that_strikes_a_later_deployment_leaves_the_mac_between() {
    let mac = active_mac();
    revert(&mac).unwrap();
    reboot(&mac);
    assert!(strike_everywhere("deploy after a revert", &mac, Verb::Deploy) > 1000);
}

#[test]
fn nothing_that_strikes_a_revert_leaves_the_mac_between() {
    assert!(strike_everywhere("revert on ACTIVE", &active_mac(), Verb::Revert) > 500);
    let pending = open_mac();
    deploy(&pending).unwrap();
    assert!(strike_everywhere("revert on PENDING_REBOOT", &pending, Verb::Revert) > 500);
}

/// Macs on which a verb was killed within each of its steps, still running and
/// restarted.
fn interrupted(start: &SimulatedMac, verb: Verb) -> Vec<(String, SimulatedMac)> {
    let mut macs = Vec::new();
    let mut seen = None;
    for nth in 1..=effects(start, verb) {
        let mac = start.fork().unwrap();
        mac.inject(nth, Fault::Kill { reach: Reach::After }).unwrap();
        verb.run(&mac).unwrap_err();
        let mac = mac.process();
        let step = Journal::read(&mac).unwrap().and_then(|journal| journal.last_step());
        if std::mem::replace(&mut seen, step) == step {
            continue;
        }
        let Some(step) = step else { continue };
        let restarted = mac.fork().unwrap();
        restarted.reboot().unwrap();
        macs.push((format!("recover after {verb:?} killed in {step}"), mac));
        macs.push((format!("recover after {verb:?} killed in {step} and a restart"), restarted));
    }
    macs
}

#[test]
fn nothing_that_strikes_a_recovery_of_a_deployment_leaves_the_mac_between() {
    let macs = interrupted(&open_mac(), Verb::Deploy);
    let points: usize =
        macs.iter().map(|(name, mac)| strike_everywhere(name, mac, Verb::Recover)).sum();
    println!("recover after deploy: {points} injection points in {} states", macs.len());
    assert!(points > 3000);
}

#[test]
fn nothing_that_strikes_a_recovery_of_a_revert_leaves_the_mac_between() {
    let macs = interrupted(&active_mac(), Verb::Revert);
    let points: usize =
        macs.iter().map(|(name, mac)| strike_everywhere(name, mac, Verb::Recover)).sum();
    println!("recover after revert: {points} injection points in {} states", macs.len());
    assert!(points > 3000);
}
