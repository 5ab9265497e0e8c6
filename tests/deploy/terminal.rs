//! A person at a terminal: the question before a deployment, and that of `bless`.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::FromRawFd;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use agxpatch::simulate::mac::Terminal;

use crate::kept::Kept;

const NAME: &str = "AGXMetalG16X\r";
const CTRL_C: &str = "\x03";

/// A program at a terminal of its own, and the person before it.
struct Dialogue {
    program: Child,
    keyboard: File,
    screen: Receiver<Vec<u8>>,
    shown: String,
}

#[allow(unsafe_code, reason = "the standard library opens no pseudo-terminal")]
fn pseudo_terminal() -> (File, File) {
    let (mut ours, mut theirs) = (0, 0);
    let none = std::ptr::null_mut();
    // SAFETY: both addresses are of integers on this stack frame, and the null
    // pointers say that no name, modes or size are wanted.
    let failed =
        unsafe { libc::openpty(&raw mut ours, &raw mut theirs, none, none as _, none as _) };
    assert_eq!(failed, 0);
    // SAFETY: the call succeeded, so both are open and nobody else has them.
    unsafe { (File::from_raw_fd(ours), File::from_raw_fd(theirs)) }
}

impl Dialogue {
    fn begin(mac: &Kept, arguments: &[&str]) -> Dialogue {
        let (keyboard, theirs) = pseudo_terminal();
        let mut command = Command::new(env!("CARGO_BIN_EXE_agxpatch"));
        command.env_clear().env("TERM", "xterm").arg("--simulate").arg(mac.mac());
        command.args(arguments);
        command.stdin(theirs.try_clone().unwrap()).stdout(theirs.try_clone().unwrap());
        let program = command.stderr(theirs).spawn().unwrap();
        drop(command);
        let mut eyes = keyboard.try_clone().unwrap();
        let (send, screen) = channel();
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            // The last process that had the terminal is gone when reading fails.
            while let Ok(length @ 1..) = eyes.read(&mut buffer) {
                if send.send(buffer[..length].to_vec()).is_err() {
                    break;
                }
            }
        });
        Dialogue { program, keyboard, screen, shown: String::new() }
    }

    /// Waits until something new is shown that ends a question.
    fn asked(&mut self, question: &str) -> &mut Dialogue {
        let from = self.shown.len();
        while !self.shown[from..].contains(question) {
            let more = self.screen.recv_timeout(Duration::from_secs(120));
            let more = more.unwrap_or_else(|_| panic!("no {question:?} in {:?}", self.shown));
            self.shown.push_str(&String::from_utf8_lossy(&more));
        }
        self
    }

    fn types(&mut self, keys: &str) -> &mut Dialogue {
        self.keyboard.write_all(keys.as_bytes()).unwrap();
        self
    }

    fn end(&mut self) -> (ExitStatus, String) {
        while let Ok(more) = self.screen.recv_timeout(Duration::from_secs(120)) {
            self.shown.push_str(&String::from_utf8_lossy(&more));
        }
        (self.program.wait().unwrap(), self.shown.clone())
    }
}

/// A Mac at whose terminal whoever runs the program sits.
fn mac() -> Kept {
    let mac = Kept::new();
    mac.open().change(|machine| machine.terminal = Terminal::Here).unwrap();
    mac
}

fn active() -> Kept {
    let mac = mac();
    assert!(mac.deploy(&mac.digest()).status.success());
    mac.open().reboot().unwrap();
    mac
}

#[test]
fn who_types_the_bundles_name_has_it_deployed() {
    let mac = mac();
    let mut dialogue = Dialogue::begin(&mac, &["deploy", "--unlisted-build"]);
    dialogue.asked("Type AGXMetalG16X to go ahead").types(NAME);
    let (status, shown) = dialogue.end();
    assert_eq!(status.code(), Some(0), "{shown}");
    assert!(shown.contains("Plan") && shown.contains("comes into force when you"), "{shown}");
    assert_eq!(mac.state(), "PENDING_REBOOT");
}

#[test]
fn any_other_answer_changes_nothing() {
    let mac = mac();
    let before = mac.bytes();
    for typed in ["yes\r", "\r", "agxmetalg16x\r"] {
        let mut dialogue = Dialogue::begin(&mac, &["deploy", "--unlisted-build"]);
        dialogue.asked("to go ahead").types(typed);
        let (status, shown) = dialogue.end();
        assert_eq!(status.code(), Some(1), "{shown}");
        assert!(shown.contains("AGX-0704"), "{shown}");
        assert!(mac.bytes() == before, "{typed:?} changed something");
    }
    let mut dialogue = Dialogue::begin(&mac, &["deploy", "--unlisted-build"]);
    dialogue.asked("to go ahead").types("AGX").types(CTRL_C);
    let (status, shown) = dialogue.end();
    assert_eq!(status.signal(), Some(2), "{shown}");
    assert!(mac.bytes() == before, "Ctrl-C changed something");
}

#[test]
fn bless_asks_for_the_password_and_shows_none_of_it() {
    let mac = active();
    let mut dialogue = Dialogue::begin(&mac, &["revert"]);
    dialogue.asked("to go ahead").types(NAME);
    dialogue.asked("Password for owner: ").types("wrong\r");
    dialogue.asked("Password for owner: ").types("correct horse\r");
    let (status, shown) = dialogue.end();
    assert_eq!(status.code(), Some(0), "{shown}");
    assert!(shown.contains("reverted") && !shown.contains("note:"), "{shown}");
    assert!(!shown.contains("horse") && !shown.contains("wrong"), "{shown}");
    let log = agxpatch::host::Host::read(&mac.open(), &agxpatch::deploy::layout::log()).unwrap();
    assert!(!String::from_utf8_lossy(&log.bytes).contains("horse"));
    assert_eq!(mac.state(), "REVERT_PENDING");
}

#[test]
fn three_wrong_passwords_are_told_with_what_they_mean() {
    let mac = active();
    let mut dialogue = Dialogue::begin(&mac, &["revert", "--yes"]);
    for _ in 0..3 {
        dialogue.asked("Password for owner: ").types("wrong\r");
    }
    let (status, shown) = dialogue.end();
    assert_eq!(status.code(), Some(0), "{shown}");
    assert!(shown.contains("note:") && shown.contains("agxpatch verify"), "{shown}");
    mac.open().reboot().unwrap();
    assert_eq!(mac.state(), "CLEAN");
}

#[test]
fn ctrl_c_at_the_password_leaves_a_revert_that_recover_ends() {
    let mac = active();
    let mut dialogue = Dialogue::begin(&mac, &["revert", "--yes"]);
    dialogue.asked("Password for owner: ").types("corr").types(CTRL_C);
    let (status, shown) = dialogue.end();
    assert_eq!(status.code(), Some(8), "{shown}");
    assert!(shown.contains("AGX-0710") && shown.contains("sudo agxpatch recover"), "{shown}");
    let mut dialogue = Dialogue::begin(&mac, &["recover"]);
    dialogue.asked("Password for owner: ").types("correct horse\r");
    let (status, shown) = dialogue.end();
    assert_eq!(status.code(), Some(0), "{shown}");
    mac.open().reboot().unwrap();
    assert_eq!(mac.state(), "CLEAN");
}
