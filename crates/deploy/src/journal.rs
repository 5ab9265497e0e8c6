//! The journal: what is going on, on the disk before it goes on.
//!
//! One file. Its head says which operation was begun, in which boot session and
//! about which driver. Each step adds a line before it begins, forced to the disk.
//! A line that was cut off is not JSON and counts as not written, wherever it
//! stands. The file's presence means that something was begun and not ended.

use serde::{Deserialize, Serialize};

use super::manifest::Manifest;
use super::step::{Operation, Step};
use super::{files, layout};
use agxpatch_core::error::{Code, Error, Result};
use agxpatch_host::Host;

/// The first line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// `agxpatch.journal/1`.
    pub schema: String,
    /// `deploy` or `revert`.
    pub operation: Operation,
    /// The boot session in which it was begun.
    pub session: String,
    /// What it is about.
    pub manifest: Manifest,
}

impl Head {
    /// The form written by this version.
    pub const SCHEMA: &'static str = "agxpatch.journal/1";
}

/// A line after the first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Line {
    /// A step is about to begin.
    Begin(Step),
    /// `bless` has made this snapshot and chosen it.
    Chosen(String),
}

/// The journal as it is on the disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Journal {
    /// What it is about.
    pub head: Head,
    lines: Vec<Line>,
}

impl Journal {
    /// Begins a journal. Durable when this returns.
    pub fn create(host: &dyn Host, head: Head) -> Result<Journal> {
        Journal::create_after(host, head, &[])
    }

    /// Begins a journal of an operation that is taken to have come this far, which is
    /// on the disk together with its beginning or not at all.
    pub fn create_after(host: &dyn Host, head: Head, begun: &[Step]) -> Result<Journal> {
        let begun = std::iter::once(&Step::Journal).chain(begun);
        let journal = Journal { head, lines: begun.map(|step| Line::Begin(*step)).collect() };
        files::write_whole(host, &layout::journal(), &journal.text()?, 0o644)?;
        Ok(journal)
    }

    /// The journal of an operation that did not end, if there is one.
    pub fn read(host: &dyn Host) -> Result<Option<Journal>> {
        let path = layout::journal();
        let Some(file) = host.read_if_present(&path)? else { return Ok(None) };
        files::check_file(&path, &file.metadata)?;
        let journal = Journal::parse(&String::from_utf8_lossy(&file.bytes));
        journal.map(Some).ok_or_else(|| {
            Error::new(Code::Altered, "this version cannot read the journal")
                .with("file", path.display())
                .with("expected", Head::SCHEMA)
                .next("use the version of agxpatch that wrote it")
        })
    }

    /// A journal from its text; none where this version did not write it. Another form
    /// may have other steps, and half of what is going on is not a ground to act on.
    pub fn parse(text: &str) -> Option<Journal> {
        let mut lines = text.lines();
        let head: Head = lines.next().and_then(|line| serde_json::from_str(line).ok())?;
        let lines = lines.filter_map(|line| serde_json::from_str(line).ok()).collect();
        (head.schema == Head::SCHEMA).then_some(Journal { head, lines })
    }

    /// Notes that a step is about to begin.
    pub fn begin(&mut self, host: &dyn Host, step: Step) -> Result<()> {
        self.add(host, Line::Begin(step))
    }

    /// Notes the snapshot the next boot comes from.
    pub fn chosen(&mut self, host: &dyn Host, snapshot: &str) -> Result<()> {
        self.add(host, Line::Chosen(snapshot.to_owned()))
    }

    /// Whether a step was begun.
    pub fn has_begun(&self, step: Step) -> bool {
        self.lines.contains(&Line::Begin(step))
    }

    /// The last step that was begun.
    pub fn last_step(&self) -> Option<Step> {
        self.lines.iter().rev().find_map(|line| match line {
            Line::Begin(step) => Some(*step),
            Line::Chosen(_) => None,
        })
    }

    /// The snapshot that `bless` said it made and chose.
    pub fn snapshot(&self) -> Option<&str> {
        self.lines.iter().rev().find_map(|line| match line {
            Line::Chosen(name) => Some(name.as_str()),
            Line::Begin(_) => None,
        })
    }

    /// Removes the journal: nothing is going on any more. Once more where it fails
    /// at first, because the name may be gone and only that not be on the disk.
    pub fn close(host: &dyn Host) -> Result<()> {
        let path = layout::journal();
        files::remove_if_present(host, &path).or_else(|_| {
            files::remove_if_present(host, &path)?;
            files::sync_parent(host, &path)
        })
    }

    /// A line begins with the newline, so that one cut off spoils no other.
    fn add(&mut self, host: &dyn Host, line: Line) -> Result<()> {
        let path = layout::journal();
        let text = serde_json::to_string(&line).map_err(bug)?;
        // This process goes by what it did, even where that cannot be noted.
        self.lines.push(line);
        host.append(&path, format!("\n{text}").as_bytes())?;
        host.sync_file(&path)
    }

    fn text(&self) -> Result<Vec<u8>> {
        let mut text = serde_json::to_string(&self.head).map_err(bug)?;
        for line in &self.lines {
            text.push('\n');
            text.push_str(&serde_json::to_string(line).map_err(bug)?);
        }
        Ok(text.into_bytes())
    }
}

fn bug(reason: serde_json::Error) -> Error {
    Error::new(Code::Bug, "the journal cannot be written").with("reason", reason)
}
