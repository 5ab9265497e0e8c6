//! A collection as people and scripts read it.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::Serialize;

use super::{Collection, Incident, Mark};
use crate::crash::page::{self, Page};
use crate::crash::{Advice, BuildCount, Class, CrashReport, Location, Summary, remedy};
use crate::report::{Report, printable, style};
use agxpatch_core::exit::Exit;

/// One incident with what to do about it, as it is reported when it comes.
#[derive(Serialize)]
pub struct Seen {
    #[serde(flatten)]
    incident: Incident,
    advice: Advice,
}

impl Seen {
    /// Adds the advice.
    pub fn new(incident: Incident) -> Seen {
        Seen { advice: remedy::advice(&incident.report), incident }
    }
}

impl Report for Seen {
    const SCHEMA: &'static str = "agxpatch.crash/1";

    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        line(out, &self.incident, false)?;
        match self.incident.report.class.family().counts() {
            true => steps(out, &self.advice),
            false => Ok(()),
        }
    }
}

/// What to do about the incidents that have an advice in common.
#[derive(Serialize)]
struct Advised {
    classes: Vec<Class>,
    incidents: u64,
    #[serde(flatten)]
    advice: Advice,
}

/// The advice on `collection`, that on most incidents first.
fn advise(collection: &Collection) -> Vec<Advised> {
    let mut all: Vec<Advised> = Vec::new();
    let relevant =
        |each: &&Incident| !matches!(each.report.class, Class::Unrelated | Class::Unreadable);
    for incident in collection.incidents.iter().filter(relevant) {
        let (class, advice) = (incident.report.class, remedy::advice(&incident.report));
        match all.iter_mut().find(|each| each.advice == advice) {
            Some(same) => {
                same.incidents += 1;
                if !same.classes.contains(&class) {
                    same.classes.push(class);
                }
            }
            None => all.push(Advised { classes: vec![class], incidents: 1, advice }),
        }
    }
    all.sort_by_key(|each| std::cmp::Reverse(each.incidents));
    all
}

/// All incidents and their counts.
#[derive(Serialize)]
pub struct Overview {
    /// When the mark was taken that `new` counts from.
    marked: Option<Timestamp>,
    new_incidents: Vec<String>,
    summary: Summary,
    advice: Vec<Advised>,
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
            advice: advise(&collection),
            collection,
            list,
        }
    }

    fn headline(&self) -> String {
        let Collection { incidents, files, copies, unreadable, others } = &self.collection;
        let mut text =
            format!("{} in {}", count(incidents.len(), "incident"), count(*files, "file"));
        let mut aside = Vec::new();
        if *copies > 0 {
            aside.push(format!("{} of reports already counted", count(*copies, "copy")));
        }
        if !unreadable.is_empty() {
            aside.push(format!("{} unreadable", unreadable.len()));
        }
        if *others > 0 {
            aside.push(format!("{} without a report", count(*others, "other text")));
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
            writeln!(out, "{:>9}  {letter}  {class:<24}  {title}{new}", row.incidents)?;
        }
        let groups = [("process", &self.summary.processes), ("driver", &self.summary.drivers)];
        for (what, counts) in groups.into_iter().filter(|(_, counts)| !counts.is_empty()) {
            writeln!(out, "\n{:>9}  {:>6}  {what}", "incidents", "in GPU")?;
            for row in counts.iter().take(MAX_ROWS) {
                let new = self.new_column(row.new);
                writeln!(out, "{:>9}  {:>6}  {}{new}", row.incidents, row.gpu, row.name)?;
            }
        }
        builds(out, "macOS and driver", &self.summary.builds)?;
        builds(out, "program", &self.summary.programs)?;
        advised(out, &self.advice)?;
        if self.list {
            writeln!(out)?;
            self.collection.incidents.iter().try_for_each(|each| line(out, each, true))?;
        }
        notes(out, &self.collection)?;
        unread(out, &self.collection)
    }
}

/// Rows of the tables and steps that are printed; JSON has all.
const MAX_ROWS: usize = 20;

fn builds(out: &mut dyn Write, what: &str, counts: &[BuildCount]) -> io::Result<()> {
    if counts.is_empty() {
        return Ok(());
    }
    writeln!(
        out,
        "\n{:>9}  {:>6}  {:>7}  {:10}  {:10}  {what}",
        "incidents", "in GPU", "a day", "first", "last"
    )?;
    for row in counts.iter().take(MAX_ROWS) {
        let day = |day: Option<jiff::civil::Date>| day.map_or("-".into(), |day| day.to_string());
        let rate = row.per_day().map_or("-".into(), |rate| format!("{rate:.2}"));
        let (first, last) = (day(row.first), day(row.last));
        let driver = row.driver.as_deref().map(|name| format!(", {name}")).unwrap_or_default();
        writeln!(
            out,
            "{:>9}  {:>6}  {rate:>7}  {first:10}  {last:10}  {}{driver}",
            row.incidents, row.gpu, row.name
        )?;
    }
    Ok(())
}

fn advised(out: &mut dyn Write, advice: &[Advised]) -> io::Result<()> {
    if advice.is_empty() {
        return Ok(());
    }
    writeln!(out, "\n{}what to do{}", style::STRONG, style::RESET)?;
    for each in advice.iter().take(MAX_ROWS) {
        let classes: Vec<String> = each.classes.iter().map(ToString::to_string).collect();
        writeln!(out, "  {} ({})", classes.join(", "), count(each.incidents, "incident"))?;
        steps(out, &each.advice)?;
    }
    Ok(())
}

/// Whose fault it is, then what to try, numbered.
pub(crate) fn steps(out: &mut dyn Write, advice: &Advice) -> io::Result<()> {
    writeln!(out, "    {}: {}", advice.fault.title(), advice.says)?;
    for (number, remedy) in advice.remedies.iter().enumerate() {
        writeln!(out, "    {}. {}", number + 1, remedy.text)?;
        if let Some(command) = &remedy.command {
            writeln!(out, "         $ {command}")?;
        }
        for source in &remedy.sources {
            writeln!(out, "         {}{source}{}", style::FAINT, style::RESET)?;
        }
    }
    Ok(())
}

/// What was left out of reports that were read.
fn notes(out: &mut dyn Write, collection: &Collection) -> io::Result<()> {
    let noted = collection.incidents.iter().flat_map(|incident| {
        let report = &incident.report;
        let all = report.incomplete.iter().chain(&report.notes);
        all.map(move |note| (&incident.path, note))
    });
    let noted: Vec<_> = noted.collect();
    if noted.is_empty() {
        return Ok(());
    }
    writeln!(out, "\n{}incomplete, or with parts left out{}", style::WARN, style::RESET)?;
    for (path, note) in noted.iter().take(MAX_ROWS) {
        writeln!(out, "  {}: {}", shown(path), printable(note))?;
    }
    match noted.len().checked_sub(MAX_ROWS) {
        None | Some(0) => Ok(()),
        Some(more) => writeln!(out, "  and {more} more; all with --json"),
    }
}

fn unread(out: &mut dyn Write, collection: &Collection) -> io::Result<()> {
    if collection.unreadable.is_empty() {
        return Ok(());
    }
    writeln!(out, "\n{}unreadable{}", style::WARN, style::RESET)?;
    for skipped in collection.unreadable.iter().take(MAX_ROWS) {
        writeln!(out, "  {}: {}", shown(&skipped.path), printable(&skipped.reason))?;
    }
    match collection.unreadable.len().checked_sub(MAX_ROWS) {
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
    let grounds: Vec<&str> = evidence.rests_on.iter().map(|ground| ground.title()).collect();
    writeln!(out, "; {} by {}", evidence.sureness.title(), grounds.join(", "))?;
    if path {
        surroundings(out, report)?;
    }
    if path {
        writeln!(out, "  {}{}{}", style::FAINT, shown(&incident.path), style::RESET)?;
    }
    Ok(())
}

/// What the report says about driver, programs and protections.
fn surroundings(out: &mut dyn Write, report: &CrashReport) -> io::Result<()> {
    let mut parts: Vec<String> = report.os.iter().cloned().collect();
    if let Some(driver) = &report.driver {
        let place = match driver.location {
            Some(Location::SharedCache) => " in the shared cache",
            Some(Location::File) => " (a file)",
            None => "",
        };
        let version = driver.version.as_deref().unwrap_or("version unknown");
        parts.push(format!("{} {version}{place}", driver.name));
    }
    for program in &report.programs {
        let version = program.version.as_deref().unwrap_or("version unknown");
        parts.push(format!("{} {version}", program.name));
    }
    parts.extend(report.protections.sip.iter().map(|sip| format!("SIP {sip}")));
    let monitor = report.protections.code_signing_monitor;
    parts.extend(monitor.map(|monitor| format!("code signing monitor {monitor}")));
    match parts.is_empty() {
        true => Ok(()),
        false => writeln!(out, "  {}", parts.join(", ")),
    }
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
