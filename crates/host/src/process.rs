//! A tool at work: what it is started with, and what it says.
//!
//! By absolute path, with an environment of our own and none of the caller's, so
//! that nothing a person or an attacker has set reaches a program that runs as
//! root. What a tool may do is for [`super::command`] to say.

use std::ffi::{OsStr, OsString};
use std::io::{Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command as Process, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use super::{Input, Output, Status};

/// The environment tools are started with, and no other.
const ENVIRONMENT: [(&str, &str); 3] =
    [("PATH", "/usr/bin:/bin:/usr/sbin:/sbin"), ("LC_ALL", "C"), ("HOME", "/var/root")];

/// Runs a program with its environment, and collects what it says.
///
/// A program that asks a person shows on the terminal all it says. What goes to
/// standard output may be its question, which a pipe would hold back, so that
/// goes to the terminal alone; complaints go there and are collected. All others
/// get a process group of their own: Ctrl-C, or a connection that is lost, is for
/// this program to answer and does not end a tool within its work.
pub(crate) fn spawn(
    program: &Path,
    arguments: &[impl AsRef<OsStr>],
    input: &Input,
    limit: Duration,
) -> std::io::Result<Output> {
    let mut process = prepared(program, arguments);
    match input {
        Input::Nothing => process.process_group(0).stdin(Stdio::null()),
        Input::Terminal => process.stdin(Stdio::inherit()).stdout(std::io::stderr()),
        Input::Secret(_) => process.process_group(0).stdin(Stdio::piped()),
    };
    let mut child = process.spawn()?;
    if *input == Input::Terminal {
        // A person may take their time, and Ctrl-C is theirs.
        let complaints = child.stderr.take();
        let stderr = complaints.map(|complaints| show(complaints, std::io::stderr()));
        let status = status_of(child.wait()?);
        return Ok(Output { status, stdout: Vec::new(), stderr: stderr.unwrap_or_default() });
    }
    if let (Input::Secret(secret), Some(mut stdin)) = (input, child.stdin.take()) {
        // A tool that ends without reading its input has its reasons, and says
        // them in its output.
        drop(stdin.write_all(secret));
    }
    collect(child, limit)
}

/// Runs a program that asks no one, with these variables besides ours.
pub(crate) fn spawn_with(
    program: &Path,
    arguments: &[OsString],
    variables: &[(&str, OsString)],
    limit: Duration,
) -> std::io::Result<Output> {
    let mut process = prepared(program, arguments);
    process.envs(variables.iter().map(|(name, value)| (*name, value)));
    collect(process.process_group(0).stdin(Stdio::null()).spawn()?, limit)
}

fn prepared(program: &Path, arguments: &[impl AsRef<OsStr>]) -> Process {
    let mut process = Process::new(program);
    process.args(arguments).env_clear().envs(ENVIRONMENT).current_dir("/");
    process.stdout(Stdio::piped()).stderr(Stdio::piped());
    process
}

fn status_of(status: ExitStatus) -> Status {
    match (status.code(), status.signal()) {
        (Some(code), _) => Status::Code(code),
        (None, signal) => Status::Signal(signal.unwrap_or_default()),
    }
}

/// Hears a tool out. One that has not ended after `limit` is killed with all it started.
fn collect(mut child: Child, limit: Duration) -> std::io::Result<Output> {
    let deadline = Instant::now() + limit;
    let (sender, ended) = mpsc::channel();
    let stdout = child.stdout.take().map(|pipe| read_aside(pipe, sender.clone()));
    let stderr = child.stderr.take().map(|pipe| read_aside(pipe, sender.clone()));
    drop(sender);
    // Each pipe tells its end; then the process itself is about to end.
    let mut in_time = true;
    for _ in stdout.iter().chain(&stderr) {
        in_time &= ended.recv_timeout(deadline.saturating_duration_since(Instant::now())).is_ok();
    }
    let mut status = child.try_wait()?;
    while status.is_none() && in_time && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(2));
        status = child.try_wait()?;
    }
    let Some(status) = status.filter(|_| in_time) else {
        kill_group(&child);
        child.wait()?;
        return Err(std::io::ErrorKind::TimedOut.into());
    };
    let heard = |thread: Option<std::thread::JoinHandle<Vec<u8>>>| {
        thread.and_then(|thread| thread.join().ok()).unwrap_or_default()
    };
    Ok(Output { status: status_of(status), stdout: heard(stdout), stderr: heard(stderr) })
}

/// Reads a pipe to its end in a thread of its own, and tells when it is there.
fn read_aside(
    mut pipe: impl Read + Send + 'static,
    ended: mpsc::Sender<()>,
) -> std::thread::JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        // What was read before a failure is all there is.
        drop(pipe.read_to_end(&mut bytes));
        // The receiver is gone once the time is up.
        let _ = ended.send(());
        bytes
    })
}

/// A tool has a process group of its own, whose number is its own.
fn kill_group(child: &Child) {
    let group = i32::try_from(child.id()).ok().and_then(rustix::process::Pid::from_raw);
    if let Some(group) = group {
        // It may have ended by itself just now.
        let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
    }
}

/// Passes on what is read as it comes, and keeps it.
fn show(mut from: impl Read, mut to: impl Write) -> Vec<u8> {
    let mut kept = Vec::new();
    let mut buffer = [0; 1024];
    while let Ok(length @ 1..) = from.read(&mut buffer) {
        // A terminal that went away does not stop the reading of the tool's output.
        drop(to.write_all(&buffer[..length]).and_then(|()| to.flush()));
        kept.extend_from_slice(&buffer[..length]);
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(script: &str, input: &Input) -> Output {
        spawn(Path::new("/bin/sh"), &["-c", script], input, Duration::from_secs(60)).unwrap()
    }

    #[test]
    fn a_tool_gets_our_environment_and_none_of_the_callers() {
        // Cargo set a number of variables for this process.
        assert!(std::env::var_os("CARGO_MANIFEST_DIR").is_some());
        let mut seen: Vec<String> =
            sh("/usr/bin/env", &Input::Nothing).text().lines().map(str::to_owned).collect();
        // The shell sets these itself.
        seen.retain(|line| {
            !["PWD=", "_=", "SHLVL=", "OLDPWD="].iter().any(|n| line.starts_with(n))
        });
        seen.sort();
        let mut ours = ENVIRONMENT.map(|(name, value)| format!("{name}={value}"));
        ours.sort();
        assert_eq!(seen, ours);
    }

    #[test]
    fn a_secret_is_read_on_standard_input_and_a_tool_that_does_not_read_it_is_heard() {
        let secret = Input::Secret(b"open sesame\n".to_vec());
        assert_eq!(sh("read word; echo \"$word\"", &secret).text(), "open sesame\n");
        assert_eq!(sh("exec <&-; exit 3", &secret).status, Status::Code(3));
    }

    #[test]
    fn a_tool_that_asks_is_heard_on_the_terminal_and_its_complaint_is_kept() {
        let output = sh("echo 'Failed to authenticate owner' >&2; exit 1", &Input::Terminal);
        assert_eq!(output.complaint(), "Failed to authenticate owner\n");
        let mut screen = Vec::new();
        assert_eq!(show(&b"asked"[..], &mut screen), b"asked");
        assert_eq!(screen, b"asked");
    }

    #[test]
    fn a_tool_at_work_is_in_no_group_that_ctrl_c_reaches() {
        let own = rustix::process::getpgrp().as_raw_nonzero().to_string();
        let group =
            |input| sh("ps -o pgid= -p $$ 2>/dev/null || cut -d' ' -f5 /proc/$$/stat", input);
        assert_ne!(group(&Input::Nothing).text().trim(), own);
    }

    #[test]
    fn a_tool_that_hangs_is_killed_with_what_it_started() {
        for script in ["sleep 1000", "sleep 1000 & echo said; exit 0", "exec >&- 2>&-; sleep 1000"]
        {
            let error = spawn(
                Path::new("/bin/sh"),
                &["-c", script],
                &Input::Nothing,
                Duration::from_millis(100),
            );
            let kind = error.unwrap_err().kind();
            assert_eq!(kind, std::io::ErrorKind::TimedOut, "{script}");
        }
    }
}
