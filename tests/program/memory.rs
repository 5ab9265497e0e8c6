//! A command on a file takes at most 32 MiB beyond the file, the program's own code
//! included.
#![cfg(target_os = "linux")]

use std::ffi::OsStr;
use std::process::{Command, Stdio};

use crate::harness::{Place, driver, program};

/// What a command may take beyond the file. `prove` has a limit of its own.
const MAX_BEYOND: u64 = 32 << 20;

/// Runs the program and prints the most memory it took, in KiB.
const MEASURE: &str = "import resource, subprocess, sys; \
    subprocess.run(sys.argv[1:], env={}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL); \
    print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)";

fn most_memory(arguments: &[&OsStr]) -> u64 {
    let program = program();
    let mut python = Command::new("python3");
    python.args(["-c", MEASURE]).arg(program.get_program()).args(arguments);
    python.stdin(Stdio::null());
    let output = python.output().expect("python3 runs");
    let text = String::from_utf8_lossy(&output.stdout);
    text.trim().parse::<u64>().expect("python3 prints a number") * 1024
}

#[test]
fn every_command_on_a_file_takes_little_more_than_the_file() {
    let place = Place::new();
    let file = place.file("d", driver());
    let output = place.path("p");
    let (file, output): (&OsStr, &OsStr) = (file.as_os_str(), output.as_os_str());
    let word = OsStr::new;
    let most = driver().len() as u64 + MAX_BEYOND;
    let commands: [&[&OsStr]; 6] = [
        &[word("inspect"), file],
        &[word("inspect"), word("--methods"), word("*"), file],
        &[word("signatures"), word("test"), file],
        &[word("patch"), file, word("-o"), output],
        &[word("patch"), file, word("--reseal"), word("-o"), output, word("--force")],
        &[word("verify"), word("--file"), output],
    ];
    for command in commands {
        let took = most_memory(command);
        assert!(took <= most, "{command:?} took {took} bytes of {most}");
        assert!(took > 1 << 20, "{command:?} was not measured: {took}");
    }
}
