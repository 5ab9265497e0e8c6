//! Running the built program on files in a directory of one's own.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use agxpatch_simulate::driver::{self, Variant};

/// The program with a clean environment.
pub fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_agxpatch"));
    command.env_clear().stdin(std::process::Stdio::null());
    command
}

/// What a run came to.
pub struct Ran {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl From<Output> for Ran {
    fn from(output: Output) -> Ran {
        Ran {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

impl Ran {
    /// The JSON object the program printed.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|error| panic!("no JSON ({error}): {}{}", self.stdout, self.stderr))
    }

    /// The error code it printed, such as `AGX-0101`.
    pub fn error_code(&self) -> &str {
        let at = self.stderr.find("[AGX-").map(|at| at + 1);
        at.map(|at| &self.stderr[at..at + 8]).unwrap_or_default()
    }
}

/// Runs the program.
pub fn run<I: AsRef<OsStr>>(arguments: impl IntoIterator<Item = I>) -> Ran {
    program().args(arguments).output().unwrap().into()
}

/// A directory for one test.
pub struct Place(tempfile::TempDir);

impl Place {
    pub fn new() -> Place {
        Place(tempfile::tempdir().unwrap())
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Writes a file and returns its path.
    pub fn file(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }

    /// The names of everything in the directory.
    pub fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = std::fs::read_dir(self.0.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

/// The bytes of the standard synthetic driver, made once.
pub fn driver() -> &'static [u8] {
    static DRIVER: OnceLock<Vec<u8>> = OnceLock::new();
    DRIVER.get_or_init(|| driver::build(&Variant::PUBLISHED).unwrap())
}

/// A little-endian word of a file.
pub fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
}

pub fn read(path: &Path) -> Vec<u8> {
    std::fs::read(path).unwrap()
}
