//! Recordings through the program: what is not one is refused by name, in bounded time and
//! memory, and a question that a recording lacks is neither failed nor guessed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use agxpatch_core::error::Code;
use serde_json::{Value, json};

/// What a process may have of address space, in KiB.
const MEMORY: u32 = 600_000;
const TIME: Duration = Duration::from_secs(20);

/// Runs the program on a recording.
fn replay(recording: &Path, arguments: &[&str]) -> Output {
    let begun = Instant::now();
    let output = Command::new("/bin/sh")
        .args(["-c", &format!("ulimit -v {MEMORY}; exec \"$@\""), "sh"])
        .arg(env!("CARGO_BIN_EXE_agxpatch"))
        .arg("--replay")
        .arg(recording)
        .args(arguments)
        .env_clear()
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(begun.elapsed() < TIME, "{}", recording.display());
    output
}

fn json_of(recording: &Path, arguments: &[&str]) -> Value {
    let output = replay(recording, &[&["--json"], arguments].concat());
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
}

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Folder {
        Folder(tempfile::tempdir().unwrap())
    }

    fn file(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.path().join(name);
        fs::write(&path, bytes).unwrap();
        path
    }
}

fn recordings() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/host/recordings");
    fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect()
}

/// Demands a refusal by the name of what is wrong, with the file and a next step or a reason.
fn is_refused(path: &Path) {
    for command in ["doctor", "status", "check-sip"] {
        let error = json_of(path, &[command]);
        assert_eq!(error["schema"], "agxpatch.error/1", "{}: {error}", path.display());
        let code = &error["error"]["code"];
        assert_eq!(code, &Code::BadRecording.to_string(), "{}: {error}", path.display());
    }
}

#[test]
fn files_that_are_not_recordings_are_refused_by_name() {
    let folder = Folder::new();
    let whole = fs::read(&recordings()[0]).unwrap();
    let nested = |open: &str, times| open.repeat(times).into_bytes();
    let cases: [(&str, Vec<u8>); 19] = [
        ("empty", Vec::new()),
        ("cut-off", whole[..whole.len() / 2].to_vec()),
        ("cut-off-by-a-byte", whole[..whole.trim_ascii_end().len() - 1].to_vec()),
        ("binary", (0..=255).collect()),
        ("latin-1", b"{\"source\": \"caf\xe9\"}".to_vec()),
        ("a-list", b"[]".to_vec()),
        ("two-values", b"{} {}".to_vec()),
        ("deep-lists", nested("[", 1 << 20)),
        ("deep-objects", nested("{\"a\":", 1 << 18)),
        ("deep-answers", [b"{\"answers\":".to_vec(), nested("[", 1000)].concat()),
        ("future", b"{\"version\": 2}".to_vec()),
        ("far-future", b"{\"version\": 4294967297}".to_vec()),
        ("version-of-text", b"{\"version\": \"1\"}".to_vec()),
        ("version-null", b"{\"version\": null}".to_vec()),
        ("said-a-list", b"{\"said\": []}".to_vec()),
        ("rc-of-text", b"{\"said\": {\"csrutil status\": {\"rc\": \"0\"}}}".to_vec()),
        ("rc-too-large", b"{\"said\": {\"csrutil status\": {\"rc\": 99999999999}}}".to_vec()),
        ("csr-of-text", b"{\"csr\": \"0x6f\"}".to_vec()),
        ("file-a-number", b"{\"files\": {\"/f\": 7}}".to_vec()),
    ];
    for (name, bytes) in cases {
        is_refused(&folder.file(name, bytes));
    }
    is_refused(&folder.0.path().join("missing"));
    is_refused(folder.0.path());
    is_refused(Path::new("/dev/zero"));
}

#[test]
fn a_file_of_a_hundred_megabytes_is_refused_unread() {
    let folder = Folder::new();
    let path = folder.file("huge", "{");
    fs::File::options().append(true).open(&path).unwrap().set_len(100 << 20).unwrap();
    is_refused(&path);
}

#[test]
fn the_largest_recording_of_the_smallest_values_fits_into_memory() {
    let folder = Folder::new();
    let mut text = String::from("{\"answers\": {\"a\": [");
    text.push_str(&"[],".repeat(1_390_000));
    text.push_str("[]]}}");
    assert!(text.len() as u64 <= agxpatch_host::recording::MAX_BYTES);
    let path = folder.file("largest", text);
    assert_eq!(json_of(&path, &["status"])["schema"], "agxpatch.status/1");
}

/// Every check in an answer that is marked FAIL.
fn failed(value: &Value) -> Vec<&Value> {
    let mut found = Vec::new();
    match value {
        Value::Array(values) => found.extend(values.iter().flat_map(failed)),
        Value::Object(pairs) => {
            if pairs.get("status").and_then(Value::as_str) == Some("FAIL") {
                found.push(value);
            }
            found.extend(pairs.values().flat_map(failed));
        }
        _ => {}
    }
    found
}

#[test]
fn what_a_recording_lacks_is_skipped_and_neither_failed_nor_advised_about() {
    let folder = Folder::new();
    for (name, text) in [
        ("nothing", json!({})),
        ("unknown-keys", json!({"moon": "waning", "source": "here", "file": "/f"})),
        ("unknown-commands", json!({"said": {"sw_vers --moon": {"out": "waning\n"}}})),
    ] {
        let path = folder.file(name, text.to_string());
        let doctor = json_of(&path, &["doctor"]);
        assert_eq!(failed(&doctor), [&Value::Null; 0], "{name}");
        let depths = doctor["result"]["depths"].as_array().unwrap();
        for depth in depths {
            assert_eq!((&depth["open"], &depth["closed_by"]), (&json!(false), &json!([])));
            assert!(!depth["unknown_by"].as_array().unwrap().is_empty(), "{depth}");
        }
        for command in ["status", "verify"] {
            let answer = json_of(&path, &[command]);
            assert_eq!(failed(&answer), [&Value::Null; 0], "{name}: {command}");
            let text = String::from_utf8(replay(&path, &[command]).stdout).unwrap();
            assert!(text.contains("selftest --record FILE"), "{text}");
            assert!(!text.contains("sudo agxpatch recover"), "{text}");
        }
        let doctor = String::from_utf8(replay(&path, &["doctor"]).stdout).unwrap();
        assert!(doctor.contains("No recorded check blocks"), "{doctor}");
        assert!(doctor.contains("not recorded, so not known: macos, sip"), "{doctor}");
        assert!(!doctor.contains("no command can fix this"), "{doctor}");
        let error = json_of(&path, &["check-sip"]);
        assert_eq!(error["error"]["code"], Code::NotRecorded.to_string());
        assert!(error.to_string().contains("selftest --record FILE"), "{error}");
    }
}

#[test]
fn every_recording_is_answered_by_the_program_without_a_failure_it_did_not_record() {
    for path in recordings() {
        for command in ["doctor", "status", "verify"] {
            for check in failed(&json_of(&path, &[command])) {
                let text = check.to_string();
                assert!(!text.contains("not recorded"), "{}: {text}", path.display());
            }
        }
    }
}

#[test]
fn an_exit_code_at_the_end_of_its_range_is_read() {
    let folder = Folder::new();
    for code in [i32::MIN, i32::MAX] {
        let said = json!({"csrutil status": {"rc": code}, "fdesetup status": {"rc": code}});
        let path = folder.file("ends", json!({ "said": said }).to_string());
        assert_eq!(json_of(&path, &["doctor"])["schema"], "agxpatch.doctor/1");
    }
}

#[test]
fn commands_that_change_a_mac_are_refused_on_a_recorded_one() {
    let folder = Folder::new();
    let path = folder.file("any", json!({"answers": {"user": 0}}).to_string());
    for command in
        [&["deploy"][..], &["deploy", "--yes", "--plan", "00"], &["revert"], &["recover"]]
    {
        let error = json_of(&path, command);
        assert_eq!(error["error"]["code"], Code::ReplayOnly.to_string(), "{command:?}: {error}");
    }
}
