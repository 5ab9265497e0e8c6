//! The two versions executed side by side, instruction by instruction.
//!
//! A rewrite that moves one clear leaves the rest of the function as it is, shifted by a
//! few words. So every instruction of the old version is held against the one of the
//! new version that does the same, on every way through both, loops included. What one
//! version has and the other lacks may only be: instructions without effect, a clear of
//! the receiver's field, instructions that fill a register which nothing reads while it
//! differs, and calls through code of the rewrite's own.
//!
//! Between the new version's clear and the old one's the clear is *pending*: the field
//! is NULL in one version and not in the other. Until the old version clears it too,
//! nothing may read or write the field, no function be called that might, and the
//! function not be left. Functions of the same image are followed on the way.
//!
//! The facts are those of a forward analysis over pairs of addresses ([`Fact`]); the
//! analysis runs until nothing changes, and whatever does not hold ends it.

mod alone;
mod calls;
mod condition;
mod exchange;
mod fact;
mod fill;
mod origins;
mod pair;
mod reread;
mod step;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::{COMPARED, Permission, Piece, Refinement, Rewrite, unwinding};
use crate::address::VmAddr;
use crate::check::Status;
use crate::proof::function::Function;
use crate::proof::obligation::{Name, Obligation};
use crate::proof::transfer::Transfer;
use crate::proof::values::{Point, Value};
use condition::Question;
use fact::Fact;
use origins::Known;

/// The most pairs of one function that are held against each other, those in functions
/// that it calls among them.
const MAX_PAIRS: usize = 20_000;

/// Where both versions stand, and what happened to fields of the receiver on the way.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    old: VmAddr,
    new: VmAddr,
    /// Where the functions return to that are being followed.
    calls: Vec<(VmAddr, VmAddr)>,
    /// The fields that only the new version has cleared yet.
    pending: BTreeSet<Value>,
    /// Fields whose block was stored elsewhere.
    given: BTreeSet<Value>,
    /// Of these, those whose lock was dropped before they were cleared; and those whose
    /// block was freed, after a lock was dropped, before they were cleared.
    late: BTreeSet<Value>,
    /// Fields whose block was stored elsewhere or freed, cleared or not.
    away: BTreeSet<Value>,
    /// Fields that the new version cleared and that were NULL before, in both versions.
    null: BTreeSet<Value>,
    /// Whether a lock was dropped.
    unlocked: bool,
    /// Fields that the new version has cleared.
    cleared: BTreeSet<Value>,
    /// What comparisons gave on this path; nothing unless paths are told apart by them.
    answers: BTreeMap<Question, bool>,
}

/// What does not hold.
struct Broken {
    name: Name,
    at: VmAddr,
    detail: String,
}

impl Broken {
    fn new(name: Name, at: VmAddr, detail: impl Into<String>) -> Broken {
        Broken { name, at, detail: detail.into() }
    }
}

type Outcome<T> = std::result::Result<T, Broken>;

struct Lockstep<'a> {
    rewrite: &'a Rewrite<'a>,
    before: Function<'a>,
    after: Function<'a>,
    /// Where other rules of unwinding begin to hold, if that is known.
    unwind_steps: Option<Vec<VmAddr>>,
    /// Functions that are followed.
    helpers: Vec<Piece>,
    transfer: Transfer,
    known: Known,
    facts: BTreeMap<Key, Fact>,
    permissions: BTreeSet<Permission>,
    /// The fields whose clear was moved.
    moved: BTreeSet<Value>,
    /// Whether paths are told apart by what comparisons gave.
    tells_paths_apart: bool,
    /// The fields that the new version clears after the lock was dropped, or the block
    /// freed, and where.
    cleared_late: BTreeMap<Value, VmAddr>,
}

/// Holds the two versions against each other. Control also enters at `others`, from
/// elsewhere. Paths are told apart by comparisons only where it does not hold without.
pub(super) fn refine(
    rewrite: &Rewrite<'_>,
    before: Function<'_>,
    after: Function<'_>,
    others: &BTreeSet<VmAddr>,
) -> Refinement {
    let found = refine_with(rewrite, before, after, others, false);
    if found.holds() {
        return found;
    }
    let apart = refine_with(rewrite, before, after, others, true);
    if apart.holds() { apart } else { found }
}

fn refine_with(
    rewrite: &Rewrite<'_>,
    before: Function<'_>,
    after: Function<'_>,
    others: &BTreeSet<VmAddr>,
    tells_paths_apart: bool,
) -> Refinement {
    let mut lockstep = Lockstep {
        rewrite,
        before,
        after,
        unwind_steps: unwinding::steps(rewrite),
        helpers: Vec::new(),
        transfer: Transfer::new(),
        known: Known::default(),
        facts: BTreeMap::new(),
        permissions: BTreeSet::new(),
        moved: BTreeSet::new(),
        tells_paths_apart,
        cleared_late: BTreeMap::new(),
    };
    let broken = lockstep.run(others).err();
    let obligations = lockstep.obligations(broken.as_ref());
    Refinement { obligations, permissions: lockstep.permissions }
}

impl Lockstep<'_> {
    /// Follows all ways until nothing changes.
    fn run(&mut self, others: &BTreeSet<VmAddr>) -> Outcome<()> {
        let start = |at| Key {
            old: at,
            new: at,
            calls: Vec::new(),
            pending: BTreeSet::new(),
            given: BTreeSet::new(),
            late: BTreeSet::new(),
            away: BTreeSet::new(),
            null: BTreeSet::new(),
            unlocked: false,
            cleared: BTreeSet::new(),
            answers: BTreeMap::new(),
        };
        let entry = self.rewrite.entry;
        let captures = self.rewrite.captures;
        self.facts.insert(start(entry), Fact::new(Point::at_entry().capturing(captures)));
        for &other in others {
            let unknown = Point::unknown(other).capturing(captures);
            self.facts.insert(start(other), Fact::new(unknown));
        }
        loop {
            self.known.changed = false;
            let mut open: VecDeque<Key> = self.facts.keys().cloned().collect();
            while let Some(key) = open.pop_front() {
                let Some(fact) = self.facts.get(&key).cloned() else { continue };
                for (key, fact) in self.step(key, fact)? {
                    self.flow(key, fact, &mut open)?;
                }
            }
            if !self.known.changed {
                return Ok(());
            }
        }
    }

    fn flow(&mut self, mut key: Key, mut fact: Fact, open: &mut VecDeque<Key>) -> Outcome<()> {
        fact.arrive(key.old, &mut self.known);
        key.forget_answers(&fact);
        let changed = match self.facts.get_mut(&key) {
            Some(known) => known.join(key.old, &fact, &mut self.known),
            None => {
                self.facts.insert(key.clone(), fact);
                true
            }
        };
        if self.facts.len() > MAX_PAIRS {
            let detail = "there are more pairs of instructions than are held against each other";
            return Err(Broken::new(Name::FunctionUnderstood, key.old, detail));
        }
        if changed && !open.contains(&key) {
            open.push_back(key);
        }
        Ok(())
    }

    fn obligations(&self, broken: Option<&Broken>) -> Vec<Obligation> {
        const OWN: [Name; 3] =
            [Name::FunctionUnderstood, Name::LockApartFromField, Name::ClearBeforeUnlock];
        let detail = format!("in {} pairs of instructions, side by side", self.facts.len());
        let late = self.cleared_late.iter().find(|(field, _)| self.moved.contains(field));
        let of_name = |name| match (broken, late) {
            (Some(broken), _) if broken.name == name => Obligation {
                at: vec![broken.at],
                ..Obligation::new(name, Status::Fail, broken.detail.clone())
            },
            (Some(_), _) => Obligation::new(name, Status::Skipped, "another obligation failed"),
            (None, Some((_, &at))) if name == Name::ClearBeforeUnlock => Obligation {
                at: vec![at],
                ..Obligation::new(
                    name,
                    Status::Fail,
                    format!("{at} clears after the unlock or the free"),
                )
            },
            (None, _) if name == Name::ClearBeforeUnlock && self.moved.is_empty() => {
                Obligation::new(name, Status::Skipped, "no clear of a field was moved")
            }
            _ => Obligation::new(name, Status::Pass, detail.clone()),
        };
        OWN.into_iter().chain(COMPARED).map(of_name).collect()
    }
}
