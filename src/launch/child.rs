//! Running the program as if this one were not there.
//!
//! The child stays in our process group and has our standard input and
//! outputs, so the terminal, job control and pipes are its own as much as
//! ours. Signals sent to us are passed on to it; `HUP`, `INT`, `QUIT` and
//! `TERM` do not end us, because its end does. An interrupt typed at the
//! terminal reaches the whole foreground group, the child included, and is
//! therefore not sent a second time. A signal that was ignored when we started
//! (`nohup`) is left ignored.
//!
//! The child is waited for without being reaped while signals may still be
//! passed on: until it is reaped its number cannot become another's.

use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions};
use serde::Serialize;
use signal_hook::consts::{
    SIGALRM, SIGCONT, SIGHUP, SIGINT, SIGPIPE, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGWINCH,
};
use signal_hook::iterator::{Handle, Signals};

/// What is passed on. The rest stops, kills or tells of us alone.
const PASSED: [i32; 9] =
    [SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGALRM, SIGCONT, SIGWINCH];
/// What the terminal itself sends to the whole foreground group.
const TYPED: [i32; 4] = [SIGINT, SIGQUIT, SIGCONT, SIGWINCH];
/// After these nothing is tried again.
const ENDING: [i32; 4] = [SIGHUP, SIGINT, SIGQUIT, SIGTERM];

/// How a program ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "how", rename_all = "kebab-case")]
pub enum Ended {
    /// It exited.
    Exited {
        /// With this code.
        code: i32,
    },
    /// A signal ended it.
    Signalled {
        /// The signal's number on this system.
        number: i32,
    },
}

/// The signals the driver's faults end a process with.
const DRIVERS: [Signal; 4] = [Signal::SEGV, Signal::ABORT, Signal::TRAP, Signal::BUS];

impl Ended {
    /// What a shell would say: the code, or 128 and the signal's number.
    pub fn code(self) -> i32 {
        match self {
            Ended::Exited { code } => code,
            Ended::Signalled { number } => 128 + number,
        }
    }

    /// Whether it was killed as the driver's faults kill, by itself or, as a
    /// shell in between tells, as 128 and the signal's number.
    pub fn as_the_driver_kills(self) -> bool {
        DRIVERS.iter().any(|signal| match self {
            Ended::Exited { code } => code == 128 + signal.as_raw(),
            Ended::Signalled { number } => number == signal.as_raw(),
        })
    }

    /// Dies of the signal the program died of, if it is one that leaves no core and
    /// no crash report. A shell that runs a loop goes by that, and not by the status,
    /// when it decides whether Ctrl-C was meant for the loop too. Returns where the
    /// end has to be told by the status.
    pub fn pass_on(self) {
        const QUIET: [i32; 7] = [SIGHUP, SIGINT, SIGPIPE, SIGALRM, SIGTERM, SIGUSR1, SIGUSR2];
        if let Ended::Signalled { number } = self
            && QUIET.contains(&number)
        {
            // Where it fails the status tells the same.
            drop(signal_hook::low_level::emulate_default_handler(number));
        }
    }

    /// In a few words.
    pub fn words(self) -> String {
        let name = |number: i32| signal_hook::low_level::signal_name(number);
        match self {
            Ended::Exited { code } => match name(code - 128).filter(|_| code > 128) {
                Some(name) => format!("exited with {code}, a shell's word for {name}"),
                None => format!("exited with {code}"),
            },
            Ended::Signalled { number } => match name(number) {
                Some(name) => format!("was killed by {name}"),
                None => format!("was killed by signal {number}"),
            },
        }
    }
}

/// Passes signals on from its making to its end.
pub struct Relay {
    shared: Arc<Shared>,
    handle: Handle,
    thread: Option<std::thread::JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    receiver: Mutex<Receiver>,
    ending: AtomicBool,
}

/// Whom signals are passed on to.
#[derive(Default)]
struct Receiver {
    /// The child that may be sent signals.
    child: Option<Pid>,
    /// What asked for the end while there was none.
    early: Option<Signal>,
}

impl Shared {
    fn receiver(&self) -> MutexGuard<'_, Receiver> {
        self.receiver.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn pass(&self, number: i32) {
        if ENDING.contains(&number) {
            self.ending.store(true, Ordering::SeqCst);
        }
        if TYPED.contains(&number) && is_foreground() {
            return;
        }
        let Some(signal) = Signal::from_named_raw(number) else { return };
        let mut receiver = self.receiver();
        if let Some(child) = receiver.child {
            // Where it fails, it has ended and is not reaped yet: there is nothing to report.
            let _ = rustix::process::kill_process(child, signal);
        } else if ENDING.contains(&number) {
            receiver.early = Some(signal);
        }
    }
}

impl Relay {
    /// Begins to listen.
    ///
    /// # Errors
    /// Where the system refuses handlers.
    pub fn begin() -> io::Result<Relay> {
        let heard = PASSED.into_iter().filter(|signal| !is_ignored(*signal));
        let mut signals = Signals::new(heard)?;
        let shared = Arc::new(Shared::default());
        let handle = signals.handle();
        let listening = Arc::clone(&shared);
        let thread = std::thread::Builder::new().name("signals".into()).spawn(move || {
            signals.forever().for_each(|number| listening.pass(number));
        })?;
        Ok(Relay { shared, handle, thread: Some(thread) })
    }

    /// Whether a signal asked for an end.
    pub fn is_ending(&self) -> bool {
        self.shared.ending.load(Ordering::SeqCst)
    }

    /// The flag behind [`Relay::is_ending`], for what waits.
    pub fn ending(&self) -> &AtomicBool {
        &self.shared.ending
    }

    /// Runs `command` to its end. Returns its process identifier too.
    ///
    /// # Errors
    /// Where it cannot be started.
    pub fn run(&self, command: &mut Command) -> io::Result<(u32, Ended)> {
        let mut child = {
            // Held while it starts, so that each signal comes before or is passed on,
            // and none is both.
            let mut receiver = self.shared.receiver();
            let child = command.spawn()?;
            receiver.child = pid(&child);
            if let (Some(child), Some(early)) = (receiver.child, receiver.early.take()) {
                let _ = rustix::process::kill_process(child, early);
            }
            child
        };
        let waited = wait(&child);
        self.shared.receiver().child = None;
        let status = child.wait()?;
        waited?;
        let ended = match (status.code(), status.signal()) {
            (Some(code), _) => Ended::Exited { code },
            (None, number) => Ended::Signalled { number: number.unwrap_or_default() },
        };
        Ok((child.id(), ended))
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.handle.close();
        if let Some(thread) = self.thread.take() {
            // A panic in it has been reported already.
            drop(thread.join());
        }
    }
}

fn pid(child: &Child) -> Option<Pid> {
    Pid::from_raw(i32::try_from(child.id()).ok()?)
}

fn wait(child: &Child) -> io::Result<()> {
    let Some(pid) = pid(child) else { return Ok(()) };
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
    loop {
        match rustix::process::waitid(WaitId::Pid(pid), options) {
            Err(rustix::io::Errno::INTR) => {}
            other => return other.map(drop).map_err(Into::into),
        }
    }
}

/// Whether the terminal's own signals reach our group, and so the child.
fn is_foreground() -> bool {
    let flags = rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::NOCTTY;
    let terminal = rustix::fs::open("/dev/tty", flags, rustix::fs::Mode::empty());
    let foreground = terminal.and_then(|terminal| rustix::termios::tcgetpgrp(&terminal));
    foreground.is_ok_and(|group| group == rustix::process::getpgrp())
}

/// Whether the signal was ignored when this program started.
#[allow(unsafe_code, reason = "the disposition is only to be had by this call")]
pub fn is_ignored(signal: i32) -> bool {
    let mut action = std::mem::MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: without a new action nothing is changed; the old one is written to
    // a place of its type, which is all zeroes, a valid value, where the call fails.
    let action = unsafe {
        libc::sigaction(signal, std::ptr::null(), action.as_mut_ptr());
        action.assume_init()
    };
    action.sa_sigaction == libc::SIG_IGN
}
