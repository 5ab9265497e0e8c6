//! A fill without the field that is cleared before.
//!
//! A structure of an object is cleared as a whole: by `bzero` or `memset`, or by stores of
//! vector registers. The field in it is to be cleared earlier, and the rest where it was.
//! So in the place of the fill, code in padding stores zeroes to what lies before the
//! field and behind it. It uses the fill's own address register and no other.

use super::super::decode::{Access, Op, Place, ZR};
use super::super::events::Filled;
use super::super::function::Function;
use super::super::meaning::{Meaning, meaning};
use super::{Attempt, Refusal, encode};

/// The most stores that take the place of a fill.
const MAX_STORES: usize = 12;

/// Bytes of the field.
const FIELD: u64 = 8;

/// What takes the place of a fill.
pub(super) struct Narrowed {
    /// The stores.
    pub stores: Vec<u32>,
    /// Where control goes on behind them.
    pub then: Then,
}

/// How the stores are come to, and where control goes on.
#[derive(Clone, Copy)]
pub(super) enum Then {
    /// By a call, or a branch in place of one: they return.
    Return,
    /// By a branch in the place of a store: to the instruction behind it.
    Next,
}

/// The stores in the place of the fill at an address, if it can do without the field.
pub(super) fn narrowed(
    function: &Function,
    at: u64,
    attempt: &Attempt<'_, '_, '_>,
) -> Result<Narrowed, Refusal> {
    let filled = attempt.before.filled.get(&at).copied().flatten();
    let Filled { before, bytes } = filled.ok_or(Refusal::OtherClear)?;
    let (base, start, then) = match function.op(at) {
        Op::Store(Access { place: Place::Offset(base, distance), .. }) => {
            (base, distance, Then::Next)
        }
        Op::Call(target) | Op::Branch(target) if fills(attempt, target) => (0, 0, Then::Return),
        // Only a fill is noted as one.
        Op::CallRegister(_) => (0, 0, Then::Return),
        _ => return Err(Refusal::OtherClear),
    };
    let mut stores = Vec::new();
    for (from, to) in [(0, before), (before + FIELD, bytes)] {
        clear_run(base, start + from as i64, start + to as i64, &mut stores)?;
    }
    Ok(Narrowed { stores, then })
}

/// Whether a stub is that of a function that fills memory where its first argument points.
fn fills(attempt: &Attempt<'_, '_, '_>, target: u64) -> bool {
    let name = attempt.program.stub(target);
    name.is_some_and(|name| matches!(meaning(name), Meaning::Fills(..)))
}

/// Stores of zeroes to the bytes between two distances from a register.
fn clear_run(base: u8, mut from: i64, to: i64, stores: &mut Vec<u32>) -> Result<(), Refusal> {
    while from < to {
        let (size, word) = [16, 8, 4, 2, 1]
            .into_iter()
            .filter(|size| from + size <= to)
            .find_map(|size| Some((size, store_zeroes(size, base, from)?)))
            .ok_or(Refusal::OtherClear)?;
        stores.push(word);
        from += size;
    }
    match stores.len() <= MAX_STORES {
        true => Ok(()),
        false => Err(Refusal::OtherClear),
    }
}

fn store_zeroes(size: i64, base: u8, distance: i64) -> Option<u32> {
    match size {
        16 => encode::store_pair_at(ZR, base, distance),
        size => encode::store_part_at(size.trailing_zeros(), ZR, base, distance),
    }
}
