//! A crash report finds its trial, and no other.

use agxpatch::stress::{Ended, Trial, Verdict};
use agxpatch_simulate::crash_report::CrashReport;
use jiff::{SignedDuration, Timestamp};

use crate::children::{Bench, options_for, shell};

/// Writes a report at once while the child runs, as if a worker had died: the
/// trial's process identifier is `$$` to the shell.
fn report_while_running(pid: u32, parent: u32, gpu: bool, age: i64) -> Vec<u8> {
    let report = if gpu { CrashReport::set_pipeline(pid) } else { CrashReport::unrelated(pid) };
    let captured = Timestamp::now() - SignedDuration::from_secs(age);
    report.process("python3.11", pid, parent).captured(captured).ips()
}

/// Runs a trial that succeeds, during which a report is written; `make` gets the
/// child's number from a file the child writes.
fn trial_with(make: impl Fn(u32) -> Vec<u8> + Send + 'static) -> (Trial, usize) {
    let bench = Bench::new();
    let (pid_file, go) = (bench.path("pid"), bench.path("go"));
    let script = format!(
        "echo $$ > {pid}.new; mv {pid}.new {pid}; while ! test -e {go}; do :; done",
        pid = pid_file.display(),
        go = go.display()
    );
    let reports = bench.path("reports");
    let writer = std::thread::spawn(move || {
        while !pid_file.exists() {
            std::thread::yield_now();
        }
        let pid = std::fs::read_to_string(&pid_file).unwrap().trim().parse().unwrap();
        std::fs::write(reports.join("worker.ips"), make(pid)).unwrap();
        std::fs::write(go, "").unwrap();
    });
    let mut report = bench.run(&options_for(shell(&script), 1));
    writer.join().unwrap();
    let unattributed = report.unattributed.len();
    (report.trials.remove(0), unattributed)
}

#[test]
fn a_worker_that_died_behind_exit_code_0_is_found_by_its_parent() {
    let (trial, _) = trial_with(|pid| report_while_running(pid + 1, pid, true, 0));
    assert_eq!(trial.ended, Ended::Exited { code: 0 });
    assert_eq!(trial.verdict, Verdict::CrashedSilently);
    assert_eq!(
        trial.reason.as_deref(),
        Some("exit code 0; report of class null-impl-set-pipeline")
    );
}

#[test]
fn any_death_of_a_worker_counts_when_it_is_certainly_ours() {
    let (trial, _) = trial_with(|pid| report_while_running(pid + 1, pid, false, 0));
    assert_eq!(trial.verdict, Verdict::CrashedSilently);
}

#[test]
fn a_death_in_gpu_code_during_the_trial_counts_by_its_time() {
    let (trial, _) = trial_with(|pid| report_while_running(pid + 50_000, 1, true, 0));
    assert_eq!(trial.verdict, Verdict::CrashedSilently);
}

#[test]
fn another_programs_death_at_the_same_time_is_named_and_not_counted() {
    let (trial, unattributed) = trial_with(|pid| report_while_running(pid + 50_000, 1, false, 0));
    assert_eq!((trial.verdict, unattributed), (Verdict::Completed, 1));
}

#[test]
fn the_same_process_identifier_at_another_time_is_another_process() {
    let (trial, unattributed) = trial_with(|pid| report_while_running(pid, 1, true, 3600));
    assert_eq!((trial.verdict, unattributed), (Verdict::Completed, 1));
}
