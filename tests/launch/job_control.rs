//! The command under a shell at a real terminal: Ctrl-Z, `fg`, Ctrl-C.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::FromRawFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

/// An interactive shell at a terminal of its own, and the person before it.
struct Shell {
    shell: Child,
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

impl Shell {
    #[allow(unsafe_code, reason = "a session begins between fork and exec")]
    fn begin() -> Shell {
        let (keyboard, theirs) = pseudo_terminal();
        let mut command = Command::new("/bin/bash");
        command.args(["--norc", "--noprofile", "-i"]).env_clear();
        command.env("PATH", "/usr/bin:/bin").env("TERM", "dumb").env("PS1", "prompt> ");
        command.env("AGXPATCH", env!("CARGO_BIN_EXE_agxpatch"));
        command.stdin(theirs.try_clone().unwrap()).stdout(theirs.try_clone().unwrap());
        command.stderr(theirs);
        // SAFETY: two system calls, on the descriptor that is standard input by then.
        unsafe {
            command.pre_exec(|| {
                rustix::process::setsid()?;
                match libc::ioctl(0, libc::TIOCSCTTY as _, 0) {
                    0 => Ok(()),
                    _ => Err(std::io::Error::last_os_error()),
                }
            });
        }
        let shell = command.spawn().unwrap();
        drop(command);
        let mut eyes = keyboard.try_clone().unwrap();
        let (send, screen) = channel();
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(length @ 1..) = eyes.read(&mut buffer) {
                if send.send(buffer[..length].to_vec()).is_err() {
                    break;
                }
            }
        });
        let mut shell = Shell { shell, keyboard, screen, shown: String::new() };
        shell.shows("prompt> ");
        shell
    }

    /// Waits until this is shown, after all that was waited for before.
    fn shows(&mut self, text: &str) -> &mut Shell {
        while !self.shown.contains(text) {
            let more = self.screen.recv_timeout(Duration::from_secs(120));
            let more = more.unwrap_or_else(|_| panic!("no {text:?} in {:?}", self.shown));
            self.shown.push_str(&String::from_utf8_lossy(&more));
        }
        let end = self.shown.find(text).unwrap() + text.len();
        self.shown.drain(..end);
        self
    }

    fn types(&mut self, keys: &str) -> &mut Shell {
        self.keyboard.write_all(keys.as_bytes()).unwrap();
        self
    }

    fn leaves(mut self) {
        self.types("exit\n");
        self.shell.wait().unwrap();
    }
}

/// A file with a script, so that its words are not on the screen before it runs.
fn script(text: &str) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
}

#[test]
fn the_command_is_stopped_continued_and_interrupted_from_the_terminal_as_without_agxpatch() {
    let script = script(
        "trap 'kill $!; echo interrupted; exit 5' INT\n\
         trap 'echo continued' CONT\n\
         sleep 1000 & echo ready\n\
         while :; do wait; done\n",
    );
    let mut shell = Shell::begin();
    let line = format!("$AGXPATCH run --guard off -- sh {}\n", script.path().display());
    shell.types(&line).shows("ready").types("\x1a").shows("Stopped");
    shell.types("fg\n").shows("continued").types("\x03").shows("interrupted").shows("prompt> ");
    shell.types("echo status=$?.\n").shows("status=5.");
    shell.leaves();
}

#[test]
fn ctrl_c_ends_the_shells_loop_too() {
    let script = script("echo ready\nexec sleep 1000\n");
    let mut shell = Shell::begin();
    let run = format!("$AGXPATCH run --guard off -- sh {}", script.path().display());
    shell.types(&format!("for n in 1 2; do {run}; done; echo status=$?.\n"));
    // A second round would show it again, and wait.
    shell.shows("ready").types("\x03").shows("prompt> ");
    shell.types("echo status=$?.\n").shows("status=130.");
    shell.leaves();
}
