//! The JSON of stress runs, as scripts rely on it.

use std::fs;
use std::path::Path;
use std::process::Command;

use agxpatch_simulate::crash_report::CrashReport;
use serde_json::Value;

use crate::schema::shape;

/// A Python that leaves every member of the report something to hold. Unguarded
/// with eight threads it dies once, with a crash report of its own and one of
/// another process; at all other times it tells what it measured.
const PYTHON: &str = r#"#!/bin/sh
for threads; do :; done
test "$threads" != --check || exit 0
if test -z "$AGX_GUARD" -a "$threads" = 8 && ! test -e reports/own.ips; then
    sed "s/4001/$$/" own > reports/own.ips
    cp other reports/other.ips
    echo 'failed assertion: Command encoder released without endEncoding' >&2
    ulimit -c 0
    kill -11 $$
fi
echo >> trials
echo '{"agxpatch_workload":1,"workload":"layernorm","device":"cpu","threads":'$threads',
"operations":9,"expected":9,"seconds":1.'$(wc -l < trials)',"errors":[],
"max_difference":1e-7,"tolerance":1e-3}' | tr -d '\n'
"#;

/// A report without a time, which belongs to its process whenever that ran.
fn timeless(report: CrashReport) -> String {
    let text = String::from_utf8(report.ips()).unwrap();
    text.replace("\"timestamp\":", "\"t\":").replace("\"captureTime\":", "\"c\":")
}

/// A run, compared with itself: what is printed, a line each, and what is kept.
fn run(folder: &Path) -> (Vec<Value>, Value) {
    fs::create_dir(folder.join("reports")).unwrap();
    fs::write(folder.join("own"), timeless(CrashReport::set_pipeline(1))).unwrap();
    fs::write(folder.join("other"), timeless(CrashReport::freed_encoder(2, 0x9ba3_6e2f_2650)))
        .unwrap();
    fs::write(folder.join("python"), PYTHON).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(folder.join("python"), mode).unwrap();
    let stress = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_agxpatch"))
            .args(["--json", "stress", "--workload", "layernorm", "--python", "./python"])
            .args(["--trials", "3", "--baselines", "2", "--compare", "off,guard"])
            .args(["--threads", "2,8", "--reports", "reports", "--settle", "0"])
            .args(arguments)
            .current_dir(folder)
            .output()
            .unwrap();
        let lines = String::from_utf8(output.stdout).unwrap();
        lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect::<Vec<Value>>()
    };
    let mut printed = stress(&["--out", "a.json"]);
    let kept = serde_json::from_slice(&fs::read(folder.join("a.json")).unwrap()).unwrap();
    printed.extend(stress(&["--out", "b.json", "--before", "a.json"]).pop());
    (printed, kept)
}

// Elsewhere the guard is inserted, and this Python takes none.
#[cfg(target_os = "linux")]
#[test]
fn the_json_of_a_run_its_file_and_a_comparison_keep_their_schemas() {
    let folder = tempfile::tempdir().unwrap();
    let (printed, kept) = run(folder.path());
    let [run, comparison] = printed.as_slice() else { panic!("{printed:?}") };
    insta::assert_snapshot!("schema_stress", shape(run));
    insta::assert_snapshot!("schema_stress-before-after", shape(comparison));
    insta::assert_snapshot!("schema_stress-report", shape(&kept));
}
