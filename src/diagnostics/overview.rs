//! A collection as people and scripts read it.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::Serialize;

use super::{Collection, Incident, Mark};
use crate::crash::Summary;
use crate::crash::page::{self, Page};
use crate::report::{Report, printable, style};
use agxpatch_core::exit::Exit;

/// One incident, as it is reported when it comes.
#[derive(Serialize)]
pub struct Seen(pub Incident);

impl Report for Seen {
    const SCHEMA: &'static str = "agxpatch.crash/1";

    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        line(out, &self.0, false)
    }
}

/// All incidents and their counts.
#[derive(Serialize)]
pub struct Overview {
    /// When the mark was taken that `new` counts from.
    marked: Option<Timestamp>,
    new_incidents: Vec<String>,
    summary: Summary,
    #[serde(flatten)]
    collection: Collection,
    #[serde(skip)]
    list: bool,
    #[serde(skip)]
    new_in_gpu_code: bool,
}

impl Overview {
    /// Counts `collection`; what is not in `mark` is new, and without one nothing
    /// is. `list` adds every incident to the text, which the JSON always has.
    pub fn new(collection: Collection, mark: Option<&Mark>, list: bool) -> Overview {
        let is_new = |incident: &Incident| mark.is_some_and(|mark| mark.is_new(incident));
        let incidents = collection.incidents.iter();
        let summary = Summary::of(incidents.clone().map(|each| (&each.report, is_new(each))));
        let new: Vec<&Incident> = incidents.filter(|each| is_new(each)).collect();
        Overview {
            marked: mark.map(|mark| mark.taken),
            new_in_gpu_code: new.iter().any(|each| each.report.class.family().counts()),
            new_incidents: new.iter().map(|each| each.report.incident.clone()).collect(),
            summary,
            collection,
            list,
        }
    }

    fn headline(&self) -> String {
        let Collection { incidents, files, copies, unreadable } = &self.collection;
        let mut text =
            format!("{} in {}", count(incidents.len(), "incident"), count(*files, "file"));
        let mut aside = Vec::new();
        if *copies > 0 {
            aside.push(format!("{} of reports already counted", count(*copies, "copy")));
        }
        if !unreadable.is_empty() {
            aside.push(format!("{} not read", unreadable.len()));
        }
        if !aside.is_empty() {
            text.push_str(&format!(" ({})", aside.join(", ")));
        }
        if let Some(taken) = self.marked {
            text.push_str(&format!("; {} new since {taken:.0}", self.new_incidents.len()));
        }
        text
    }

    /// The counts as a page of HTML, made at `now` from `paths`.
    pub fn page(&self, paths: &[PathBuf], now: Timestamp) -> String {
        let places: Vec<String> = paths.iter().map(|path| shown(path)).collect();
        let unreadable: Vec<(String, String)> = self
            .collection
            .unreadable
            .iter()
            .map(|skipped| (shown(&skipped.path), printable(&skipped.reason)))
            .collect();
        page::html(&Page {
            headline: &self.headline(),
            made: &format!(
                "Made by agxpatch {} at {now:.0} from {}. Days are UTC.",
                env!("CARGO_PKG_VERSION"),
                places.join(", ")
            ),
            summary: &self.summary,
            marked: self.marked.is_some(),
            unreadable: &unreadable,
        })
    }

    fn new_column(&self, new: u64) -> String {
        match (self.marked, new) {
            (None, _) | (_, 0) => String::new(),
            (Some(_), new) => format!("  {}+{new}{}", style::BAD, style::RESET),
        }
    }
}

impl Report for Overview {
    const SCHEMA: &'static str = "agxpatch.crashes/1";

    fn exit(&self) -> Exit {
        if self.new_in_gpu_code { Exit::Mismatch } else { Exit::Success }
    }

    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out, "{}{}{}", style::STRONG, self.headline(), style::RESET)?;
        if !self.summary.classes.is_empty() {
            writeln!(out, "\n{:>9}     class", "incidents")?;
        }
        for row in &self.summary.classes {
            let new = self.new_column(row.new);
            let (letter, class, title) = (row.letter, row.class, row.title);
            writeln!(out, "{:>9}  {letter}  {class:<22}  {title}{new}", row.incidents)?;
        }
        let groups = [("process", &self.summary.processes), ("driver", &self.summary.drivers)];
        for (what, counts) in groups.into_iter().filter(|(_, counts)| !counts.is_empty()) {
            writeln!(out, "\n{:>9}  {:>6}  {what}", "incidents", "in GPU")?;
            for row in counts.iter().take(20) {
                let new = self.new_column(row.new);
                writeln!(out, "{:>9}  {:>6}  {}{new}", row.incidents, row.gpu, row.name)?;
            }
        }
        if self.list {
            writeln!(out)?;
            self.collection.incidents.iter().try_for_each(|each| line(out, each, true))?;
        }
        unread(out, &self.collection)
    }
}

fn unread(out: &mut dyn Write, collection: &Collection) -> io::Result<()> {
    const SHOWN: usize = 20;
    if collection.unreadable.is_empty() {
        return Ok(());
    }
    writeln!(out, "\n{}not read{}", style::WARN, style::RESET)?;
    for skipped in collection.unreadable.iter().take(SHOWN) {
        writeln!(out, "  {}: {}", shown(&skipped.path), printable(&skipped.reason))?;
    }
    match collection.unreadable.len().checked_sub(SHOWN) {
        None | Some(0) => Ok(()),
        Some(more) => writeln!(out, "  and {more} more; all with --json"),
    }
}

/// One incident: a line for what and who, one for where and why.
fn line(out: &mut dyn Write, incident: &Incident, path: bool) -> io::Result<()> {
    let report = &incident.report;
    let colour = if report.class.family().counts() { style::BAD } else { style::FAINT };
    let time = report.captured.map_or("unknown time".to_owned(), |time| format!("{time:.0}"));
    let process = report.process.as_deref().unwrap_or("unknown process");
    let pid = report.pid.map(|pid| format!(" [{pid}]")).unwrap_or_default();
    writeln!(out, "{time}  {colour}{}{}  {process}{pid}", report.class, style::RESET)?;
    let evidence = &report.evidence;
    write!(out, "  {}", evidence.because)?;
    if let Some(frame) = &evidence.frame {
        write!(out, "; {frame}")?;
    }
    if let Some(address) = &evidence.address {
        write!(out, "; at {address}")?;
    }
    if let Some(authentic) = &evidence.authentic_address {
        write!(out, " for {authentic}")?;
    }
    writeln!(out)?;
    if path {
        writeln!(out, "  {}{}{}", style::FAINT, shown(&incident.path), style::RESET)?;
    }
    Ok(())
}

/// A path as people may see it: files can be named anything.
fn shown(path: &Path) -> String {
    printable(&path.to_string_lossy())
}

fn count(number: impl TryInto<u64>, what: &str) -> String {
    let number = number.try_into().unwrap_or(u64::MAX);
    match (number, what.strip_suffix('y')) {
        (1, _) => format!("1 {what}"),
        (_, Some(stem)) => format!("{number} {stem}ies"),
        (_, None) => format!("{number} {what}s"),
    }
}
