//! The command as if agxpatch were not there: on any Unix, without the guard.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};

use agxpatch::simulate::crash_report::CrashReport;
use jiff::{SignedDuration, Timestamp};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// `agxpatch run`, unguarded, with a home of its own.
struct Bench(tempfile::TempDir);

impl Bench {
    fn new() -> Bench {
        let bench = Bench(tempfile::tempdir().unwrap());
        std::fs::create_dir(bench.path("reports")).unwrap();
        bench
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn command(&self, options: &[&str], words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_agxpatch"));
        command.env_clear().env("PATH", "/usr/bin:/bin").env("HOME", self.0.path());
        command.args(["run", "--guard", "off", "--settle", "0"]);
        command.arg("--reports").arg(self.path("reports")).args(options).arg("--").args(words);
        command.stdin(Stdio::null());
        command
    }

    fn shell(&self, options: &[&str], script: &str) -> Output {
        self.command(options, &["sh", "-c", script]).output().unwrap()
    }

    /// What `--report` says of a run of this script.
    fn account(&self, options: &[&str], script: &str) -> Value {
        let file = self.path("account.json");
        let options = [options, &["--report", file.to_str().unwrap()]].concat();
        self.shell(&options, script);
        serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap()
    }
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

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
    assert_eq!(bench.command(&options, &["no-such-program"]).status().unwrap().code(), Some(4));
    assert!(!file.exists());
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

    fn end(mut self) -> Option<i32> {
        drop(self.child.stdin.take());
        self.child.wait().unwrap().code()
    }
}

/// Says `ready`, then waits for a signal, in the one way that every shell's
/// traps interrupt.
fn waiting(signal: &str, answer: &str) -> String {
    format!("trap 'kill $!; {answer}' {signal}; sleep 1000 & echo ready; wait")
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
        assert_eq!(running.end(), Some(7), "{name}");
    }
}

#[test]
fn a_signal_the_command_does_not_handle_ends_it_and_so_agxpatch() {
    let bench = Bench::new();
    let script = "echo ready; exec cat";
    let mut running = Running::start(bench.command(&[], &["sh", "-c", script]));
    // `wait` would close it, and the command end of that.
    let input = running.child.stdin.take();
    running.signal(Signal::TERM);
    assert_eq!(running.child.wait().unwrap().signal(), Some(15));
    drop(input);
}

#[test]
fn what_was_ignored_at_the_start_stays_ignored() {
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
    assert_eq!(running.end(), Some(0));
}

/// Ends in a given way the first times it is run, and well after that.
fn failing(bench: &Bench, times: u32, how: &str) -> String {
    let count = bench.path("count");
    format!(
        "n=$(cat {0} 2>/dev/null || echo 0); echo $((n+1)) > {0}; [ $n -lt {times} ] && {how}; exit 0",
        count.display()
    )
}

#[test]
fn deaths_by_the_drivers_signals_are_tried_again_and_no_others() {
    let bus = 128 + Signal::BUS.as_raw();
    let again = [
        "kill -SEGV $$",
        "kill -ABRT $$",
        "kill -TRAP $$",
        "kill -BUS $$",
        "exit 139",
        "exit 134",
        "exit 133",
        &format!("exit {bus}"),
    ]
    .map(str::to_owned);
    for how in again {
        let bench = Bench::new();
        let script = failing(&bench, 2, &how);
        let output = bench.shell(&["--retries", "3"], &script);
        assert_eq!(output.status.code(), Some(0), "{how}");
        assert_eq!(std::fs::read_to_string(bench.path("count")).unwrap(), "3\n");
    }
    for (how, code) in [("exit 1", 1), ("kill -KILL $$", 137), ("exit 143", 143)] {
        let bench = Bench::new();
        let script = failing(&bench, 2, how);
        let output = bench.shell(&["--retries", "3"], &script);
        assert_eq!(output.status.code(), Some(code), "{how}");
        assert_eq!(std::fs::read_to_string(bench.path("count")).unwrap(), "1\n");
    }
}

#[test]
fn each_new_start_is_said_and_the_last_status_counts() {
    let bench = Bench::new();
    let output = bench.shell(&["--retries", "1"], "kill -SEGV $$");
    assert_eq!(output.status.code(), Some(139));
    assert_eq!(
        text(&output.stderr),
        "agxpatch: it was killed by SIGSEGV; started again, 1 of 1\n\
         agxpatch: it was killed by SIGSEGV, and is not started again\n"
    );
}

#[test]
fn without_retries_it_is_started_once() {
    let bench = Bench::new();
    let script = failing(&bench, 9, "kill -SEGV $$");
    assert_eq!(bench.shell(&[], &script).status.code(), Some(139));
    assert_eq!(std::fs::read_to_string(bench.path("count")).unwrap(), "1\n");
}

#[test]
fn who_asks_for_the_end_gets_no_new_start() {
    let bench = Bench::new();
    let script = waiting("TERM", "kill -SEGV $$");
    let running = Running::start(bench.command(&["--retries", "3"], &["sh", "-c", &script]));
    running.signal(Signal::TERM);
    assert_eq!(running.end(), Some(139));
}

/// A script that leaves a crash report of itself, as macOS would, and ends.
fn crashing(bench: &Bench, report: CrashReport, end: &str) -> String {
    let template = bench.path("template");
    std::fs::write(&template, report.ips()).unwrap();
    format!(
        "sed s/424242/$$/ {} > {}; {end}",
        template.display(),
        bench.path("reports/Python.ips").display()
    )
}

fn report_now() -> CrashReport {
    CrashReport::prepare(1).process("python3.12", 424_242, 1).captured(Timestamp::now())
}

#[test]
fn crash_reports_of_the_run_are_told_by_class() {
    let bench = Bench::new();
    let old = CrashReport::spill(9).captured(Timestamp::now() - SignedDuration::from_hours(5));
    std::fs::write(bench.path("reports/old.ips"), old.ips()).unwrap();
    let script = crashing(&bench, report_now(), "kill -SEGV $$");
    let output = bench.shell(&[], &script);
    let said = text(&output.stderr);
    assert!(said.starts_with("agxpatch: crash of python3.12 ("), "{said}");
    assert!(said.contains("null-impl-prepare"), "{said}");
    assert_eq!(said.matches("crash of").count(), 1, "{said}");
}

#[test]
fn a_worker_that_died_behind_exit_status_0_is_told_too() {
    let bench = Bench::new();
    let report = CrashReport::prepare(1).process("python3.12", 77, 424_242);
    let script = crashing(&bench, report.captured(Timestamp::now()), "exit 0");
    let account = bench.account(&[], &script);
    assert_eq!(account["exit"], 0);
    assert_eq!(account["crashes"][0]["ours"], true);
}

#[test]
fn another_process_that_died_in_gpu_code_meanwhile_is_not_called_ours() {
    let bench = Bench::new();
    let other = CrashReport::prepare(1).process("blender", 7, 8).captured(Timestamp::now());
    let unrelated = CrashReport::unrelated(2).process("mail", 9, 8).captured(Timestamp::now());
    std::fs::write(bench.path("other"), other.ips()).unwrap();
    std::fs::write(bench.path("unrelated"), unrelated.ips()).unwrap();
    let script = format!(
        "cd {}; cp other reports/a.ips; cp unrelated reports/b.ips",
        bench.0.path().display()
    );
    let account = bench.account(&[], &script);
    assert_eq!(account["crashes"].as_array().unwrap().len(), 1);
    assert_eq!(account["crashes"][0]["ours"], false);
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
    assert_eq!(missing.status.code(), Some(4));
    assert!(text(&missing.stderr).contains("[AGX-0805]"));
    std::fs::write(bench.path("data"), "x").unwrap();
    let path = bench.path("data");
    let data = bench.command(&[], &[path.to_str().unwrap()]).output().unwrap();
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
