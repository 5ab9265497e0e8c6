//! Whether a program can be given the guard library, told beforehand.
//!
//! The rules are those of dyld and AMFI (`amfi_check_dyld_policy_self`): dyld
//! drops its variables in a process that is set-id, restricted, a platform
//! binary under System Integrity Protection, or hardened without leave; and a
//! library that is asked for and cannot be loaded ends the process. AMFI is not
//! open source, so what stands here is what is published of it, and the library
//! itself reports whether it really came in.

use std::fmt;

use serde::Serialize;

use super::image::Facts;
use agxpatch_core::macho::Architecture;

/// What will become of the library, best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// Nothing speaks against it.
    Fine,
    /// The program could not be read, so nothing can be said.
    Unknown,
    /// It would be loaded and do nothing.
    Idle,
    /// dyld would not load it.
    Dropped,
    /// The program would not start.
    Kills,
}

/// An outcome and every reason for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Verdict {
    /// What will become of the library.
    pub outcome: Outcome,
    /// Why, a sentence each; empty where it is fine.
    pub reasons: Vec<String>,
}

/// What the machine and the library add to a program's own facts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Surroundings {
    /// System Integrity Protection guards Apple's own programs.
    pub sip: bool,
    /// Library validation is off for the whole machine.
    pub validation_off: bool,
    /// The architectures the library has code for.
    pub library: Vec<Architecture>,
}

impl Verdict {
    /// For a program that could not be read.
    pub fn unknown(reason: impl fmt::Display) -> Verdict {
        Verdict { outcome: Outcome::Unknown, reasons: vec![reason.to_string()] }
    }

    /// The worst of both, with the reasons for it.
    pub fn worst(self, other: Verdict) -> Verdict {
        if other.outcome > self.outcome { other } else { self }
    }
}

/// Judges a program.
pub fn judge(facts: &Facts, around: &Surroundings) -> Verdict {
    // What drops the variables comes first: a library that is never asked for
    // cannot fail to load.
    let dropped = dropped(facts, around);
    let refused = if dropped.is_empty() { refused(facts, around) } else { Vec::new() };
    let idle = idle(facts);
    let (outcome, reasons) = match (dropped.is_empty(), refused.is_empty(), idle) {
        (false, _, _) => (Outcome::Dropped, dropped),
        (_, false, _) => (Outcome::Kills, refused),
        (_, _, Some(reason)) => (Outcome::Idle, vec![reason]),
        _ => (Outcome::Fine, Vec::new()),
    };
    Verdict { outcome, reasons }
}

fn dropped(facts: &Facts, around: &Surroundings) -> Vec<String> {
    let rules = [
        (facts.set_id, "it runs with another user's rights (set-id)"),
        (facts.restrict_section, "it has a __RESTRICT segment"),
        (facts.restrict_flag, "its signature is restricted"),
        (
            facts.is_platform() && around.sip,
            "it is one of Apple's own programs, which System Integrity Protection guards",
        ),
        (
            facts.hardened && !facts.allows_variables && !facts.is_platform(),
            "it has the hardened runtime and no allow-dyld-environment-variables entitlement",
        ),
    ];
    chosen(&rules)
}

fn refused(facts: &Facts, around: &Surroundings) -> Vec<String> {
    let validated = !facts.waives_validation && !around.validation_off;
    let mut reasons = chosen(&[
        (
            validated && facts.library_validation,
            "library validation lets in only its own maker's libraries, and it has no \
             disable-library-validation entitlement",
        ),
        (
            validated && facts.is_platform() && !facts.library_validation,
            "library validation lets only Apple's libraries into Apple's own programs",
        ),
    ]);
    // A process without pointer authentication takes an arm64e slice also.
    let has = |wanted: Architecture| around.library.iter().any(|own| own.same_processor(wanted));
    let fits = has(facts.runs)
        || (facts.runs.is_aarch64() && !facts.runs.is_arm64e()) && has(Architecture::ARM64E);
    if !fits {
        reasons.push(format!("the guard library has no code for {}", facts.runs));
    }
    reasons
}

fn idle(facts: &Facts) -> Option<String> {
    let why = if facts.runs.is_arm64e() {
        "arm64e, whose pointers are authenticated"
    } else if !facts.runs.is_aarch64() {
        "not arm64 and would run under Rosetta"
    } else {
        return None;
    };
    Some(format!("it is {why}; the guard does nothing there"))
}

fn chosen(rules: &[(bool, &str)]) -> Vec<String> {
    rules.iter().filter(|(holds, _)| *holds).map(|(_, reason)| (*reason).to_owned()).collect()
}
