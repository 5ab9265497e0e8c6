//! The record of commands, on the disk while they are run.
//!
//! When something went wrong for good, what the tools said is the evidence. So each
//! command is on the disk with its output before the next one begins. A run that
//! never takes the lock changes nothing and leaves no record; one that ends what an
//! earlier run left goes on in that run's record, which would be lost otherwise.
//!
//! Only root may read it, and it holds no secret: what a tool reads on its input is
//! not part of a command's text. A record that cannot be kept stops nothing, and the
//! user is told in the end.

use std::cell::RefCell;
use std::fmt::Write;

use super::{files, layout};
use agxpatch_core::error::{Error, Result};
use agxpatch_host::Host;
use agxpatch_host::logging_host::{ActionKind, Entry, Sink};

/// Keeps the record of one run.
pub struct CommandLog<'a> {
    host: &'a dyn Host,
    /// What is not on the disk yet.
    waiting: RefCell<String>,
    state: RefCell<LogState>,
}

/// What became of the record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogState {
    /// The lock was not taken, so there is none.
    NotBegun,
    /// It is on the disk.
    Kept,
    /// It could not be written to its end, and why.
    Incomplete(String),
}

impl<'a> CommandLog<'a> {
    /// A record kept on `host`, by itself and not through what it records.
    pub fn new(host: &'a dyn Host) -> CommandLog<'a> {
        let head = format!("{} agxpatch {}\n", host.now(), env!("CARGO_PKG_VERSION"));
        CommandLog { host, waiting: RefCell::new(head), state: RefCell::new(LogState::NotBegun) }
    }

    /// Puts the last of the record on the disk, and tells what became of it.
    pub fn finish(&self) -> LogState {
        if self.state.borrow().clone() == LogState::Kept {
            self.keep(|| self.add());
        }
        self.state.borrow().clone()
    }

    fn keep(&self, write: impl FnOnce() -> Result<()>) {
        let state = match write() {
            Ok(()) => LogState::Kept,
            Err(error) => LogState::Incomplete(reason(&error)),
        };
        self.state.replace(state);
    }

    fn begin(&self) -> Result<()> {
        let path = layout::log();
        let continued = self.host.metadata(&layout::journal())?.is_some();
        if !continued || self.host.metadata(&path)?.is_none() {
            files::remove_if_present(self.host, &path)?;
            self.host.write_new(&path, b"", 0o600)?;
            files::sync_parent(self.host, &path)?;
        }
        self.add()
    }

    fn add(&self) -> Result<()> {
        let text = self.waiting.take();
        if text.is_empty() {
            return Ok(());
        }
        self.host.append(&layout::log(), text.as_bytes())?;
        self.host.sync_file(&layout::log())
    }
}

impl Sink for CommandLog<'_> {
    fn record(&self, entry: Entry) {
        let state = self.state.borrow().clone();
        if matches!(state, LogState::Incomplete(_)) {
            return;
        }
        // Writing to a string does not fail.
        let _ = write!(self.waiting.borrow_mut(), "{entry}");
        match (state, entry.action) {
            (LogState::NotBegun, ActionKind::Lock) if entry.done => self.keep(|| self.begin()),
            (LogState::Kept, ActionKind::Command) => self.keep(|| self.add()),
            _ => {}
        }
    }
}

/// The reason in an error of the host, or the error.
fn reason(error: &Error) -> String {
    let reason = error.context().iter().find(|(name, _)| *name == "reason");
    reason.map_or_else(|| error.to_string(), |(_, reason)| reason.clone())
}
