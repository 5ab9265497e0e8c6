//! The command as if agxpatch were not there: on any Unix, without the guard.

use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::bench::{Bench, text};

#[test]
fn exit_statuses_pass_through_and_nothing_is_said() {
    for code in [0, 1, 3, 77, 126, 255] {
        let output = Bench::new().shell(&[], &format!("echo out; exit {code}"));
        assert_eq!(output.status.code(), Some(code));
        assert_eq!((text(&output.stdout), text(&output.stderr)), ("out\n", ""));
    }
}

#[test]
fn a_death_by_a_signal_is_128_and_its_number_and_nothing_is_said() {
    for (name, number) in [("KILL", 9), ("SEGV", 11), ("ABRT", 6), ("TRAP", 5)] {
        let output = Bench::new().shell(&[], &format!("kill -{name} $$"));
        assert_eq!(output.status.code(), Some(128 + number), "{name}");
        assert_eq!(text(&output.stderr), "");
    }
}

#[test]
fn a_death_that_leaves_no_crash_report_is_died_by_agxpatch_too() {
    for (name, number) in [("TERM", 15), ("HUP", 1), ("INT", 2), ("PIPE", 13)] {
        let output = Bench::new().shell(&[], &format!("kill -{name} $$"));
        assert_eq!(output.status.signal(), Some(number), "{name}");
        assert_eq!(text(&output.stderr), "");
    }
}

#[test]
fn a_report_that_cannot_be_written_is_told_before_the_command_is_started() {
    let bench = Bench::new();
    let (file, trace) = (bench.path("no/such/folder/report"), bench.path("trace"));
    let script = format!("touch {}", trace.display());
    let output = bench.shell(&["--report", file.to_str().unwrap()], &script);
    assert_eq!(output.status.code(), Some(8));
    assert!(text(&output.stderr).contains("[AGX-1002]"), "{}", text(&output.stderr));
    assert!(!trace.exists());
}

#[test]
fn a_command_that_is_not_started_leaves_no_empty_report() {
    let bench = Bench::new();
    let file = bench.path("report");
    let options = ["--report", file.to_str().unwrap()];
    assert_eq!(bench.command(&options, &["no-such-program"]).status().unwrap().code(), Some(127));
    assert!(!file.exists());
}

#[test]
fn a_report_is_overwritten_with_force_once_the_command_has_run() {
    let bench = Bench::new();
    let file = bench.path("report");
    let longer = "x".repeat(1 << 16);
    std::fs::write(&file, &longer).unwrap();
    let options = ["--report", file.to_str().unwrap()];
    let refused = bench.shell(&options, "true");
    assert_eq!(refused.status.code(), Some(1));
    let said = text(&refused.stderr);
    assert!(said.contains("[AGX-1003]") && said.contains("--force"), "{said}");

    let forced = [&options[..], &["--force"]].concat();
    assert_eq!(bench.command(&forced, &["no-such-program"]).status().unwrap().code(), Some(127));
    assert_eq!(std::fs::read_to_string(&file).unwrap(), longer);
    assert_eq!(bench.shell(&forced, "exit 3").status.code(), Some(3));
    let report: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    assert_eq!(report["exit"], 3);
    assert_eq!(bench.shell(&["--force"], "true").status.code(), Some(1));
}

#[test]
fn standard_input_is_the_commands() {
    let bench = Bench::new();
    let mut child =
        bench.command(&[], &["cat"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"to the command").unwrap();
    assert_eq!(text(&child.wait_with_output().unwrap().stdout), "to the command");
}

#[test]
fn words_after_the_command_are_the_commands_even_if_they_look_like_options() {
    let output = Bench::new().command(&[], &["echo", "--report", "x", "--", "-n"]).output();
    assert_eq!(text(&output.unwrap().stdout), "--report x -- -n\n");
}

#[test]
fn the_command_is_started_without_a_shell_or_env_in_between() {
    let bench = Bench::new();
    let script = bench.path("tool");
    std::fs::write(&script, "#!/usr/bin/env -S WORD=set sh\necho $PPID $WORD $1\n").unwrap();
    std::fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let child = bench
        .command(&[], &[script.to_str().unwrap(), "argument"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let pid = child.id();
    let output = child.wait_with_output().unwrap();
    assert_eq!(text(&output.stdout), format!("{pid} set argument\n"));
}

#[test]
fn the_report_tells_the_whole_run() {
    let bench = Bench::new();
    let account = bench.account(&["--retries", "1"], "kill -SEGV $$");
    assert_eq!(account["schema"], "agxpatch.run/1");
    assert_eq!(account["exit"], 139);
    assert_eq!(account["attempts"].as_array().unwrap().len(), 2);
    assert_eq!(account["attempts"][0]["ended"]["number"], 11);
    assert_eq!(account["guard"], "off");
    assert_eq!(account["command"][0], "sh");
}

#[test]
fn a_report_that_exists_is_not_written_over_and_the_command_not_run() {
    let bench = Bench::new();
    let (file, trace) = (bench.path("kept"), bench.path("trace"));
    std::fs::write(&file, "kept").unwrap();
    let script = format!("touch {}", trace.display());
    let output = bench.shell(&["--report", file.to_str().unwrap()], &script);
    assert_eq!(output.status.code(), Some(1));
    assert!(!trace.exists());
    assert_eq!(std::fs::read_to_string(file).unwrap(), "kept");
}

#[test]
fn with_json_the_account_goes_to_standard_error_for_output_is_the_commands() {
    let bench = Bench::new();
    let output = bench.shell(&["--json"], "echo out");
    assert_eq!(text(&output.stdout), "out\n");
    let account: Value = serde_json::from_slice(&output.stderr).unwrap();
    assert_eq!(account["exit"], 0);
}

#[test]
fn commands_that_are_not_there_are_named_with_their_code() {
    let bench = Bench::new();
    let missing = bench.command(&[], &["no-such-program"]).output().unwrap();
    assert_eq!(missing.status.code(), Some(127));
    assert!(text(&missing.stderr).contains("[AGX-0805]"));
    std::fs::write(bench.path("data"), "x").unwrap();
    let path = bench.path("data");
    let data = bench.command(&[], &[path.to_str().unwrap()]).output().unwrap();
    assert_eq!(data.status.code(), Some(126));
    assert!(text(&data.stderr).contains("[AGX-0806]"));
}

#[test]
fn off_a_mac_a_guard_is_not_pretended() {
    if cfg!(target_os = "macos") {
        return;
    }
    for options in [&["--guard", "guard"][..], &["--driver", "patched"]] {
        let bench = Bench::new();
        let trace = bench.path("trace");
        let mut command = Command::new(env!("CARGO_BIN_EXE_agxpatch"));
        let output = command.arg("run").args(options).arg("--").arg("touch").arg(&trace).output();
        let output = output.unwrap();
        assert_eq!(output.status.code(), Some(3));
        assert!(text(&output.stderr).contains("[AGX-0801]"));
        assert!(!trace.exists());
    }
}
