//! Runs that are ended before their time.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use agxpatch::stress::{StressReport, before_after};
use rustix::fs::{FileType, Mode};
use rustix::process::{Pid, Signal, kill_process};

use crate::effect::{self, text};
use crate::signals;
use crate::terminal::Terminal;

const CTRL_C: &str = "\u{3}";
/// The first two trials end at once, the third when it is killed.
const THIRD_STAYS: &str = "echo >> ran; test $(wc -l < ran) -lt 3 || exec sleep 600";

fn stress(folder: &Path, script: &str) -> Command {
    fs::create_dir(folder.join("reports")).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_agxpatch"));
    command
        .args(["stress", "--trials", "40", "--out", "run.json", "--reports", "reports"])
        .args(["--settle", "0", "--", "/bin/sh", "-c", script])
        .env("NO_COLOR", "1")
        .current_dir(folder);
    command
}

fn kept(folder: &Path) -> StressReport {
    StressReport::from_json(&fs::read_to_string(folder.join("run.json")).unwrap()).unwrap()
}

#[test]
fn ctrl_c_leaves_what_was_measured_and_says_that_it_is_a_part() {
    let folder = tempfile::tempdir().unwrap();
    let mut terminal = Terminal::begin(stress(folder.path(), THIRD_STAYS));
    let (status, shown) = terminal.shows("2/40").shows("completed").types(CTRL_C).end();
    assert_eq!(status.signal(), Some(Signal::INT.as_raw()), "{shown}");
    assert!(shown.contains("2 of 40 trials in"), "{shown}");
    assert!(shown.contains(": interrupted"), "{shown}");
    assert!(shown.contains("every trial is in run.json"), "{shown}");
    let report = kept(folder.path());
    assert!(report.interrupted && report.plan.trials == 40);
    assert_eq!(report.accounts()[0].crashes.of, 2);
    let whole = StressReport { interrupted: false, ..report.clone() };
    let comparison = before_after(&report, &whole);
    assert_eq!(comparison.caveats[0], "the run before was interrupted: 2 of 40 trials");
}

fn pipe(folder: &Path) -> PathBuf {
    let pipe = folder.join("pipe");
    let (kind, mode) = (FileType::Fifo, Mode::from_raw_mode(0o600));
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, kind, mode, 0).unwrap();
    pipe
}

#[test]
fn a_lost_terminal_and_a_termination_end_a_run_as_ctrl_c_does() {
    for signal in [Signal::HUP, Signal::TERM] {
        let folder = tempfile::tempdir().unwrap();
        let pipe = pipe(folder.path());
        let mut command = stress(folder.path(), "echo > pipe; exec sleep 600");
        let mut program = signals::acting(&mut command).stdout(Stdio::null()).spawn().unwrap();
        // To open a pipe waits for its other end, which is the first trial.
        fs::read(pipe).unwrap();
        kill_process(Pid::from_child(&program), signal).unwrap();
        assert_eq!(program.wait().unwrap().signal(), Some(signal.as_raw()));
        let report = kept(folder.path());
        assert!(report.interrupted && report.trials.is_empty(), "{signal:?}");
    }
}

#[test]
fn a_signal_that_nohup_ignores_ends_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let pipe = pipe(folder.path());
    let inner = stress(folder.path(), "echo > pipe; cat pipe");
    let mut program = Command::new("/bin/sh")
        .args(["-c", "trap '' HUP; exec \"$@\"", "sh"])
        .arg(inner.get_program())
        .args(inner.get_args())
        .current_dir(folder.path())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    for _ in 0..40 {
        fs::read(&pipe).unwrap();
        kill_process(Pid::from_child(&program), Signal::HUP).unwrap();
        fs::write(&pipe, "go on").unwrap();
    }
    assert_eq!(program.wait().unwrap().code(), Some(0));
    assert_eq!(kept(folder.path()).trials.len(), 40);
}

#[test]
fn a_run_beside_the_manifest_is_not_replaced_by_part_of_one() {
    let bench = effect::Bench::new();
    assert!(text(&bench.stress_command(&[], "exit 0").output().unwrap()).contains("kept: "));
    let before = text(&bench.kept("stress-before.json"));
    // The user it runs as may write here.
    let ran = tempfile::NamedTempFile::new().unwrap();
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o666);
    fs::set_permissions(ran.path(), open).unwrap();
    let script = THIRD_STAYS.replace("ran", &ran.path().display().to_string());
    let mut terminal = Terminal::begin(bench.stress_command(&[], &script));
    let (status, shown) = terminal.shows("2/8").shows("completed").types(CTRL_C).end();
    assert_eq!(status.signal(), Some(Signal::INT.as_raw()), "{shown}");
    assert!(shown.contains("2 of 8 trials in"), "{shown}");
    assert!(shown.contains("what was kept earlier stands"), "{shown}");
    assert_eq!(text(&bench.kept("stress-before.json")), before);
}
