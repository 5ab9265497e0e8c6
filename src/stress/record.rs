//! Runs that are kept: one before a change, one after it, and the two compared.
//!
//! `agxpatch verify --stress` keeps them beside the manifest of a deployment.

use std::io::Write;
use std::path::Path;

use super::comparison::{BeforeAfter, before_after};
use super::configuration::Environments;
use super::report::StressReport;
use super::run::{Options, run};
use super::trial::Trial;
use crate::error::{Code, Error, Result};
use crate::report::Report;

/// When a run is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// Before the change; a run kept earlier is replaced.
    Before,
    /// After it.
    After,
}

/// A run that was kept.
pub struct Recorded {
    /// The run.
    pub report: StressReport,
    /// The comparison with the run before the change, if there is one.
    pub comparison: Option<BeforeAfter>,
}

/// Makes a run and keeps it in `folder` as `stress-before.json` or
/// `stress-after.json`. After a change, the comparison with the run before is
/// kept too, as `stress-comparison.json` and, for people, `.txt`.
pub fn record(
    options: &Options,
    environments: &dyn Environments,
    folder: &Path,
    moment: Moment,
    observe: &mut dyn FnMut(&Trial, usize),
) -> Result<Recorded> {
    // Read first: what cannot be compared with is better known before a run
    // that takes an hour.
    let before = match moment {
        Moment::Before => None,
        Moment::After => read(&folder.join("stress-before.json"))?,
    };
    let report = run(options, environments, observe)?;
    let name = match moment {
        Moment::Before => "stress-before.json",
        Moment::After => "stress-after.json",
    };
    keep(folder, name, report.to_json()?.as_bytes())?;
    let comparison = before.map(|before| before_after(&before, &report));
    if let Some(comparison) = &comparison {
        let json = serde_json::to_vec_pretty(comparison).map_err(|error| {
            Error::new(Code::Bug, "the comparison cannot be serialised").with("reason", error)
        })?;
        keep(folder, "stress-comparison.json", &json)?;
        keep(folder, "stress-comparison.txt", &plain(comparison)?)?;
    }
    Ok(Recorded { report, comparison })
}

fn read(path: &Path) -> Result<Option<StressReport>> {
    match std::fs::read_to_string(path) {
        Ok(text) => StressReport::from_json(&text)
            .map(Some)
            .map_err(|error| error.with("path", path.display())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::new(Code::ReadFailed, "the run before cannot be read")
            .with("path", path.display())
            .with("reason", error)),
    }
}

/// The text form without colours.
fn plain(report: &impl Report) -> Result<Vec<u8>> {
    let mut stream = anstream::StripStream::new(Vec::new());
    report.text(&mut stream).map_err(|error| {
        Error::new(Code::Bug, "the comparison cannot be written").with("reason", error)
    })?;
    Ok(stream.into_inner())
}

/// Whole or not at all: a run may be read while the next is kept.
fn keep(folder: &Path, name: &str, contents: &[u8]) -> Result<()> {
    let path = folder.join(name);
    let written = tempfile::NamedTempFile::new_in(folder).and_then(|mut file| {
        file.write_all(contents)?;
        file.persist(&path).map(drop).map_err(|error| error.error)
    });
    written.map_err(|error| {
        Error::new(Code::WriteFailed, "the run cannot be kept")
            .with("path", path.display())
            .with("reason", error)
    })
}
