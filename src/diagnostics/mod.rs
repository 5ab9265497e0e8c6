//! Crash reports on disk: finding them, reading them, telling which are new.
//!
//! macOS leaves its reports in `Library/Logs/DiagnosticReports` of the user and
//! of the system, and moves old ones into `Retired` below. [`collect()`] reads
//! whole folders on all cores and returns **incidents**: a report that was
//! copied, archived or exported again counts once, however many files hold it.
//! A [`Mark`] remembers the incidents of a moment, so that what a command
//! caused can be told from what was there before, a [`CrashWatch`] does so around a
//! command, and [`gather()`] keeps the reports before macOS deletes them.
//!
//! Reading is the only effect, [`gather()`] excepted. What is not a plain file is
//! never opened for its contents, links are not followed, a file beyond
//! [`Limits::bytes`] is not read: each is named with its reason and counted.
//! Memory holds one file a worker and one small record an incident.

mod collect;
mod crash_watch;
mod gather;
mod mark;
mod overview;
mod python;
mod walk;
mod watch;

use std::path::{Path, PathBuf};

pub use collect::{Collection, Incident, Limits, Skipped, collect, collect_counted};
pub use crash_watch::{Aftermath, CLOCK_SLACK, CrashWatch, SETTLE};
pub use gather::gather;
pub use mark::Mark;
pub(crate) use overview::steps;
pub use overview::{Overview, Seen};
pub use python::PythonPackages;
pub use walk::why;
pub use watch::Watcher;

/// Where macOS leaves crash reports, for the user whose home is given and for
/// the system. `Retired` lies below each and is found with them.
pub fn usual_folders(home: Option<&Path>) -> Vec<PathBuf> {
    const REPORTS: &str = "Library/Logs/DiagnosticReports";
    let user = home.map(|home| home.join(REPORTS));
    user.into_iter().chain([Path::new("/").join(REPORTS)]).collect()
}
