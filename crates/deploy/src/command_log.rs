//! The record of commands, on the disk while they are run.
//!
//! When something went wrong for good, what the tools said is the evidence. So each
//! command is on the disk with its output before the next one begins. A run that
//! never takes the lock changes nothing and leaves no record; one that ends what an
//! earlier run left goes on in that run's record, which would be lost otherwise.
//!
//! Only root may read it, and it holds no secret: what a tool reads on its input is
//! not part of a command's text. A record that cannot be kept stops nothing.

use std::cell::{Cell, RefCell};
use std::fmt::Write;

use super::{files, layout};
use agxpatch_core::error::Result;
use agxpatch_host::Host;
use agxpatch_host::logging_host::{ActionKind, Entry, Sink};

/// Keeps the record of one run.
pub struct CommandLog<'a> {
    host: &'a dyn Host,
    /// What is not on the disk yet.
    waiting: RefCell<String>,
    kept: Cell<Kept>,
}

/// How the record stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kept {
    /// The lock was not taken.
    NotYet,
    /// On the disk.
    There,
    /// It could not be written.
    Failed,
}

impl<'a> CommandLog<'a> {
    /// A record kept on `host`, by itself and not through what it records.
    pub fn new(host: &'a dyn Host) -> CommandLog<'a> {
        let head = format!("{} agxpatch {}\n", host.now(), env!("CARGO_PKG_VERSION"));
        CommandLog { host, waiting: RefCell::new(head), kept: Cell::new(Kept::NotYet) }
    }

    /// Whether there is a record of this run. Puts the last of it on the disk.
    pub fn finish(&self) -> bool {
        if self.kept.get() == Kept::There {
            self.keep(|| self.add());
        }
        self.kept.get() == Kept::There
    }

    fn keep(&self, write: impl FnOnce() -> Result<()>) {
        let kept = if write().is_ok() { Kept::There } else { Kept::Failed };
        self.kept.set(kept);
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
        if self.kept.get() == Kept::Failed {
            return;
        }
        // Writing to a string does not fail.
        let _ = write!(self.waiting.borrow_mut(), "{entry}");
        match (self.kept.get(), entry.action) {
            (Kept::NotYet, ActionKind::Lock) if entry.done => self.keep(|| self.begin()),
            (Kept::There, ActionKind::Command) => self.keep(|| self.add()),
            _ => {}
        }
    }
}
