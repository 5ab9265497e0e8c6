//! `agxpatch verify --stress` on a simulated Mac, through the program.

use std::process::{Command, Output, Stdio};

use agxpatch::stress::StressReport;
use agxpatch_simulate::crash_report::CrashReport;
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use crate::schema::shape;

const FOLDER: &str = "/private/var/db/agxpatch";
/// A user behind sudo; taken only where the tests run as root.
const UNPRIVILEGED: &str = "65534";

/// A Mac in a directory, opened for a deployment, and a folder of reports.
pub struct Bench(tempfile::TempDir);

impl Bench {
    pub fn new() -> Bench {
        let bench = Bench(tempfile::tempdir().unwrap());
        std::fs::create_dir(bench.0.path().join("reports")).unwrap();
        assert!(bench.agxpatch(&["simulate", "new", "--open"]).status.success());
        bench
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_agxpatch"));
        command.env_clear().env("PATH", "/usr/bin:/bin").stdin(Stdio::null());
        command.current_dir(self.0.path()).args(["--simulate", "mac"]).args(arguments);
        command
    }

    fn agxpatch(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// `verify --stress` with a shell script in place of a workload.
    fn stress(&self, options: &[&str], script: &str) -> Output {
        self.stress_command(options, script).output().unwrap()
    }

    pub fn stress_command(&self, options: &[&str], script: &str) -> Command {
        let fixed = ["verify", "--stress", "--trials", "8", "--settle", "0"];
        let rest = ["--reports", "reports", "--", "/bin/sh", "-c", script];
        let mut command = self.command(&[&fixed[..], options, &rest].concat());
        command.env("SUDO_UID", UNPRIVILEGED).env("SUDO_GID", UNPRIVILEGED);
        command
    }

    pub fn kept(&self, name: &str) -> Output {
        self.agxpatch(&["simulate", "get", &format!("{FOLDER}/{name}")])
    }

    fn report(&self, number: u32, captured: Timestamp) {
        let bytes = CrashReport::set_pipeline(number).captured(captured).ips();
        std::fs::write(self.0.path().join(format!("reports/{number}.ips")), bytes).unwrap();
    }

    fn deploy_and_restart(&self) {
        let arguments = ["--json", "deploy", "--dry-run", "--unlisted-build"];
        let plan: Value = serde_json::from_slice(&self.agxpatch(&arguments).stdout).unwrap();
        let digest = plan["result"]["plan"]["digest"].as_str().unwrap();
        let deploy = ["deploy", "--unlisted-build", "--yes", "--plan", digest];
        assert!(self.agxpatch(&deploy).status.success());
        assert!(self.agxpatch(&["simulate", "reboot"]).status.success());
    }
}

pub fn text(output: &Output) -> String {
    String::from_utf8([&output.stdout[..], &output.stderr[..]].concat()).unwrap()
}

const DIES: &str = "ulimit -c 0; kill -11 $$";

#[test]
fn the_runs_before_and_after_a_deployment_are_kept_and_compared() {
    let bench = Bench::new();
    let before = bench.stress(&[], DIES);
    assert_eq!(before.status.code(), Some(2), "{before:?}");
    assert!(text(&before).contains("CLEAN"));
    assert!(text(&before).contains("stress-before.json\nnext: deploy"), "{}", text(&before));
    assert!(!bench.kept("stress-comparison.txt").status.success());

    bench.deploy_and_restart();
    let manifest: Value = serde_json::from_str(&text(&bench.kept("manifest.json"))).unwrap();
    // The simulated Mac has a clock of its own.
    let deployed: Timestamp = manifest["time"].as_str().unwrap().parse().unwrap();
    for (number, minutes) in [(1, -3000), (2, -2000), (3, -10), (4, 1)] {
        bench.report(number, deployed + SignedDuration::from_mins(minutes));
    }
    let after = bench.stress(&[], "exit 0");
    let seen = text(&after);
    assert_eq!(after.status.code(), Some(0), "{seen}");
    assert!(seen.contains("ACTIVE"), "{seen}");
    assert!(seen.contains("crashes     -100.0 points"), "{seen}");
    assert!(seen.contains("significantly fewer"), "{seen}");
    assert!(!seen.contains("another driver"), "{seen}");
    let row = |name: &str| {
        let line = seen.lines().find(|line| line.trim_start().starts_with(name));
        let words = line.unwrap().split_whitespace().map(str::to_owned);
        words.collect::<Vec<_>>()
    };
    assert_eq!(row("in GPU code")[3..], ["3", "1"]);
    assert_eq!(row("null-impl-set-pipeline")[1..], ["3", "1"]);

    let table = text(&bench.kept("stress-comparison.txt"));
    assert!(seen.contains(&table), "{table}");
    let run = |name: &str| StressReport::from_json(&text(&bench.kept(name))).unwrap();
    assert_eq!(run("stress-before.json").accounts()[0].crashes.count, 8);
    assert_eq!(run("stress-after.json").accounts()[0].crashes.count, 0);
    let json: Value = serde_json::from_str(&text(&bench.kept("stress-comparison.json"))).unwrap();
    assert_eq!(json["schema"], "agxpatch.effect/1");
    assert_eq!(json["result"]["stress"]["comparisons"][0]["crashes"]["significant"], true);
    insta::assert_snapshot!("schema_effect", shape(&json));
    let driver = |name: &str| run(name).driver_sha256.unwrap();
    assert_eq!(manifest["original_sha256"], driver("stress-before.json"));
    assert_eq!(manifest["patched_sha256"], driver("stress-after.json"));
}

#[test]
fn a_run_before_replaces_what_compared_an_older_one() {
    let bench = Bench::new();
    bench.deploy_and_restart();
    let alone = bench.stress(&["--json"], "exit 0");
    let lines: Vec<Value> =
        text(&alone).lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let schemas: Vec<&Value> = lines.iter().map(|line| &line["schema"]).collect();
    let expected =
        ["agxpatch.verify/1", "agxpatch.stress/1", "agxpatch.effect/1", "agxpatch.kept/1"];
    assert_eq!(schemas, expected);
    insta::assert_snapshot!("schema_kept", shape(&lines[3]));
    assert!(text(&bench.kept("stress-comparison.txt")).contains("nothing to compare with"));
    assert!(bench.agxpatch(&["revert", "--yes"]).status.success());

    // The patched driver still runs, and is no longer the one on record.
    let refused = bench.stress(&[], "exit 0");
    assert_eq!(refused.status.code(), Some(2));
    assert!(text(&refused).contains("AGX-0706"), "{}", text(&refused));
    assert!(bench.agxpatch(&["simulate", "reboot"]).status.success());

    assert!(text(&bench.stress(&[], "exit 0")).contains("stress-before.json"));
    for name in ["stress-after.json", "stress-comparison.json", "stress-comparison.txt"] {
        assert!(!bench.kept(name).status.success(), "{name}");
    }
}

#[test]
fn a_run_before_that_cannot_be_read_ends_it_before_anything_runs() {
    let bench = Bench::new();
    bench.deploy_and_restart();
    let put = bench.0.path().join("put");
    std::fs::write(&put, "{}").unwrap();
    let mut command = bench.command(&["simulate", "put", &format!("{FOLDER}/stress-before.json")]);
    let file = std::fs::File::open(&put).unwrap();
    assert!(command.stdin(file).status().unwrap().success());
    let refused = bench.stress(&[], &format!("touch {}", bench.0.path().join("ran").display()));
    assert!(text(&refused).contains("AGX-0905"), "{}", text(&refused));
    assert!(!bench.0.path().join("ran").exists());
}

#[test]
fn only_root_may_and_the_workload_is_not_run_as_root() {
    let bench = Bench::new();
    let run = ["verify", "--stress", "--trials", "1", "--reports", "reports", "--", "/usr/bin/id"];
    if rustix::process::geteuid().is_root() {
        let refused = bench.agxpatch(&run);
        assert!(text(&refused).contains("AGX-0906"), "{}", text(&refused));
        let script = "id -u >&2; id -G >&2; exit 1";
        bench.stress(&["--baselines", "0"], script);
        let kept = text(&bench.kept("stress-before.json"));
        let run = StressReport::from_json(&kept).unwrap();
        assert_eq!(run.trials[0].stderr, format!("{UNPRIVILEGED}\n{UNPRIVILEGED}\n"));
    }
    assert!(bench.agxpatch(&["simulate", "set", "user", "501"]).status.success());
    let refused = bench.stress(&[], "exit 0");
    assert!(text(&refused).contains("AGX-0701"), "{}", text(&refused));
}

#[test]
fn the_user_behind_sudo_can_read_the_workload_that_root_wrote() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("SKIPPED: only root can run something as another user");
        return;
    }
    let bench = Bench::new();
    let closed = tempfile::tempdir().unwrap();
    let python = tempfile::NamedTempFile::new_in("/tmp").unwrap().into_temp_path();
    std::fs::write(&python, "#!/bin/sh\nexec cat \"$1\" > /dev/null\n").unwrap();
    let mode = |mode| std::os::unix::fs::PermissionsExt::from_mode(mode);
    std::fs::set_permissions(&python, mode(0o755)).unwrap();
    std::fs::set_permissions(closed.path(), mode(0o700)).unwrap();
    let run = ["verify", "--stress", "--workload", "matmul", "--trials", "1", "--settle", "0"];
    let mut command = bench.command(&[&run[..], &["--baselines", "0", "--python"]].concat());
    command.arg(python.as_os_str()).env("SUDO_UID", UNPRIVILEGED).env("SUDO_GID", UNPRIVILEGED);
    // As root's is on macOS.
    let output = command.env("TMPDIR", closed.path()).output().unwrap();
    assert!(text(&output).contains("it printed no result"), "{}", text(&output));
}

#[test]
fn options_of_stress_are_refused_without_it() {
    let bench = Bench::new();
    for wrong in [
        &["verify", "--trials", "3"][..],
        &["verify", "--workload", "matmul"],
        &["verify", "--", "/bin/true"],
        &["verify", "--stress", "--file", "driver"],
    ] {
        assert_eq!(bench.agxpatch(wrong).status.code(), Some(1), "{wrong:?}");
    }
    assert_eq!(bench.agxpatch(&["verify"]).status.code(), Some(2));
}
