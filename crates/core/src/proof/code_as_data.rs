//! Whether an instruction reads a rewritten word as data, or makes an address in
//! the window that a register branch could use.
//!
//! An instruction is data as well: a literal load, or an `adr` or `adrp` with a
//! load behind it, may read any word of the code. The comparison of paths knows
//! memory only by what was stored, so a read of a word that the rewrite changes
//! would look the same in both versions and yet give another value.
//!
//! `adrp` gives a page only. The offset within it is added by a later `add`, or by
//! a load; every instruction of the same function that takes the page's register
//! as its base is looked at, whatever lies between, for the register may have
//! come there by any way. That errs towards refusing.

use std::ops::Range;

use super::branch_scan::{self, PAGE};
use super::function::Function;
use super::obligation::{Name, Obligation};
use super::site::Surroundings;
use crate::address::{VmAddr, Word};
use crate::arm64::semantics::{Address, Operand, Operation, Register, decode};
use crate::check::Status;

/// How many instructions on either side of an `adrp` may use its register,
/// where the image does not list the functions.
const MAX_DISTANCE: usize = 4096;

/// Bytes that an instruction reads or makes the address of.
#[derive(Clone, Copy)]
pub(super) struct Reference {
    /// The instruction.
    pub at: VmAddr,
    /// The first byte.
    pub to: VmAddr,
    /// How many bytes it reads; none where it makes an address.
    pub reads: u8,
}

/// The obligation that no rewritten word is read as data. `made` is what the code makes of
/// the pages of the function.
pub(super) fn obligation(
    surroundings: &dyn Surroundings,
    after: Function<'_>,
    changed: &[VmAddr],
    made: &[Reference],
) -> Obligation {
    let name = Name::RewrittenNotRead;
    let (Some(&first), Some(last)) = (changed.iter().min(), changed.iter().max()) else {
        return Obligation::new(name, Status::Pass, "no word is rewritten");
    };
    let range = first..last.instruction(1);
    let is_read = |reference: &Reference| {
        let end = reference.to.plus(u64::from(reference.reads.max(1)));
        changed.iter().any(|&word| reference.to < word.instruction(1) && word < end)
    };
    let mut found: Vec<VmAddr> = own_reads(after)
        .chain(foreign_reads(surroundings, after, &range))
        .chain(made.iter().copied())
        .filter(is_read)
        .map(|reference| reference.at)
        .collect();
    found.sort();
    found.dedup();
    let (status, detail) = match found.first() {
        None => (Status::Pass, format!("none of the {} rewritten words is", changed.len())),
        Some(at) => {
            (Status::Fail, format!("{at} reads a rewritten word as data, or makes its address"))
        }
    };
    Obligation { at: found, ..Obligation::new(name, status, detail) }
}

/// The literal loads and `adr` of the function itself.
fn own_reads(after: Function<'_>) -> impl Iterator<Item = Reference> {
    let operations = after.operations().filter_map(Result::ok);
    operations.filter_map(|(at, operation)| reference(at, &operation))
}

/// The same of the rest of the code.
fn foreign_reads(
    surroundings: &dyn Surroundings,
    after: Function<'_>,
    range: &Range<VmAddr>,
) -> Vec<Reference> {
    // The longest literal is of sixteen bytes.
    const MAX_DISTANCE: u64 = 16;
    let (origin, bytes) = surroundings.text();
    let from = VmAddr(range.start.0.saturating_sub(MAX_DISTANCE - Word::SIZE));
    let mut found = Vec::new();
    branch_scan::each(&branch_scan::REFERENCES, origin, bytes, &(from..range.end), |index| {
        let at = origin.instruction(index);
        let operation = word_at(bytes, index).and_then(|word| decode(word, at));
        if !after.range().contains(&at) {
            found.extend(operation.and_then(|operation| reference(at, &operation)));
        }
    });
    found
}

/// What an instruction refers to by its own distance.
fn reference(at: VmAddr, operation: &Operation) -> Option<Reference> {
    match *operation {
        Operation::LoadLiteral { size, from, .. } => {
            Some(Reference { at, to: from, reads: size.bytes })
        }
        // A page is rarely meant itself; what is made of it is looked at apart.
        Operation::Address { value, .. } if value % PAGE != 0 => {
            Some(Reference { at, to: VmAddr(value), reads: 0 })
        }
        _ => None,
    }
}

/// What the code makes of the pages that `range` lies in, as far as it is in `range`.
pub(super) fn through_pages(
    surroundings: &dyn Surroundings,
    range: &Range<VmAddr>,
) -> Vec<Reference> {
    let (origin, bytes) = surroundings.text();
    let mut found = Vec::new();
    let (first, last) = (page(range.start), page(VmAddr(range.end.0.saturating_sub(1))));
    let pages = (last.distance_from(first) / PAGE as i64 + 1) as u32;
    branch_scan::each_page_address(origin, bytes, first, pages, |index, page| {
        let register = word_at(bytes, index).map_or(31, |word| word.0 & 31);
        let around = function_around(surroundings, origin.instruction(index), bytes.len() / 4);
        let uses = around.filter_map(|user| {
            let at = origin.instruction(user);
            let operation = decode(word_at(bytes, user)?, at)?;
            offset_use(at, &operation, Register::new(register), page)
        });
        found.extend(uses.filter(|used| range.contains(&used.to)));
    });
    found
}

/// What an instruction makes of the page in `register`.
fn offset_use(
    at: VmAddr,
    operation: &Operation,
    register: Register,
    page: VmAddr,
) -> Option<Reference> {
    match *operation {
        // A sum of 32 bits is not an address.
        Operation::AddSubtract {
            wide: true,
            left: Some(left),
            right: Operand::Immediate(offset),
            subtract: false,
            ..
        } if left == register => Some(Reference { at, to: page.plus(offset), reads: 0 }),
        Operation::Access { load: true, size, address: Address::Offset(base, offset), .. }
            if base == register =>
        {
            Some(Reference { at, to: page.plus(offset as u64), reads: size.bytes })
        }
        Operation::AccessPair {
            load: true, size, address: Address::Offset(base, offset), ..
        } if base == register => {
            Some(Reference { at, to: page.plus(offset as u64), reads: 2 * size.bytes })
        }
        _ => None,
    }
}

/// The words of the function that `at` is in, as indices into the text.
fn function_around(surroundings: &dyn Surroundings, at: VmAddr, words: usize) -> Range<usize> {
    let (origin, _) = surroundings.text();
    let index = |address: VmAddr| (address.distance_from(origin).max(0) / 4) as usize;
    let own = index(at);
    let near = own.saturating_sub(MAX_DISTANCE)..(own + MAX_DISTANCE).min(words);
    let Some(starts) = surroundings.function_starts() else { return near };
    let next = starts.partition_point(|&start| start <= at);
    let first = next.checked_sub(1).and_then(|own| starts.get(own)).map_or(0, |&at| index(at));
    let last = starts.get(next).map_or(words, |&at| index(at)).min(words);
    first.max(near.start)..last.min(near.end)
}

fn page(address: VmAddr) -> VmAddr {
    VmAddr(address.0 & !(PAGE - 1))
}

fn word_at(bytes: &[u8], index: usize) -> Option<Word> {
    Word::all(bytes.get(index * 4..index * 4 + 4)?).next()
}
