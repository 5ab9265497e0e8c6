//! `agxpatch crashes` as a person and a script meet it.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use agxpatch::diagnostics::{Limits, collect, gather};
use agxpatch_simulate::crash_report::CrashReport;
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

fn acts_on_a_terminal(text: &str) -> bool {
    let turns = |c| matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    text.chars().any(|c| (c.is_control() && c != '\n') || turns(c))
}

#[test]
fn the_names_of_files_do_not_act_on_the_terminal() {
    use std::os::unix::ffi::OsStrExt;
    let folder = tempfile::tempdir().unwrap();
    let reports = folder.path().join("\u{1b}]0;title\u{7}");
    fs::create_dir(&reports).unwrap();
    fs::write(reports.join("\u{1b}[2J\u{9b}2J\u{202e}broken.ips"), "{").unwrap();
    let raw = std::ffi::OsStr::from_bytes(b"\xffraw.ips");
    fs::write(reports.join(raw), CrashReport::trap(1).ips()).unwrap();
    let named = CrashReport::trap(2).process("\u{1b}[1mbold\u{9b}2J\u{2066}\n", 1, 1);
    fs::write(reports.join("named.ips"), named.ips()).unwrap();
    let typed = String::from_utf8(CrashReport::trap(3).ips()).unwrap();
    let typed = typed.replace("\"faultingThread\":1", "\"faultingThread\":\"\u{9b}2J\u{202e}\"");
    fs::write(reports.join("typed.ips"), typed).unwrap();
    for arguments in [
        &["--list", "."][..],
        &["--json", "."],
        &["./missing\u{1b}[2J"],
        &["--watch=", "."],
        &["--mark", "./missing\u{9b}2J", "."],
        &["--html", "./missing\u{9b}2J/page", "."],
        &["--html", "page.html", "."],
    ] {
        let output = crashes(arguments, folder.path());
        let shown = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        assert!(!acts_on_a_terminal(&shown), "{shown:?}");
    }
    let page = fs::read_to_string(folder.path().join("page.html")).unwrap();
    assert!(!acts_on_a_terminal(&page), "{page:?}");
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

/// The numbers beside the grid lines of the chart over `incidents` of one day.
fn scale(incidents: u32) -> Vec<u64> {
    let folder = tempfile::tempdir().unwrap();
    for number in 0..incidents {
        let report = CrashReport::set_pipeline(number);
        fs::write(folder.path().join(format!("{number}.ips")), report.ips()).unwrap();
    }
    assert!(crashes(&["--html", "page.html", "."], folder.path()).status.success());
    let page = fs::read_to_string(folder.path().join("page.html")).unwrap();
    let labels = page.split("text-anchor=\"end\">").skip(1);
    labels.map(|rest| rest.split('<').next().unwrap().parse().unwrap()).collect()
}

#[test]
fn the_scale_of_the_chart_is_whole_numbers_just_above_the_highest_bar() {
    assert_eq!(scale(1), [0, 1, 2, 3, 4]);
    assert_eq!(scale(8), [0, 2, 4, 6, 8]);
    assert_eq!(scale(9), [0, 3, 6, 9, 12]);
    assert_eq!(scale(41), [0, 15, 30, 45, 60]);
}

#[test]
fn html_page_without_mark_has_no_new_column() {
    let folder = example();
    let page = |arguments: &[&str]| {
        let fixed = ["--html", "page.html", "reports"];
        crashes(&[arguments, &fixed].concat(), folder.path());
        fs::read_to_string(folder.path().join("page.html")).unwrap()
    };
    assert!(!page(&[]).contains(">new<"));
    crashes(&["--save-mark", "mark", "reports"], folder.path());
    fs::write(folder.path().join("reports/x.ips"), CrashReport::spill(7).ips()).unwrap();
    let marked = page(&["--mark", "mark"]);
    assert!(marked.contains(">new<") && marked.contains(">+1<") && !marked.contains("+0"));
}

#[test]
fn a_report_whose_place_was_taken_is_not_kept() {
    let folder = example();
    let reports = [folder.path().join("reports")];
    let limits = Limits::default();
    let found = collect(&reports, &limits).unwrap();
    let (first, kept) = (found.incidents[0].path.clone(), folder.path().join("kept"));
    let taken = |by: &dyn Fn()| {
        fs::remove_file(&first).unwrap();
        by();
        let error = gather(&found.incidents, &kept, &limits).unwrap_err();
        assert_eq!(fs::read_dir(&kept).unwrap().count(), 0);
        error.context().iter().map(|(_, value)| value.clone()).collect::<Vec<_>>().join(" ")
    };
    let endless = || std::os::unix::fs::symlink("/dev/zero", &first).unwrap();
    assert!(taken(&endless).contains("symbolic link"));
    let large = || fs::File::create(&first).unwrap().set_len(1 << 40).unwrap();
    assert!(taken(&large).contains("more than the 67108864 allowed"));
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
    let child = Command::new(env!("CARGO_BIN_EXE_agxpatch"))
        .args(["--json", "crashes", "--watch", "--every", "1"])
        // The two that are there already and not older than this are told first,
        // and show that it has looked.
        .args(["--since", "2025-12-24T20:00:00Z", "reports"])
        .current_dir(folder.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut child = Ended(child);
    let mut lines = BufReader::new(child.0.stdout.take().unwrap()).lines();
    let mut next = || -> Value { serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap() };
    let freed = next();
    insta::assert_snapshot!("schema_crash", shape(&freed));
    assert_eq!(freed["result"]["class"], "freed-encoder");
    assert_eq!(next()["result"]["class"], "not-ours");
    // Older than the others, and new all the same.
    fs::write(folder.path().join("reports/new.ips"), CrashReport::spill(3).ips()).unwrap();
    assert_eq!(next()["result"]["class"], "null-impl-spill");
}

#[test]
fn versions_that_reports_lack_are_read_from_a_python() {
    let folder = example();
    let packages = folder.path().join("env/lib/python3.12/site-packages");
    fs::create_dir_all(packages.join("torch-2.14.0.dist-info")).unwrap();
    fs::create_dir_all(packages.join("numpy-2.0.0.dist-info")).unwrap();
    fs::create_dir_all(folder.path().join("env/bin")).unwrap();
    fs::write(folder.path().join("env/bin/python"), "").unwrap();
    for python in ["env", "env/bin/python", "env/lib/python3.12/site-packages"] {
        let output = crashes(&["--json", "--python", python, "reports"], folder.path());
        let json: Value = serde_json::from_slice(&output.stdout).unwrap();
        let program = &json["result"]["incidents"][0]["programs"][0];
        assert_eq!(program["version"], "2.14.0", "{python}");
        assert_eq!(program["source"], "dist-info");
    }
    fs::create_dir(folder.path().join("empty")).unwrap();
    let output = crashes(&["--python", "empty", "reports"], folder.path());
    assert!(!output.status.success() && output.stdout.is_empty(), "{output:?}");
}

#[test]
fn the_page_shows_builds_and_programs() {
    let folder = example();
    assert!(crashes(&["--html", "page.html", "reports"], folder.path()).status.success());
    let page = fs::read_to_string(folder.path().join("page.html")).unwrap();
    for part in ["By macOS and driver", "macOS 15.7.3 (24G419)", "By program and version", "torch"]
    {
        assert!(page.contains(part), "{part}");
    }
}

/// A child that ends with the test, also where the test fails.
struct Ended(std::process::Child);

impl Drop for Ended {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}
