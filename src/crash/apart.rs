//! Incidents before a moment and after it.
//!
//! Counts, not a test: how much the GPU was used before and after is not in
//! any report, and macOS deletes old reports, so the first period is only as
//! long as the reports reach back.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Serialize;

use super::{Class, CrashReport};

/// The incidents of a stretch of time.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Period {
    /// From when.
    pub from: Timestamp,
    /// To when.
    pub to: Timestamp,
    /// Its length in days.
    pub days: f64,
    /// Incidents that count against the GPU software.
    pub gpu: u64,
    /// All incidents.
    pub incidents: u64,
}

/// Incidents of one class in both periods.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ClassApart {
    /// The class.
    pub class: Class,
    /// Incidents before.
    pub before: u64,
    /// Incidents after.
    pub after: u64,
}

/// Two periods side by side.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Apart {
    /// From the oldest incident to the moment.
    pub before: Period,
    /// From the moment to now.
    pub after: Period,
    /// The classes that count against the GPU software and occurred.
    pub classes: Vec<ClassApart>,
    /// Incidents whose report gives no time.
    pub undated: u64,
}

impl Apart {
    /// Sets `reports` apart at `moment`, as seen at `now`.
    pub fn at<'a>(
        moment: Timestamp,
        now: Timestamp,
        reports: impl IntoIterator<Item = &'a CrashReport>,
    ) -> Apart {
        let mut oldest = moment;
        let (mut before, mut after) = ([0; 2], [0; 2]);
        let mut classes = BTreeMap::<Class, [u64; 2]>::new();
        let mut undated = 0;
        for report in reports {
            let Some(captured) = report.captured else {
                undated += 1;
                continue;
            };
            oldest = oldest.min(captured);
            let later = captured >= moment;
            let gpu = report.class.family().counts();
            let [all, of_gpu] = if later { &mut after } else { &mut before };
            *all += 1;
            *of_gpu += u64::from(gpu);
            if gpu {
                let [earlier_count, later_count] = classes.entry(report.class).or_default();
                *(if later { later_count } else { earlier_count }) += 1;
            }
        }
        let classes = classes.into_iter();
        Apart {
            before: Period::new(oldest, moment, before),
            after: Period::new(moment, now, after),
            classes: classes
                .map(|(class, [before, after])| ClassApart { class, before, after })
                .collect(),
            undated,
        }
    }
}

impl Period {
    fn new(from: Timestamp, to: Timestamp, [incidents, gpu]: [u64; 2]) -> Period {
        const DAY: f64 = 86_400.0;
        let days = to.duration_since(from).as_secs_f64().max(0.0) / DAY;
        Period { from, to, days, gpu, incidents }
    }
}
