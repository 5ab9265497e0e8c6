//! Segments and sections: what is mapped where, and which bytes fill it.
//!
//! A linked image's addresses and offsets differ by a constant within one
//! segment. Everything that turns one into the other relies on it, so it is
//! checked for each section. Segments must not overlap, in the file or in
//! memory. Object files are laid out more freely and are let be.

use std::ops::Range;

use goblin::mach::load_command::SegmentCommand64;

use crate::address::{SliceOffset, VmAddr};
use crate::error::Result;

use super::bytes::{hex, malformed, range, slice, text_before_nul, u32_at, u64_at};
use super::load_commands::Command;

/// A symbol names its section in one byte, so an image has no more than this;
/// the same bound serves for segments, of which images have a handful.
pub const MAX_SECTIONS: usize = 255;

const SEGMENT_SIZE: u64 = 72;
const SECTION_SIZE: u64 = 80;

/// `LC_SEGMENT_64`: a run of pages.
#[derive(Clone, Debug)]
pub struct Segment<'a> {
    /// Such as `__TEXT`; empty in object files.
    pub name: &'a str,
    /// Where it is mapped.
    pub address: VmAddr,
    /// Bytes in memory.
    pub size: u64,
    /// Where its bytes begin in the slice.
    pub offset: SliceOffset,
    /// Most access it may get: 1 read, 2 write, 4 execute.
    pub maximum_protection: u32,
    /// Access it starts with.
    pub initial_protection: u32,
    /// `SG_…` flags.
    pub flags: u32,
    /// Its bytes in the file; the rest, up to `size`, is zero.
    pub bytes: &'a [u8],
}

/// A named part of a segment.
#[derive(Clone, Debug)]
pub struct Section<'a> {
    /// Such as `__text`.
    pub name: &'a str,
    /// The segment it says it belongs to.
    pub segment: &'a str,
    /// Where it is mapped.
    pub address: VmAddr,
    /// Bytes in memory.
    pub size: u64,
    /// Where its bytes begin in the slice; means nothing if it is zero-filled.
    pub offset: SliceOffset,
    /// Section type in the low byte, `S_ATTR_…` above.
    pub flags: u32,
    /// `reserved1` and `reserved2`: for stubs, the number of the first indirect
    /// symbol and the size of a stub.
    pub reserved: [u32; 2],
    /// Its bytes; empty if it is zero-filled.
    pub bytes: &'a [u8],
}

impl Segment<'_> {
    /// The addresses it takes.
    pub fn range(&self) -> Range<VmAddr> {
        self.address..self.address.plus(self.size)
    }

    /// The bytes of the slice it takes.
    pub fn file_range(&self) -> Range<SliceOffset> {
        self.offset..SliceOffset(self.offset.0 + self.bytes.len() as u64)
    }
}

impl Section<'_> {
    /// The addresses it takes.
    pub fn range(&self) -> Range<VmAddr> {
        self.address..self.address.plus(self.size)
    }

    /// The bytes of the slice it takes.
    pub fn file_range(&self) -> Range<SliceOffset> {
        self.offset..SliceOffset(self.offset.0 + self.bytes.len() as u64)
    }

    /// Whether it has no bytes in the file: `S_ZEROFILL`, `S_GB_ZEROFILL` or
    /// `S_THREAD_LOCAL_ZEROFILL`.
    pub fn is_zero_fill(&self) -> bool {
        matches!(self.flags & 0xff, 0x1 | 0xc | 0x12)
    }
}

/// Reads a segment command and the section headers that follow it.
pub fn read<'a>(
    image: &'a [u8],
    command: Command<'a>,
    decoded: &SegmentCommand64,
    sections: &mut Vec<Section<'a>>,
    linked: bool,
) -> Result<Segment<'a>> {
    let name = text_before_nul(&command.bytes[8..24])
        .ok_or_else(|| command.malformed("a segment's name is not text"))?;
    let describe = |message: &str| command.malformed(message).with("segment", name);
    let bytes = range(decoded.fileoff, decoded.filesize, image.len())
        .and_then(|range| slice(image, range))
        .ok_or_else(|| {
            describe("a segment reaches past the end of the file")
                .with("offset", hex(decoded.fileoff))
                .with("size", hex(decoded.filesize))
        })?;
    // The Go linker gives `__DWARF` bytes and no memory: the loader does not map it.
    let mapped = decoded.vmsize != 0;
    if (mapped && decoded.filesize > decoded.vmsize)
        || decoded.vmaddr.checked_add(decoded.vmsize).is_none()
    {
        return Err(describe("a segment has more bytes than memory")
            .with("address", hex(decoded.vmaddr))
            .with("memory", hex(decoded.vmsize))
            .with("bytes", hex(decoded.filesize)));
    }
    let segment = Segment {
        name,
        address: VmAddr(decoded.vmaddr),
        size: decoded.vmsize,
        offset: SliceOffset(decoded.fileoff),
        maximum_protection: decoded.maxprot,
        initial_protection: decoded.initprot,
        flags: decoded.flags,
        bytes,
    };
    let count = u64::from(decoded.nsects);
    if SEGMENT_SIZE + count * SECTION_SIZE > command.bytes.len() as u64 {
        return Err(
            describe("a segment command is too short for its sections").with("sections", count)
        );
    }
    if sections.len() as u64 + count > MAX_SECTIONS as u64 {
        return Err(describe("the image has more than 255 sections").with("sections", count));
    }
    for index in 0..count {
        let at = SEGMENT_SIZE + index * SECTION_SIZE;
        sections.push(section(image, command, at, &segment, linked)?);
    }
    Ok(segment)
}

fn section<'a>(
    image: &'a [u8],
    command: Command<'a>,
    at: u64,
    segment: &Segment<'a>,
    linked: bool,
) -> Result<Section<'a>> {
    let header = slice(command.bytes, at..at + SECTION_SIZE)
        .ok_or_else(|| command.malformed("a segment command is too short for its sections"))?;
    let (Some(name), Some(owner)) =
        (text_before_nul(&header[..16]), text_before_nul(&header[16..32]))
    else {
        return Err(command.malformed("a section's name is not text"));
    };
    let (word, long) = (|at| u32_at(header, at).unwrap_or(0), |at| u64_at(header, at).unwrap_or(0));
    let mut section = Section {
        name,
        segment: owner,
        address: VmAddr(long(32)),
        size: long(40),
        offset: SliceOffset(word(48).into()),
        flags: word(64),
        reserved: [word(68), word(72)],
        bytes: &[],
    };
    // What is not mapped has no addresses that could contradict its place in the file.
    let mapped = segment.size != 0 || segment.bytes.is_empty();
    if mapped {
        check_place(&section, segment, linked)
            .map_err(|error| error.with("section", format!("{owner},{name}")))?;
    }
    // Debugging companions and stubs keep the headers of sections they left out.
    let left_out = !linked && segment.bytes.is_empty();
    if !section.is_zero_fill() && section.size != 0 && !left_out {
        section.bytes = range(section.offset.0, section.size, image.len())
            .and_then(|range| slice(image, range))
            .ok_or_else(|| {
                command
                    .malformed("a section reaches past the end of the file")
                    .with("section", format!("{owner},{name}"))
            })?;
    }
    Ok(section)
}

fn check_place(section: &Section, segment: &Segment, linked: bool) -> Result<()> {
    let place = |message: &str| {
        malformed(message)
            .with("address", section.address)
            .with("size", hex(section.size))
            .with("offset", section.offset)
    };
    let into = section.address.0.checked_sub(segment.address.0);
    let inside = |into: &u64| into.checked_add(section.size).is_some_and(|end| end <= segment.size);
    let Some(into) = into.filter(inside) else {
        return Err(place("a section lies outside its segment"));
    };
    if !linked || section.is_zero_fill() || section.size == 0 {
        return Ok(());
    }
    if section.offset.0 != segment.offset.0.wrapping_add(into)
        || range(into, section.size, segment.bytes.len()).is_none()
    {
        return Err(place("a section's bytes are not where its address says"));
    }
    Ok(())
}

/// Refuses segments that share an address or a byte of the file.
pub fn refuse_overlaps(segments: &[Segment]) -> Result<()> {
    for (index, segment) in segments.iter().enumerate() {
        for earlier in &segments[..index] {
            let (a, b) = (earlier.range(), segment.range());
            let (c, d) = (earlier.file_range(), segment.file_range());
            if (a.start < b.end && b.start < a.end) || (c.start < d.end && d.start < c.end) {
                return Err(malformed("two segments overlap")
                    .with("first", earlier.name)
                    .with("second", segment.name));
            }
        }
    }
    Ok(())
}
