//! Stubs: the few instructions through which code calls a function of another
//! image.
//!
//! A section of stubs (`S_SYMBOL_STUBS`) names the number of its first entry in
//! the indirect symbol table and the size of a stub; the entries are numbers in
//! the symbol table. So an address that code calls leads to the name of what is
//! called.

use crate::address::VmAddr;
use crate::error::Result;

use super::bytes::{malformed, room_for, u32_at};
use super::image::{Image, bytes_of};

/// `S_SYMBOL_STUBS`, the section type.
const SYMBOL_STUBS: u32 = 8;

/// `S_NON_LAZY_SYMBOL_POINTERS` and `S_LAZY_SYMBOL_POINTERS`.
const POINTERS: [u32; 2] = [6, 7];

/// One stub, or one pointer cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stub<'a> {
    /// Its first byte.
    pub address: VmAddr,
    /// The symbol it leads to; C names begin with an underscore.
    pub name: &'a str,
}

/// Every stub of the image whose symbol is in the table.
pub fn all<'a>(image: &Image<'a>) -> Result<Vec<Stub<'a>>> {
    entries(image, |kind| kind == SYMBOL_STUBS, |size| size)
}

/// Every pointer cell whose symbol is in the table.
pub fn pointers<'a>(image: &Image<'a>) -> Result<Vec<Stub<'a>>> {
    entries(image, |kind| POINTERS.contains(&kind), |_| 8)
}

/// The entries of the sections of some kinds. `size` gives the size of an entry
/// from what the section's header says about it.
fn entries<'a>(
    image: &Image<'a>,
    wanted: impl Fn(u32) -> bool,
    size: impl Fn(u64) -> u64,
) -> Result<Vec<Stub<'a>>> {
    let Some(table) = image.facts.indirect_symbols.clone() else { return Ok(Vec::new()) };
    let numbers = bytes_of(image.bytes(), table);
    let symbols = image.symbols()?;
    let mut stubs = Vec::new();
    for section in image.sections().iter().filter(|s| wanted(s.flags & 0xff)) {
        let [first, listed] = section.reserved.map(u64::from);
        let size = size(listed);
        if size == 0 {
            return Err(
                malformed("a stubs section has no entry size").with("section", section.name)
            );
        }
        let count = section.bytes.len() as u64 / size;
        room_for("stubs", stubs.len() + count as usize, size_of::<Stub>(), image.bytes().len())?;
        for index in 0..count {
            let number = u32_at(numbers, (first + index) * 4);
            if let Some(name) = number.and_then(|number| symbols.name_at(number)) {
                stubs.push(Stub { address: section.address.plus(index * size), name });
            }
        }
    }
    Ok(stubs)
}
