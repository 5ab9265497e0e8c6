//! Runs that are kept: one before a change, one after it, and the two compared.
//!
//! What is kept under which name, without keeping it: `agxpatch verify --stress`
//! puts the files beside the manifest of a deployment.

use super::comparison::{BeforeAfter, before_after};
use super::report::StressReport;

/// When a run is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// Before the change; a run kept earlier is replaced.
    Before,
    /// After it.
    After,
}

impl Moment {
    /// `before` or `after`.
    pub fn name(self) -> &'static str {
        match self {
            Moment::Before => "before",
            Moment::After => "after",
        }
    }

    /// The name of the file that keeps the run.
    pub fn file_name(self) -> &'static str {
        match self {
            Moment::Before => "stress-before.json",
            Moment::After => "stress-after.json",
        }
    }
}

/// A run that is to be kept.
#[derive(Clone, Debug)]
pub struct Recorded {
    /// When it was made.
    pub moment: Moment,
    /// The run.
    pub report: StressReport,
    /// The comparison with the run before the change, if there is one.
    pub comparison: Option<BeforeAfter>,
}

impl Recorded {
    /// `report`, compared with the run `before` the change if it was made after.
    pub fn new(moment: Moment, report: StressReport, before: Option<&StressReport>) -> Recorded {
        let before = before.filter(|_| moment == Moment::After);
        let comparison = before.map(|before| before_after(before, &report));
        Recorded { moment, report, comparison }
    }
}
