//! The rewrite: one clear while the lock is held, and the late one gone.
//!
//! The clear goes directly after the call that takes the lock. That place comes
//! before the gift and dominates every unlock, the caller-saved registers are dead
//! there, and one word comes for the one that goes, so the function keeps its length;
//! only what lies between moves. Where the lock is taken in a function that is
//! called, the clear goes before that call; where the cell is read again, before the
//! unlock; and where nothing may move, into padding, through which the unlock then is
//! called.
//!
//! Whatever was written is examined again by the same finder, and given up unless no
//! late clear is left, nothing reads the cell after its clear that did not before,
//! and the function ends as it did.

mod encode;
mod exchange;
mod frees;
mod keep;
mod layout;
mod material;
mod narrow;
mod outcome;
mod padding;
mod places;
mod read_again;
mod removal;
mod split;

use std::collections::{BTreeMap, BTreeSet};

use crate::error::Result;
use crate::macho::Image;

use super::decode::Op;
use super::events::{Notes, Reason};
use super::explore::{Budget, Explorer};
use super::image::Program;
use super::state::State;
use super::value::Value;
use super::verdict::{Findings, examine_with};
use layout::Layout;
use removal::Removals;

pub use outcome::{Change, Refusal, RewriteKind, Rewritten, Way};
use outcome::{apply, difference};

const NOP: u32 = 0xd503_201f;

const EARLY: &str = "clear the field while the lock is held";

/// What a rewrite may cost in looking at the function.
const BUDGET: Budget = Budget { states: 8_000, steps: 100_000 };

/// The most fields of one function that are rewritten.
const MAX_FIELDS: usize = 4;

/// How deep in calls a function may be that is rewritten for its caller.
const MAX_CALLED: usize = 2;

/// In the order in which they are tried.
fn ways(kind: RewriteKind) -> &'static [Way] {
    match kind {
        RewriteKind::EarlierClear => &[
            Way::AfterLock,
            Way::BeforeUnlock,
            Way::BeforeCall,
            Way::Padding,
            Way::PathsApart,
            Way::BlockKept,
        ],
        RewriteKind::Take => &[Way::Exchange],
        RewriteKind::Reread => &[Way::ReadAgain],
    }
}

/// Decides about the image after a step of the rewrite, given the one before.
pub type Accept<'a> = &'a mut dyn FnMut(&Image<'_>, &Image<'_>) -> bool;

/// Rewrites the function at an address. Of the rewrites that the finder lets pass,
/// for each field the first is taken that `accept` lets pass too.
///
/// # Errors
/// An error if the image cannot be read; a [`Refusal`] inside if the function is left
/// as it is.
pub fn rewrite(
    image: &Image<'_>,
    entry: u64,
    accept: Accept<'_>,
) -> Result<Result<Rewritten, Refusal>> {
    rewrite_as(image, entry, RewriteKind::EarlierClear, accept)
}

/// The same, for a rewrite of a kind that the caller chooses.
///
/// # Errors
/// As [`rewrite`].
pub fn rewrite_as(
    image: &Image<'_>,
    entry: u64,
    kind: RewriteKind,
    accept: Accept<'_>,
) -> Result<Result<Rewritten, Refusal>> {
    let original = image.bytes();
    let mut bytes = original.to_vec();
    let mut ways = Vec::new();
    for _ in 0..=MAX_FIELDS {
        let next = Image::parse(&bytes)?;
        let program = Program::new(&next)?;
        match one_field(&program, entry, kind, accept, MAX_CALLED) {
            Ok(Some((way, changes))) => {
                ways.push(way);
                apply(&mut bytes, &changes);
            }
            Ok(None) if ways.is_empty() => return Ok(Err(Refusal::NotLate)),
            Ok(None) => {
                return Ok(Ok(Rewritten { ways, changes: difference(original, &bytes) }));
            }
            Err(refusal) => return Ok(Err(refusal)),
        }
    }
    // One field more than are rewritten, or one that stays late.
    Ok(Err(Refusal::NotTheSame))
}

/// Rewrites the first field that is cleared late, in the first way that leaves a
/// function which does the same.
fn one_field(
    program: &Program<'_>,
    entry: u64,
    kind: RewriteKind,
    accept: Accept<'_>,
    calls: usize,
) -> Result<Option<(Way, Vec<Change>)>, Refusal> {
    let mut explorer = Explorer::new(program, BUDGET);
    let findings = examine_with(&mut explorer, entry);
    let late = findings.fields.iter().find(|field| !field.notes.late.is_empty());
    let Some(field) = late.filter(|_| findings.verdict.name() == "clears-late") else {
        return Ok(None);
    };
    let late = late_fields(&findings);
    let (cell, before) = (field.address, &field.notes);
    let attempt = Attempt { program, entry, cell, before, late, kind };
    match attempt.make_any(&mut explorer, accept) {
        Err(Refusal::ElsewhereCleared) if calls > 0 && kind == RewriteKind::EarlierClear => {
            attempt.called(accept, calls - 1).map(Some)
        }
        made => made.map(Some),
    }
}

struct Attempt<'p, 'a, 'n> {
    program: &'p Program<'a>,
    entry: u64,
    cell: Value,
    before: &'n Notes,
    /// How many fields are cleared late.
    late: usize,
    kind: RewriteKind,
}

fn late_fields(findings: &Findings) -> usize {
    findings.fields.iter().filter(|field| field.notes.is_late()).count()
}

impl Attempt<'_, '_, '_> {
    /// Tries one way after the other.
    fn make_any(
        &self,
        explorer: &mut Explorer<'_, '_>,
        accept: Accept<'_>,
    ) -> Result<(Way, Vec<Change>), Refusal> {
        let mut refusal = None;
        for &way in ways(self.kind) {
            match self.make(explorer, way, accept) {
                Ok(changes) => return Ok((way, changes)),
                // That a rewrite is not proven tells most, then the reason of the way that
                // was tried first.
                Err(Refusal::NotProven) => refusal = Some(Refusal::NotProven),
                Err(found) => refusal = refusal.or(Some(found)),
            }
        }
        Err(refusal.unwrap_or(Refusal::NoMaterial))
    }

    /// Rewrites the function that is called and clears late by itself, as one that gets the
    /// field's address. It does the same for all who call it.
    fn called(&self, accept: Accept<'_>, calls: usize) -> Result<(Way, Vec<Change>), Refusal> {
        let late = self.before.all_late();
        let callees = late.keys().map(|at| self.program.function(*at).map(|range| range.start));
        let callees: BTreeSet<Option<u64>> = callees.collect();
        let [Some(callee)] = callees.into_iter().collect::<Vec<_>>()[..] else {
            return Err(Refusal::ElsewhereCleared);
        };
        let made = one_field(self.program, callee, self.kind, accept, calls)?;
        let (way, changes) = made.ok_or(Refusal::ElsewhereCleared)?;
        let mut bytes = self.program.image().bytes().to_vec();
        apply(&mut bytes, &changes);
        let image = Image::parse(&bytes).map_err(|_| Refusal::Unreadable)?;
        let program = Program::new(&image).map_err(|_| Refusal::Unreadable)?;
        let findings = examine_with(&mut Explorer::new(&program, BUDGET), self.entry);
        let fewer = late_fields(&findings) < self.late;
        let known = matches!(findings.verdict.name(), "clears-late" | "clears-under-lock");
        if fewer && known { Ok((way, changes)) } else { Err(Refusal::NotTheSame) }
    }

    /// Tries every place of one way; the first whose outcome passes is taken.
    fn make(
        &self,
        explorer: &mut Explorer<'_, '_>,
        way: Way,
        accept: Accept<'_>,
    ) -> Result<Vec<Change>, Refusal> {
        let removals = Removals::of(self, explorer)?;
        let mut refusal = None;
        // Of a branch either way may be the one that gives nothing to the pool. And paths on
        // which the field is null, or that give nothing, may have to clear it as before.
        let sides: &[bool] = match way {
            Way::ReadAgain => &[true, false],
            Way::PathsApart | Way::BlockKept => &[false, true],
            _ => &[true],
        };
        let places = self.places(explorer, way);
        for (places, side) in places.iter().flat_map(|one| sides.iter().map(move |s| (one, *s))) {
            let made = match way {
                Way::Padding => self.in_padding(explorer, places, &removals),
                Way::PathsApart => self.split(explorer, places, &removals, side),
                Way::BlockKept => self.keep(explorer, places, &removals, side),
                Way::Exchange => self.exchange(explorer, places, &removals),
                Way::ReadAgain => self.read_again(explorer, places, &removals, side),
                _ => self.in_place(explorer, places, &removals),
            };
            match made.and_then(|changes| self.check(changes, accept)) {
                Ok(changes) => return Ok(changes),
                Err(Refusal::NotProven) => refusal = Some(Refusal::NotProven),
                Err(found) => refusal = refusal.or(Some(found)),
            }
        }
        Err(refusal.unwrap_or(match way {
            Way::Exchange => Refusal::NoLoad,
            Way::ReadAgain => Refusal::NoBranch,
            _ => Refusal::NoMaterial,
        }))
    }

    /// The words that clear the cell at a place, given the states there.
    fn words(
        &self,
        explorer: &mut Explorer<'_, '_>,
        at: u64,
        words_at: u64,
        scratch: u8,
    ) -> Result<Vec<u32>, Refusal> {
        let states = self.states(explorer, at);
        material::clear(explorer, &states, words_at, scratch).ok_or(Refusal::NoMaterial)
    }

    /// The states at a place.
    fn states(&self, explorer: &mut Explorer<'_, '_>, at: u64) -> Vec<State> {
        self.states_at(explorer, [at]).remove(&at).unwrap_or_default()
    }

    /// The states at each of some places.
    fn states_at(
        &self,
        explorer: &mut Explorer<'_, '_>,
        places: impl IntoIterator<Item = u64>,
    ) -> BTreeMap<u64, Vec<State>> {
        explorer.probes.clear();
        explorer.probes.extend(places.into_iter().map(|at| (at, Vec::new())));
        explorer.run(self.entry, Some(self.cell));
        explorer.probes.drain().collect()
    }

    fn in_place(
        &self,
        explorer: &mut Explorer<'_, '_>,
        places: &BTreeSet<u64>,
        removals: &Removals,
    ) -> Result<Vec<Change>, Refusal> {
        let [at] = places.iter().copied().collect::<Vec<u64>>()[..] else {
            return Err(Refusal::NoRoom);
        };
        let words = self.words(explorer, at, at, 17)?;
        let mut free = removals.dropped();
        if words.len() > free.len() {
            free.extend(self.feeders(explorer, &removals.dropped()));
        }
        let function = explorer.function_at(self.entry).ok_or(Refusal::Unreadable)?;
        let mut copies = Vec::new();
        let mut pads = padding::Pads::of(self.program);
        let replaced = removals.replaced(self, &mut pads, &mut copies)?;
        let layout = Layout::new(self.program, &function, (at, &words), &free, &replaced)?;
        layout.keep(removals.anchors())?;
        let mut changes = layout.changes(at, words.len(), EARLY)?;
        changes.extend(copies);
        Ok(changes)
    }

    fn in_padding(
        &self,
        explorer: &mut Explorer<'_, '_>,
        places: &BTreeSet<u64>,
        removals: &Removals,
    ) -> Result<Vec<Change>, Refusal> {
        let mut pads = padding::Pads::of(self.program);
        let mut changes = Vec::new();
        for at in places {
            let function = explorer.function_at(self.entry).ok_or(Refusal::Unreadable)?;
            let (Op::Call(target) | Op::Branch(target)) = function.op(*at) else {
                return Err(Refusal::IndirectBranch);
            };
            let thunk = pads.next(4).ok_or(Refusal::NoPadding)?;
            let words = self.words(explorer, *at, thunk, 17)?;
            let thunk = self.thunk(&mut pads, words, target, &mut changes)?;
            let call = self.program.word(*at).ok_or(Refusal::Unreadable)?.0;
            let new = encode::relative(call, *at, thunk).ok_or(Refusal::TooFar)?;
            changes.push(Change::word(self.program, *at, call, new, EARLY)?);
        }
        removals.write(self, &mut pads, &mut changes)?;
        Ok(changes)
    }

    /// Another word in the place of one.
    fn replace(&self, at: u64, new: u32) -> Result<Change, Refusal> {
        let old = self.program.word(at).ok_or(Refusal::Unreadable)?.0;
        Change::word(self.program, at, old, new, EARLY)
    }

    /// Writes words into padding, with a branch to a target behind them; where they
    /// begin.
    fn thunk(
        &self,
        pads: &mut padding::Pads,
        mut words: Vec<u32>,
        target: u64,
        changes: &mut Vec<Change>,
    ) -> Result<u64, Refusal> {
        let start = pads.next(words.len() as u64 + 1).ok_or(Refusal::NoPadding)?;
        let end = start + 4 * words.len() as u64;
        words.push(encode::jump(end, target).ok_or(Refusal::TooFar)?);
        let start = pads.take(&words);
        self.fill(start, &words, changes)?;
        Ok(start)
    }

    /// Writes words into padding that was taken for them.
    fn fill(&self, start: u64, words: &[u32], changes: &mut Vec<Change>) -> Result<(), Refusal> {
        for (index, word) in words.iter().enumerate() {
            changes.push(self.replace(start + 4 * index as u64, *word)?);
        }
        Ok(())
    }

    /// Examines the rewritten function: no late clear, no new reading of the cell
    /// after its clear, and the ends of the original. Then `accept` decides.
    fn check(&self, changes: Vec<Change>, accept: Accept<'_>) -> Result<Vec<Change>, Refusal> {
        let mut bytes = self.program.image().bytes().to_vec();
        apply(&mut bytes, &changes);
        let image = Image::parse(&bytes).map_err(|_| Refusal::Unreadable)?;
        let program = Program::new(&image).map_err(|_| Refusal::Unreadable)?;
        let mut explorer = Explorer::new(&program, BUDGET);
        let findings = examine_with(&mut explorer, self.entry);
        if late_fields(&findings) >= self.late {
            return Err(Refusal::NotTheSame);
        }
        let same = findings.fields.iter().find(|field| {
            !field.notes.is_late()
                && field.notes.gives.len() == self.before.gives.len()
                && ends(&field.notes) == ends(self.before)
                && !field.notes.gives.is_empty()
        });
        let Some(field) = same else { return Err(Refusal::NotTheSame) };
        let clean = field.notes.refusals.iter().all(|(_, reason)| {
            reason.spares_late_clears()
                && *reason != Reason::NeverCleared
                && self.before.refusals.iter().any(|(_, known)| known == reason)
        });
        let quiet = field.notes.reloads.len() <= self.before.reloads.len();
        let once = field.notes.ends.iter().all(|(_, _, clears)| *clears <= 1);
        let alone = !(self.kind.excludes_double_push() && field.notes.read_early);
        if !(clean && quiet && once && alone) {
            return Err(Refusal::NotTheSame);
        }
        match accept(self.program.image(), &image) {
            true => Ok(changes),
            false => Err(Refusal::NotProven),
        }
    }
}

/// How a function ends, as far as a caller can tell.
fn ends(notes: &Notes) -> BTreeSet<(bool, bool)> {
    notes.ends.iter().map(|(null, given, _)| (*null, *given)).collect()
}
