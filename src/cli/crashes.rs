//! `agxpatch crashes`: what the crash reports on this machine tell.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use super::Session;
use crate::crash::Summary;
use crate::crash::page::{self, Page};
use crate::diagnostics::{self, Collection, Incident, Limits, Mark, Watcher};
use crate::error::{Code, Error, Result};
use crate::exit::Exit;
use crate::report::{Report, style};

/// Arguments of `agxpatch crashes`.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Folders or files to read, instead of the usual folders of macOS.
    #[arg(value_name = "DIR")]
    paths: Vec<PathBuf>,

    /// Leave out what died before: a date, an RFC 3339 time, or an age such as
    /// 30m, 12h or 7d.
    #[arg(long, value_name = "T", value_parser = parse_since)]
    since: Option<Timestamp>,

    /// Tell which incidents are new since this mark; exit 2 if one of them died
    /// in GPU code.
    #[arg(long, value_name = "FILE")]
    mark: Option<PathBuf>,

    /// Remember the incidents that are there now.
    #[arg(long, value_name = "FILE")]
    save_mark: Option<PathBuf>,

    /// Copy the reports of the listed incidents, the new ones with --mark, into
    /// this folder.
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,

    /// Write a page with a chart over time.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,

    /// List every incident.
    #[arg(long)]
    list: bool,

    /// Stay, and report each incident as it comes.
    #[arg(long, conflicts_with_all = ["mark", "save_mark", "keep", "html", "list"])]
    watch: bool,

    /// Seconds between two looks with --watch.
    #[arg(long, value_name = "S", default_value_t = 5, requires = "watch",
          value_parser = clap::value_parser!(u64).range(1..))]
    every: u64,
}

/// Runs the command.
pub fn run(args: Args, session: &Session) -> Result<Exit> {
    let paths = paths(&args.paths);
    if args.watch {
        return watch(paths, &args, session);
    }
    let mark = args.mark.as_deref().map(read_mark).transpose()?;
    let mut collection = diagnostics::collect(&paths, &Limits::default())?;
    let now = Timestamp::now();
    if let Some(file) = &args.save_mark {
        write(file, &Mark::of(&collection, now).to_json())?;
    }
    if let Some(since) = args.since {
        // An incident without a time may be of any; it stays.
        collection.incidents.retain(|each| each.report.captured.is_none_or(|time| time >= since));
    }
    if let Some(folder) = &args.keep {
        let new = |each: &&Incident| mark.as_ref().is_none_or(|mark| mark.is_new(each));
        diagnostics::gather(collection.incidents.iter().filter(new), folder)?;
    }
    let overview = Overview::new(collection, mark, args.list);
    if let Some(file) = &args.html {
        write(file, &overview.page(&paths, now))?;
    }
    session.show(&overview)
}

/// Those given, or the usual ones that exist.
fn paths(given: &[PathBuf]) -> Vec<PathBuf> {
    if !given.is_empty() {
        return given.to_vec();
    }
    let home = std::env::home_dir();
    let usual = diagnostics::usual_folders(home.as_deref());
    usual.into_iter().filter(|folder| folder.is_dir()).collect()
}

/// Reports until interrupted, or until nobody reads any more.
fn watch(paths: Vec<PathBuf>, args: &Args, session: &Session) -> Result<Exit> {
    let mut watcher = Watcher::new(paths, Limits::default());
    let known = watcher.look()?;
    let since = |incident: &Incident| match (args.since, incident.report.captured) {
        (Some(since), Some(time)) => time >= since,
        _ => false,
    };
    known.into_iter().filter(since).try_for_each(|incident| show(incident, session))?;
    loop {
        std::thread::sleep(Duration::from_secs(args.every));
        for incident in watcher.look()? {
            show(incident, session)?;
        }
    }
}

fn show(incident: Incident, session: &Session) -> Result<()> {
    session.show(&Seen(incident)).map(drop)
}

/// One incident, as `--watch` reports it.
#[derive(Serialize)]
struct Seen(Incident);

impl Report for Seen {
    const SCHEMA: &'static str = "agxpatch.crash/1";

    fn text(&self, out: &mut dyn Write) -> io::Result<()> {
        line(out, &self.0, false)
    }
}

/// All incidents and their counts.
#[derive(Serialize)]
struct Overview {
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
    fn new(collection: Collection, mark: Option<Mark>, list: bool) -> Overview {
        let is_new = |incident: &Incident| mark.as_ref().is_some_and(|mark| mark.is_new(incident));
        let incidents = collection.incidents.iter();
        let summary = Summary::of(incidents.clone().map(|each| (&each.report, is_new(each))));
        let new: Vec<&Incident> = incidents.filter(|each| is_new(each)).collect();
        Overview {
            marked: mark.as_ref().map(|mark| mark.taken),
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

    fn page(&self, paths: &[PathBuf], now: Timestamp) -> String {
        let places: Vec<String> = paths.iter().map(|path| path.display().to_string()).collect();
        let unreadable: Vec<(String, String)> = self
            .collection
            .unreadable
            .iter()
            .map(|skipped| (skipped.path.display().to_string(), skipped.reason.clone()))
            .collect();
        page::html(&Page {
            headline: &self.headline(),
            made: &format!(
                "Made by agxpatch {} at {now:.0} from {}. Days are UTC.",
                env!("CARGO_PKG_VERSION"),
                places.join(", ")
            ),
            summary: &self.summary,
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
        writeln!(out, "  {}: {}", skipped.path.display(), skipped.reason)?;
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
        writeln!(out, "  {}{}{}", style::FAINT, incident.path.display(), style::RESET)?;
    }
    Ok(())
}

fn count(number: impl TryInto<u64>, what: &str) -> String {
    let number = number.try_into().unwrap_or(u64::MAX);
    match (number, what.strip_suffix('y')) {
        (1, _) => format!("1 {what}"),
        (_, Some(stem)) => format!("{number} {stem}ies"),
        (_, None) => format!("{number} {what}s"),
    }
}

fn read_mark(path: &Path) -> Result<Mark> {
    let text = fs::read_to_string(path).map_err(|error| {
        Error::new(Code::ReadFailed, "the mark cannot be read")
            .with("path", path.display())
            .with("reason", error)
    })?;
    Mark::from_json(&text).map_err(|error| error.with("path", path.display()))
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).map_err(|error| {
        Error::new(Code::WriteFailed, "the file cannot be written")
            .with("path", path.display())
            .with("reason", error)
    })
}

/// `2025-12-23`, `2025-12-23T10:00:00Z`, or an age: `30m`, `12h`, `7d`.
fn parse_since(text: &str) -> Result<Timestamp, String> {
    if let Ok(time) = text.parse::<Timestamp>() {
        return Ok(time);
    }
    if let Ok(date) = text.parse::<jiff::civil::Date>() {
        let midnight = date.to_zoned(jiff::tz::TimeZone::system());
        return midnight.map(|zoned| zoned.timestamp()).map_err(|error| error.to_string());
    }
    age(text)
        .and_then(|age| Timestamp::now().checked_sub(age).ok())
        .ok_or_else(|| "neither a date, a time, nor an age such as 30m, 12h or 7d".to_owned())
}

fn age(text: &str) -> Option<SignedDuration> {
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let seconds: i64 = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => return None,
    };
    let number: u32 = number.parse().ok()?;
    i64::from(number).checked_mul(seconds).map(SignedDuration::from_secs)
}
