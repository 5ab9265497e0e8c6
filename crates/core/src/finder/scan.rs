//! Which functions of a file are worth examining, without knowing any name: those
//! that take and drop a lock, themselves or in a function they call, and store a
//! null somewhere that is not the stack.
//!
//! Two passes over the words, with the table of function starts at their side: one
//! for what a function does itself, one for what the functions it calls do.

use std::collections::HashMap;

use crate::address::Word;

use super::image::Program;
use super::meaning::{Meaning, meaning};

/// What the code of a function does, a bit each: there is one of these for every
/// function of the file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Traits(u8);

impl Traits {
    const LOCKS: Traits = Traits(1);
    const UNLOCKS: Traits = Traits(2);
    const CLEARS: Traits = Traits(4);
    const ALL: Traits = Traits(7);

    fn join(&mut self, other: Traits) {
        self.0 |= other.0;
    }
}

/// The cells and stubs through which locks are reached, and functions that fill memory.
struct Ways {
    stubs: HashMap<u64, Meaning>,
    cells: HashMap<u64, Meaning>,
}

/// The functions worth examining, by their first address: those that do it all
/// themselves before those that leave a part to a function they call.
pub fn candidates(program: &Program<'_>) -> Vec<u64> {
    let ways = Ways { stubs: matters(program.all_stubs()), cells: matters(program.all_pointers()) };
    let own = survey(program, &ways);
    let together = with_callees(program, &own);
    let starts = program.starts();
    let (mut found, mut shared) = (Vec::new(), Vec::new());
    for ((own, together), start) in own.iter().zip(&together).zip(starts) {
        match (*own == Traits::ALL, *together == Traits::ALL) {
            (true, _) => found.push(*start),
            (false, true) => shared.push(*start),
            (false, false) => {}
        }
    }
    found.append(&mut shared);
    found
}

fn matters<'a>(names: impl Iterator<Item = (u64, &'a str)>) -> HashMap<u64, Meaning> {
    let counts = |meaning: &Meaning| {
        let locks = matches!(meaning, Meaning::Lock | Meaning::TryLock(_) | Meaning::Unlock);
        locks || matches!(meaning, Meaning::Fills(..))
    };
    names.map(|(at, name)| (at, meaning(name))).filter(|(_, meaning)| counts(meaning)).collect()
}

/// Calls `look` with each word, its address, and the number of its function.
fn each_word(program: &Program<'_>, mut look: impl FnMut(usize, Word, u64)) {
    let starts = program.starts();
    let (mut index, mut at) = (0, program.text().start);
    for word in program.text_words() {
        while starts.get(index + 1).is_some_and(|next| *next <= at) {
            index += 1;
        }
        look(index, word, at);
        at += Word::SIZE;
    }
}

/// The traits of every function, without those it calls.
fn survey(program: &Program<'_>, ways: &Ways) -> Vec<Traits> {
    let mut traits = vec![Traits::default(); program.starts().len()];
    let (mut function, mut pages) = (0, [0u64; 32]);
    each_word(program, |index, word, at| {
        if index != function {
            (function, pages) = (index, [0; 32]);
        }
        let here = &mut traits[index];
        if let Some(target) = called(word, at) {
            if let Some(meaning) = ways.stubs.get(&target) {
                note(here, *meaning);
            }
            return;
        }
        if clears(word) {
            here.join(Traits::CLEARS);
        }
        if let Some(cell) = cell(word, at, &mut pages)
            && let Some(meaning) = ways.cells.get(&cell)
        {
            note(here, *meaning);
        }
    });
    traits
}

/// The traits of every function with those of the functions it calls directly. The
/// calls are read a second time rather than kept: a large program has millions.
fn with_callees(program: &Program<'_>, own: &[Traits]) -> Vec<Traits> {
    let starts = program.starts();
    let mut together = own.to_vec();
    each_word(program, |index, word, at| {
        let here = &mut together[index];
        if *here != Traits::ALL
            && let Some(target) = called(word, at)
            && let Ok(callee) = starts.binary_search(&target)
        {
            here.join(own[callee]);
        }
    });
    together
}

fn note(traits: &mut Traits, meaning: Meaning) {
    match meaning {
        Meaning::Unlock => traits.join(Traits::UNLOCKS),
        Meaning::Fills(..) => traits.join(Traits::CLEARS),
        _ => traits.join(Traits::LOCKS),
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

/// Whether a word may store eight bytes of zero other than to the stack, or makes a vector
/// register zero, which then is stored.
fn clears(word: Word) -> bool {
    let word = word.0;
    // movi v0.2d, #0
    if word & !31 == 0x6f00_e400 {
        return true;
    }
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
