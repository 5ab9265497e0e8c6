//! A simulated Mac kept in a directory, on which the program is run.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

use agxpatch_simulate::driver::{self, Container, Variant};
use agxpatch_simulate::mac::SimulatedMac;
use serde_json::Value;

use crate::signals;

/// A Mac in a directory.
pub struct Kept {
    pub place: tempfile::TempDir,
}

/// An opened Mac, made once and copied. Its driver has the arm64e slice alone: the other
/// one doubles the work of every run and takes no part in it.
pub fn template() -> &'static Path {
    static TEMPLATE: OnceLock<tempfile::TempDir> = OnceLock::new();
    let thin = Variant { container: Container::Thin, ..Variant::PUBLISHED };
    TEMPLATE.get_or_init(|| Kept::with_driver(&thin).place).path()
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else if target.parent().unwrap().ends_with("objects") {
            // Contents never change, so a second name will do.
            std::fs::hard_link(entry.path(), target).unwrap();
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

impl Kept {
    pub fn new() -> Kept {
        Kept::like(template())
    }

    /// An opened Mac with this driver.
    pub fn with_driver(variant: &Variant) -> Kept {
        Kept::with_driver_file(&driver::build(variant).unwrap())
    }

    /// The same with the bytes of a driver.
    pub fn with_driver_file(bytes: &[u8]) -> Kept {
        let mac = Kept { place: tempfile::tempdir().unwrap() };
        let driver = mac.place.path().join("driver");
        std::fs::write(&driver, bytes).unwrap();
        let words = ["simulate", "new", "--open", "--driver", driver.to_str().unwrap()];
        assert!(mac.run(&words).status.success());
        mac
    }

    pub fn like(other: &Path) -> Kept {
        let kept = Kept { place: tempfile::tempdir().unwrap() };
        copy(&other.join("mac"), &kept.mac());
        kept
    }

    pub fn mac(&self) -> PathBuf {
        self.place.path().join("mac")
    }

    pub fn run(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_agxpatch"));
        command.env_clear().stdin(Stdio::null()).arg("--simulate").arg(self.mac());
        signals::acting(command.args(arguments)).output().unwrap()
    }

    pub fn json(&self, arguments: &[&str]) -> Value {
        let output = self.run(&[&["--json"], arguments].concat());
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
    }

    /// What is printed, with what differs from run to run taken out.
    pub fn transcript(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        let code = output.status.code().unwrap();
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8(text).unwrap();
        format!("$ agxpatch {}\n{text}[exit {code}]\n\n", arguments.join(" "))
    }

    pub fn digest(&self) -> String {
        let planned = self.json(&["deploy", "--dry-run", "--unlisted-build"]);
        planned["result"]["plan"]["digest"].as_str().unwrap().to_owned()
    }

    pub fn deploy(&self, digest: &str) -> Output {
        self.run(&["deploy", "--unlisted-build", "--yes", "--plan", digest])
    }

    pub fn state(&self) -> String {
        self.json(&["status"])["result"]["state"].as_str().unwrap().to_owned()
    }

    /// The Mac, for this process to look at and handle.
    pub fn open(&self) -> SimulatedMac {
        SimulatedMac::open(&self.mac()).unwrap()
    }

    /// Everything there is of the Mac.
    pub fn bytes(&self) -> Vec<u8> {
        std::fs::read(self.mac().join("state.json")).unwrap()
    }
}
