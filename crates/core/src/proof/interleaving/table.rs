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

/// A row of the table that compares rewrites: something that another thread may
/// meet, and whether some interleaving leads there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Outcome {
    /// What, in plain words.
    pub what: &'static str,
    /// The property that excludes it.
    pub property: Property,
    /// Whether some interleaving leads there.
    pub possible: bool,
}

impl Interleavings {
    /// The rows of the table, in its order.
    pub fn outcomes(&self) -> Vec<Outcome> {
        let locking: &[&Exploration] = &[&self.locking];
        let lockless: &[&Exploration] = &[&self.lockless];
        let shared: &[&Exploration] = &[&self.shared];
        let all: &[&Exploration] = &[&self.locking, &self.lockless, &self.shared];
        let row = |what, property, scenes: &[&Exploration]| {
            let possible = scenes.iter().any(|found| !found.holds(property));
            Outcome { what, property, possible }
        };
        vec![
            row(
                "the published window: the lock is free, the block given back, `_impl` still set",
                Property::NoRaceWindow,
                all,
            ),
            row(
                "a reader that takes the lock (the driver has none) works on a block given back",
                Property::NoStaleUse,
                locking,
            ),
            row(
                "a reader without the lock, as the driver's, works on a block given back",
                Property::NoStaleUse,
                lockless,
            ),
            row(
                "the same reader works on a block that the destructor has run on",
                Property::NoUseAfterDestructor,
                lockless,
            ),
            row("the same reader works on NULL", Property::NoNullUse, lockless),
            row(
                "two threads end one encoder: its block is pushed twice",
                Property::NoDoublePush,
                shared,
            ),
            row(
                "the same two: its block is freed twice, or freed and pushed",
                Property::NoDoubleFree,
                shared,
            ),
            row(
                "the same two: the destructor runs twice on it",
                Property::NoDoubleDestructor,
                shared,
            ),
            row("a block leaks", Property::NoLeak, all),
        ]
    }
}

/// The table as Markdown, a column a version.
pub fn markdown(versions: &[(&str, &Interleavings)]) -> String {
    let heads: String = versions.iter().map(|(name, _)| format!(" {name} |")).collect();
    let rules = "---|".repeat(versions.len());
    let mut text = format!("| what another thread can meet |{heads}\n|---|{rules}\n");
    let columns: Vec<Vec<Outcome>> = versions.iter().map(|(_, found)| found.outcomes()).collect();
    for (index, row) in columns.first().into_iter().flatten().enumerate() {
        let cells: String = columns
            .iter()
            .filter_map(|column| column.get(index))
            .map(|outcome| if outcome.possible { " possible |" } else { " excluded |" })
            .collect();
        text.push_str(&format!("| {} |{cells}\n", row.what));
    }
    text
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
