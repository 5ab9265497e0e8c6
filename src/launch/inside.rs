//! What the guard library told from inside the process.
//!
//! It writes its report when the process exits; a process that is killed
//! leaves none, and then nothing is known. Every process the command started
//! has the library too and writes to the same place: what is read is the
//! report of the one that ended last.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde_json::Value;

use crate::error::{Code, Error, Result};

use super::environment::{Driver, Way};
use super::files::{Disk, Files};

/// The schema of the library's report.
const SCHEMA: &str = "agxpatch.guard/1";
/// More than the library ever writes.
const MOST: u64 = 1 << 20;

/// Where a report is expected, and what was there before: the user's own place
/// for it may hold that of an earlier run.
pub struct Expected {
    path: PathBuf,
    before: Option<Identity>,
}

/// Tells whether a file was written anew: time of change, length and inode.
type Identity = (SystemTime, u64, u64);

impl Expected {
    /// A report at `path`, from now on.
    pub fn at(path: PathBuf) -> Expected {
        let before = identity(&path);
        Expected { path, before }
    }

    /// Reads the report; none where none was written.
    ///
    /// # Errors
    /// `ReadFailed` where there is one and it is not understood.
    pub fn read(&self) -> Result<Option<Value>> {
        if self.before.is_some() && identity(&self.path) == self.before {
            return Ok(None);
        }
        read(&self.path)
    }
}

fn identity(path: &Path) -> Option<Identity> {
    let metadata = std::fs::metadata(path).ok()?;
    Some((metadata.modified().ok()?, metadata.len(), metadata.ino()))
}

fn read(path: &Path) -> Result<Option<Value>> {
    let broken = |reason: String| {
        Error::new(Code::ReadFailed, "the guard library's report cannot be read")
            .with("path", path.display())
            .with("reason", reason)
    };
    let bytes = match Disk.head(path, MOST) {
        Some(bytes) if !bytes.is_empty() => bytes,
        _ => return Ok(None),
    };
    let value: Value = serde_json::from_slice(&bytes).map_err(|error| broken(error.to_string()))?;
    match value.get("schema").and_then(Value::as_str) {
        Some(SCHEMA) => Ok(Some(value)),
        other => Err(broken(format!("its schema is {other:?}, not {SCHEMA}"))),
    }
}

/// What is to be said of the driver that was asked for; none where it is the
/// copy and its code is the patched one.
pub fn complaint(report: Option<&Value>, asked: &Driver) -> Option<String> {
    let Some(report) = report else {
        return Some(
            "the guard library left no report, so which driver was loaded is not known".into(),
        );
    };
    let driver = report.get("driver");
    let text = |name: &str| driver.and_then(|driver| driver.get(name)).and_then(Value::as_str);
    let flag = |name: &str| driver.and_then(|driver| driver.get(name)).and_then(Value::as_bool);
    let other = match asked.way {
        Way::Name => "--driver-way path",
        Way::Path => "--driver-way name",
    };
    if flag("loaded") != Some(true) {
        return Some("no AGX driver was loaded: the command did not use the GPU".into());
    }
    let path = text("path").unwrap_or("an unknown path");
    if text("way") == Some("system") {
        let answered = match (asked.way, flag("plugin_name_answered")) {
            (Way::Name, Some(true)) => ", though MetalPluginName was answered with the copy",
            (Way::Name, Some(false)) => ", and MetalPluginName was never asked for",
            _ => "",
        };
        return Some(format!(
            "the SYSTEM'S driver was loaded, not the patched copy: {path}{answered}; try {other}"
        ));
    }
    match text("code") {
        Some("patched") => None,
        Some(code) => Some(format!("the driver that was loaded is not patched ({code}): {path}")),
        None => Some(format!("whether the driver that was loaded is patched is not known: {path}")),
    }
}
