//! The words that clear the cell at one place, from what registers hold there on
//! every path.

use super::super::explore::Explorer;
use super::super::state::State;
use super::super::value::{Atom, UNKNOWN, Value};
use super::encode;

/// The order in which registers are preferred: those that survive calls first.
const PREFERRED: [u8; 29] = [
    19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 0, 1, 2, 3, 4, 5,
    6, 7, 29,
];

/// Words that clear the cell in every one of these states, for a place whose address
/// is given. `scratch` may be overwritten there.
pub fn clear(
    explorer: &mut Explorer<'_, '_>,
    states: &[State],
    at: u64,
    scratch: u8,
) -> Option<Vec<u32>> {
    let cell = explorer.cell?;
    let first = states.first()?;
    let same = |register: u8| {
        let value = first.get(register);
        let all = states.iter().all(|state| state.get(register) == value);
        (all && value != UNKNOWN).then_some(value)
    };
    let known: Vec<(u8, Value)> =
        PREFERRED.iter().filter_map(|register| Some((*register, same(*register)?))).collect();
    for (register, value) in &known {
        let distance = explorer.values.distance(*value, cell);
        if let Some(word) = distance.and_then(|distance| encode::clear_at(*register, distance)) {
            return Some(vec![word]);
        }
    }
    for (base, a) in &known {
        for (index, b) in &known {
            if base != index && explorer.values.sum(*a, *b) == Some(cell) {
                return Some(vec![encode::clear_indexed(*base, *index)]);
            }
        }
    }
    if let Some(words) = through_pointer(explorer, &known, at, scratch) {
        return Some(words);
    }
    let offset = explorer.values.atoms(cell).iter().find_map(|atom| match atom {
        Atom::Offset(offset) => Some(*offset),
        _ => None,
    })?;
    let index = explorer.values.atom(Atom::Offset(offset));
    if explorer.program.ivar(offset).is_none() || explorer.program.pointer(offset).is_some() {
        return None;
    }
    for (base, value) in known.iter().filter(|(base, _)| *base != scratch) {
        let Some(near) = explorer.values.sum(*value, index) else { continue };
        match explorer.values.distance(near, cell) {
            Some(0) => {
                let load = encode::load_offset(scratch, at, offset)?;
                return Some(vec![load, encode::clear_indexed(*base, scratch)]);
            }
            // In a structure that the instance variable is.
            Some(distance) => {
                let Some(clear) = encode::clear_at(scratch, distance) else { continue };
                let load = encode::load_offset(scratch, at, offset)?;
                return Some(vec![load, encode::sum(scratch, *base, scratch), clear]);
            }
            None => {}
        }
    }
    None
}

/// The second register that may be overwritten where the cell is in an object whose
/// address is loaded first.
pub const SECOND_SCRATCH: u8 = 16;

/// Where the object's own address is loaded, as from a block that captured it.
fn through_pointer(
    explorer: &mut Explorer<'_, '_>,
    known: &[(u8, Value)],
    at: u64,
    scratch: u8,
) -> Option<Vec<u32>> {
    let cell = explorer.cell?;
    let atoms = explorer.values.atoms(cell).to_vec();
    let pointer = atoms.iter().find_map(|atom| match atom {
        Atom::Load(pointer) => Some(*pointer),
        _ => None,
    })?;
    let load = known.iter().find_map(|(base, value)| {
        let distance = explorer.values.distance(*value, pointer)?;
        encode::load_at(scratch, *base, distance)
    })?;
    let addend = explorer.values.addend(cell);
    match atoms[..] {
        [Atom::Load(_)] => Some(vec![load, encode::clear_at(scratch, addend as i64)?]),
        [Atom::Offset(offset), Atom::Load(_)] | [Atom::Load(_), Atom::Offset(offset)]
            if addend == 0 && explorer.program.pointer(offset).is_none() =>
        {
            explorer.program.ivar(offset)?;
            let index = encode::load_offset(SECOND_SCRATCH, at + 4, offset)?;
            Some(vec![load, index, encode::clear_indexed(scratch, SECOND_SCRATCH)])
        }
        _ => None,
    }
}
