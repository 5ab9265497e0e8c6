//! What the guard library told from inside the processes.
//!
//! Each process that has the library, the command and what it starts, leaves a
//! report in one folder when it exits; one that is killed leaves none, and then
//! nothing is known of it. Only processes that loaded a driver are of interest:
//! a launcher in front of them has the library too.

use std::path::Path;

use serde_json::Value;

use agxpatch_core::error::{Code, Error, Result};

use super::environment::{Driver, Way};
use super::files::{Disk, Files};
use super::races::Races;

/// The schema of the library's report.
const SCHEMA: &str = "agxpatch.guard/1";
/// More than the library ever writes.
const MAX_BYTES: u64 = 1 << 20;

/// What was told.
#[derive(Debug, Default)]
pub struct GuardReports {
    /// The reports that are understood, one a process.
    pub reports: Vec<Value>,
    /// Why others are not understood.
    pub broken: Vec<Error>,
    /// The races that were found, in processes that died too.
    pub races: Races,
}

impl GuardReports {
    /// Reads the reports in a folder.
    pub fn read(folder: &Path) -> GuardReports {
        let mut told = GuardReports { races: Races::read(folder), ..GuardReports::default() };
        for name in Disk.names(folder).iter().filter(|name| name.ends_with(".json")) {
            match report(&folder.join(name)) {
                Ok(report) => told.reports.push(report),
                Err(error) => told.broken.push(error),
            }
        }
        told
    }

    /// What is to be said where the library that reported is of another version than this
    /// program, as one named with `--guard-library` may be.
    pub fn other_version(&self) -> Option<String> {
        let ours = env!("CARGO_PKG_VERSION");
        let versions = self.reports.iter().filter_map(|report| report.get("version")?.as_str());
        let other = versions.into_iter().find(|version| *version != ours)?;
        Some(format!(
            "the guard library is of version {other} and this program of version {ours}: what is said of the guard may be incomplete"
        ))
    }

    /// The reports of the processes that loaded a driver.
    pub fn drivers(&self) -> Vec<&Value> {
        self.reports.iter().filter(|report| flag(report, "loaded") == Some(true)).collect()
    }

    /// What is to be said of the driver that was asked for; nothing where every
    /// process that loaded a driver loaded the copy, and its code is the patched
    /// one. `failed` says that the command did not end well.
    pub fn complaints(&self, asked: &Driver, failed: bool) -> Vec<String> {
        let drivers = self.drivers();
        if self.reports.is_empty() {
            let unknown = "the guard library left no report, so which driver was loaded is not \
                           known";
            return vec![unknown.to_owned()];
        }
        if drivers.is_empty() {
            return vec!["no AGX driver was loaded: the command did not use the GPU".to_owned()];
        }
        let of = |report: &&Value| complaint(report, asked).or_else(|| hint(report, asked, failed));
        let all: Vec<String> = drivers.iter().filter_map(of).collect();
        let mut different = all.clone();
        different.sort();
        different.dedup();
        let count = |text: &String| all.iter().filter(|each| *each == text).count();
        different
            .into_iter()
            .map(|text| match drivers.len() {
                1 => text,
                drivers => format!("in {} of {drivers} processes: {text}", count(&text)),
            })
            .collect()
    }
}

/// Reads one report.
///
/// # Errors
/// `ReadFailed` for what is not a report of the library.
pub fn report(path: &Path) -> Result<Value> {
    let broken = |reason: String| {
        Error::new(Code::ReadFailed, "a report of the guard library cannot be read")
            .with("path", path.display())
            .with("reason", reason)
    };
    let bytes = Disk.head(path, MAX_BYTES).ok_or_else(|| broken("it is not a file".to_owned()))?;
    let value: Value = serde_json::from_slice(&bytes).map_err(|error| broken(error.to_string()))?;
    match value.get("schema").and_then(Value::as_str) {
        Some(SCHEMA) => Ok(value),
        other => Err(broken(format!("its schema is {other:?}, not {SCHEMA}"))),
    }
}

fn of_driver<'r>(report: &'r Value, name: &str) -> Option<&'r Value> {
    report.get("driver")?.get(name)
}

fn text<'r>(report: &'r Value, name: &str) -> Option<&'r str> {
    of_driver(report, name)?.as_str()
}

fn flag(report: &Value, name: &str) -> Option<bool> {
    of_driver(report, name)?.as_bool()
}

/// What is to be said of one process; none where its driver is the copy and its
/// code is the patched one.
pub fn complaint(report: &Value, asked: &Driver) -> Option<String> {
    if flag(report, "loaded") != Some(true) {
        return Some("no AGX driver was loaded: the command did not use the GPU".to_owned());
    }
    let path = text(report, "path").unwrap_or("an unknown path");
    let images = of_driver(report, "images").and_then(Value::as_u64).unwrap_or(1);
    if images > 1 {
        return Some(format!(
            "{images} drivers were loaded into one process, and which of them is in use is not \
             known; the last is {path}"
        ));
    }
    if text(report, "way") == Some("system") {
        let why = why_the_systems(report, asked);
        return Some(format!("the SYSTEM'S driver was loaded, not the patched copy: {path}{why}"));
    }
    match text(report, "code") {
        Some("patched") => None,
        Some(code) => Some(format!("the driver that was loaded is not patched ({code}): {path}")),
        None => Some(format!("whether the driver that was loaded is patched is not known: {path}")),
    }
}

fn why_the_systems(report: &Value, asked: &Driver) -> String {
    if let Some(refusal) = text(report, "copy_refused") {
        return format!("; the copy could not be taken: {refusal}");
    }
    let looks_up = flag(report, "lookup_there") == Some(true);
    let flags = match looks_up {
        true => (flag(report, "lookup_asked"), flag(report, "lookup_answered")),
        false => (flag(report, "plugin_name_asked"), flag(report, "plugin_name_answered")),
    };
    let answer = match (flags, looks_up) {
        _ if asked.way == Way::Path => "",
        ((_, Some(true)), true) => ", though Metal's lookup was answered with the copy",
        ((Some(false), _), true) => ", and Metal never looked its bundle up",
        ((_, Some(true)), false) => ", though MetalPluginName was answered with the copy",
        ((Some(false), _), false) => ", and MetalPluginName was never asked for",
        _ => "",
    };
    let next = if asked.way == Way::Both { "" } else { "; try --driver-way both" };
    format!("{answer}{next}")
}

/// By its path alone the image is the copy's and the bundle the system's. Whether
/// Metal minds is not known, and a command that failed may have met it.
fn hint(report: &Value, asked: &Driver, failed: bool) -> Option<String> {
    let by_path = asked.way == Way::Both && text(report, "way") == Some("library-path");
    (failed && by_path).then(|| {
        "the patched copy came in by its path alone, for Metal did not ask for its bundle; if the \
         command found no GPU, try --driver-way lookup"
            .to_owned()
    })
}
