//! `agxpatch crashes`: what the crash reports on this machine tell.

use std::fs;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::Session;
use super::counter::Counter;
use crate::diagnostics::{
    self, Incident, Limits, Mark, Overview, PythonPackages, Seen, Skipped, Watcher,
};
use crate::report;
use agxpatch_core::error::{Code, Error, Result};
use agxpatch_core::exit::Exit;

/// Classify crash reports, count incidents and say what to do about each class
///
/// Reads .ips and .crash reports, GPU events and panics, and texts that hold one:
/// pasted, quoted, renamed, several in one file. docs/crashes.md lists the classes.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Folders or files to read, instead of the usual folders of macOS.
    #[arg(value_name = "DIR")]
    paths: Vec<PathBuf>,

    /// Ignore crashes older than this: a date or a time such as 2025-12-23 or
    /// 2025-12-23T10:46 (UTC unless it says otherwise), or an age such as 30m,
    /// 12h, 7d or 2w.
    #[arg(long, value_name = "T", value_parser = parse_since)]
    since: Option<Timestamp>,

    /// Show which incidents are new since this mark; exit 2 if one of them died
    /// in GPU code.
    #[arg(long, value_name = "FILE")]
    mark: Option<PathBuf>,

    /// Write a mark of the incidents present now to this file.
    #[arg(long, value_name = "FILE")]
    save_mark: Option<PathBuf>,

    /// Copy the reports of the listed incidents, the new ones with --mark, into
    /// this folder.
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,

    /// Write a page with a chart over time.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,

    /// The Python that the programs in the reports ran in (its executable, or the
    /// folder of its environment), to look up versions that the reports lack.
    #[arg(long, value_name = "PATH")]
    python: Option<PathBuf>,

    /// List every incident.
    #[arg(long)]
    list: bool,

    /// Keep running and report new incidents as they appear.
    #[arg(long, conflicts_with_all = ["mark", "save_mark", "keep", "html", "list"])]
    watch: bool,

    /// Seconds between scans with --watch.
    #[arg(long, value_name = "S", default_value_t = 5, requires = "watch",
          value_parser = clap::value_parser!(u64).range(1..))]
    every: u64,
}

/// Runs the command.
pub fn run(args: Args, session: &Session) -> Result<Exit> {
    if args.watch {
        return watch(folders(&args.paths), &args, session);
    }
    let mark = args.mark.as_deref().map(read_mark).transpose()?;
    let (paths, closed) = match args.paths.is_empty() {
        true => readable(folders(&[])),
        false => (args.paths.clone(), Vec::new()),
    };
    let counter = (!session.json).then(|| Counter::new("reports read"));
    let count = || counter.iter().for_each(Counter::count);
    let limits = Limits::default();
    let mut collection = diagnostics::collect_counted(&paths, &limits, &count)?;
    drop(counter);
    collection.unreadable.extend(closed);
    let now = Timestamp::now();
    if let Some(file) = &args.save_mark {
        write(file, &Mark::of(&collection, now).to_json())?;
    }
    if let Some(since) = args.since {
        // An incident without a time may be of any; it stays.
        collection.incidents.retain(|each| each.report.captured.is_none_or(|time| time >= since));
    }
    if let Some(python) = &args.python {
        PythonPackages::find(python)?.fill_in(&mut collection);
    }
    if let Some(folder) = &args.keep {
        let new = |each: &&Incident| mark.as_ref().is_none_or(|mark| mark.is_new(each));
        diagnostics::gather(collection.incidents.iter().filter(new), folder, &limits)?;
    }
    let overview = Overview::new(collection, mark.as_ref(), args.list);
    if let Some(file) = &args.html {
        write(file, &overview.page(&paths, now))?;
    }
    session.show(&overview)
}

/// Those given, or the usual ones.
fn folders(given: &[PathBuf]) -> Vec<PathBuf> {
    if given.is_empty() {
        diagnostics::usual_folders(std::env::home_dir().as_deref())
    } else {
        given.to_vec()
    }
}

/// Which of the usual folders can be read, and which are there and cannot: those
/// of the system are for administrators only.
fn readable(folders: Vec<PathBuf>) -> (Vec<PathBuf>, Vec<Skipped>) {
    let mut closed = Vec::new();
    let opens = |folder: &PathBuf| match folder.read_dir() {
        Ok(_) => true,
        Err(error) if error.kind() == ErrorKind::NotFound => false,
        Err(error) => {
            closed.push(Skipped { path: folder.clone(), reason: diagnostics::why(&error) });
            false
        }
    };
    let open = folders.into_iter().filter(opens).collect();
    (open, closed)
}

/// Reports until interrupted, or until standard output is closed.
fn watch(paths: Vec<PathBuf>, args: &Args, session: &Session) -> Result<Exit> {
    let mut watcher = Watcher::new(paths, Limits::default());
    for missing in watcher.missing() {
        let line = format!("waiting for {} to appear", missing.display());
        // Standard error is closed; there is nowhere to report it.
        drop(writeln!(anstream::stderr(), "{}", report::printable(&line)));
    }
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
    session.show(&Seen::new(incident)).map(drop)
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

/// `2025-12-23`, `2025-12-23T10:46`, `2025-12-23T10:46:40-08:00`, or an age:
/// `30m`, `12h`, `7d`, `2w`. As everywhere in the output, times are UTC.
fn parse_since(text: &str) -> Result<Timestamp, String> {
    let text = text.trim();
    if let Ok(time) = text.parse::<Timestamp>() {
        return Ok(time);
    }
    if let Ok(local) = text.parse::<jiff::civil::DateTime>() {
        return jiff::tz::TimeZone::UTC.to_timestamp(local).map_err(|error| error.to_string());
    }
    age(text).and_then(|age| Timestamp::now().checked_sub(age).ok()).ok_or_else(|| {
        "neither a date such as 2025-12-23, a time, nor an age such as 30m, 12h, 7d or 2w"
            .to_owned()
    })
}

fn age(text: &str) -> Option<SignedDuration> {
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let seconds: i64 = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        "w" => 7 * 86_400,
        _ => return None,
    };
    let number: u32 = number.parse().ok()?;
    i64::from(number).checked_mul(seconds).map(SignedDuration::from_secs)
}
