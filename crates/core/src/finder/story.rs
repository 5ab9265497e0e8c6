//! What other threads see of one thread, path by path.
//!
//! A story is the order in which a path reads the cell, uses the block, takes and drops
//! the lock, gives the block back and clears the cell. It is what a model of several
//! threads is made of. Another thread may clear the cell at any time, so each read is
//! followed twice: once with the block, and once with null. The block stays what it was
//! in the registers that hold it from an earlier read.

use std::collections::{BTreeSet, HashMap};

use crate::address::VmAddr;
use crate::error::Result;
use crate::macho::Image;

use super::events::{Notes, Reason};
use super::explore::{Budget, Explorer};
use super::image::Program;
use super::state::{Cell, State};
use super::value::{Atom, NULL, Value, Values};
use super::verdict::examine_with;

/// What happens at a point of a story.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Happening {
    /// The cell is read and holds the block.
    Read,
    /// The cell is read and holds null.
    ReadNull,
    /// The block is used, before any lock was taken.
    Used,
    /// The lock is taken under which the block is given back.
    Locked,
    /// The block is given back.
    Pushed,
    /// Null is stored where the block would be given back.
    PushedNull,
    /// Null is stored to the cell.
    Cleared,
    /// The lock is dropped.
    Unlocked,
    /// The block goes back to the allocator.
    Freed,
    /// After the lock was taken, a function of unknown effect gets the block.
    Passed,
    /// Memory at null is used.
    Crashed,
}

/// An instruction and what it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Moment {
    /// The instruction.
    pub at: VmAddr,
    /// What it does.
    pub what: Happening,
}

/// One path.
pub type Story = Vec<Moment>;

/// A field that a function gives back under a lock, and the stories of its block.
#[derive(Clone, Debug)]
pub struct FieldStories {
    /// The address of the field, in words that are the same for two versions of a file.
    pub address: String,
    /// The field's name, if the image tells it.
    pub name: Option<String>,
    /// Whether it is cleared late on some path.
    pub late: bool,
    /// One for each way through the function; where that cannot be told, and why.
    pub stories: std::result::Result<BTreeSet<Story>, (VmAddr, Reason)>,
}

/// What a function may cost whose stories are told: every path is kept apart by what
/// it did before.
const BUDGET: Budget = Budget { states: 20_000, steps: 250_000 };

/// The stories of the function at an address, for each field that it gives back.
///
/// # Errors
/// If the image cannot be read.
pub fn stories(image: &Image<'_>, entry: u64) -> Result<Vec<FieldStories>> {
    let program = Program::new(image)?;
    let mut explorer = Explorer::new(&program, BUDGET);
    let findings = examine_with(&mut explorer, entry);
    let given = findings.fields.into_iter().filter(|field| !field.notes.gives.is_empty());
    let told = given.map(|field| FieldStories {
        address: describe(&explorer.values, field.address),
        late: field.notes.is_late(),
        stories: explorer.tell_all(entry, field.address, &field.notes),
        name: field.name,
    });
    Ok(told.collect())
}

/// A value in words that do not depend on the analysis that made it.
fn describe(values: &Values, value: Value) -> String {
    let atoms = values.atoms(value).iter().map(|atom| match atom {
        Atom::Load(from) => format!("[{}]", describe(values, *from)),
        atom => format!("{atom:?}"),
    });
    let sum: Vec<String> = atoms.collect();
    format!("{}+{:#x}", sum.join("+"), values.addend(value))
}

/// The stories of an exploration. Each is a chain that ends at a number; the empty one
/// is zero.
#[derive(Debug)]
pub(super) struct Telling {
    /// The locks whose taking and dropping counts.
    locks: BTreeSet<Value>,
    /// The stores that give the block back.
    gives: BTreeSet<u64>,
    /// Each link with what comes before it.
    links: Vec<(u32, Moment)>,
    known: HashMap<(u32, Moment), u32>,
    /// Where paths end.
    ends: BTreeSet<u32>,
    /// States in which another thread had cleared the cell.
    twins: Vec<State>,
}

impl Telling {
    fn new(locks: BTreeSet<Value>, gives: BTreeSet<u64>) -> Telling {
        Telling {
            locks,
            gives,
            links: Vec::new(),
            known: HashMap::new(),
            ends: BTreeSet::new(),
            twins: Vec::new(),
        }
    }

    fn last(&self, story: u32) -> Option<(u32, Moment)> {
        self.links.get(story.checked_sub(1)? as usize).copied()
    }

    fn extend(&mut self, story: u32, moment: Moment) -> u32 {
        let Telling { links, known, .. } = self;
        *known.entry((story, moment)).or_insert_with(|| {
            links.push((story, moment));
            links.len() as u32
        })
    }

    fn story(&self, mut number: u32) -> Story {
        let mut story = Story::new();
        while let Some((before, moment)) = self.last(number) {
            story.push(moment);
            number = before;
        }
        story.reverse();
        story
    }
}

impl Explorer<'_, '_> {
    /// Follows every path once more and tells what it does with one cell.
    fn tell_all(
        &mut self,
        entry: u64,
        cell: Value,
        notes: &Notes,
    ) -> std::result::Result<BTreeSet<Story>, (VmAddr, Reason)> {
        self.telling = Some(Telling::new(notes.given_under.clone(), notes.gives.clone()));
        let notes = self.run(entry, Some(cell));
        let told = self.telling.take();
        let is_broken = |(_, reason): &&(u64, Reason)| {
            !reason.spares_late_clears() || *reason == Reason::TooManyPaths
        };
        match notes.refusals.iter().find(is_broken) {
            Some((at, reason)) => Err((VmAddr(*at), *reason)),
            None => Ok(told.iter().flat_map(|t| t.ends.iter().map(|end| t.story(*end))).collect()),
        }
    }

    /// Forgets the stories of an exploration that starts again.
    pub(super) fn start_telling(&mut self) {
        if let Some(telling) = &mut self.telling {
            let locks = std::mem::take(&mut telling.locks);
            let gives = std::mem::take(&mut telling.gives);
            *telling = Telling::new(locks, gives);
        }
    }

    /// Adds to the story of a path.
    pub(super) fn tell(&mut self, state: &mut State, at: u64, what: Happening) {
        if let Some(telling) = &mut self.telling {
            state.story = telling.extend(state.story, Moment { at: VmAddr(at), what });
        }
    }

    /// The same for taking and dropping a lock, where the lock counts.
    pub(super) fn tell_of_lock(
        &mut self,
        state: &mut State,
        at: u64,
        lock: Value,
        what: Happening,
    ) {
        if self.telling.as_ref().is_some_and(|telling| telling.locks.contains(&lock)) {
            self.tell(state, at, what);
        }
    }

    /// Null is stored, perhaps where the block would be given back.
    pub(super) fn tell_of_null(&mut self, state: &mut State, at: u64) {
        if self.telling.as_ref().is_some_and(|telling| telling.gives.contains(&at)) {
            self.tell(state, at, Happening::PushedNull);
        }
    }

    /// The block is used; of several uses in a row the first counts.
    pub(super) fn tell_of_use(&mut self, state: &mut State, at: u64) {
        let Some(telling) = &self.telling else { return };
        let repeated =
            matches!(telling.last(state.story), Some((_, Moment { what: Happening::Used, .. })));
        if !repeated && !state.locked {
            self.tell(state, at, Happening::Used);
        }
    }

    /// The cell was read into a register. Another thread may have cleared it.
    pub(super) fn tell_of_read(&mut self, state: &mut State, at: u64, before: Cell, to: u8) {
        if self.telling.is_none() {
            return;
        }
        match before {
            Cell::Block => {
                let mut twin = state.clone();
                twin.set(to, NULL);
                if twin.cell == Cell::Block {
                    twin.cell = Cell::Null;
                }
                self.tell(&mut twin, at, Happening::ReadNull);
                self.tell(state, at, Happening::Read);
                state.nonnull = true;
                if let Some(telling) = &mut self.telling {
                    telling.twins.push(twin);
                }
            }
            Cell::Null => self.tell(state, at, Happening::ReadNull),
            Cell::Cleared | Cell::Other => {}
        }
    }

    /// Whether memory at null is used, which ends the thread.
    pub(super) fn tell_of_crash(&mut self, state: &mut State, at: u64, address: Value) -> bool {
        const PAGE: u64 = 0x1000;
        let null = self.values.constant_of(address).is_some_and(|number| number < PAGE);
        if !null || self.telling.is_none() {
            return false;
        }
        self.tell(state, at, Happening::Crashed);
        self.end_story(state);
        true
    }

    /// The states in which another thread had cleared the cell.
    pub(super) fn take_twins(&mut self) -> Vec<State> {
        self.telling.as_mut().map(|telling| std::mem::take(&mut telling.twins)).unwrap_or_default()
    }

    /// Marks the end of a path.
    pub(super) fn end_story(&mut self, state: &State) {
        if let Some(telling) = &mut self.telling {
            telling.ends.insert(state.story);
        }
    }
}
