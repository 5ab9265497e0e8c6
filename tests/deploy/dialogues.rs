//! A person at a terminal: the question before a deployment, and that of `bless`.

use std::os::unix::process::ExitStatusExt;
use std::process::Command;

use agxpatch_simulate::mac;

use crate::kept::Kept;
use crate::terminal::Terminal;

const NAME: &str = "AGXMetalG16X\r";
const CTRL_C: &str = "\x03";

fn begin(mac: &Kept, arguments: &[&str]) -> Terminal {
    let mut command = Command::new(env!("CARGO_BIN_EXE_agxpatch"));
    command.env_clear().env("TERM", "xterm").arg("--simulate").arg(mac.mac());
    command.args(arguments);
    Terminal::begin(command)
}

/// A Mac at whose terminal the user of the program sits.
fn mac() -> Kept {
    let mac = Kept::new();
    mac.open().change(|machine| machine.terminal = mac::Terminal::Here).unwrap();
    mac
}

fn active() -> Kept {
    let mac = mac();
    assert!(mac.deploy(&mac.digest()).status.success());
    mac.open().reboot().unwrap();
    mac
}

#[test]
fn typing_the_bundle_name_confirms_deployment() {
    let mac = mac();
    let mut terminal = begin(&mac, &["deploy", "--unlisted-build"]);
    terminal.shows("Type AGXMetalG16X to go ahead").types(NAME);
    let (status, shown) = terminal.end();
    assert_eq!(status.code(), Some(0), "{shown}");
    assert!(shown.contains("Plan") && shown.contains("comes into force when you"), "{shown}");
    assert_eq!(mac.state(), "PENDING_REBOOT");
}

#[test]
fn any_other_answer_changes_nothing() {
    let mac = mac();
    let before = mac.bytes();
    for typed in ["yes\r", "\r", "agxmetalg16x\r"] {
        let mut terminal = begin(&mac, &["deploy", "--unlisted-build"]);
        terminal.shows("to go ahead").types(typed);
        let (status, shown) = terminal.end();
        assert_eq!(status.code(), Some(1), "{shown}");
        assert!(shown.contains("AGX-0704"), "{shown}");
        assert!(mac.bytes() == before, "{typed:?} changed something");
    }
    let mut terminal = begin(&mac, &["deploy", "--unlisted-build"]);
    terminal.shows("to go ahead").types("AGX").types(CTRL_C);
    let (status, shown) = terminal.end();
    assert_eq!(status.signal(), Some(2), "{shown}");
    assert!(mac.bytes() == before, "Ctrl-C changed something");
}

#[test]
fn bless_asks_for_the_password_and_shows_none_of_it() {
    let mac = active();
    let mut terminal = begin(&mac, &["revert"]);
    terminal.shows("to go ahead").types(NAME);
    terminal.shows("Password for owner: ").types("wrong\r");
    terminal.shows("Password for owner: ").types("correct horse\r");
    let (status, shown) = terminal.end();
    assert_eq!(status.code(), Some(0), "{shown}");
    assert!(shown.contains("reverted") && !shown.contains("note:"), "{shown}");
    assert!(!shown.contains("horse") && !shown.contains("wrong"), "{shown}");
    let log = agxpatch_host::Host::read(&mac.open(), &agxpatch_deploy::layout::log()).unwrap();
    assert!(!String::from_utf8_lossy(&log.bytes).contains("horse"));
    assert_eq!(mac.state(), "REVERT_PENDING");
}

#[test]
fn three_wrong_passwords_are_told_with_what_they_mean() {
    let mac = active();
    let mut terminal = begin(&mac, &["revert", "--yes"]);
    for _ in 0..3 {
        terminal.shows("Password for owner: ").types("wrong\r");
    }
    let (status, shown) = terminal.end();
    assert_eq!(status.code(), Some(0), "{shown}");
    assert!(shown.contains("note:") && shown.contains("agxpatch verify"), "{shown}");
    mac.open().reboot().unwrap();
    assert_eq!(mac.state(), "CLEAN");
}

#[test]
fn ctrl_c_at_the_password_leaves_a_revert_that_recover_ends() {
    let mac = active();
    let mut terminal = begin(&mac, &["revert", "--yes"]);
    terminal.shows("Password for owner: ").types("corr").types(CTRL_C);
    let (status, shown) = terminal.end();
    assert_eq!(status.code(), Some(8), "{shown}");
    assert!(shown.contains("AGX-0710") && shown.contains("sudo agxpatch recover"), "{shown}");
    let mut terminal = begin(&mac, &["recover"]);
    terminal.shows("Password for owner: ").types("correct horse\r");
    let (status, shown) = terminal.end();
    assert_eq!(status.code(), Some(0), "{shown}");
    mac.open().reboot().unwrap();
    assert_eq!(mac.state(), "CLEAN");
}
