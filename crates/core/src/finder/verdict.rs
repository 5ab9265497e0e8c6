//! From the notes on all paths to a verdict.

use serde::Serialize;

use crate::address::VmAddr;

use super::events::{Notes, Reason, Witness};
use super::explore::{Budget, Explorer};
use super::image::Program;
use super::value::{Atom, Value, Values};

/// What a function does with the block that a field of its object points to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "verdict", rename_all = "kebab-case")]
pub enum Verdict {
    /// On some path the block is given back under a lock, the lock is dropped, and
    /// only then the field is cleared.
    ClearsLate {
        /// The late stores, each with a shortest path; also those that follow a `free` of
        /// the block on a path where it finds no room.
        witnesses: Vec<Witness>,
    },
    /// On every path that gives the block back the field is cleared before the lock
    /// is dropped. Whether a block that found no room is freed before its field is
    /// cleared is said by [`Remaining::freed_while_set`].
    ClearsUnderLock,
    /// No path gives a block back under a lock.
    NoPool,
    /// The analysis does not know.
    NotUnderstood {
        /// Where it stops to understand.
        at: VmAddr,
        /// Why.
        reason: Reason,
        /// The reason in a sentence.
        why: &'static str,
    },
}

impl Verdict {
    /// The verdict's name.
    pub fn name(&self) -> &'static str {
        match self {
            Verdict::ClearsLate { .. } => "clears-late",
            Verdict::ClearsUnderLock => "clears-under-lock",
            Verdict::NoPool => "no-pool",
            Verdict::NotUnderstood { .. } => "not-understood",
        }
    }

    fn not_understood((at, reason): (u64, Reason)) -> Verdict {
        Verdict::NotUnderstood { at: VmAddr(at), reason, why: reason.sentence() }
    }

    /// How much a verdict about one field says about the function.
    pub(crate) fn weight(&self) -> u8 {
        match self {
            Verdict::ClearsLate { .. } => 3,
            Verdict::NotUnderstood { .. } => 2,
            Verdict::ClearsUnderLock => 1,
            Verdict::NoPool => 0,
        }
    }
}

/// An answer that may be unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// It can happen.
    Yes,
    /// It cannot.
    No,
    /// The analysis does not say.
    Unknown,
}

impl Answer {
    fn of(yes: bool) -> Answer {
        if yes { Answer::Yes } else { Answer::No }
    }
}

/// What can still go wrong where several threads use one object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Remaining {
    /// Two threads give the same block back.
    pub double_push: Answer,
    /// Two threads use or destroy the block before one gives it back.
    pub double_destructor: Answer,
    /// The block is freed while the field still points to it, also where no lock is taken.
    pub freed_while_set: Answer,
    /// Other code reads the field without the lock.
    pub unlocked_readers: Answer,
}

/// A field of an object, and what the function does with it.
#[derive(Clone, Debug)]
pub struct Field {
    /// Its address as a value.
    pub address: Value,
    /// Its name, if the image tells it.
    pub name: Option<String>,
    /// The verdict about it.
    pub verdict: Verdict,
    /// What was seen.
    pub notes: Notes,
}

/// What is known about a function.
#[derive(Clone, Debug)]
pub struct Findings {
    /// The verdict about the function: the worst about one of its fields.
    pub verdict: Verdict,
    /// What remains, about the field that the verdict is about.
    pub remaining: Remaining,
    /// The fields that may hold a block, the one that decided first.
    pub fields: Vec<Field>,
    /// How many instructions were executed.
    pub steps: usize,
}

/// Examines the function at an address.
pub fn examine(program: &Program<'_>, entry: u64, budget: Budget) -> Findings {
    examine_with(&mut Explorer::new(program, budget), entry)
}

/// Examines the function at an address, for a caller who goes on with its values.
pub(super) fn examine_with(explorer: &mut Explorer<'_, '_>, entry: u64) -> Findings {
    let survey = explorer.run(entry, None);
    let mut steps = explorer.steps;
    let mut fields = Vec::new();
    for address in candidates(&explorer.values, &survey) {
        let notes = explorer.run(entry, Some(address));
        steps += explorer.steps;
        let verdict = judge(&notes);
        let name = name(explorer.program, &explorer.values, address);
        fields.push(Field { address, name, verdict, notes });
    }
    for (address, at) in indexed(&survey) {
        if !fields.iter().any(|field: &Field| field.address == address) {
            let mut notes = Notes::default();
            notes.refusals.insert((at, Reason::UnknownStored));
            let name = name(explorer.program, &explorer.values, address);
            fields.push(Field { address, name, verdict: judge(&notes), notes });
        }
    }
    fields.sort_by_key(|field| std::cmp::Reverse(field.verdict.weight()));
    let verdict = match fields.first() {
        Some(field) => field.verdict.clone(),
        None => judge(&survey),
    };
    let remaining = fields.first().map_or(NOTHING_KNOWN, |field| remaining(&field.notes));
    Findings { verdict, remaining, fields, steps }
}

const NOTHING_KNOWN: Remaining = Remaining {
    double_push: Answer::Unknown,
    double_destructor: Answer::Unknown,
    freed_while_set: Answer::Unknown,
    unlocked_readers: Answer::Unknown,
};

/// The fields whose content is moved under a lock and that are cleared somewhere. If
/// there are none, those of the object itself whose content is stored under a lock.
fn candidates(values: &Values, survey: &Notes) -> Vec<Value> {
    let field = |address: &Value| {
        let atoms = values.atoms(*address);
        let mut objects = atoms.iter().filter(|atom| !matches!(atom, Atom::Offset(_)));
        match (objects.next(), objects.next()) {
            (Some(Atom::Argument(_)), None) => Some(true),
            (Some(Atom::Load(from)), None) => {
                let captured = matches!(values.atoms(*from), [Atom::Argument(0)]);
                captured.then_some(false)
            }
            _ => None,
        }
    };
    let cleared = survey
        .moved
        .iter()
        .copied()
        .filter(|address| field(address).is_some() && survey.nulls.contains_key(address));
    let cleared: Vec<Value> = cleared.collect();
    if !cleared.is_empty() {
        return cleared;
    }
    let own = |address: &Value| values.has(*address, Atom::Argument(0));
    survey.stored.iter().copied().filter(|a| own(a) && field(a) == Some(true)).collect()
}

/// The fields that are cleared and from whose content a number is computed that is stored
/// under a lock. It may be the block's place in an array, by which it is given back.
fn indexed(survey: &Notes) -> Vec<(Value, u64)> {
    let computed = survey.computed_from.iter();
    let cleared = computed.filter(|(address, _)| survey.nulls.contains_key(address));
    cleared.map(|(address, at)| (*address, *at)).collect()
}

fn name(program: &Program<'_>, values: &Values, address: Value) -> Option<String> {
    values.atoms(address).iter().find_map(|atom| match atom {
        Atom::Offset(cell) => program.ivar(*cell).map(str::to_owned),
        _ => None,
    })
}

/// The verdict that follows from the notes about one field, or from those of the
/// survey.
pub fn judge(notes: &Notes) -> Verdict {
    let hard = notes.refusals.iter().find(|(_, reason)| !reason.spares_late_clears());
    if let Some(refusal) = hard {
        return Verdict::not_understood(*refusal);
    }
    if !notes.late.is_empty() {
        return Verdict::ClearsLate { witnesses: notes.all_late().into_values().collect() };
    }
    match notes.refusals.first() {
        Some(refusal) => Verdict::not_understood(*refusal),
        None if !notes.gives.is_empty() => match notes.object_passed.first() {
            Some(at) => Verdict::not_understood((*at, Reason::CallNotFollowed)),
            None => Verdict::ClearsUnderLock,
        },
        None if !notes.object_passed.is_empty() || !notes.block_passed.is_empty() => {
            let passed = notes.object_passed.iter().chain(&notes.block_passed).min();
            Verdict::not_understood((passed.copied().unwrap_or(0), Reason::CallNotFollowed))
        }
        None => match notes.computed.first() {
            Some(at) => Verdict::not_understood((*at, Reason::UnknownStored)),
            None => Verdict::NoPool,
        },
    }
}

fn remaining(notes: &Notes) -> Remaining {
    if notes.gives.is_empty() {
        return NOTHING_KNOWN;
    }
    Remaining {
        double_push: Answer::of(notes.read_early || !notes.late.is_empty()),
        double_destructor: Answer::of(notes.used_early),
        freed_while_set: Answer::of(notes.freed_while_set),
        unlocked_readers: Answer::Unknown,
    }
}
