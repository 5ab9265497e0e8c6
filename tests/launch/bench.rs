//! `agxpatch run` on any Unix, without the guard.

use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

use crate::signals;

/// `agxpatch run`, unguarded, with a home of its own.
pub struct Bench(pub tempfile::TempDir);

impl Bench {
    pub fn new() -> Bench {
        let bench = Bench(tempfile::tempdir().unwrap());
        std::fs::create_dir(bench.path("reports")).unwrap();
        bench
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub fn command(&self, options: &[&str], words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_agxpatch"));
        command.env_clear().env("PATH", "/usr/bin:/bin").env("HOME", self.0.path());
        command.args(["run", "--guard", "off", "--settle", "0"]);
        command.arg("--reports").arg(self.path("reports")).args(options).arg("--").args(words);
        signals::acting(command.stdin(Stdio::null()));
        command
    }

    pub fn shell(&self, options: &[&str], script: &str) -> Output {
        self.command(options, &["sh", "-c", script]).output().unwrap()
    }

    /// What `--report` says of a run of this script.
    pub fn account(&self, options: &[&str], script: &str) -> Value {
        let file = self.path("account.json");
        let options = [options, &["--report", file.to_str().unwrap()]].concat();
        self.shell(&options, script);
        serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap()
    }
}

pub fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}
