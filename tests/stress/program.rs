//! `agxpatch stress` as a person and a script meet it.

use std::path::Path;
use std::process::{Command, Output};

fn command(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_agxpatch"));
    command.arg("stress").args(["--reports", "reports", "--settle", "0"]).args(arguments);
    command.current_dir(folder).env("NO_COLOR", "1");
    command
}

fn stress(folder: &Path, arguments: &[&str]) -> Output {
    command(folder, arguments).output().unwrap()
}

fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("reports")).unwrap();
    folder
}

/// What it prints, without the durations and rates, which vary.
fn steady(output: &Output) -> String {
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    let mut lines: Vec<String> = text
        .lines()
        .filter(|line| !line.starts_with("  throughput"))
        .map(|line| match line.rsplit_once(" of 8") {
            Some((counts, _rates)) => format!("{counts} of 8"),
            None => line.to_owned(),
        })
        .collect();
    lines[0] = lines[0].split(" in ").take(2).collect::<Vec<_>>().join(" in ");
    lines.join("\n")
}

const CRASHES_UNGUARDED: &str = "ulimit -c 0; test -n \"$AGX_GUARD\" || kill -11 $$";

#[test]
fn a_comparison_tells_what_crashed_and_whether_it_matters() {
    let folder = folder();
    let arguments = ["--trials", "8", "--compare", "off,guard", "--out", "run.json"];
    let command = ["--", "/bin/sh", "-c", CRASHES_UNGUARDED];
    let output = stress(folder.path(), &[&arguments[..], &command].concat());
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    if cfg!(target_os = "linux") {
        insta::assert_snapshot!(steady(&output));
    }
    let kept = std::fs::read_to_string(folder.path().join("run.json")).unwrap();
    let kept: serde_json::Value = serde_json::from_str(&kept).unwrap();
    assert_eq!(kept["trials"].as_array().unwrap().len(), 16);
    assert_eq!(kept["accounts"][0]["crashes"]["count"], 8);
}

#[test]
fn a_clean_run_ends_with_0_and_is_compared_with_an_earlier_one() {
    let folder = folder();
    let run = |arguments: &[&str], script: &str| {
        let fixed = ["--trials", "8", "--json"];
        stress(folder.path(), &[&fixed, arguments, &["--", "/bin/sh", "-c", script]].concat())
    };
    assert_eq!(run(&["--out", "a.json"], "ulimit -c 0; kill -6 $$").status.code(), Some(2));
    let output = run(&["--out", "b.json", "--before", "a.json"], "exit 0");
    assert_eq!(output.status.code(), Some(0));
    let lines: Vec<serde_json::Value> = String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines[0]["schema"], "agxpatch.stress/1");
    assert_eq!(lines[1]["schema"], "agxpatch.stress-before-after/1");
    assert_eq!(lines[1]["result"]["comparisons"][0]["crashes"]["significant"], true);
}

/// What a workload prints that did what it should.
const MEASURES: &str = concat!(
    r#"echo '{"agxpatch_workload":1,"workload":"mlp","device":"cpu","threads":8,"operations":9,"#,
    r#""expected":9,"seconds":1.0,"errors":[],"max_difference":null,"tolerance":null}'"#
);

#[test]
fn two_runs_of_a_workload_are_runs_of_the_same_command() {
    let folder = folder();
    put_program(folder.path(), "python", MEASURES);
    let run = |arguments: &[&str]| {
        let fixed = ["--workload", "mlp", "--python", "bin/python", "--trials", "2"];
        let output = stress(folder.path(), &[&fixed, arguments].concat());
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    run(&["--out", "a.json"]);
    let compared = run(&["--out", "b.json", "--before", "a.json"]);
    assert!(compared.contains("off after against off before"), "{compared}");
    assert!(!compared.contains("different"), "{compared}");
}

#[test]
fn an_existing_report_is_not_written_over() {
    let folder = folder();
    std::fs::write(folder.path().join("run.json"), "mine").unwrap();
    let output = stress(folder.path(), &["--out", "run.json", "--", "/bin/true"]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(std::fs::read(folder.path().join("run.json")).unwrap(), b"mine");
    let forced = ["--force", "--trials", "1", "--out", "run.json", "--", "/bin/true"];
    assert!(stress(folder.path(), &forced).status.success());
    assert_ne!(std::fs::read(folder.path().join("run.json")).unwrap(), b"mine");
}

#[test]
fn contradictory_options_are_refused_before_anything_runs() {
    let folder = folder();
    let refused = |arguments: &[&str]| {
        let code = stress(folder.path(), arguments).status.code();
        assert_eq!(code, Some(1), "{arguments:?}");
    };
    refused(&[]);
    refused(&["--compare", "off,off", "--", "/bin/true"]);
    refused(&["--compare", "faster", "--", "/bin/true"]);
    refused(&["--timeout", "-1", "--", "/bin/true"]);
    refused(&["--workload", "matmul", "--", "/bin/true"]);
    refused(&["--threads", "4", "--", "/bin/true"]);
    refused(&["--workload", "mlp", "--threads", "1,2", "--batch", "1,8"]);
    refused(&["--workload", "mlp", "--threads", "2,4,2"]);
    refused(&["--workload", "mlp", "--threads", "0,1"]);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn a_python_without_torch_is_told_before_the_first_trial() {
    let folder = folder();
    put_program(folder.path(), "python", "echo no torch here >&2; exit 77");
    let output = stress(folder.path(), &["--workload", "mlp", "--python", "bin/python"]);
    assert_eq!(output.status.code(), Some(8));
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(told.contains("no torch here") && told.contains("--python"), "{told}");
}

/// A program in `folder/bin` that may stand for any, and tells its name.
fn put_program(folder: &Path, name: &str, script: &str) {
    std::fs::create_dir_all(folder.join("bin")).unwrap();
    let program = folder.join("bin").join(name);
    std::fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&program, mode).unwrap();
}

#[test]
fn the_command_is_resolved_first_and_named_by_its_absolute_path() {
    let folder = folder();
    put_program(folder.path(), "python3", MEASURES);
    put_program(folder.path(), "mine", "exit 0");
    let found = |name: &str, arguments: &[&str]| {
        let out = format!("{name}.json");
        let fixed = ["--trials", "1", "--baselines", "0", "--out", &out];
        let mut command = command(folder.path(), &[&fixed, arguments].concat());
        // An entry of the PATH that means another place in another folder.
        let output = command.env("PATH", "bin:/usr/bin:/bin").output().unwrap();
        assert!(output.status.success(), "{output:?}");
        let kept = std::fs::read(folder.path().join(out)).unwrap();
        let kept: serde_json::Value = serde_json::from_slice(&kept).unwrap();
        assert_eq!(kept["subject"]["name"], name);
        kept["subject"]["command"][0].as_str().unwrap().to_owned()
    };
    let bin = |name: &str| folder.path().join("bin").join(name).display().to_string();
    assert_eq!(found("mine", &["--", "mine"]), bin("mine"));
    assert_eq!(found("mlp", &["--workload", "mlp"]), bin("python3"));
}

#[test]
fn a_workload_that_runs_for_a_time_is_given_that_time_and_more() {
    let folder = folder();
    put_program(folder.path(), "python", MEASURES);
    let allowed = |arguments: &[&str]| {
        let fixed = ["--json", "--trials", "1", "--baselines", "0", "--python", "bin/python"];
        let out = ["--out", &format!("run{}.json", arguments.concat())];
        let output = stress(folder.path(), &[&fixed[..], &out, arguments].concat());
        let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        json["result"]["subject"]["timeout_seconds"].as_f64().unwrap()
    };
    for (arguments, seconds) in [
        (&["--workload", "mlp"][..], 300.0),
        (&["--workload", "soak"], 360.0),
        (&["--workload", "soak-hour"], 3900.0),
        (&["--workload", "soak", "--duration", "10"], 310.0),
        (&["--workload", "soak-hour", "--timeout", "5"], 5.0),
    ] {
        assert_eq!(allowed(arguments), seconds, "{arguments:?}");
    }
}

#[test]
fn a_command_that_is_not_found_is_not_run() {
    let folder = folder();
    put_program(folder.path(), "mine", "touch ran");
    let told = |arguments: &[&str]| {
        let output = command(folder.path(), arguments).env("PATH", "/nowhere").output().unwrap();
        assert_eq!(output.status.code(), Some(127), "{output:?}");
        String::from_utf8(output.stderr).unwrap()
    };
    assert!(told(&["--", "mine"]).contains("mine"));
    assert!(told(&["--", "bin/other"]).contains("bin/other"));
    let python = told(&["--workload", "mlp"]);
    assert!(python.contains("python3") && python.contains("--python"), "{python}");
    assert!(!folder.path().join("ran").exists());
}

#[test]
fn the_page_has_every_configuration_needs_nothing_else_and_escapes_names() {
    let folder = folder();
    let compare = ["--trials", "2", "--compare", "off,guard", "--env", "X=<script>"];
    let files = ["--html", "page.html", "--out", "run.json", "--", "/bin/sh", "-c", "exit 0"];
    let output = stress(folder.path(), &[&compare[..], &files].concat());
    assert!(output.status.success(), "{output:?}");
    let page = std::fs::read_to_string(folder.path().join("page.html")).unwrap();
    let shown = ["<td>off</td>", "<td>guard</td>", "X=&lt;script&gt;", "corrected p", "0 of 2"];
    for part in shown.into_iter().chain([">1.0000<", "throughput", ">x "]) {
        assert!(page.contains(part), "{part}");
    }
    for fetched in ["<script", "http:", "https:", "url(", "@import", "src="] {
        assert!(!page.contains(fetched), "{fetched}");
    }
    // A page is not overwritten either.
    let files = ["--html", "page.html", "--out", "other.json", "--", "/bin/true"];
    assert!(!stress(folder.path(), &files).status.success());
}
