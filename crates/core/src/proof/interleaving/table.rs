//! The verdict on one version of the function.

use serde::Serialize;

use super::explore::{Exploration, Violation, explore};
use super::properties::Property;
use super::scene::{Readers, Scene};
use crate::check::Check;
use crate::error::Result;
use crate::proof::steps::Steps;

/// The explorations of one version, one a scene.
#[derive(Clone, Debug, Serialize)]
pub struct Interleavings {
    /// Each thread ends its own encoder; readers take the lock.
    pub locking: Exploration,
    /// Each thread ends its own encoder; readers take no lock.
    pub lockless: Exploration,
    /// All threads end one encoder; readers take no lock.
    pub shared: Exploration,
}

/// Explores every interleaving of `threads` threads in each scene.
pub fn check(steps: &Steps, threads: u8) -> Result<Interleavings> {
    Ok(Interleavings {
        locking: explore(steps, Scene::of_threads(threads, Readers::TakeTheLock))?,
        lockless: explore(steps, Scene::of_threads(threads, Readers::TakeNoLock))?,
        shared: explore(steps, Scene::of_one_encoder(threads))?,
    })
}

/// What is asked of a patch, and the names of the checks. What no order of the
/// window's steps can give is not among it: [`Interleavings::violation`] says in
/// which scenes each is asked.
pub const ASKED: [(Property, &str); 7] = [
    (Property::NoRaceWindow, "no-race-window"),
    (Property::NoStaleUse, "no-stale-use-under-lock"),
    (Property::NoLeak, "no-leak"),
    (Property::NoDoublePush, "no-double-push"),
    (Property::NoDoubleFree, "no-double-free"),
    (Property::NoDoubleDestructor, "no-double-destructor"),
    (Property::UnlockOnce, "unlock-once"),
];

impl Interleavings {
    /// The explorations with the names of their scenes.
    pub fn scenes(&self) -> [(&'static str, &Exploration); 3] {
        [("locking", &self.locking), ("lockless", &self.lockless), ("shared", &self.shared)]
    }

    /// Distinct states of all explorations.
    pub fn states(&self) -> usize {
        self.scenes().iter().map(|(_, found)| found.states).sum()
    }

    /// A shortest trace that violates what is asked of a patch: `property`, in
    /// the case of stale use by a reader that takes the lock, and in the case of
    /// what happens twice to a block by threads that share no encoder.
    pub fn violation(&self, property: Property) -> Option<&Violation> {
        use Property::{
            NoDoubleDestructor, NoDoubleFree, NoDoublePush, NoNullUse, NoStaleUse,
            NoUseAfterDestructor,
        };
        let asked: &[&Exploration] = match property {
            NoStaleUse | NoNullUse | NoUseAfterDestructor => &[&self.locking],
            NoDoublePush | NoDoubleFree | NoDoubleDestructor => &[&self.locking, &self.lockless],
            _ => &[&self.locking, &self.lockless, &self.shared],
        };
        asked
            .iter()
            .filter_map(|found| found.violation(property))
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
