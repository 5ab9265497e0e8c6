//! The verdict on one version of the window.

use serde::Serialize;

use super::explore::{Exploration, Violation, explore};
use super::scene::{Property, Readers, Scene};
use crate::check::Check;
use crate::error::Result;
use crate::proof::steps::Steps;

/// Both explorations of one version: with readers that take the lock, and with
/// readers that do not.
#[derive(Clone, Debug, Serialize)]
pub struct Interleavings {
    /// Readers that take the lock.
    pub locking: Exploration,
    /// Readers that take none.
    pub lockless: Exploration,
}

/// Explores every interleaving of `threads` threads, once with a reader of each
/// kind.
pub fn check(steps: &Steps, threads: u8) -> Result<Interleavings> {
    let of = |kind| explore(steps, Scene::of_threads(threads, kind));
    Ok(Interleavings { locking: of(Readers::TakeTheLock)?, lockless: of(Readers::TakeNoLock)? })
}

/// What is asked of a patch, and the names of the checks. Readers that take no
/// lock are not among it.
pub const ASKED: [(Property, &str); 5] = [
    (Property::NoRaceWindow, "no-race-window"),
    (Property::NoStaleUse, "no-stale-use-under-lock"),
    (Property::NoLeak, "no-leak"),
    (Property::NoDoubleFree, "no-double-free"),
    (Property::UnlockOnce, "unlock-once"),
];

impl Interleavings {
    /// Distinct states of both explorations.
    pub fn states(&self) -> usize {
        self.locking.states + self.lockless.states
    }

    /// A shortest trace that violates what is asked of a patch: `property`, and
    /// in the case of stale use by a reader that takes the lock.
    pub fn violation(&self, property: Property) -> Option<&Violation> {
        let of_readers = matches!(property, Property::NoStaleUse | Property::NoNullUse);
        let lockless = if of_readers { None } else { self.lockless.violation(property) };
        self.locking
            .violation(property)
            .into_iter()
            .chain(lockless)
            .min_by_key(|violation| violation.trace.moves.len())
    }

    /// What is asked of a patch, as checks.
    pub fn checks(&self) -> Vec<Check> {
        ASKED.iter().map(|&(property, name)| self.one(property, name)).collect()
    }

    fn one(&self, property: Property, name: &'static str) -> Check {
        match self.violation(property) {
            None => Check::pass(name, format!("in all {} states", self.states())),
            Some(found) => Check::fail(name, found.summary()),
        }
    }

    /// Whether a reader that takes no lock can work on a block given back, or
    /// on null. No order of the window's steps can prevent it.
    pub fn lockless_reader_is_lost(&self) -> bool {
        let lost = |property| !self.lockless.holds(property);
        lost(Property::NoStaleUse) || lost(Property::NoNullUse)
    }
}

impl Violation {
    /// What is violated, where, and after how many steps.
    pub fn summary(&self) -> String {
        let last = self.trace.moves.iter().rev().find_map(super::Move::at);
        let place = last.map(|at| format!(", after {at}")).unwrap_or_default();
        let path = self.room.map(|room| format!(" ({room})")).unwrap_or_default();
        format!("{}{place}{path}, in {} steps", self.property.violated(), self.trace.moves.len())
    }
}
