//! A moment to compare with: which incidents were known then.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Collection, Incident};
use agxpatch_core::error::{Code, Error, Result};

const SCHEMA: &str = "agxpatch.crash-mark/1";

/// The incidents known at a moment. Identifiers rather than a time: macOS
/// writes a report seconds after the crash, and clocks are set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    schema: String,
    /// When the mark was taken.
    pub taken: Timestamp,
    incidents: BTreeSet<String>,
    /// The same deaths, as a report without an identifier tells of them.
    #[serde(default)]
    deaths: BTreeSet<String>,
}

impl Mark {
    /// Remembers what `collection` holds.
    pub fn of(collection: &Collection, taken: Timestamp) -> Mark {
        let incidents = collection.incidents.iter().map(|each| each.report.incident.clone());
        let deaths = collection.incidents.iter().filter_map(|each| each.report.death.clone());
        Mark {
            schema: SCHEMA.into(),
            taken,
            incidents: incidents.collect(),
            deaths: deaths.collect(),
        }
    }

    /// Whether the incident was not known when the mark was taken.
    pub fn is_new(&self, incident: &Incident) -> bool {
        let report = &incident.report;
        let died = report.death.as_ref().is_some_and(|death| self.deaths.contains(death));
        !died && !self.incidents.contains(&report.incident)
    }

    /// The incidents of `collection` that were not known.
    pub fn new_in<'a>(&'a self, collection: &'a Collection) -> impl Iterator<Item = &'a Incident> {
        collection.incidents.iter().filter(|incident| self.is_new(incident))
    }

    /// How many incidents were known.
    pub fn known(&self) -> usize {
        self.incidents.len()
    }

    /// As kept in a file.
    pub fn to_json(&self) -> String {
        // A map of strings to strings cannot fail to serialise.
        serde_json::to_string_pretty(self).unwrap_or_default() + "\n"
    }

    /// Reads what [`Mark::to_json`] wrote.
    pub fn from_json(text: &str) -> Result<Mark> {
        let broken = |reason: String| {
            Error::new(Code::BadMark, "the mark cannot be read")
                .with("reason", reason)
                .next("take a new one with --save-mark")
        };
        let mark: Mark = serde_json::from_str(text).map_err(|error| broken(error.to_string()))?;
        if mark.schema != SCHEMA {
            return Err(broken(format!("its schema is not {SCHEMA}")));
        }
        Ok(mark)
    }
}
