//! A host that keeps a record of every command and every change of a file.

use std::cell::RefCell;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;

use super::{Command, CsrConfig, File, Host, Kind, LoadTrial, Loading, Lock, Metadata, Output};
use agxpatch_core::error::Result;

/// What an entry is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ActionKind {
    /// A tool was run.
    Command,
    /// A file was changed.
    Change,
    /// The lock was taken.
    Lock,
}

/// One line of the record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Entry {
    /// When, by the host's clock.
    pub time: jiff::Timestamp,
    /// What sort of thing was done.
    pub action: ActionKind,
    /// Whether it was done: a tool that ran, whatever it said, was.
    pub done: bool,
    /// The command as a person would type it, or the change in words.
    pub what: String,
    /// The status a tool ended with, or `ok`, or the error.
    pub outcome: String,
    /// What a tool said on standard output.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub stdout: String,
    /// What a tool said on standard error.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub stderr: String,
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} {}: {}", self.time, self.what, self.outcome)?;
        for (name, text) in [("stdout", &self.stdout), ("stderr", &self.stderr)] {
            for line in text.lines() {
                writeln!(f, "    {name}: {line}")?;
            }
        }
        Ok(())
    }
}

/// Where entries go.
pub trait Sink {
    /// Takes one entry. A record that cannot be kept must not stop the work it
    /// records, so there is nothing to return.
    fn record(&self, entry: Entry);
}

/// Keeps the entries in memory.
impl Sink for RefCell<Vec<Entry>> {
    fn record(&self, entry: Entry) {
        self.borrow_mut().push(entry);
    }
}

/// Wraps a host and records what is done through it: every command, and every
/// change of a file. Reading a file is not recorded, a secret never is.
pub struct Logged<'a> {
    host: &'a dyn Host,
    sink: &'a dyn Sink,
}

impl<'a> Logged<'a> {
    /// Records what is done on `host` in `sink`.
    pub fn new(host: &'a dyn Host, sink: &'a dyn Sink) -> Logged<'a> {
        Logged { host, sink }
    }

    fn note<T>(&self, what: String, result: Result<T>) -> Result<T> {
        self.note_of(ActionKind::Change, what, result)
    }

    fn note_of<T>(&self, action: ActionKind, what: String, result: Result<T>) -> Result<T> {
        let done = result.is_ok();
        let outcome = match &result {
            Ok(_) => "ok".to_owned(),
            Err(error) => {
                let mut text = error.to_string();
                for (name, value) in error.context() {
                    text.push_str(&format!("; {name}: {value}"));
                }
                text
            }
        };
        let (stdout, stderr) = (String::new(), String::new());
        let time = self.host.now();
        self.sink.record(Entry { time, action, done, what, outcome, stdout, stderr });
        result
    }
}

impl Host for Logged<'_> {
    fn kind(&self) -> Kind {
        self.host.kind()
    }

    fn run(&self, command: &Command) -> Result<Output> {
        let result = self.host.run(command);
        let Ok(output) = &result else {
            return self.note_of(ActionKind::Command, command.to_string(), result);
        };
        self.sink.record(Entry {
            time: self.host.now(),
            action: ActionKind::Command,
            done: true,
            what: command.to_string(),
            outcome: output.status.to_string(),
            stdout: output.text(),
            stderr: output.complaint(),
        });
        result
    }

    fn csr_active_config(&self) -> Result<Option<CsrConfig>> {
        self.host.csr_active_config()
    }

    fn shared_cache_contains(&self, path: &Path) -> Result<Option<bool>> {
        self.host.shared_cache_contains(path)
    }

    fn trusted_gpu_bundle(&self, name: &str) -> Result<Option<Option<PathBuf>>> {
        self.host.trusted_gpu_bundle(name)
    }

    fn try_load(&self, trial: &LoadTrial<'_>) -> Result<Loading> {
        self.host.try_load(trial)
    }

    fn effective_user(&self) -> u32 {
        self.host.effective_user()
    }

    fn has_terminal(&self) -> bool {
        self.host.has_terminal()
    }

    fn now(&self) -> jiff::Timestamp {
        self.host.now()
    }

    fn pause(&self, time: Duration) {
        self.host.pause(time);
    }

    fn metadata(&self, path: &Path) -> Result<Option<Metadata>> {
        self.host.metadata(path)
    }

    fn read(&self, path: &Path) -> Result<File> {
        self.host.read(path)
    }

    fn list(&self, path: &Path) -> Result<Vec<String>> {
        self.host.list(path)
    }

    fn create_directory(&self, path: &Path, mode: u32) -> Result<()> {
        let what = format!("create directory {} mode {mode:o}", path.display());
        self.note(what, self.host.create_directory(path, mode))
    }

    fn write_new(&self, path: &Path, bytes: &[u8], mode: u32) -> Result<()> {
        let what = format!("write {} ({} bytes) mode {mode:o}", path.display(), bytes.len());
        self.note(what, self.host.write_new(path, bytes, mode))
    }

    fn append(&self, path: &Path, bytes: &[u8]) -> Result<()> {
        let what = format!("append to {} ({} bytes)", path.display(), bytes.len());
        self.note(what, self.host.append(path, bytes))
    }

    fn sync_file(&self, path: &Path) -> Result<()> {
        self.note(format!("sync {}", path.display()), self.host.sync_file(path))
    }

    fn sync_directory(&self, path: &Path) -> Result<()> {
        self.note(format!("sync directory {}", path.display()), self.host.sync_directory(path))
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        let what = format!("rename {} to {}", from.display(), to.display());
        self.note(what, self.host.rename(from, to))
    }

    fn set_mode(&self, path: &Path, mode: u32) -> Result<()> {
        self.note(
            format!("set mode {mode:o} of {}", path.display()),
            self.host.set_mode(path, mode),
        )
    }

    fn set_owner(&self, path: &Path, user: u32, group: u32) -> Result<()> {
        let what = format!("set owner {user}:{group} of {}", path.display());
        self.note(what, self.host.set_owner(path, user, group))
    }

    fn remove_file(&self, path: &Path) -> Result<()> {
        self.note(format!("remove {}", path.display()), self.host.remove_file(path))
    }

    fn remove_directory(&self, path: &Path) -> Result<()> {
        self.note(format!("remove directory {}", path.display()), self.host.remove_directory(path))
    }

    fn lock(&self, path: &Path) -> Result<Lock> {
        self.note_of(ActionKind::Lock, format!("lock {}", path.display()), self.host.lock(path))
    }
}
