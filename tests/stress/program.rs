//! `agxpatch stress` as a person and a script meet it.

use std::path::Path;
use std::process::{Command, Output};

fn stress(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_agxpatch"))
        .arg("stress")
        .args(["--reports", "reports", "--settle", "0"])
        .args(arguments)
        .current_dir(folder)
        .env("NO_COLOR", "1")
        .output()
        .unwrap()
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

#[test]
fn two_runs_of_a_workload_are_runs_of_the_same_command() {
    let folder = folder();
    let python = folder.path().join("python");
    let line = r#"{"agxpatch_workload":1,"workload":"mlp","device":"cpu","threads":8,
        "operations":9,"expected":9,"seconds":1.0,"errors":[],"max_difference":null,
        "tolerance":null}"#;
    let line = line.split_whitespace().collect::<String>();
    std::fs::write(&python, format!("#!/bin/sh\necho '{line}'\n")).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&python, mode).unwrap();
    let run = |arguments: &[&str]| {
        let fixed = ["--workload", "mlp", "--python", "./python", "--trials", "2"];
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
}

#[test]
fn what_contradicts_itself_is_refused_before_anything_runs() {
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
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn a_python_without_torch_is_told_before_the_first_trial() {
    let folder = folder();
    let python = folder.path().join("python");
    std::fs::write(&python, "#!/bin/sh\necho no torch here >&2\nexit 77\n").unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&python, mode).unwrap();
    let output = stress(folder.path(), &["--workload", "mlp", "--python", "./python"]);
    assert_eq!(output.status.code(), Some(8));
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(told.contains("no torch here") && told.contains("--python"), "{told}");
}
