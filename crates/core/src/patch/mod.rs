//! What to change in a file, and what state a file is in.
//!
//! The catalogue (`catalogue`) holds signatures, patches and known builds as
//! data. The engine (`engine`) compiles them and looks for them in a file
//! (`look`), and the signature's methods choose among the places (`choose`); what it
//! finds is a sighting (`sighting`). A plan (`plan`) is the rewrite of every site and
//! the complete list of edits, resealed signatures included. `verify` judges a
//! finished file from the file alone. Where no signature describes the code, `meaning`
//! has the finder's verdicts and `by_meaning` plans the finder's rewrite.
//!
//! Nothing here writes: a plan's edits are applied by the owner of the bytes.
//! Nothing here proves: a plan of the catalogue is a proposal, and the proof decides
//! whether it is carried out. A rewrite by meaning becomes part of a plan only after
//! the [`Prover`] that the caller brings has accepted it.

mod by_meaning;
mod catalogue;
mod choose;
mod engine;
mod find;
mod lint;
mod match_result;
mod meaning;
mod methods;
mod original;
mod plan;
mod provenance;
mod seal;
mod verify;

pub use by_meaning::{
    EARLIER_CLEAR, MeaningOutcome, MeaningPlan, Proven, Prover, RefusedFunction, RewrittenFunction,
};
pub use catalogue::{Catalogue, KnownBuild, KnownRelease, KnownState, Patch, Signature};
pub use engine::{Engine, PatternVariant};
pub use find::{Selection, calls_fit};
pub use lint::{anchor_hits, lint};
pub use match_result::{MatchResult, Occurrence, Place, Site, Sites, State, nearest_first};
pub use meaning::{Examination, Examined, Extent, Severity, worst};
pub use methods::{NamedMethod, functions_named, methods_named};
pub use original::OriginalCode;
pub use plan::{FilePlan, ORIGINAL, Outcome, Plan, PlannedWord};
pub use seal::{faults as seal_faults, refuse_broken, reseal_all};
pub use verify::{KEPT, kind as signature_kind, verify};
