//! Tools that hang: each is ended after its time, nothing stays mounted, and there is a
//! way on.

use agxpatch_core::error::Error;
use agxpatch_deploy::{self as deploy, State, layout};
use agxpatch_host::{Host, Tool};
use agxpatch_simulate::mac::{Boot, Said, SimulatedMac};

use crate::bench::{deploy, *};
use crate::faults::{Verb, active_mac};

fn hang(mac: &SimulatedMac, tool: &str, after_work: bool) {
    let said = Said { hangs: true, after_work, ..Said::default() };
    mac.change(|machine| machine.said = [(tool.to_owned(), said)].into()).unwrap();
}

fn has_next(error: &Error, how: &str) {
    assert!(error.what_next().is_some(), "{how}: {error:?}");
}

#[test]
fn whichever_tool_hangs_nothing_stays_mounted_and_the_mac_comes_to_a_good_end() {
    for (start, verb) in [(open_mac(), Verb::Deploy), (active_mac(), Verb::Revert)] {
        for tool in Tool::ALL.iter().map(|tool| tool.name()) {
            for after_work in [false, true] {
                let how = format!("{verb:?}, {tool} hangs, after its work: {after_work}");
                let mac = start.fork().unwrap();
                hang(&mac, tool, after_work);
                if let Err(error) = verb.run(&mac) {
                    has_next(&error, &how);
                }
                let left = mac.machine().unwrap().mounted_by_hand();
                // One that hangs before it unmounts anything cannot be worked around.
                assert!(left.is_empty() || tool == "umount", "{how}: {left:?}");
                mac.change(|machine| machine.said.clear()).unwrap();
                recover(&mac).unwrap_or_else(|error| panic!("{how}: {error:?}"));
                assert!(mac.machine().unwrap().mounted_by_hand().is_empty(), "{how}");
                assert_eq!(mac.metadata(&layout::journal()).unwrap(), None, "{how}");
                assert!(matches!(mac.reboot().unwrap(), Boot::Up { .. }), "{how}");
                let end = state(&mac);
                assert!(matches!(end, State::Clean | State::Active), "{how}: {end:?}");
            }
        }
    }
}

#[test]
fn a_tool_that_hangs_in_the_middle_of_a_deployment_is_survived() {
    // Diskutil answers while the plan is made, and hangs from the mount on.
    for line in ["diskutil info", "diskutil apfs", "codesign", "sysctl", "bless"] {
        let mac = open_mac();
        let mut consent = |_: &deploy::Plan| {
            hang(&mac, line, false);
            Ok(())
        };
        let options = deploy::Options::default();
        let outcome = deploy::deploy(&mac, &Bench, options, &mut consent, &());
        has_next(&outcome.unwrap_err(), line);
        assert!(mac.machine().unwrap().mounted_by_hand().is_empty(), "{line}");
        mac.change(|machine| machine.said.clear()).unwrap();
        recover(&mac).unwrap();
        assert!(matches!(state(&mac), State::Clean | State::PendingReboot), "{line}");
    }
}

#[test]
fn questions_that_hang_are_answers_that_are_missing() {
    for start in [open_mac(), active_mac()] {
        for tool in Tool::ALL.iter().map(|tool| tool.name()) {
            hang(&start, tool, false);
            deploy::verify(&start, &Bench).unwrap_or_else(|error| panic!("{tool}: {error:?}"));
        }
        start.change(|machine| machine.said.clear()).unwrap();
    }
    deploy(&open_mac()).unwrap();
}
