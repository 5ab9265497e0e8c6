//! Where exceptions continue inside a function.
//!
//! The unwinder finds a function's language-specific data (LSDA) through an
//! index in `__TEXT,__unwind_info`, and in it a table of call sites with the
//! address each continues at. A branch no disassembler sees leads there, so
//! a rewrite of code must know these places. Functions that are unwound by
//! DWARF name their data in `__eh_frame` ([`eh_frame`]); linkers list it in the
//! index too, but need not.
//!
//! Sources: `mach-o/compact_unwind_encoding.h` and the Itanium C++ ABI,
//! "Exception Handling", 7.

use std::ops::Range;

use crate::address::{SliceOffset, VmAddr};

use super::bytes::u32_at;
use super::eh_frame;
use super::image::Image;

/// One entry of a function's exception table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallSite {
    /// The calls it is for.
    pub calls: Range<VmAddr>,
    /// Where they continue when they throw; none if the exception passes through.
    pub pad: Option<VmAddr>,
    /// Where the table holds the distance of the first call from the function's
    /// start, the length of the range and the distance of the pad.
    pub fields: [Range<SliceOffset>; 3],
    /// Whether the numbers are of fixed width, or `uleb128`.
    pub fixed: bool,
}

/// The landing pads of the function, or why they are not known.
pub fn of(image: &Image<'_>, function: &Range<VmAddr>) -> Result<Vec<VmAddr>, &'static str> {
    Ok(call_sites(image, function)?.into_iter().filter_map(|site| site.pad).collect())
}

/// The entries of the function's exception table, or why they are not known.
pub fn call_sites(
    image: &Image<'_>,
    function: &Range<VmAddr>,
) -> Result<Vec<CallSite>, &'static str> {
    let mut found = Vec::new();
    let base = image.base();
    if let Some(section) = image.section("__TEXT", "__unwind_info") {
        let index = index(section.bytes).ok_or("the __unwind_info section cannot be read")?;
        let placed = index
            .into_iter()
            .map(|(start, data)| (base.plus(start.into()), base.plus(data.into())));
        found.extend(placed.filter(|(start, _)| function.contains(start)));
    }
    let frames =
        eh_frame::frames(image, function).ok_or("the __eh_frame section cannot be read")?;
    for frame in frames {
        let entry = frame.data.map(|data| (frame.function.start, data));
        found.extend(entry.filter(|entry| !found.contains(entry)));
    }
    let mut sites = Vec::new();
    for (start, data) in found {
        let of_table = image.offset_of(data).and_then(|at| {
            let bytes = image.bytes().get(usize::try_from(at.0).ok()?..)?;
            table(bytes, at, start)
        });
        sites.extend(of_table.ok_or("the function's exception table cannot be read")?);
    }
    Ok(sites)
}

/// The instructions of a function before which the rules change by which it is
/// unwound, or why they are not known. Compact unwind information has one rule for a
/// whole function, which counts as set up with it.
pub fn unwind_steps(
    image: &Image<'_>,
    function: &Range<VmAddr>,
) -> Result<Vec<VmAddr>, &'static str> {
    let frames =
        eh_frame::frames(image, function).ok_or("the __eh_frame section cannot be read")?;
    let mut steps: Vec<VmAddr> = frames.into_iter().flat_map(|frame| frame.steps).collect();
    steps.sort_unstable();
    steps.dedup();
    Ok(steps)
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

/// The call sites of one table, which stands at an offset of the slice.
fn table(bytes: &[u8], at: SliceOffset, function: VmAddr) -> Option<Vec<CallSite>> {
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
    let whole = bytes.len();
    let end = whole - reader.0.len() + length;
    let mut table = Reader(reader.0.get(..length)?);
    let mut sites = Vec::new();
    while !table.0.is_empty() {
        let mut field = || {
            let start = at.0 + (end - table.0.len()) as u64;
            let value = table.number(encoding)?;
            let stop = at.0 + (end - table.0.len()) as u64;
            Some((value, SliceOffset(start)..SliceOffset(stop)))
        };
        let [(first, a), (size, b), (pad, c)] = [field()?, field()?, field()?];
        table.uleb()?;
        sites.push(CallSite {
            calls: function.plus(first)..function.plus(first.wrapping_add(size)),
            pad: (pad != 0).then(|| function.plus(pad)),
            fields: [a, b, c],
            fixed: encoding == 3,
        });
    }
    Some(sites)
}

/// Reads numbers from the beginning of bytes.
pub(super) struct Reader<'a>(pub &'a [u8]);

impl Reader<'_> {
    pub(super) fn byte(&mut self) -> Option<u8> {
        let (&first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(first)
    }

    pub(super) fn skip(&mut self, count: usize) -> Option<()> {
        self.0 = self.0.get(count..)?;
        Some(())
    }

    pub(super) fn uleb(&mut self) -> Option<u64> {
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
