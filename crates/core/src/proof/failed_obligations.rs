//! What was found not to hold, gathered over all paths.

use std::collections::BTreeMap;

use super::obligation::{Name, Obligation};
use super::site::Defect;
use crate::address::VmAddr;
use crate::check::Status;

/// The failures of the obligations the comparison of paths decides.
#[derive(Default)]
pub(super) struct FailedObligations(BTreeMap<Name, Vec<FailedObligation>>);

struct FailedObligation {
    at: VmAddr,
    detail: String,
    defect: Option<Defect>,
}

impl FailedObligations {
    /// Whether everything holds.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// `name` does not hold, as seen at `at`.
    pub fn fail(&mut self, name: Name, at: VmAddr, detail: String) {
        self.fail_by(name, at, detail, None);
    }

    /// The same, by a defect that a patch may declare.
    pub fn fail_by(&mut self, name: Name, at: VmAddr, detail: String, defect: Option<Defect>) {
        let findings = self.0.entry(name).or_default();
        if !findings.iter().any(|known| known.detail == detail && known.defect == defect) {
            findings.push(FailedObligation { at, detail, defect });
        }
    }

    /// The obligation: failed with everything found, or passed with `detail`.
    pub fn obligation(&self, name: Name, detail: impl Into<String>) -> Obligation {
        let Some(findings) = self.0.get(&name) else {
            return Obligation::new(name, Status::Pass, detail);
        };
        let details: Vec<&str> = findings.iter().map(|finding| finding.detail.as_str()).collect();
        let mut at: Vec<VmAddr> = findings.iter().map(|finding| finding.at).collect();
        at.sort();
        at.dedup();
        let first = findings.first().and_then(|finding| finding.defect);
        let defect = first.filter(|_| findings.iter().all(|finding| finding.defect == first));
        Obligation { at, defect, ..Obligation::new(name, Status::Fail, details.join("; ")) }
    }
}
