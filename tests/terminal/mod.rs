//! A terminal and the person before it, for tests of programs that ask.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::FromRawFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use crate::signals;

/// How long nothing may be shown before the test fails.
const PATIENCE: Duration = Duration::from_secs(120);

/// A program in a session of its own, at a terminal of its own.
pub struct Terminal {
    program: Child,
    keyboard: File,
    screen: Receiver<Vec<u8>>,
    shown: String,
    /// How much of `shown` was waited for already.
    seen: usize,
}

impl Terminal {
    pub fn begin(mut command: Command) -> Terminal {
        let (keyboard, theirs) = pseudo_terminal();
        command.stdin(theirs.try_clone().unwrap()).stdout(theirs.try_clone().unwrap());
        command.stderr(theirs);
        own_session(&mut command);
        let program = command.spawn().unwrap();
        // Holds the terminal's other end, which would keep the screen open.
        drop(command);
        let screen = read(keyboard.try_clone().unwrap());
        Terminal { program, keyboard, screen, shown: String::new(), seen: 0 }
    }

    /// Waits until this is shown, after all that was waited for before.
    pub fn shows(&mut self, text: &str) -> &mut Terminal {
        loop {
            if let Some(at) = self.shown[self.seen..].find(text) {
                self.seen += at + text.len();
                return self;
            }
            let more = self.screen.recv_timeout(PATIENCE);
            let more = more.unwrap_or_else(|_| panic!("no {text:?} in {:?}", self.shown));
            self.shown.push_str(&String::from_utf8_lossy(&more));
        }
    }

    pub fn types(&mut self, keys: &str) -> &mut Terminal {
        self.keyboard.write_all(keys.as_bytes()).unwrap();
        self
    }

    /// Waits for the program to end; how it did, and all that was shown.
    pub fn end(&mut self) -> (ExitStatus, String) {
        loop {
            match self.screen.recv_timeout(PATIENCE) {
                Ok(more) => self.shown.push_str(&String::from_utf8_lossy(&more)),
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => panic!("still there after {:?}", self.shown),
            }
        }
        (self.program.wait().unwrap(), self.shown.clone())
    }
}

/// No test that fails leaves its program behind.
impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.program.kill();
        let _ = self.program.wait();
    }
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
    // SAFETY: the call succeeded, so both are open and nothing else has them.
    unsafe { (File::from_raw_fd(ours), File::from_raw_fd(theirs)) }
}

/// What a terminal's window does for the program in it.
#[allow(unsafe_code, reason = "a session begins between fork and exec")]
fn own_session(command: &mut Command) {
    signals::acting(command);
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
}

/// Reads until the last process that had the terminal is gone.
fn read(mut eyes: File) -> Receiver<Vec<u8>> {
    let (send, screen) = channel();
    std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok(length @ 1..) = eyes.read(&mut buffer) {
            if send.send(buffer[..length].to_vec()).is_err() {
                break;
            }
        }
    });
    screen
}
