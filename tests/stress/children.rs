//! Children that end in every way there is.

use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use agxpatch::launch::Mode;
use agxpatch::stress::{
    self, Command, Configuration, Ended, Environments, Guarded, Options, Plan, StressReport,
    Verdict,
};
use agxpatch_simulate::crash_report::CrashReport;

static GO_ON: AtomicBool = AtomicBool::new(false);

/// A folder for one test, with one for reports in it.
pub struct Bench(tempfile::TempDir);

impl Bench {
    pub fn new() -> Bench {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("reports")).unwrap();
        Bench(folder)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub fn run(&self, options: &Options) -> StressReport {
        let options = Options {
            plan: options.plan.clone(),
            command: options.command.clone(),
            name: options.name.clone(),
            reports: vec![self.path("reports")],
            ..*options
        };
        let guarded = Guarded { library: None, macos: false };
        stress::run(&options, &guarded, &mut |_, _| {}).unwrap()
    }
}

pub fn shell(script: &str) -> Command {
    Command::given("/bin/sh".into(), vec!["-c".into(), script.into()])
}

pub fn options_for(command: Command, trials: u32) -> Options<'static> {
    Options {
        plan: Plan {
            configurations: vec![Configuration::Off],
            variants: Vec::new(),
            trials,
            baselines: 0,
        },
        command,
        name: "test".into(),
        user: None,
        timeout: Duration::from_secs(60),
        reports: Vec::new(),
        settle: Duration::ZERO,
        stop: &GO_ON,
    }
}

fn end_of(script: &str) -> (Ended, Verdict) {
    let mut report = Bench::new().run(&options_for(shell(script), 1));
    let trial = report.trials.remove(0);
    (trial.ended, trial.verdict)
}

fn signalled(number: i32, name: &str, by_shell: bool) -> (Ended, Verdict) {
    (Ended::Signalled { number, name: name.into(), by_shell }, Verdict::Crashed)
}

#[test]
fn a_signal_is_a_crash_by_its_name() {
    for (number, name) in [(11, "SEGV"), (6, "ABRT"), (5, "TRAP"), (9, "KILL")] {
        let script = format!("ulimit -c 0; kill -{number} $$");
        assert_eq!(end_of(&script), signalled(number, name, false));
    }
}

#[test]
fn a_shell_in_between_does_not_hide_a_signal() {
    for (number, name) in [(11, "SEGV"), (6, "ABRT"), (5, "TRAP"), (9, "KILL")] {
        let script = format!("ulimit -c 0; sh -c 'kill -{number} $$'; exit $?");
        assert_eq!(end_of(&script), signalled(number, name, true));
    }
}

#[test]
fn an_exit_code_is_a_failure_and_no_crash() {
    for code in [1, 2, 77, 127, 200] {
        let end = end_of(&format!("exit {code}"));
        assert_eq!(end, (Ended::Exited { code }, Verdict::Failed));
    }
    assert_eq!(end_of("exit 0"), (Ended::Exited { code: 0 }, Verdict::Completed));
}

#[test]
fn a_child_whose_time_is_up_is_ended_with_all_it_started() {
    let bench = Bench::new();
    let pid = bench.path("pid");
    let script = format!("trap '' TERM INT; sleep 600 & echo $! > {}; wait", pid.display());
    let began = Instant::now();
    let mut timeout = Duration::from_millis(300);
    // On a loaded machine the time may be up before the script has begun.
    while !std::fs::read_to_string(&pid).is_ok_and(|pid| pid.ends_with('\n')) {
        let options = Options { timeout, ..options_for(shell(&script), 1) };
        let report = bench.run(&options);
        assert_eq!(report.trials[0].verdict, Verdict::TimedOut);
        timeout *= 2;
    }
    assert!(began.elapsed() < Duration::from_secs(60));
    let sleeper = std::fs::read_to_string(pid).unwrap().trim().parse().unwrap();
    let sleeper = rustix::process::Pid::from_raw(sleeper).unwrap();
    // Dead, or waiting for its new parent to notice. The signal was sent before
    // the run ended; a busy machine may take a moment to act on it.
    let gone = || {
        let state = std::fs::read_to_string(format!("/proc/{}/stat", sleeper.as_raw_nonzero()));
        rustix::process::test_kill_process(sleeper).is_err()
            || state.is_ok_and(|stat| stat.contains(") Z "))
    };
    while cfg!(target_os = "linux") && !gone() {
        assert!(began.elapsed() < Duration::from_secs(60), "the sleeper outlives its trial");
        std::thread::yield_now();
    }
}

#[test]
fn a_worker_left_behind_is_ended_with_the_trial() {
    let began = Instant::now();
    // The worker holds the child's output open.
    let end = end_of("sleep 600 & exit 0");
    assert_eq!(end.1, Verdict::Completed);
    assert!(began.elapsed() < Duration::from_secs(60));
}

#[test]
fn a_flood_of_output_neither_blocks_nor_grows() {
    let script = "head -c 20000000 /dev/zero | tr '\\0' x; head -c 20000000 /dev/zero | tr '\\0' y >&2; \
                  echo the end >&2";
    let report = Bench::new().run(&options_for(shell(script), 1));
    let trial = &report.trials[0];
    assert_eq!(trial.verdict, Verdict::Completed);
    assert!(trial.stderr.len() <= 4096 && trial.stderr.ends_with("the end\n"));
}

#[test]
fn an_assertion_on_standard_error_is_recognised() {
    let script = "echo 'failed assertion: Command encoder released without endEncoding' >&2; \
                  ulimit -c 0; kill -6 $$";
    let report = Bench::new().run(&options_for(shell(script), 1));
    let title = report.trials[0].assertion.unwrap().title();
    assert_eq!(title, "encoder released without endEncoding");
}

#[test]
fn a_workload_without_a_result_has_failed_even_with_exit_code_0() {
    let silent = Command { measures: true, ..shell("exit 0") };
    let report = Bench::new().run(&options_for(silent, 1));
    assert_eq!(report.trials[0].verdict, Verdict::Failed);
    assert_eq!(report.trials[0].reason.as_deref(), Some("it printed no result"));
}

#[test]
fn an_incomplete_or_wrong_result_is_a_failure() {
    let line = |operations, errors: &str, difference: &str| {
        format!(
            "echo '{{\"agxpatch_workload\":1,\"workload\":\"t\",\"device\":\"cpu\",\"threads\":8,\
             \"operations\":{operations},\"expected\":160,\"seconds\":2.0,\"errors\":[{errors}],\
             \"max_difference\":{difference},\"tolerance\":1e-3}}'"
        )
    };
    let verdict = |script: String| {
        let measured = Command { measures: true, ..shell(&script) };
        let report = Bench::new().run(&options_for(measured, 1));
        (report.trials[0].verdict, report.trials[0].rate())
    };
    assert_eq!(verdict(line(160, "", "1e-4")), (Verdict::Completed, Some(80.0)));
    assert_eq!(verdict(line(159, "", "1e-4")), (Verdict::Failed, None));
    assert_eq!(verdict(line(160, "\"x\"", "1e-4")), (Verdict::Failed, None));
    assert_eq!(verdict(line(160, "", "1e-2")), (Verdict::Failed, None));
    assert_eq!(verdict(line(160, "", "null")), (Verdict::Failed, None));
}

#[test]
fn a_program_that_is_not_there_is_an_error() {
    let bench = Bench::new();
    let options = options_for(Command::given("/nonexistent/program".into(), Vec::new()), 1);
    let guarded = Guarded { library: None, macos: false };
    let error = stress::run(&options, &guarded, &mut |_, _| {}).unwrap_err();
    assert_eq!(error.code().as_str(), "AGX-0904");
    drop(bench);
}

#[test]
fn a_run_that_is_stopped_reports_what_it_has() {
    let stop = AtomicBool::new(false);
    let options = Options { stop: &stop, ..options_for(shell("exit 0"), 50) };
    let guarded = Guarded { library: None, macos: false };
    let report = stress::run(&options, &guarded, &mut |trial, _| {
        stop.store(trial.number == 3, std::sync::atomic::Ordering::Relaxed);
    })
    .unwrap();
    assert!(report.interrupted && !report.is_clean());
    assert_eq!(report.trials.len(), 3);
}

#[test]
fn reports_that_were_there_before_are_not_counted_for_a_trial() {
    let bench = Bench::new();
    std::fs::write(bench.path("reports/old.ips"), CrashReport::spill(1).ips()).unwrap();
    let report = bench.run(&options_for(shell("exit 0"), 1));
    assert_eq!((report.known_before, report.unattributed.len()), (1, 0));
    assert!(report.is_clean());
}

#[test]
fn each_configuration_sees_its_own_environment() {
    let bench = Bench::new();
    let all = "off,guard,throttle=2,serialize";
    let configurations: Vec<Configuration> =
        all.split(',').map(|name| name.parse().unwrap()).collect();
    let options = Options {
        plan: Plan {
            configurations: configurations.clone(),
            variants: Vec::new(),
            trials: 1,
            baselines: 0,
        },
        ..options_for(shell("echo \"[$AGX_GUARD]\" >&2"), 1)
    };
    let seen: Vec<String> =
        bench.run(&options).trials.iter().map(|trial| trial.stderr.trim().to_owned()).collect();
    assert_eq!(seen, ["[]", "[guard]", "[throttle=2]", "[serialize]"]);
    let mac = Guarded { library: Some("/l/guard.dylib".into()), macos: true };
    let environment = mac.environment(&Configuration::Guarded(Mode::Throttle(2))).unwrap();
    assert!(environment.set.contains(&("DYLD_INSERT_LIBRARIES".into(), "/l/guard.dylib".into())));
    let off = mac.environment(&Configuration::Off).unwrap();
    assert_eq!(off.removed, ["AGX_GUARD", "DYLD_INSERT_LIBRARIES"]);
    let without = Guarded { library: None, macos: true };
    assert!(without.environment(&Configuration::Guarded(Mode::Guard)).is_err());
    assert!("throttle=0".parse::<Configuration>().is_err());
}

#[test]
fn a_variable_is_a_configuration_and_one_inherited_is_overridden() {
    let variable = Configuration::env("SWITCH=a=b").unwrap();
    assert_eq!(variable.to_string(), "SWITCH=a=b");
    let script = "test \"$SWITCH\" = a=b || exit 3";
    let options = Options {
        plan: Plan {
            configurations: vec![Configuration::Off, variable.clone()],
            variants: Vec::new(),
            trials: 1,
            baselines: 0,
        },
        ..options_for(shell(script), 1)
    };
    let report = Bench::new().run(&options);
    let verdicts: Vec<Verdict> = report.trials.iter().map(|trial| trial.verdict).collect();
    assert_eq!(verdicts, [Verdict::Failed, Verdict::Completed]);
    let read = StressReport::from_json(&report.to_json().unwrap()).unwrap();
    assert_eq!(read.plan.configurations[1], variable);
    for wrong in ["SWITCH", "=a", "1A=b", "A B=c"] {
        assert!(Configuration::env(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn lock_and_batched_are_refused_for_a_plain_command() {
    for name in ["lock", "batched"] {
        let configuration: Configuration = name.parse().unwrap();
        assert!(!configuration.arguments(true).unwrap().is_empty());
        let error = configuration.arguments(false).unwrap_err();
        assert!(error.advice().unwrap().contains("--env"), "{error:?}");
    }
}

#[test]
fn what_only_a_mac_has_is_refused_elsewhere() {
    let guarded = Guarded { library: None, macos: false };
    for name in ["patched", "no-coalescing"] {
        assert!(guarded.environment(&name.parse().unwrap()).is_err(), "{name}");
    }
    let observe = guarded.environment(&Configuration::Guarded(Mode::Observe)).unwrap();
    assert_eq!(observe.set, [("AGX_GUARD".to_owned(), "observe".to_owned())]);
}
