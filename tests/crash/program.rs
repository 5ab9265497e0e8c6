//! `agxpatch crashes` as a person and a script meet it.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use agxpatch::simulate::crash_report::CrashReport;
use serde_json::Value;

use crate::schema::shape;

fn crashes(arguments: &[&str], folder: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_agxpatch"))
        .arg("crashes")
        .args(arguments)
        .current_dir(folder)
        .env("NO_COLOR", "1")
        .output()
        .unwrap()
}

fn text(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// A folder with two incidents of the race, one of them thrice, one of another
/// process, and one broken report.
fn example() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let reports = folder.path().join("reports");
    fs::create_dir(&reports).unwrap();
    let put = |name: &str, bytes: Vec<u8>| fs::write(reports.join(name), bytes).unwrap();
    for name in ["a.ips", "b.ips", "c.ips"] {
        put(name, CrashReport::set_pipeline(1).ips());
    }
    put("d.ips", CrashReport::freed_encoder(2000, 0x9ba3_6e2f_2650).ips());
    put("e.ips", CrashReport::unrelated(4000).process("sqlite3", 77, 1).ips());
    put("f.ips", b"{\"bug_type\":\"309\"}".to_vec());
    folder
}

#[test]
fn the_table_counts_incidents_and_names_what_was_not_read() {
    let folder = example();
    let output = crashes(&["reports"], folder.path());
    assert!(output.status.success());
    insta::assert_snapshot!(text(&output));
}

#[test]
fn the_list_gives_the_evidence_of_each_incident() {
    let folder = example();
    insta::assert_snapshot!(text(&crashes(&["--list", "reports/d.ips"], folder.path())));
}

#[test]
fn json_holds_every_incident_with_its_class() {
    let folder = example();
    let output = crashes(&["--json", "reports"], folder.path());
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(json["schema"], "agxpatch.crashes/1");
    let classes: Vec<&str> = json["result"]["incidents"]
        .as_array()
        .unwrap()
        .iter()
        .map(|incident| incident["class"].as_str().unwrap())
        .collect();
    assert_eq!(classes, ["null-impl-set-pipeline", "freed-encoder", "not-ours"]);
    assert_eq!(json["result"]["copies"], 2);
}

#[test]
fn a_new_incident_since_the_mark_ends_with_2_and_only_then() {
    let folder = example();
    let run = |arguments: &[&str]| crashes(arguments, folder.path());
    assert!(run(&["--save-mark", "mark", "reports"]).status.success());
    assert_eq!(run(&["--mark", "mark", "reports"]).status.code(), Some(0));

    fs::write(folder.path().join("reports/g.ips"), CrashReport::unrelated(9).ips()).unwrap();
    assert_eq!(run(&["--mark", "mark", "reports"]).status.code(), Some(0));
    fs::write(folder.path().join("reports/h.ips"), CrashReport::spill(10).ips()).unwrap();
    let output = run(&["--mark", "mark", "--keep", "kept", "reports"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output).contains("2 new since"));
    assert_eq!(fs::read_dir(folder.path().join("kept")).unwrap().count(), 2);
}

#[test]
fn since_leaves_out_what_is_older() {
    let folder = example();
    let count = |since: &str| {
        let output = crashes(&["--json", "--since", since, "reports"], folder.path());
        let json: Value = serde_json::from_slice(&output.stdout).unwrap();
        json["result"]["incidents"].as_array().unwrap().len()
    };
    // The reports are 0, 2,000 and 4,000 minutes after 2025-12-23T14:26:40Z.
    assert_eq!(count("2025-12-23T00:00:00Z"), 3);
    assert_eq!(count("2025-12-24T20:00:00Z"), 2);
    assert_eq!(count("2025-12-26T00:00:00Z"), 1);
    // A time without a zone is UTC, as all that is printed.
    assert_eq!(count("2025-12-24"), 2);
    assert_eq!(count("2025-12-24T23:46"), 2);
    assert_eq!(count("2025-12-24 23:47:00"), 1);
    assert_eq!(count("2025-12-25T00:46:40+01:00"), 2);
    for age in ["0s", "90m", "12h", "1d", "2w"] {
        assert_eq!(count(age), 0, "{age}");
    }
    assert_eq!(count("9999-12-30"), 0);
    for nonsense in [
        "",
        " ",
        "soon",
        "d",
        "-1d",
        "1.5d",
        "1y",
        "1 d",
        "7\u{e9}",
        "4294967295w",
        "2025-13-01",
        "99999999999999999999d",
        "2025-12-23T25:00",
    ] {
        let output = crashes(&[&format!("--since={nonsense}"), "reports"], folder.path());
        assert_eq!(output.status.code(), Some(1), "{nonsense:?}");
    }
}

#[test]
fn the_names_of_files_do_not_act_on_the_terminal() {
    use std::os::unix::ffi::OsStrExt;
    let folder = tempfile::tempdir().unwrap();
    let reports = folder.path().join("\u{1b}]0;title\u{7}");
    fs::create_dir(&reports).unwrap();
    fs::write(reports.join("\u{1b}[2Jbroken.ips"), "{").unwrap();
    let raw = std::ffi::OsStr::from_bytes(b"\xffraw.ips");
    fs::write(reports.join(raw), CrashReport::trap(1).ips()).unwrap();
    for arguments in [&["--list", "."][..], &["./missing\u{1b}[2J"], &["--watch=", "."]] {
        let output = crashes(arguments, folder.path());
        let shown = [output.stdout, output.stderr].concat();
        assert!(!shown.contains(&0x1b), "{}", String::from_utf8_lossy(&shown));
    }
    let output = crashes(&["--json", "."], folder.path());
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    let path = json["result"]["incidents"][0]["path"].as_str().unwrap();
    assert!(path.ends_with("raw.ips"), "{path}");
}

#[test]
fn the_json_schema_is_kept() {
    let folder = example();
    let output = crashes(&["--json", "reports"], folder.path());
    let mut json: Value = serde_json::from_slice(&output.stdout).unwrap();
    let incidents = json["result"]["incidents"].as_array_mut().unwrap();
    // One stands for all: the one with most members.
    incidents.retain(|incident| incident["class"] == "freed-encoder");
    insta::assert_json_snapshot!(json);
}

#[test]
fn a_usual_folder_that_cannot_be_read_hides_no_other() {
    let home = tempfile::tempdir().unwrap();
    fs::create_dir_all(home.path().join("Library/Logs")).unwrap();
    fs::write(home.path().join("Library/Logs/DiagnosticReports"), "no folder").unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_agxpatch"))
        .arg("crashes")
        .env("HOME", home.path())
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    assert!(text(&output).contains("DiagnosticReports: "), "{output:?}");
}

#[test]
fn the_page_needs_nothing_else_and_escapes_names() {
    let folder = example();
    let report = CrashReport::set_pipeline(5000).process("<script>alert(1)</script>", 1, 1);
    fs::write(folder.path().join("reports/x.ips"), report.ips()).unwrap();
    assert!(crashes(&["--html", "page.html", "reports"], folder.path()).status.success());
    let page = fs::read_to_string(folder.path().join("page.html")).unwrap();
    assert!(!page.contains("<script"));
    assert!(page.contains("&lt;script&gt;"));
    for fetched in ["http:", "https:", "url(", "@import", "src="] {
        assert!(!page.contains(fetched), "{fetched}");
    }
    assert!(page.contains("prefers-color-scheme: dark"));
}

#[test]
fn a_folder_without_reports_is_an_empty_result() {
    let folder = tempfile::tempdir().unwrap();
    let output = crashes(&["."], folder.path());
    assert!(output.status.success());
    assert_eq!(text(&output), "0 incidents in 0 files\n");
}

#[test]
fn watching_tells_of_an_incident_when_it_comes() {
    let folder = example();
    let mut child = Command::new(env!("CARGO_BIN_EXE_agxpatch"))
        .args(["--json", "crashes", "--watch", "--every", "1"])
        // The two that are there already and not older than this are told first,
        // and show that it has looked.
        .args(["--since", "2025-12-24T20:00:00Z", "reports"])
        .current_dir(folder.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut next = || -> Value { serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap() };
    let freed = next();
    insta::assert_snapshot!("schema_crash", shape(&freed));
    assert_eq!(freed["result"]["class"], "freed-encoder");
    assert_eq!(next()["result"]["class"], "not-ours");
    // Older than the others, and new all the same.
    fs::write(folder.path().join("reports/new.ips"), CrashReport::spill(3).ips()).unwrap();
    assert_eq!(next()["result"]["class"], "null-impl-spill");
    child.kill().unwrap();
    child.wait().unwrap();
}
