//! What is thought of the driver that is installed.
//!
//! The doctor asks a machine; whether a driver's bytes can be patched is for the
//! patch engine and the proof to say. [`Judge`] is the seam between the two.

use serde::Serialize;

/// What can be done about a driver's bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "verdict")]
pub enum Verdict {
    /// Its hash is listed and it is as Apple made it.
    Listed {
        /// Its name in the list.
        name: String,
    },
    /// Its hash is not listed; the sequence was found exactly once and the proof
    /// accepts the rewrite.
    Provable {
        /// What was found, and where.
        found: String,
    },
    /// No signature describes it; a rewrite was derived for it from what its methods do,
    /// and the proof accepts that.
    Derived {
        /// What was found, and where.
        found: String,
    },
    /// As before, but the file has no room to keep the code that the rewrite moves.
    Unrestorable {
        /// What was found, and where.
        found: String,
    },
    /// It carries a rewrite already.
    Patched {
        /// The rewrite's name.
        patch: String,
    },
    /// It cannot be patched.
    Refused {
        /// Why, in one sentence.
        reason: String,
    },
    /// It could not be judged.
    Unjudged {
        /// Why not.
        reason: String,
    },
}

/// Judges a driver by its bytes.
pub trait Judge {
    /// What can be done about `bytes`.
    fn judge(&self, bytes: &[u8]) -> Verdict;
}

impl<F: Fn(&[u8]) -> Verdict> Judge for F {
    fn judge(&self, bytes: &[u8]) -> Verdict {
        self(bytes)
    }
}
