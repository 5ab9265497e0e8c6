//! Which functions of a file are worth examining, without knowing any name: those
//! that take and drop a lock, themselves or in a function they call, and store a
//! null somewhere that is not the stack.
//!
//! One pass over the words, with the table of function starts at its side.

use std::collections::{HashMap, HashSet};

use crate::address::Word;

use super::calls::{Meaning, meaning};
use super::image::Program;

/// What one pass sees in a function.
#[derive(Clone, Copy, Debug, Default)]
struct Traits {
    locks: bool,
    unlocks: bool,
    clears: bool,
}

impl Traits {
    fn complete(self) -> bool {
        self.locks && self.unlocks && self.clears
    }

    fn join(&mut self, other: Traits) {
        self.locks |= other.locks;
        self.unlocks |= other.unlocks;
        self.clears |= other.clears;
    }
}

/// The cells and stubs through which locks are reached.
struct Ways {
    stubs: HashMap<u64, Meaning>,
    cells: HashMap<u64, Meaning>,
}

/// The functions worth examining, by their first address: those that do it all
/// themselves before those that leave a part to a function they call.
pub fn candidates(program: &Program<'_>) -> Vec<u64> {
    let ways = Ways { stubs: matters(program.all_stubs()), cells: matters(program.all_pointers()) };
    let (own, calls) = survey(program, &ways);
    let starts = program.starts();
    let (mut found, mut shared) = (Vec::new(), Vec::new());
    let mut next = 0;
    for (index, traits) in own.iter().enumerate() {
        let mut all = *traits;
        while let Some((_, callee)) = calls.get(next).filter(|(caller, _)| *caller == index as u32)
        {
            all.join(own[*callee as usize]);
            next += 1;
        }
        match (traits.complete(), all.complete()) {
            (true, _) => found.push(starts[index]),
            (false, true) => shared.push(starts[index]),
            (false, false) => {}
        }
    }
    found.append(&mut shared);
    found
}

fn matters<'a>(names: impl Iterator<Item = (u64, &'a str)>) -> HashMap<u64, Meaning> {
    let lock = |meaning: &Meaning| {
        matches!(meaning, Meaning::Lock | Meaning::TryLock(_) | Meaning::Unlock)
    };
    names.map(|(at, name)| (at, meaning(name))).filter(|(_, meaning)| lock(meaning)).collect()
}

/// The traits of every function, and who calls whom directly, in the order of the
/// callers.
fn survey(program: &Program<'_>, ways: &Ways) -> (Vec<Traits>, Vec<(u32, u32)>) {
    let starts = program.starts();
    let mut traits = vec![Traits::default(); starts.len()];
    let mut calls = Vec::new();
    let (mut index, mut at) = (0, program.text().start);
    let mut pages = [0u64; 32];
    let mut own: HashSet<u32> = HashSet::new();
    for word in program.text_words() {
        while starts.get(index + 1).is_some_and(|next| *next <= at) {
            index += 1;
            own.clear();
            pages = [0; 32];
        }
        let Some(here) = traits.get_mut(index) else { break };
        if let Some(target) = called(word, at) {
            match ways.stubs.get(&target) {
                Some(meaning) => note(here, *meaning),
                None => {
                    if let Ok(callee) = starts.binary_search(&target)
                        && own.insert(callee as u32)
                    {
                        calls.push((index as u32, callee as u32));
                    }
                }
            }
        } else {
            here.clears |= clears(word);
            if let Some(cell) = cell(word, at, &mut pages)
                && let Some(meaning) = ways.cells.get(&cell)
            {
                note(here, *meaning);
            }
        }
        at += Word::SIZE;
    }
    (traits, calls)
}

fn note(traits: &mut Traits, meaning: Meaning) {
    match meaning {
        Meaning::Unlock => traits.unlocks = true,
        _ => traits.locks = true,
    }
}

/// The target of `bl`, and of `b`, which may be a tail call.
fn called(word: Word, at: u64) -> Option<u64> {
    if word.0 & 0x7c00_0000 != 0x1400_0000 {
        return None;
    }
    let distance = i64::from((word.0 << 6) as i32 >> 6) * 4;
    Some(at.wrapping_add_signed(distance))
}

/// Whether a word may store eight bytes of zero other than to the stack.
fn clears(word: Word) -> bool {
    let word = word.0;
    let (stored, base) = (word & 31, word >> 5 & 31);
    let single = word & 0xffc0_0000 == 0xf900_0000 || word & 0xffe0_0000 == 0xf800_0000;
    let swap = word & 0xff20_fc00 == 0xf820_8000 && word >> 16 & 31 == 31;
    let pair = word & 0xfc40_0000 == 0xa800_0000 && (stored == 31 || word >> 10 & 31 == 31);
    let indexed = word & 0xffe0_0c00 == 0xf820_0800;
    let exclusive = word & 0xff20_0000 == 0xc800_0000 || word & 0xffe0_fc00 == 0xc880_fc00;
    let any = single || indexed || exclusive;
    base != 31 && ((any && stored == 31) || pair || swap)
}

/// The address a word loads eight bytes from, where a page was named before.
fn cell(word: Word, at: u64, pages: &mut [u64; 32]) -> Option<u64> {
    let word = word.0;
    let register = (word & 31) as usize;
    if word & 0x9f00_0000 == 0x9000_0000 {
        let distance = i64::from((word << 8) as i32 >> 13) << 2 | i64::from(word >> 29 & 3);
        pages[register] = (at & !0xfff).wrapping_add_signed(distance << 12);
        return None;
    }
    if word & 0xffc0_0000 == 0xf940_0000 {
        let page = pages[(word >> 5 & 31) as usize];
        return (page != 0).then(|| page + u64::from(word >> 10 & 0xfff) * 8);
    }
    // A literal.
    if word & 0xff00_0000 == 0x5800_0000 {
        let distance = i64::from((word << 8) as i32 >> 13) * 4;
        return Some(at.wrapping_add_signed(distance));
    }
    None
}
