//! What to change in a file, and what state a file is in.
//!
//! The catalogue (`catalogue`) holds signatures, patches and known builds as
//! data. The engine (`engine`) compiles them and looks for them in a file
//! (`look`); what it finds is a sighting (`sighting`). A plan (`plan`) is a site, a rewrite and
//! the complete list of edits, resealed signatures included. `verify` judges a
//! finished file from the file alone.
//!
//! Nothing here writes: a plan's edits are applied by whoever holds the bytes.
//! Nothing here proves: a plan is a proposal, and the proof decides whether it
//! is carried out.

mod catalogue;
mod engine;
mod lint;
mod look;
mod methods;
mod plan;
mod provenance;
mod sighting;
mod verify;

pub use catalogue::{Catalogue, KnownBuild, KnownState, Patch, Signature};
pub use engine::{Engine, Form};
pub use lint::{anchor_hits, lint};
pub use plan::{ORIGINAL, Outcome, Plan, PlannedWord, reseal_all};
pub use sighting::{Place, Sighting, Site, State};
pub use verify::{kind as signature_kind, verify};
