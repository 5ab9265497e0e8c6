//! Signals on their way to the command.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::bench::Bench;

/// A running command that has said `ready`.
struct Running {
    child: Child,
    lines: BufReader<std::process::ChildStdout>,
}

impl Running {
    fn start(mut command: Command) -> Running {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        let mut running = Running { child, lines };
        assert_eq!(running.line(), "ready");
        running
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.lines.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    /// Sends a signal to agxpatch alone.
    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_raw(self.child.id() as i32).unwrap(), signal).unwrap();
    }

    fn end(mut self) -> ExitStatus {
        // `wait` would close it, and what waits for its end would end of that.
        let input = self.child.stdin.take();
        let status = self.child.wait().unwrap();
        drop(input);
        status
    }
}

/// Says `ready`, then waits for a signal, in the one way that every shell's
/// traps interrupt. What it waits for ends with the test's end of its input.
fn waiting(signal: &str, answer: &str) -> String {
    format!("trap '{answer}' {signal}; exec 3<&0; cat <&3 >/dev/null & echo ready; wait")
}

#[test]
fn signals_are_passed_on_and_the_commands_answer_counts() {
    for (name, signal) in [
        ("HUP", Signal::HUP),
        ("INT", Signal::INT),
        ("QUIT", Signal::QUIT),
        ("TERM", Signal::TERM),
        ("USR1", Signal::USR1),
        ("USR2", Signal::USR2),
    ] {
        let bench = Bench::new();
        let script = waiting(name, &format!("echo {name}; exit 7"));
        let mut command = bench.command(&[], &["sh", "-c", &script]);
        // Of its own group, as it would be without a terminal.
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        let mut running = Running::start(command);
        running.signal(signal);
        assert_eq!(running.line(), name);
        assert_eq!(running.end().code(), Some(7), "{name}");
    }
}

#[test]
fn a_signal_the_command_does_not_handle_ends_it_and_so_agxpatch() {
    let bench = Bench::new();
    let script = "echo ready; exec cat";
    let running = Running::start(bench.command(&[], &["sh", "-c", script]));
    running.signal(Signal::TERM);
    assert_eq!(running.end().signal(), Some(15));
}

#[test]
fn signals_ignored_at_the_start_stay_ignored() {
    let bench = Bench::new();
    let inner = bench.command(&[], &["sh", "-c", "echo ready; read line; echo still $line"]);
    let program = inner.get_program().to_str().unwrap().to_owned();
    let words: Vec<String> =
        inner.get_args().map(|word| format!("'{}'", word.to_str().unwrap())).collect();
    let mut command = Command::new("/bin/sh");
    command.arg("-c").arg(format!("trap '' HUP; exec '{program}' {}", words.join(" ")));
    command.env_clear().env("PATH", "/usr/bin:/bin").env("HOME", bench.0.path());
    let mut running = Running::start(command);
    running.signal(Signal::HUP);
    running.child.stdin.as_mut().unwrap().write_all(b"here\n").unwrap();
    assert_eq!(running.line(), "still here");
    assert_eq!(running.end().code(), Some(0));
}

#[test]
fn terminating_signals_disable_retries() {
    let bench = Bench::new();
    let script = waiting("TERM", "kill -SEGV $$");
    let running = Running::start(bench.command(&["--retries", "3"], &["sh", "-c", &script]));
    running.signal(Signal::TERM);
    assert_eq!(running.end().code(), Some(139));
}
