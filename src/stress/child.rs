//! Running one child to its end, or to the end of its time.
//!
//! The child leads a process group of its own, and the whole group is killed
//! once the child has ended or its time is up: a worker left behind would
//! disturb the next trial. Of what it prints the end is kept and the rest
//! drained, so that it neither blocks nor fills memory.

use std::collections::VecDeque;
use std::io::{self, Read};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};

use super::trial::Ended;

/// Bytes kept of each of the child's outputs.
const MAX_KEPT: usize = 64 << 10;
/// How long output is waited for once the group is dead: a process that left
/// the group may hold the pipe open for ever.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// How long after a child's death by an interrupting signal agxpatch waits to
/// learn whether the same signal was sent to it.
const SIGNAL_DELIVERY: Duration = Duration::from_secs(2);
/// The signals that end a run early.
const INTERRUPTING: [Signal; 3] = [Signal::HUP, Signal::INT, Signal::TERM];

/// What became of a child.
pub struct Finished {
    pub pid: u32,
    pub ended: Ended,
    pub lasted: Duration,
    pub stdout: String,
    pub stderr: String,
}

/// Runs `command`; `None` if the run was interrupted before the child had ended
/// by itself.
pub fn run(
    command: &mut Command,
    timeout: Duration,
    stop: &AtomicBool,
) -> io::Result<Option<Finished>> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
    let began = Instant::now();
    let mut child = command.spawn()?;
    let stdout = child.stdout.take().map(tail);
    let stderr = child.stderr.take().map(tail);
    let pid = child.id();
    let waited = wait(&child, began + timeout, stop);
    let lasted = began.elapsed();
    kill_group(pid);
    let status = child.wait()?;
    let ended = match waited? {
        Waited::Stopped => return Ok(None),
        Waited::TimeIsUp => Ended::TimedOut,
        Waited::Ended if interrupted(status, stop, SIGNAL_DELIVERY) => return Ok(None),
        Waited::Ended => match (status.code(), status.signal()) {
            (Some(code), _) => Ended::exited(code),
            (None, signal) => Ended::signalled(signal.unwrap_or_default()),
        },
    };
    let deadline = Instant::now() + LAST_WORDS;
    let [stdout, stderr] = [stdout, stderr].map(|output| last_words(output, deadline));
    Ok(Some(Finished { pid, ended, lasted, stdout, stderr }))
}

/// Whether a child that ended with `status` was ended by the signal that
/// interrupts the run.
///
/// A child belongs to agxpatch's process group until it has made its own, so a
/// terminal's signal can kill it then. The kernel has sent agxpatch the same
/// signal by the time the child is dead, but the thread that sets `stop` may not
/// have run yet.
fn interrupted(status: ExitStatus, stop: &AtomicBool, delivery: Duration) -> bool {
    let died_of = |signal: &Signal| status.signal() == Some(signal.as_raw());
    if !INTERRUPTING.iter().any(died_of) {
        return false;
    }
    let deadline = Instant::now() + delivery;
    while !stop.load(Ordering::Relaxed) {
        if Instant::now() >= deadline {
            return false;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    true
}

enum Waited {
    Ended,
    TimeIsUp,
    Stopped,
}

/// Waits without reaping: until it is reaped the child's number, which is also
/// its group's, cannot become another's.
fn wait(child: &Child, deadline: Instant, stop: &AtomicBool) -> io::Result<Waited> {
    let Some(pid) = pid_of(child.id()) else { return Ok(Waited::Ended) };
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    let mut pause = Duration::from_millis(1);
    loop {
        if waitid(WaitId::Pid(pid), options)?.is_some() {
            return Ok(Waited::Ended);
        }
        if stop.load(Ordering::Relaxed) {
            return Ok(Waited::Stopped);
        }
        if Instant::now() >= deadline {
            return Ok(Waited::TimeIsUp);
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(20));
    }
}

fn pid_of(number: u32) -> Option<Pid> {
    Pid::from_raw(i32::try_from(number).ok()?)
}

fn kill_group(number: u32) {
    if let Some(pid) = pid_of(number) {
        // An error means that the group is gone: the child was alone in it.
        let _ = kill_process_group(pid, Signal::KILL);
    }
}

/// Reads `output` to its end in a thread and sends its last bytes.
fn tail(mut output: impl Read + Send + 'static) -> Receiver<Vec<u8>> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        let mut kept = VecDeque::with_capacity(MAX_KEPT);
        let mut buffer = [0; 8192];
        while let Ok(count @ 1..) = output.read(&mut buffer) {
            kept.extend(&buffer[..count]);
            kept.drain(..kept.len().saturating_sub(MAX_KEPT));
        }
        // The receiver may have given up waiting.
        drop(sender.send(kept.into()));
    });
    receiver
}

fn last_words(output: Option<Receiver<Vec<u8>>>, deadline: Instant) -> String {
    let left = deadline.saturating_duration_since(Instant::now());
    let bytes = output.and_then(|output| output.recv_timeout(left).ok()).unwrap_or_default();
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn died_of(signal: Signal) -> ExitStatus {
        ExitStatus::from_raw(signal.as_raw())
    }

    #[test]
    fn a_child_that_the_interruption_killed_is_neither_a_crash_nor_a_result() {
        let stop = AtomicBool::new(true);
        for signal in INTERRUPTING {
            assert!(interrupted(died_of(signal), &stop, Duration::ZERO), "{signal:?}");
        }
    }

    #[test]
    fn the_childs_death_may_be_seen_before_the_signal_is_handled() {
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let judged =
                scope.spawn(|| interrupted(died_of(Signal::INT), &stop, Duration::from_secs(3600)));
            stop.store(true, Ordering::Relaxed);
            assert!(judged.join().unwrap());
        });
    }

    #[test]
    fn other_ends_are_results_even_while_the_run_is_interrupted() {
        let stop = AtomicBool::new(true);
        assert!(!interrupted(died_of(Signal::SEGV), &stop, Duration::ZERO));
        assert!(!interrupted(ExitStatus::from_raw(0), &stop, Duration::ZERO));
    }

    #[test]
    fn a_child_that_interrupts_itself_is_a_result() {
        let stop = AtomicBool::new(false);
        assert!(!interrupted(died_of(Signal::INT), &stop, Duration::ZERO));
    }
}
