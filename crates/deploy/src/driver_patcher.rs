//! What a deployment must know of drivers, and of nothing else.
//!
//! The transaction moves bytes about; which bytes, and whether they are right,
//! is asked here. [`EnginePatcher`] answers with the patch engine and the proof.
//! Tests of the transaction put something small in its place.

use serde::Serialize;

use super::by_meaning;
use crate::doctor::{EngineJudge, Judge, Verdict};
use agxpatch_core::check::{self, Check};
use agxpatch_core::edit::{self, Edit};
use agxpatch_core::error::{Code, Error, Result};
use agxpatch_core::macho::Universal;
use agxpatch_core::patch::{
    self, EARLIER_CLEAR, Engine, MatchResult, Outcome, Selection, Sites, State,
};
use agxpatch_core::proof;

/// What a driver file holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "content")]
pub enum Content {
    /// The sequence as the compiler made it.
    Original,
    /// A rewrite.
    Patched {
        /// Which.
        patch: String,
    },
    /// Neither, and why.
    Unknown {
        /// In one sentence.
        reason: String,
    },
}

/// A patched, re-signed and proven driver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Patched {
    /// The whole file.
    pub bytes: Vec<u8>,
    /// The name of the patch.
    pub patch: String,
    /// Whether the rewrite was derived for this build, and is not a published one.
    pub derived: bool,
    /// The places that differ from the original.
    pub edits: Vec<Edit>,
    /// What was proven.
    pub proof: Vec<Check>,
}

/// Knows drivers.
pub trait DriverPatcher {
    /// What a file holds.
    fn look(&self, bytes: &[u8]) -> Content;

    /// What the doctor is to think of a driver.
    fn judge(&self, bytes: &[u8]) -> Verdict;

    /// The patched form of an original.
    ///
    /// # Errors
    /// If the sequence is not there exactly once, or the proof refuses.
    fn patch(&self, original: &[u8]) -> Result<Patched>;

    /// Everything that must hold of a patched file, from the file alone.
    fn check(&self, bytes: &[u8]) -> Vec<Check>;

    /// An ad-hoc signed library that any program may load, to try library validation
    /// with; none where this build carries none.
    fn canary(&self) -> Option<&[u8]> {
        None
    }
}

/// The patch engine with the proof.
pub struct EnginePatcher<'a> {
    /// Finds and rewrites.
    pub engine: &'a Engine,
    /// A library to try library validation with.
    pub canary: Option<&'a [u8]>,
}

impl<'a> EnginePatcher<'a> {
    /// The engine without a library to try anything with.
    pub fn new(engine: &'a Engine) -> EnginePatcher<'a> {
        EnginePatcher { engine, canary: None }
    }
}

/// What is to be written, and what was proven of it.
struct Proposal {
    patch: String,
    derived: bool,
    edits: Vec<Edit>,
    proof: Vec<Check>,
}

impl EnginePatcher<'_> {
    /// The catalogue's rewrite; where no signature describes the driver, the one derived
    /// from what its methods do.
    fn propose(&self, file: &Universal<'_>) -> Result<Proposal> {
        let plan = match self.engine.plan(file, None) {
            Ok(Outcome::Plan(plan)) => plan,
            Ok(Outcome::Already(_)) => {
                return Err(Error::new(Code::WrongState, "the driver is already patched"));
            }
            Err(absent) if absent.code() == Code::NoMatch => return self.derive(file, absent),
            Err(error) => return Err(error),
        };
        // No one named a patch, so one with defects is not let through.
        let proven = proof::require(self.engine, file, &plan, false)?;
        let proof = proven.into_iter().flat_map(|judgement| judgement.checks).collect();
        Ok(Proposal { patch: plan.patch, derived: false, edits: plan.edits, proof })
    }

    fn derive(&self, file: &Universal<'_>, absent: Error) -> Result<Proposal> {
        let plan = by_meaning::plan(self.engine, file, absent)?;
        let proofs = plan.rewritten.into_iter().flat_map(|one| one.proofs);
        Ok(Proposal {
            patch: EARLIER_CLEAR.to_owned(),
            derived: true,
            edits: plan.edits,
            proof: proofs.flat_map(|proven| proven.checks).collect(),
        })
    }
}

impl DriverPatcher for EnginePatcher<'_> {
    fn canary(&self) -> Option<&[u8]> {
        self.canary
    }

    fn look(&self, bytes: &[u8]) -> Content {
        let file = match Universal::parse(bytes) {
            Ok(file) => file,
            Err(error) => return Content::Unknown { reason: error.to_string() },
        };
        let found = self.engine.find_any(&file).and_then(MatchResult::sites);
        match found.as_ref().map(Sites::state) {
            Ok(Some(State::Original)) => Content::Original,
            Ok(Some(State::Patched { patch })) => Content::Patched { patch: patch.clone() },
            Ok(None) => Content::Unknown {
                reason: "the methods that hold the sequence are not in the same state".to_owned(),
            },
            Err(absent) if absent.code() == Code::NoMatch => {
                by_meaning::content(self.engine, &file, absent)
            }
            Err(error) => Content::Unknown { reason: error.to_string() },
        }
    }

    fn judge(&self, bytes: &[u8]) -> Verdict {
        EngineJudge { engine: self.engine }.judge(bytes)
    }

    fn patch(&self, original: &[u8]) -> Result<Patched> {
        let file = Universal::parse(original)?;
        patch::refuse_broken(&file)?;
        let proposal = self.propose(&file)?;
        let mut bytes = original.to_vec();
        edit::apply(&mut bytes, &proposal.edits)?;
        let failed = self.check(&bytes).into_iter().find(|c| c.status == check::Status::Fail);
        if let Some(failed) = failed {
            return Err(Error::new(Code::VerifyFailed, "the patched copy does not verify")
                .with("check", failed.name)
                .with("seen", failed.detail));
        }
        let Proposal { patch, derived, edits, proof } = proposal;
        Ok(Patched { bytes, patch, derived, edits, proof })
    }

    fn check(&self, bytes: &[u8]) -> Vec<Check> {
        match patch::verify(self.engine, bytes, &Selection::ByMethod) {
            Ok((mut checks, _)) => {
                checks.push(proof::check_standing(self.engine, bytes, &Selection::ByMethod));
                checks
            }
            Err(error) => vec![Check::fail("readers-agree", error.to_string())],
        }
    }
}
