//! Running the built program.

use std::process::Command;

/// The program, with nothing inherited from the environment.
pub fn program(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_agxpatch"));
    command.env_clear().args(arguments).stdin(std::process::Stdio::null());
    command
}

/// What it prints when it ends well.
pub fn prints(arguments: &[&str]) -> String {
    let output = program(arguments).output().unwrap();
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {complaint}");
    String::from_utf8(output.stdout).unwrap()
}
