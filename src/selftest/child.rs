//! A child process that is waited for, but not for ever.
//!
//! What is tried in a child may crash it, and code that waits for a GPU may never
//! come back. Both are answers.

use std::io::{self, Read};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::{JoinHandle, spawn};
use std::time::{Duration, Instant};

/// Far longer than anything tried here takes, the first start of a program that
/// macOS has never seen included.
const MAX_DURATION: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(10);
/// As much of what a child says as is kept.
const MAX_OUTPUT: u64 = 64 << 10;

/// What a child did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Done {
    /// How it ended; none if it had to be ended.
    pub(super) ended: Option<ExitStatus>,
    /// Its standard output.
    pub(super) said: String,
    /// Its standard error.
    pub(super) complained: String,
}

impl Done {
    /// Whether it ended by itself and well.
    pub(super) fn well(&self) -> bool {
        self.ended.is_some_and(|status| status.success())
    }

    /// How it ended and the first thing it complained of.
    pub(super) fn sentence(&self) -> String {
        let how = match self.ended.map(|status| (status.code(), status.signal())) {
            None => format!("it did not end within {} s", MAX_DURATION.as_secs()),
            Some((Some(code), _)) => format!("it exited with {code}"),
            Some((None, Some(signal))) => format!("signal {signal} ended it"),
            Some((None, None)) => "it ended in no known way".to_owned(),
        };
        match self.complained.lines().find(|line| !line.trim().is_empty()) {
            Some(line) => format!("{how}: {}", line.trim()),
            None => how,
        }
    }
}

/// Runs `command` without input to its end, or ends it.
///
/// # Errors
/// Where it cannot be started or waited for.
pub(super) fn run(command: &mut Command) -> io::Result<Done> {
    run_for(command, MAX_DURATION)
}

fn run_for(command: &mut Command, longest: Duration) -> io::Result<Done> {
    let command = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn()?;
    let said = child.stdout.take().map(listen);
    let complained = child.stderr.take().map(listen);
    let ended = wait(&mut child, longest)?;
    Ok(Done { ended, said: heard(said), complained: heard(complained) })
}

fn wait(child: &mut Child, longest: Duration) -> io::Result<Option<ExitStatus>> {
    let began = Instant::now();
    while began.elapsed() < longest {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        std::thread::sleep(PAUSE);
    }
    child.kill()?;
    child.wait()?;
    Ok(None)
}

fn listen(from: impl Read + Send + 'static) -> JoinHandle<Vec<u8>> {
    spawn(move || {
        let mut kept = Vec::new();
        let mut from = from.take(MAX_OUTPUT);
        // What was read before an error is what there is.
        drop(from.read_to_end(&mut kept));
        // The rest is taken from the child, or it would wait for us.
        drop(io::copy(&mut from.into_inner(), &mut io::sink()));
        kept
    })
}

fn heard(listener: Option<JoinHandle<Vec<u8>>>) -> String {
    let bytes = listener.and_then(|listener| listener.join().ok()).unwrap_or_default();
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn a_childs_output_and_exit_status_are_kept() {
        let done = run(&mut shell("echo out; echo; echo why >&2; exit 3")).unwrap();
        assert_eq!((done.said.as_str(), done.well()), ("out\n\n", false));
        assert_eq!(done.sentence(), "it exited with 3: why");
        let killed = run(&mut shell("kill -SEGV $$")).unwrap();
        assert_eq!(killed.sentence(), "signal 11 ended it");
    }

    #[test]
    fn a_child_that_never_ends_is_killed() {
        let mut command = Command::new("/bin/sleep");
        let done = run_for(command.arg("1000"), Duration::ZERO).unwrap();
        assert_eq!(done.ended, None);
        assert!(done.sentence().contains("did not end"));
    }

    #[test]
    fn a_child_with_endless_output_is_not_blocked() {
        let done = run(&mut shell("head -c 300000 /dev/zero")).unwrap();
        assert!(done.well());
        assert_eq!(done.said.len(), 64 << 10);
    }
}
