//! Deaths of the command: which are tried again, and the reports they leave.

use agxpatch_simulate::crash_report::CrashReport;
use jiff::{SignedDuration, Timestamp};
use rustix::process::Signal;

use crate::bench::{Bench, text};

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
    assert!(said.contains("$ agxpatch run --guard observe -- CMD"), "{said}");
}

#[test]
fn a_worker_that_died_behind_exit_status_0_is_told_too() {
    let bench = Bench::new();
    let report = CrashReport::prepare(1).process("python3.12", 77, 424_242);
    let script = crashing(&bench, report.captured(Timestamp::now()), "exit 0");
    let account = bench.account(&[], &script);
    assert_eq!(account["exit"], 0);
    assert_eq!(account["crashes"][0]["ours"], true);
    assert!(
        account["crashes"][0]["advice"]["remedies"].as_array().is_some_and(|all| all.len() > 2)
    );
}

#[test]
fn another_process_that_died_in_gpu_code_is_not_taken_for_the_command() {
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
