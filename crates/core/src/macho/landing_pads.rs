//! Where exceptions continue inside a function.
//!
//! The unwinder finds a function's language-specific data (LSDA) through an
//! index in `__TEXT,__unwind_info`, and in it a table of call sites with the
//! address each continues at. A branch no disassembler sees leads there, so
//! whoever rewrites code must know these places. Functions that are unwound by
//! DWARF keep theirs in `__eh_frame`, which is not read here: where an image has
//! that section, the answer is that it is not known.
//!
//! Sources: `mach-o/compact_unwind_encoding.h` and the Itanium C++ ABI,
//! "Exception Handling", 7.

use std::ops::Range;

use crate::address::VmAddr;

use super::bytes::u32_at;
use super::image::Image;

/// The landing pads of the function, or why they are not known.
pub fn of(image: &Image<'_>, function: &Range<VmAddr>) -> Result<Vec<VmAddr>, &'static str> {
    if image.section("__TEXT", "__eh_frame").is_some() {
        return Err("the image has an __eh_frame section, which is not read");
    }
    let Some(section) = image.section("__TEXT", "__unwind_info") else {
        return Ok(Vec::new());
    };
    let index = index(section.bytes).ok_or("the __unwind_info section cannot be read")?;
    let base = image.base();
    let mut pads = Vec::new();
    for (start, data) in index {
        let start = base.plus(start.into());
        if function.contains(&start) {
            let data = image.offset_of(base.plus(data.into()));
            let bytes = data.and_then(|at| image.bytes().get(usize::try_from(at.0).ok()?..));
            let found = bytes.and_then(|bytes| call_sites(bytes, start));
            pads.extend(found.ok_or("the function's exception table cannot be read")?);
        }
    }
    Ok(pads)
}

/// The index of functions that have language-specific data: offset of the
/// function and of the data, both from the image's base.
fn index(bytes: &[u8]) -> Option<Vec<(u32, u32)>> {
    if u32_at(bytes, 0)? != 1 {
        return None;
    }
    let (first, count) = (u64::from(u32_at(bytes, 20)?), u64::from(u32_at(bytes, 24)?));
    if count == 0 {
        return Some(Vec::new());
    }
    // The entry after the last page is a sentinel; its third field ends the index.
    let entry = |number: u64| Some(u64::from(u32_at(bytes, first + number * 12 + 8)?));
    let (start, end) = (entry(0)?, entry(count - 1)?);
    let listed = bytes.get(usize::try_from(start).ok()?..usize::try_from(end).ok()?)?;
    let pair = |pair: &[u8]| Some((u32_at(pair, 0)?, u32_at(pair, 4)?));
    listed.chunks_exact(8).map(pair).collect()
}

/// The addresses at which the call sites of one table continue.
fn call_sites(bytes: &[u8], function: VmAddr) -> Option<Vec<VmAddr>> {
    const OMITTED: u8 = 0xff;
    let mut reader = Reader(bytes);
    // A base of its own for landing pads occurs in no compiler's output here.
    if reader.byte()? != OMITTED {
        return None;
    }
    if reader.byte()? != OMITTED {
        reader.uleb()?;
    }
    let encoding = reader.byte()?;
    let length = usize::try_from(reader.uleb()?).ok()?;
    let mut table = Reader(reader.0.get(..length)?);
    let mut pads = Vec::new();
    while !table.0.is_empty() {
        let [_, _, pad] =
            [table.number(encoding)?, table.number(encoding)?, table.number(encoding)?];
        table.uleb()?;
        if pad != 0 {
            pads.push(function.plus(pad));
        }
    }
    Some(pads)
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn byte(&mut self) -> Option<u8> {
        let (&first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(first)
    }

    fn uleb(&mut self) -> Option<u64> {
        let mut value = 0u64;
        for shift in (0..63).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    /// A number in one of the two encodings compilers use for call sites:
    /// `DW_EH_PE_uleb128` and `DW_EH_PE_udata4`.
    fn number(&mut self, encoding: u8) -> Option<u64> {
        match encoding {
            1 => self.uleb(),
            3 => {
                let value = u32_at(self.0, 0)?;
                self.0 = &self.0[4..];
                Some(value.into())
            }
            _ => None,
        }
    }
}
