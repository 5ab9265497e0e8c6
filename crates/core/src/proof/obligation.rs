//! The obligations of a proof: one table of names and claims, and their
//! outcomes.

use serde::Serialize;

use super::site::Defect;
use crate::address::VmAddr;
use crate::check::{Check, Status};

macro_rules! obligations {
    ($($variant:ident $name:literal $claim:literal)*) => {
        /// Everything a rewrite has to satisfy. The order is that of the report.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Name {
            $(#[doc = $claim] $variant,)*
        }

        impl Name {
            /// All of them, in the order of the report.
            pub const ALL: &'static [Name] = &[$(Name::$variant,)*];

            /// Stable and kebab-case; scripts may select by it.
            pub fn as_str(self) -> &'static str {
                match self { $(Name::$variant => $name,)* }
            }

            /// What is claimed when it passes.
            pub fn claim(self) -> &'static str {
                match self { $(Name::$variant => $claim,)* }
            }
        }
    };
}

obligations! {
    FunctionUnderstood "function-understood"
        "every word of the function, old and new, is an instruction with a known meaning"
    OnlyWindowChanged "only-window-changed"
        "old and new differ nowhere outside the window"
    NoBranchIntoWindow "no-branch-into-window"
        "no direct branch from outside the window, and no address that adr or adrp and add make, enters it other than at its first word, or at the last clear under null-entry-only"
    NullEntryOnly "null-entry-only"
        "where the function branches to the last clear from outside the window, self->_impl was just loaded and is NULL, so that the store there changes nothing"
    NoTableIntoWindow "no-jump-table-into-window"
        "no indirect branch of the function enters the window other than at its first word"
    NoLandingPadInWindow "no-landing-pad-in-window"
        "no exception continues inside the window"
    NoFunctionStartInWindow "no-function-start-in-window"
        "no function begins inside the window, and the function is one whole"
    RewrittenNotRead "rewritten-words-not-read"
        "no instruction reads a rewritten word as data or makes its address: no literal load, adr, or adrp with an offset"
    RolesDerived "roles-derived"
        "what the signature calls self, _impl and its offset is the method's receiver, what was loaded from it, and where"
    LockApartFromField "lock-apart-from-field"
        "the lock that the clear moves over is not the cleared field"
    WindowDecided "window-decided"
        "what the new code does depends on nothing the old code leaves unspecified, such as flags after a call"
    PushKept "push-kept"
        "the push to the freelist is the same instruction at the same place, before the unlock"
    UnlockKept "unlock-kept"
        "the pool lock is given back on every path exactly when it was, with the same argument"
    ClearKept "clear-kept"
        "self->_impl is cleared exactly once on every path on which it was"
    ClearBeforeUnlock "clear-before-unlock"
        "self->_impl is cleared before the pool lock is given back, on every path"
    FreeKept "free-kept"
        "every block that was freed is freed, with the same argument; free(NULL) may be left out"
    FreeNotAdded "free-not-added"
        "no block is freed that was not"
    SameCalls "same-calls"
        "all other calls are the same, with the same arguments, and all calls keep their order"
    SameStores "same-stores"
        "all other stores are the same, and in the same order among stores and calls"
    SameLoads "same-loads"
        "no memory is read that was not read or written at the same place among the calls, so that no new fault is possible"
    SameExits "same-exits"
        "every path leaves the window at the same place"
    SameStack "same-stack"
        "the stack pointer at every exit is the same"
    SameCalleeSaved "same-callee-saved"
        "every register the exit may still need holds the same value, or is dead"
    ClobberedDead "clobbered-dead"
        "a register the rewrite leaves with another value is written before it is read on every way to a return or tail call"
}

/// One obligation and what became of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Obligation {
    /// Which.
    #[serde(serialize_with = "as_name")]
    pub name: Name,
    /// PASS, FAIL or SKIPPED.
    pub status: Status,
    /// What was seen, or why it was not looked at.
    pub detail: String,
    /// The instructions the detail is about.
    pub at: Vec<VmAddr>,
    /// Set where it failed by this known defect and in no other way.
    pub defect: Option<Defect>,
}

fn as_name<S: serde::Serializer>(name: &Name, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(name.as_str())
}

impl Obligation {
    /// An obligation with an outcome and no particular place.
    pub fn new(name: Name, status: Status, detail: impl Into<String>) -> Obligation {
        Obligation { name, status, detail: detail.into(), at: Vec::new(), defect: None }
    }

    /// The same as a check, for reports that mix it with others.
    pub fn check(&self) -> Check {
        Check { name: self.name.as_str(), status: self.status, detail: self.detail.clone() }
    }
}
