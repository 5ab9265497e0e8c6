//! What the analysis needs to know about an image besides its instructions.

use std::collections::HashMap;
use std::ops::Range;

use crate::address::{VmAddr, Word};
use crate::error::Result;
use crate::macho::{CallSite, Image, SymbolIndex};

/// The most instructions of a function that counts as a fragment: something that
/// may be called with any register alive, as pieces are that a compiler outlined.
const FRAGMENT: u64 = 24;

/// An image as the analysis sees it.
pub struct Program<'a> {
    image: Image<'a>,
    text: Range<u64>,
    starts: Vec<u64>,
    stubs: HashMap<u64, &'a str>,
    pointers: HashMap<u64, &'a str>,
    ivars: HashMap<u64, &'a str>,
    symbols: SymbolIndex<'a>,
}

impl<'a> Program<'a> {
    /// Reads the tables of an image.
    ///
    /// # Errors
    /// If the image has no code or a table cannot be read.
    pub fn new(image: &Image<'a>) -> Result<Program<'a>> {
        let text = image.text()?.range();
        let symbols = image.symbols()?;
        let defined = || symbols.iter().filter(|symbol| symbol.is_defined());
        let mut ivars: HashMap<u64, &str> = defined()
            .filter_map(|s| Some((s.address.0, s.name.strip_prefix("_OBJC_IVAR_$_")?)))
            .collect();
        for ivar in image.ivars().unwrap_or_default() {
            ivars.entry(ivar.cell.0).or_insert(ivar.name);
        }
        let symbols = symbols.by_address(text.clone());
        let mut starts: Vec<u64> =
            image.function_starts()?.into_iter().map(|start| start.0).collect();
        if starts.is_empty() {
            starts = symbols.addresses().map(|start| start.0).collect();
        }
        let text = text.start.0..text.end.0;
        starts.retain(|start| text.contains(start));
        if starts.first() != Some(&text.start) {
            starts.reserve_exact(1);
            starts.insert(0, text.start);
        }
        let named = |stub: crate::macho::Stub<'a>| (stub.address.0, stub.name);
        Ok(Program {
            image: image.clone(),
            text,
            starts,
            stubs: image.stubs()?.into_iter().map(named).collect(),
            pointers: image.pointers()?.into_iter().map(named).collect(),
            ivars,
            symbols,
        })
    }

    /// The image.
    pub fn image(&self) -> &Image<'a> {
        &self.image
    }

    /// The addresses of compiled code.
    pub fn text(&self) -> Range<u64> {
        self.text.clone()
    }

    /// The first addresses of all functions, ascending.
    pub fn starts(&self) -> &[u64] {
        &self.starts
    }

    /// The function around an address of `__text`.
    pub fn function(&self, at: u64) -> Option<Range<u64>> {
        if !self.text.contains(&at) {
            return None;
        }
        let next = self.starts.partition_point(|start| *start <= at);
        let start = *self.starts.get(next.checked_sub(1)?)?;
        Some(start..self.starts.get(next).copied().unwrap_or(self.text.end))
    }

    /// Whether the function at an address may be a piece that was outlined.
    pub fn is_fragment(&self, at: u64) -> bool {
        let Some(function) = self.function(at) else { return true };
        let named = self
            .symbol(function.start)
            .is_some_and(|name| name.contains("OUTLINED_FUNCTION") || name.contains(".cold"));
        named || function.start != at || function.end - function.start <= FRAGMENT * Word::SIZE
    }

    /// The symbol at an address.
    pub fn symbol(&self, at: u64) -> Option<&'a str> {
        self.symbols.name(VmAddr(at))
    }

    /// All stubs.
    pub(super) fn all_stubs(&self) -> impl Iterator<Item = (u64, &'a str)> + '_ {
        self.stubs.iter().map(|(at, name)| (*at, *name))
    }

    /// All pointer cells that hold symbols of other images.
    pub(super) fn all_pointers(&self) -> impl Iterator<Item = (u64, &'a str)> + '_ {
        self.pointers.iter().map(|(at, name)| (*at, *name))
    }

    /// The instructions of `__text`.
    pub(super) fn text_words(&self) -> impl Iterator<Item = Word> + use<'a> {
        let range = VmAddr(self.text.start)..VmAddr(self.text.end);
        Word::all(self.image.bytes_at(range).unwrap_or_default())
    }

    /// The function of another image that a stub leads to.
    pub fn stub(&self, at: u64) -> Option<&'a str> {
        self.stubs.get(&at).copied()
    }

    /// The symbol of another image that a pointer cell holds.
    pub fn pointer(&self, cell: u64) -> Option<&'a str> {
        self.pointers.get(&cell).copied()
    }

    /// Whether a cell holds the offset of an instance variable.
    pub fn is_offset_cell(&self, cell: u64) -> bool {
        self.ivars.contains_key(&cell)
            || self.pointer(cell).is_some_and(|name| name.starts_with("_OBJC_IVAR_$_"))
    }

    /// The name of an instance variable by the cell of its offset.
    pub fn ivar(&self, cell: u64) -> Option<&'a str> {
        let imported = || self.pointer(cell)?.strip_prefix("_OBJC_IVAR_$_");
        let name = self.ivars.get(&cell).copied().or_else(imported)?;
        Some(name.rsplit('.').next().unwrap_or(name))
    }

    /// The instruction at an address; `None` where nothing can be executed.
    pub fn word(&self, at: u64) -> Option<Word> {
        let range = VmAddr(at)..VmAddr(at.checked_add(4)?);
        let executable = |s: &&crate::macho::Segment<'_>| s.range().contains(&range.start);
        let segment = self.image.segments().iter().find(executable)?;
        if segment.initial_protection & 4 == 0 || !at.is_multiple_of(4) {
            return None;
        }
        self.image.words(range).ok()?.next()
    }

    /// Whether an address is executable and belongs to no section.
    pub fn is_padding(&self, at: u64) -> bool {
        let section = |s: &crate::macho::Section<'_>| s.range().contains(&VmAddr(at));
        self.word(at).is_some() && !self.image.sections().iter().any(section)
    }

    /// Runs of executable bytes of the file that are zero and belong to no section,
    /// without the first `kept` after the load commands. Of a run that an earlier rewrite
    /// began to fill, the rest.
    pub fn padding(&self, kept: u64) -> Vec<Range<u64>> {
        let mut runs = Vec::new();
        for segment in self.image.segments().iter().filter(|s| s.initial_protection & 4 != 0) {
            let end = segment.address.0 + segment.bytes.len() as u64;
            let mut start = segment.address.0;
            if segment.offset.0 == 0 {
                start += self.image.header_size() + kept;
            }
            let inside = |s: &&crate::macho::Section<'_>| segment.range().contains(&s.address);
            let mut taken: Vec<Range<u64>> = self
                .image
                .sections()
                .iter()
                .filter(inside)
                .map(|s| s.address.0..s.address.0 + s.size)
                .collect();
            taken.sort_by_key(|range| range.start);
            taken.push(end..end);
            for range in taken {
                let run = self.zeros_at_end(start.next_multiple_of(4)..range.start & !3);
                start = start.max(range.end);
                if run.start < run.end {
                    runs.push(run);
                }
            }
        }
        runs
    }

    /// The words at the end of a range that are zero.
    fn zeros_at_end(&self, range: Range<u64>) -> Range<u64> {
        if range.start >= range.end {
            return range.end..range.end;
        }
        let bytes = self.image.bytes_at(VmAddr(range.start)..VmAddr(range.end));
        let Ok(bytes) = bytes else { return range.end..range.end };
        let used = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last as u64 + 1);
        range.start + used.next_multiple_of(4)..range.end
    }

    /// Whether an instruction outside the function branches to an address inside it
    /// that is not its first.
    pub fn entered_elsewhere(&self, function: &Range<u64>) -> bool {
        let mut at = self.text.start;
        for word in self.text_words() {
            if !function.contains(&at) {
                let target = match super::decode::decode(word, VmAddr(at)) {
                    super::decode::Op::Branch(target)
                    | super::decode::Op::Call(target)
                    | super::decode::Op::BranchIf { target, .. }
                    | super::decode::Op::BranchZero { target, .. }
                    | super::decode::Op::BranchBit { target, .. } => Some(target),
                    _ => None,
                };
                if target.is_some_and(|to| function.contains(&to) && to != function.start) {
                    return true;
                }
            }
            at += Word::SIZE;
        }
        false
    }

    /// The exception table of a function, which must be readable.
    pub(super) fn exception_table(
        &self,
        function: &Range<u64>,
    ) -> std::result::Result<Vec<CallSite>, super::rewrite::Refusal> {
        let range = VmAddr(function.start)..VmAddr(function.end);
        self.image.call_sites(&range).map_err(|_| super::rewrite::Refusal::TableWidth)
    }

    /// Bytes of constant data.
    pub fn constant(&self, at: u64, size: u64) -> Option<&'a [u8]> {
        let end = at.checked_add(size)?;
        let segment = self.image.segments().iter().find(|s| s.range().contains(&VmAddr(at)))?;
        let constant = segment.initial_protection & 2 == 0;
        constant.then(|| self.image.bytes_at(VmAddr(at)..VmAddr(end)).ok())?
    }

    /// Where calls of a function continue if they throw; none if that is not known.
    pub fn call_sites(&self, function: &Range<u64>) -> Vec<CallSite> {
        let range = VmAddr(function.start)..VmAddr(function.end);
        self.image.call_sites(&range).unwrap_or_default()
    }
}
