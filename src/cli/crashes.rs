//! `agxpatch crashes`: what the crash reports on this machine tell.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::Session;
use crate::diagnostics::{self, Incident, Limits, Mark, Overview, Seen, Watcher};
use crate::error::{Code, Error, Result};
use crate::exit::Exit;

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
    let overview = Overview::new(collection, mark.as_ref(), args.list);
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
