//! The commands as a person sees them, on a Mac kept in a directory.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

struct Desk {
    directory: tempfile::TempDir,
}

impl Desk {
    /// A Mac in a directory, with a driver that is none.
    fn new(options: &[&str]) -> Desk {
        let desk = Desk { directory: tempfile::tempdir().unwrap() };
        let driver = desk.directory.path().join("driver");
        fs::write(&driver, b"no Mach-O").unwrap();
        let mut words = vec!["simulate", "new", "--driver", driver.to_str().unwrap()];
        words.extend(options);
        assert!(desk.run(&words).status.success());
        desk
    }

    fn mac(&self) -> PathBuf {
        self.directory.path().join("mac")
    }

    fn run(&self, words: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_agxpatch"));
        // What an adversary would set must change nothing.
        command.env("PATH", "/nowhere").env("DYLD_INSERT_LIBRARIES", "/nowhere/evil.dylib");
        command.arg("--simulate").arg(self.mac()).args(words).output().unwrap()
    }

    fn say(&self, words: &[&str]) -> String {
        let output = self.run(words);
        let (stdout, stderr) =
            (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
        format!(
            "$ agxpatch {}\n{stdout}{stderr}[exit {}]\n",
            words.join(" "),
            output.status.code().unwrap()
        )
    }

    fn set(&self, words: &[&str]) {
        let output = self.run(&[&["simulate"], words].concat());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    /// Every file of the Mac.
    fn files(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let mut files = BTreeMap::new();
        let mut pending = vec![self.mac()];
        while let Some(directory) = pending.pop() {
            for entry in fs::read_dir(directory).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    pending.push(path);
                } else {
                    files.insert(path.clone(), fs::read(path).unwrap());
                }
            }
        }
        files
    }
}

#[test]
fn check_sip_in_each_state() {
    let desk = Desk::new(&[]);
    let mut transcript = desk.say(&["check-sip"]);
    for bits in ["0x6f", "0x86f", "0x46", "0x806"] {
        desk.set(&["protections", bits]);
        transcript.push_str(&format!("\nbits {bits}\n{}", desk.say(&["check-sip"])));
    }
    desk.set(&["set", "csrutil", "System Integrity Protection status: enabled."]);
    transcript.push_str(&format!("\ncontradicted\n{}", desk.say(&["check-sip"])));
    desk.set(&["set", "csrutil", "System Integrity Protection status: moot."]);
    transcript.push_str(&format!("\nunknown form\n{}", desk.say(&["check-sip"])));
    insta::assert_snapshot!(transcript);
}

#[test]
fn doctor_on_a_shipped_mac_and_on_an_open_one() {
    let shipped = Desk::new(&[]).say(&["doctor"]);
    let open = Desk::new(&["--open"]).say(&["doctor"]);
    insta::assert_snapshot!(format!("shipped\n{shipped}\nopen\n{open}"));
}

#[test]
fn every_blocker_ends_with_3_and_leaves_the_directory_as_it_was() {
    for words in [
        ["protections", "0x86d"].as_slice(),
        &["protections", "0x86b"],
        &["protections", "0x6f"],
        &["set", "filevault", "on"],
        &["set", "library-validation", "on"],
        &["set", "boot-args", "amfi=0x80"],
        &["set", "plugin", ""],
        &["set", "free", "0"],
        &["stage-update", "15.8", "24H1"],
    ] {
        let desk = Desk::new(&["--open"]);
        desk.set(words);
        let before = desk.files();
        let output = desk.run(&["doctor", "--json"]);
        assert_eq!(output.status.code(), Some(3), "{words:?}");
        let answer: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(answer["schema"], "agxpatch.doctor/1");
        let sha256 = "ce20c7b2be4e2fcd95642193aade66c9e5145f44ad853c3f868bdd834985daa2";
        // Without a GPU no driver is asked for.
        let asked = (words[1] != "plugin").then_some(sha256);
        assert_eq!(answer["result"]["driver_sha256"].as_str(), asked);
        assert_eq!(desk.files(), before, "{words:?}");
    }
}

#[test]
fn a_process_is_killed_for_real_and_the_mac_is_whole() {
    for (reach, mounted) in [("before", 0), ("after", 1)] {
        let desk = Desk::new(&["--open"]);
        desk.set(&["fault", "1", "kill", "--reach", reach]);
        let at = "/System/Volumes/Update/mnt1";
        let words =
            ["simulate", "tool", "mount", "-o", "nobrowse", "-t", "apfs", "/dev/disk3s1", at];
        assert_eq!(desk.run(&words).status.signal(), Some(9));
        let shown: serde_json::Value =
            serde_json::from_slice(&desk.run(&["simulate", "show", "--json"]).stdout).unwrap();
        assert_eq!(shown["result"]["mounted"].as_array().unwrap().len(), mounted, "{reach}");
        assert_eq!(shown["result"]["effects"], 1);
    }
}

#[test]
fn a_mac_is_made_once_and_missed_where_there_is_none() {
    let desk = Desk::new(&[]);
    let again = desk.run(&["simulate", "new"]);
    assert_eq!(again.status.code(), Some(1));
    let nowhere = Path::new("nowhere");
    let output = Command::new(env!("CARGO_BIN_EXE_agxpatch"))
        .args(["--simulate", nowhere.to_str().unwrap(), "check-sip"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("AGX-0611"));
}

#[test]
fn a_computer_that_is_not_a_mac_says_so() {
    if cfg!(target_os = "macos") {
        return;
    }
    let output = Command::new(env!("CARGO_BIN_EXE_agxpatch")).arg("doctor").output().unwrap();
    assert_eq!(output.status.code(), Some(5));
}
