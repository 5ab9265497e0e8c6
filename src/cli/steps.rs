//! What a person sees while a machine is changed, and how they stop it.
//!
//! A step that takes longer than half a second is named, one line each, where
//! the user watches at a terminal. Ctrl-C and `kill` are noted and heeded at the
//! next step; a connection that drops stops nothing, because by then going on is
//! what was agreed to. Both are so only from the first step on: before, and while
//! the user types, they end the program as everywhere else.

use std::cell::OnceCell;
use std::io::{self, IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::time::Duration;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use crate::report::style::{FAINT, RESET};
use agxpatch_deploy::{Operation, Progress, Step};

/// A step that is done sooner is not worth a line.
const PATIENCE: Duration = Duration::from_millis(500);

/// Watches the steps of one run.
pub struct Steps {
    /// Where each step is told; none without a terminal.
    teller: Option<Teller>,
    /// Set by Ctrl-C, once the work has begun.
    stopped: OnceCell<Arc<AtomicBool>>,
}

impl Steps {
    /// Tells on standard error, where that is a terminal and people read.
    pub fn new(json: bool) -> Steps {
        let watched = !json && io::stderr().is_terminal();
        let teller = watched.then(|| Teller::new(PATIENCE, anstream::stderr()));
        Steps { teller, stopped: OnceCell::new() }
    }

    fn listen(&self) {
        self.stopped.get_or_init(|| {
            let stopped = Arc::new(AtomicBool::new(false));
            let lost = Arc::new(AtomicBool::new(false));
            for (signal, flag) in [(SIGINT, &stopped), (SIGTERM, &stopped), (SIGHUP, &lost)] {
                // A signal that cannot be listened for ends the program, and
                // `recover` does the rest.
                drop(signal_hook::flag::register(signal, flag.clone()));
            }
            stopped
        });
    }
}

impl Progress for Steps {
    fn begins(&self, _: Operation, step: Step) {
        self.listen();
        if let Some(teller) = &self.teller {
            // The question of `bless` stands alone.
            teller.tell((step != Step::SelectSealedSnapshot).then(|| step.about()));
        }
    }

    fn ends(&self, _: Operation, _: Step) {
        if let Some(teller) = &self.teller {
            teller.tell(None);
        }
    }

    fn gives_up(&self) -> Option<&'static str> {
        let stopped = self.stopped.get().is_some_and(|flag| flag.load(Ordering::Relaxed));
        stopped.then_some("the program was asked to stop (Ctrl-C, or kill)")
    }
}

/// Names what goes on, if it goes on for long.
struct Teller {
    sender: Option<Sender<Option<&'static str>>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Teller {
    fn new(patience: Duration, mut out: impl Write + Send + 'static) -> Teller {
        let (sender, steps) = mpsc::channel::<Option<&'static str>>();
        let thread = std::thread::spawn(move || {
            let mut now = None;
            loop {
                let next = match now {
                    Some(_) => steps.recv_timeout(patience),
                    None => steps.recv().map_err(|_| RecvTimeoutError::Disconnected),
                };
                match (next, now) {
                    (Ok(next), _) => now = next,
                    (Err(RecvTimeoutError::Timeout), Some(about)) => {
                        // A terminal that went away is not a reason to stop.
                        drop(writeln!(out, "{FAINT}  {about} …{RESET}"));
                        now = None;
                    }
                    (Err(_), _) => break,
                }
            }
        });
        Teller { sender: Some(sender), thread: Some(thread) }
    }

    fn tell(&self, step: Option<&'static str>) {
        if let Some(sender) = &self.sender {
            // The other side ends only with this one.
            let _ = sender.send(step);
        }
    }
}

impl Drop for Teller {
    fn drop(&mut self) {
        self.sender = None;
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    /// Hands on, with a line for the user who waits.
    struct Heard(Arc<Mutex<String>>, Sender<()>);

    impl Write for Heard {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let mut text = self.0.lock().unwrap();
            text.push_str(std::str::from_utf8(bytes).unwrap());
            if text.ends_with('\n') {
                self.1.send(()).unwrap();
            }
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn told(patience: Duration, wait: bool) -> String {
        let text = Arc::default();
        let (heard, hears) = mpsc::channel();
        let teller = Teller::new(patience, Heard(Arc::clone(&text), heard));
        for step in ["one", "two"] {
            teller.tell(Some(step));
            if wait {
                hears.recv().unwrap();
            }
            teller.tell(None);
        }
        drop(teller);
        let text = text.lock().unwrap().clone();
        text.replace(&FAINT.to_string(), "").replace(&RESET.to_string(), "")
    }

    #[test]
    fn a_step_that_takes_long_is_named_once_and_a_quick_one_never() {
        assert_eq!(told(Duration::ZERO, true), "  one …\n  two …\n");
        assert_eq!(told(Duration::from_secs(3600), false), "");
    }
}
