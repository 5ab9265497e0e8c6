//! The command under a shell at a real terminal: Ctrl-Z, `fg`, Ctrl-C.

use std::io::Write;
use std::process::Command;

use crate::terminal::Terminal;

/// An interactive shell, at its prompt.
fn shell() -> Terminal {
    let mut command = Command::new("/bin/bash");
    command.args(["--norc", "--noprofile", "-i"]).env_clear();
    command.env("PATH", "/usr/bin:/bin").env("TERM", "dumb").env("PS1", "prompt> ");
    command.env("AGXPATCH", env!("CARGO_BIN_EXE_agxpatch"));
    let mut shell = Terminal::begin(command);
    shell.shows("prompt> ");
    shell
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
        "trap 'kill -9 $!; echo interrupted; exit 5' INT\n\
         trap 'echo continued' CONT\n\
         sleep 1000 & echo ready\n\
         while :; do wait; done\n",
    );
    let mut shell = shell();
    let line = format!("$AGXPATCH run --guard off -- sh {}\n", script.path().display());
    shell.types(&line).shows("ready").types("\x1a").shows("Stopped");
    shell.types("fg\n").shows("continued").types("\x03").shows("interrupted").shows("prompt> ");
    shell.types("echo status=$?.\n").shows("status=5.");
    shell.types("exit\n").end();
}

#[test]
fn ctrl_c_ends_the_shells_loop_too() {
    let script = script("echo ready\nexec sleep 1000\n");
    let mut shell = shell();
    let run = format!("$AGXPATCH run --guard off -- sh {}", script.path().display());
    shell.types(&format!("for n in 1 2; do {run}; done; echo status=$?.\n"));
    // A second round would show it again, and wait.
    shell.shows("ready").types("\x03").shows("prompt> ");
    shell.types("echo status=$?.\n").shows("status=130.");
    shell.types("exit\n").end();
}
