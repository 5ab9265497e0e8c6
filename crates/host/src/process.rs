//! A tool at work: what it is started with, and what it says.
//!
//! By absolute path, with an environment of our own and none of the caller's, so
//! that nothing a person or an attacker has set reaches a program that runs as
//! root. What a tool may do is for [`super::command`] to say.

use std::ffi::OsStr;
use std::io::{Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Command as Process, Stdio};

use super::{Input, Output, Status};

/// The environment tools are started with, and no other.
const ENVIRONMENT: [(&str, &str); 3] =
    [("PATH", "/usr/bin:/bin:/usr/sbin:/sbin"), ("LC_ALL", "C"), ("HOME", "/var/root")];

/// Runs a program with the environment of ours, and collects what it says.
///
/// A program that asks a person shows on the terminal all it says. What goes to
/// standard output may be its question, which a pipe would hold back, so that
/// goes to the terminal alone; complaints go there and are collected. All others
/// get a process group of their own: Ctrl-C, or a connection that is lost, is for
/// this program to answer and does not end a tool in the midst of its work.
pub(crate) fn spawn(
    program: &Path,
    arguments: &[impl AsRef<OsStr>],
    input: &Input,
) -> std::io::Result<Output> {
    let mut process = Process::new(program);
    process.args(arguments).env_clear().envs(ENVIRONMENT).current_dir("/");
    process.stdout(Stdio::piped()).stderr(Stdio::piped());
    match input {
        Input::Nothing => process.process_group(0).stdin(Stdio::null()),
        Input::Terminal => process.stdin(Stdio::inherit()).stdout(std::io::stderr()),
        Input::Secret(_) => process.process_group(0).stdin(Stdio::piped()),
    };
    let mut child = process.spawn()?;
    let asks = *input == Input::Terminal;
    let complaints = if asks { child.stderr.take() } else { None };
    let shown = complaints.map(|complaints| show(complaints, std::io::stderr()));
    if let (Input::Secret(secret), Some(mut stdin)) = (input, child.stdin.take()) {
        // A tool that ends without reading its input has its reasons, and says
        // them in its output.
        drop(stdin.write_all(secret));
    }
    let output = child.wait_with_output()?;
    let status = match (output.status.code(), output.status.signal()) {
        (Some(code), _) => Status::Code(code),
        (None, signal) => Status::Signal(signal.unwrap_or_default()),
    };
    Ok(Output { status, stdout: output.stdout, stderr: shown.unwrap_or(output.stderr) })
}

/// Passes on what is read as it comes, and keeps it.
fn show(mut from: impl Read, mut to: impl Write) -> Vec<u8> {
    let mut kept = Vec::new();
    let mut buffer = [0; 1024];
    while let Ok(length @ 1..) = from.read(&mut buffer) {
        // A terminal that went away is no reason not to hear the tool out.
        drop(to.write_all(&buffer[..length]).and_then(|()| to.flush()));
        kept.extend_from_slice(&buffer[..length]);
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(script: &str, input: &Input) -> Output {
        spawn(Path::new("/bin/sh"), &["-c", script], input).unwrap()
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
}
