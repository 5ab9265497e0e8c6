//! What becomes of the late clears.
//!
//! Most are an instruction of their own, which goes. One that is half of a store of two
//! registers leaves the other half, and one in a fill the rest of it. One that stands in a
//! function of the image, which others may call too, stays there: the call goes if the
//! function does nothing else, and otherwise leads to a copy of it in padding that does all
//! but the clear. A copy has no entry in the unwind tables, so only a function that calls
//! nothing is copied.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use crate::address::VmAddr;

use super::super::decode::{Access, Op, Place, ZR, decode};
use super::super::explore::Explorer;
use super::super::function::Function;
use super::narrow::{Narrowed, Then, narrowed};
use super::padding::Pads;
use super::{Attempt, Change, NOP, Refusal, encode};

/// The most instructions of a function that is copied.
const MAX_COPIED: usize = 32;

const RETURN: u32 = 0xd65f_03c0;

/// What becomes of one instruction of the function.
enum Removal {
    /// It goes.
    Drop,
    /// Another takes its place.
    Replace(u32),
    /// It calls, or branches to, a copy of a function without these instructions.
    Copy(Range<u64>, BTreeSet<u64>),
    /// It fills more than the field; stores to the rest take its place.
    Narrow(Narrowed),
}

/// What becomes of all late clears of a field.
pub(super) struct Removals(BTreeMap<u64, Removal>);

impl Removals {
    /// The removals of the late clears.
    pub(super) fn of(
        attempt: &Attempt<'_, '_, '_>,
        explorer: &mut Explorer<'_, '_>,
    ) -> Result<Removals, Refusal> {
        let function = explorer.function_at(attempt.entry).ok_or(Refusal::Unreadable)?;
        let late: BTreeSet<u64> = attempt.before.all_late().into_keys().collect();
        let mut all = BTreeMap::new();
        for at in &late {
            if function.range.contains(at) {
                all.insert(*at, own_clear(&function, *at, attempt)?);
                continue;
            }
            let callee = explorer.function_at(*at).ok_or(Refusal::ElsewhereCleared)?;
            for site in attempt.before.sites_of([at]) {
                if !function.range.contains(&site) {
                    return Err(Refusal::ElsewhereCleared);
                }
                all.insert(site, called_clear(function.op(site), &callee, &late)?);
            }
        }
        Ok(Removals(all))
    }

    /// The instructions that go and leave room.
    pub(super) fn dropped(&self) -> BTreeSet<u64> {
        let dropped = self.0.iter().filter(|(_, removal)| matches!(removal, Removal::Drop));
        dropped.map(|(at, _)| *at).collect()
    }

    /// The places behind stores in padding, which go on there: these must not move.
    pub(super) fn anchors(&self) -> impl Iterator<Item = u64> {
        let goes_on = |removal: &Removal| {
            matches!(removal, Removal::Narrow(Narrowed { then: Then::Next, .. }))
        };
        self.0.iter().filter(move |(_, removal)| goes_on(removal)).map(|(at, _)| at + 4)
    }

    /// The words that take the places of others, each as it reads there. Copies are
    /// written into padding.
    pub(super) fn replaced(
        &self,
        attempt: &Attempt<'_, '_, '_>,
        pads: &mut Pads,
        changes: &mut Vec<Change>,
    ) -> Result<BTreeMap<u64, u32>, Refusal> {
        let mut words = BTreeMap::new();
        for (at, removal) in &self.0 {
            match removal {
                Removal::Drop => {}
                Removal::Replace(word) => {
                    words.insert(*at, *word);
                }
                Removal::Copy(range, without) => {
                    let copy = copy(attempt, range, without, pads, changes)?;
                    let call = attempt.program.word(*at).ok_or(Refusal::Unreadable)?.0;
                    words.insert(*at, encode::relative(call, *at, copy).ok_or(Refusal::TooFar)?);
                }
                Removal::Narrow(narrowed) => {
                    let word = stores_instead(attempt, *at, narrowed, pads, changes)?;
                    words.insert(*at, word);
                }
            }
        }
        Ok(words)
    }

    /// All of it in place, with `nop` where instructions go.
    pub(super) fn write(
        &self,
        attempt: &Attempt<'_, '_, '_>,
        pads: &mut Pads,
        changes: &mut Vec<Change>,
    ) -> Result<(), Refusal> {
        let mut words = self.replaced(attempt, pads, changes)?;
        words.extend(self.dropped().into_iter().map(|at| (at, NOP)));
        for (at, word) in words {
            changes.push(attempt.replace(at, word)?);
        }
        Ok(())
    }
}

/// A late clear in the function itself.
fn own_clear(
    function: &Function,
    at: u64,
    attempt: &Attempt<'_, '_, '_>,
) -> Result<Removal, Refusal> {
    match function.op(at) {
        Op::Store(access) if is_whole(access) => Ok(Removal::Drop),
        // What an exchange found is needed by nothing.
        Op::Swap { to, size: 8, .. } if to == ZR || function.is_unused(at + 4, to) => {
            Ok(Removal::Drop)
        }
        Op::Store(Access {
            registers: (first, Some(second)),
            size: 8,
            vector: false,
            place,
            ..
        }) => {
            let Place::Offset(base, distance) = place else { return Err(Refusal::OtherClear) };
            let kept = match attempt.before.halves.get(&at).ok_or(Refusal::OtherClear)? {
                0 => encode::store_at(second, base, distance + 8),
                _ => encode::store_at(first, base, distance),
            };
            kept.map(Removal::Replace).ok_or(Refusal::OtherClear)
        }
        _ => Ok(match narrowed(function, at, attempt)? {
            Narrowed { stores, then: Then::Next } if stores.len() == 1 => {
                Removal::Replace(stores[0])
            }
            narrowed => Removal::Narrow(narrowed),
        }),
    }
}

/// Writes the stores into padding that take the place of a fill; the branch or the call
/// that leads to them.
fn stores_instead(
    attempt: &Attempt<'_, '_, '_>,
    at: u64,
    narrowed: &Narrowed,
    pads: &mut Pads,
    changes: &mut Vec<Change>,
) -> Result<u32, Refusal> {
    let mut words = narrowed.stores.clone();
    let start = pads.next(words.len() as u64 + 1).ok_or(Refusal::NoPadding)?;
    let end = start + 4 * words.len() as u64;
    let (back, here) = match narrowed.then {
        Then::Return => {
            let word = attempt.program.word(at).ok_or(Refusal::Unreadable)?;
            let by_register = matches!(decode(word, VmAddr(at)), Op::CallRegister(_));
            let call = if by_register { encode::CALL } else { word.0 };
            (Some(RETURN), encode::relative(call, at, start))
        }
        Then::Next => (encode::jump(end, at + 4), encode::jump(at, start)),
    };
    words.push(back.ok_or(Refusal::TooFar)?);
    pads.take(&words);
    attempt.fill(start, &words, changes)?;
    here.ok_or(Refusal::TooFar)
}

/// Whether a store writes the field and nothing else, and changes no register.
pub(super) fn is_whole(access: Access) -> bool {
    access.registers == (ZR, None)
        || access.registers.1.is_none() && access.size == 8 && !access.place.writes_back()
}

/// A late clear in a function that is called.
fn called_clear(call: Op, callee: &Function, late: &BTreeSet<u64>) -> Result<Removal, Refusal> {
    let tail = match call {
        Op::Call(target) if target == callee.range.start => false,
        Op::Branch(target) if target == callee.range.start => true,
        _ => return Err(Refusal::ElsewhereCleared),
    };
    let own: BTreeSet<u64> = late.iter().copied().filter(|at| callee.range.contains(at)).collect();
    let clears_whole = |at: &u64| matches!(callee.op(*at), Op::Store(access) if is_whole(access));
    let calls = |op: &Op| {
        matches!(op, Op::Call(_) | Op::CallRegister(_) | Op::Jump(_) | Op::Unknown)
            || matches!(op, Op::Branch(target) if !callee.range.contains(target))
    };
    if callee.ops.len() > MAX_COPIED
        || callee.ops.iter().any(calls)
        || !own.iter().all(clears_whole)
    {
        return Err(Refusal::ElsewhereCleared);
    }
    let does_nothing_else = callee.placed().all(|(at, op)| {
        own.contains(&at)
            || matches!(op, Op::Nop | Op::Return(30) | Op::Constant { .. } | Op::Trap)
            || matches!(op, Op::Load(access) if !access.place.writes_back())
            || matches!(op, Op::Add { to, flags: false, .. } if to < 18)
    });
    Ok(match (does_nothing_else, tail) {
        (true, false) => Removal::Drop,
        (true, true) => Removal::Replace(RETURN),
        (false, _) => Removal::Copy(callee.range.clone(), own),
    })
}

/// Copies a function into padding without some of its instructions; where it begins.
fn copy(
    attempt: &Attempt<'_, '_, '_>,
    range: &Range<u64>,
    without: &BTreeSet<u64>,
    pads: &mut Pads,
    changes: &mut Vec<Change>,
) -> Result<u64, Refusal> {
    let count = (range.end - range.start) / 4;
    let start = pads.next(count).ok_or(Refusal::NoPadding)?;
    let mut words = Vec::new();
    for at in range.clone().step_by(4) {
        let word = attempt.program.word(at).ok_or(Refusal::Unreadable)?;
        let to = start + (at - range.start);
        let op = decode(word, VmAddr(at));
        let target = encode::target(op, word.0, at);
        words.push(match target {
            _ if without.contains(&at) => NOP,
            // Branches inside keep their distance.
            Some(target) if !range.contains(&target) => {
                encode::relative(word.0, to, target).ok_or(Refusal::TooFar)?
            }
            _ => word.0,
        });
    }
    pads.take(&words);
    attempt.fill(start, &words, changes)?;
    Ok(start)
}
