//! Programs that are asked to stop while they work, by real signals.
//!
//! Each costs two runs of the program on a driver of full size, so a few effects are
//! tried, and all with `AGXPATCH_KILL_ALL` set.

use agxpatch_deploy::layout;
use agxpatch_host::Host;
use agxpatch_simulate::mac::{Asking, Fault};

use crate::kept::Kept;

/// Asks a command to stop after one of its effects. What it ended with, which is
/// nothing if the signal ended it, and the Mac.
fn asked(start: &Kept, arguments: &[&str], nth: u64, signal: Asking) -> (Option<i32>, Kept) {
    let kept = Kept::like(start.place.path());
    kept.open().inject(nth, Fault::Signal { signal }).unwrap();
    let output = kept.run(arguments);
    let complaint = String::from_utf8_lossy(&output.stderr);
    if output.status.code().is_some_and(|code| code != 0) {
        assert!(complaint.contains("[AGX-0704]") && complaint.contains("Ctrl-C"), "{output:?}");
    }
    assert_eq!(kept.open().machine().unwrap().mounted_by_hand(), [""; 0], "{output:?}");
    assert_eq!(kept.open().metadata(&layout::journal()).unwrap(), None, "{output:?}");
    (output.status.code(), kept)
}

fn effects_of(start: &Kept, arguments: &[&str]) -> u64 {
    let whole = Kept::like(start.place.path());
    let before = whole.open().effects().unwrap();
    assert!(whole.run(arguments).status.success());
    whole.open().effects().unwrap() - before
}

fn tried(effects: u64) -> impl Iterator<Item = u64> {
    let stride = if crate::faults::exhaustive() { 1 } else { 31 };
    (1..=effects).step_by(stride)
}

#[test]
fn ctrl_c_undoes_a_deployment_until_its_snapshot_and_a_lost_connection_never_does() {
    let clean = Kept::new();
    let digest = clean.digest();
    let deploy = ["deploy", "--unlisted-build", "--yes", "--plan", &digest];
    let effects = effects_of(&clean, &deploy);
    let mut ends = Vec::new();
    for nth in tried(effects) {
        let (lost, mac) = asked(&clean, &deploy, nth, Asking::HangUp);
        assert_eq!((lost, mac.state().as_str()), (Some(0), "PENDING_REBOOT"), "effect {nth}");
        let how = if nth % 2 == 0 { Asking::Interrupt } else { Asking::Terminate };
        let (code, mac) = asked(&clean, &deploy, nth, how);
        let state = if code == Some(0) { "PENDING_REBOOT" } else { "CLEAN" };
        assert_eq!(mac.state(), state, "effect {nth}");
        ends.push(code);
    }
    // Undone early, finished late, and nothing in between.
    ends.dedup();
    assert_eq!(ends, [Some(6), Some(0)]);
}

#[test]
fn a_question_of_a_tool_does_not_stop_a_revert_that_has_begun() {
    let active = Kept::new();
    assert!(active.deploy(&active.digest()).status.success());
    active.open().reboot().unwrap();
    let revert = ["revert", "--yes"];
    for nth in tried(effects_of(&active, &revert)) {
        let (code, mac) = asked(&active, &revert, nth, Asking::Interrupt);
        let state = if code.is_none() { "ACTIVE" } else { "REVERT_PENDING" };
        assert_eq!(mac.state(), state, "effect {nth}");
        assert!(code == Some(0) || nth < 10, "effect {nth}: {code:?}");
    }
}
