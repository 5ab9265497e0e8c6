//! Moving instructions inside a function: some words go, as many come, and what lies
//! between moves along.

use std::collections::{BTreeMap, BTreeSet};

use crate::address::{SliceOffset, VmAddr, Word};

use super::super::decode::{Op, decode};
use super::super::function::Function;
use super::super::image::Program;
use super::{Change, NOP, Refusal, encode};

/// A function's words, to be changed.
pub struct Layout<'f, 'p, 'a> {
    program: &'p Program<'a>,
    function: &'f Function,
    /// For each old instruction its new index; none if it is dropped.
    places: Vec<Option<usize>>,
    words: Vec<Option<u32>>,
    /// What stands in place of old instructions, as it would read at their addresses.
    replaced: &'f BTreeMap<u64, u32>,
}

impl<'f, 'p, 'a> Layout<'f, 'p, 'a> {
    /// The function as it is, with `inserted` before the instruction at `before`, the
    /// instructions at `dropped` gone and others `replaced`. As many words come as go; of
    /// the dropped ones those nearest to the insertion give room, the others become `nop`.
    pub fn new(
        program: &'p Program<'a>,
        function: &'f Function,
        (before, inserted): (u64, &[u32]),
        dropped: &BTreeSet<u64>,
        replaced: &'f BTreeMap<u64, u32>,
    ) -> Result<Layout<'f, 'p, 'a>, Refusal> {
        let index = |at: u64| ((at - function.range.start) / 4) as usize;
        let count = function.ops.len();
        let mut free: Vec<usize> = dropped.iter().map(|at| index(*at)).collect();
        let nops = (0..count).filter(|i| {
            let at = function.range.start + 4 * *i as u64;
            program.word(at).is_some_and(|word| word.0 == NOP)
        });
        free.extend(nops);
        let at = index(before);
        free.sort_by_key(|slot| slot.abs_diff(at));
        if free.len() < inserted.len() {
            return Err(Refusal::NoRoom);
        }
        let gone: BTreeSet<usize> = free[..inserted.len()].iter().copied().collect();
        let mut places = vec![None; count];
        let mut words = Vec::with_capacity(count);
        for (old, place) in places.iter_mut().enumerate() {
            if old == at {
                words.extend(inserted.iter().map(|word| Some(*word)));
            }
            if gone.contains(&old) {
                continue;
            }
            *place = Some(words.len());
            let nop = dropped.contains(&(function.range.start + 4 * old as u64));
            words.push(if nop { Some(NOP) } else { None });
        }
        Ok(Layout { program, function, places, words, replaced })
    }

    /// Whether instructions stay where they are that code elsewhere goes on with.
    pub fn keep(&self, places: impl IntoIterator<Item = u64>) -> Result<(), Refusal> {
        let stays = |at: u64| self.moved(at, None) == at;
        if places.into_iter().all(stays) { Ok(()) } else { Err(Refusal::NoRoom) }
    }

    fn address(&self, index: usize) -> u64 {
        self.function.range.start + 4 * index as u64
    }

    /// Where an old address of the function has gone: a dropped instruction to what
    /// comes after it, and the place of the insertion to what was inserted.
    fn moved(&self, at: u64, insertion: Option<(u64, usize)>) -> u64 {
        if let Some((before, inserted)) = insertion
            && at == before
        {
            return self.moved(at, None) - 4 * inserted as u64;
        }
        let index = ((at - self.function.range.start) / 4) as usize;
        let next = self.places[index..].iter().flatten().next();
        next.map_or(self.function.range.end, |place| self.address(*place))
    }

    /// The changes of the code, and of the exception table.
    pub fn changes(
        mut self,
        before: u64,
        inserted: usize,
        why: &'static str,
    ) -> Result<Vec<Change>, Refusal> {
        self.check()?;
        let insertion = Some((before, inserted));
        for old in 0..self.places.len() {
            let Some(place) = self.places[old] else { continue };
            if self.words[place].is_some() {
                continue;
            }
            let (at, to) = (self.address(old), self.address(place));
            let word = self.program.word(at).ok_or(Refusal::Unreadable)?.0;
            let word = self.replaced.get(&at).copied().unwrap_or(word);
            let target = encode::target(decode(Word(word), VmAddr(at)), word, at);
            let moved = target.map(|target| match self.function.range.contains(&target) {
                true => self.moved(target, insertion),
                false => target,
            });
            self.words[place] = Some(match (target, moved) {
                (Some(target), Some(moved)) if at != to || target != moved => {
                    encode::relative(word, to, moved).ok_or(Refusal::TooFar)?
                }
                _ => word,
            });
        }
        let mut changes = Vec::new();
        for (index, word) in self.words.iter().enumerate() {
            let at = self.address(index);
            let old = self.program.word(at).ok_or(Refusal::Unreadable)?.0;
            let new = word.ok_or(Refusal::Unreadable)?;
            if new != old {
                changes.push(Change::word(self.program, at, old, new, why)?);
            }
        }
        self.unwinding()?;
        self.exception_table(insertion, &mut changes)?;
        Ok(changes)
    }

    /// Nothing may move past a place where other rules of unwinding begin to hold, for
    /// these stay as they are.
    fn unwinding(&self) -> Result<(), Refusal> {
        let range = &self.function.range;
        let steps = self.program.image().unwind_steps(&(VmAddr(range.start)..VmAddr(range.end)));
        let steps = steps.map_err(|_| Refusal::UnwindRules)?;
        let stays = |index: usize| self.places.get(index).is_none_or(|to| *to == Some(index));
        let crossed = steps.iter().any(|step| {
            let index = ((step.0 - range.start) / 4) as usize;
            index > 0 && !(stays(index - 1) && stays(index))
        });
        if crossed { Err(Refusal::UnwindRules) } else { Ok(()) }
    }

    /// What forbids moving instructions.
    fn check(&self) -> Result<(), Refusal> {
        let range = &self.function.range;
        for (index, op) in self.function.ops.iter().enumerate() {
            match *op {
                Op::Jump(_) => return Err(Refusal::IndirectBranch),
                Op::Constant { value, .. } if range.contains(&value) && value != range.start => {
                    let at = self.address(index);
                    let word = self.program.word(at).ok_or(Refusal::Unreadable)?.0;
                    if word & 0x1f00_0000 == 0x1000_0000 {
                        return Err(Refusal::AddressTaken);
                    }
                }
                Op::Unknown => return Err(Refusal::Unreadable),
                _ => {}
            }
        }
        if self.program.entered_elsewhere(range) {
            return Err(Refusal::EnteredElsewhere);
        }
        Ok(())
    }

    fn exception_table(
        &self,
        insertion: Option<(u64, usize)>,
        changes: &mut Vec<Change>,
    ) -> Result<(), Refusal> {
        let sites = self.program.exception_table(&self.function.range)?;
        let start = self.function.range.start;
        let bytes = self.program.image().bytes();
        for site in &sites {
            let place = |at: u64| match self.function.range.contains(&at) {
                true => self.moved(at, insertion),
                false => at,
            };
            let first = place(site.calls.start.0);
            let end = place(site.calls.end.0);
            let pad = site.pad.map_or(0, |pad| place(pad.0) - start);
            let values = [first - start, end.saturating_sub(first), pad];
            for (range, value) in site.fields.iter().zip(values) {
                let old = &bytes[range.start.0 as usize..range.end.0 as usize];
                let new = number(value, old.len(), site.fixed).ok_or(Refusal::TableWidth)?;
                if new != old {
                    changes.push(Change {
                        at: SliceOffset(range.start.0),
                        old: old.to_vec(),
                        new,
                        why: "the exception table follows the moved instructions",
                    });
                }
            }
        }
        Ok(())
    }
}

/// A number of the exception table in the width it had.
fn number(value: u64, width: usize, fixed: bool) -> Option<Vec<u8>> {
    if fixed {
        return u32::try_from(value).ok().map(|value| value.to_le_bytes().to_vec());
    }
    let mut bytes = Vec::with_capacity(width);
    for index in 0..width {
        let more = if index + 1 < width { 0x80 } else { 0 };
        bytes.push((value >> (7 * index)) as u8 & 0x7f | more);
    }
    (7 * width >= 64 || value >> (7 * width) == 0).then_some(bytes)
}
