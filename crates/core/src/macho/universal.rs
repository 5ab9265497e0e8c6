//! A universal file as a list of slices, in the order the file gives them.
//!
//! A file holds one image, or begins with a big-endian table of slices with
//! 32-bit or 64-bit offsets. Order, gaps and alignment are the file's own and
//! kept. Refused: a slice that leaves the file, overlaps the table or another
//! slice, stands off its own alignment, is empty, or is for a processor that
//! has a slice already. Each of these makes two tools see two different files.

use crate::address::{FileOffset, SliceOffset};
use crate::error::{Code, Error, Result};

use super::bytes::{array, hex, malformed, range, slice};
use super::image::Image;
use super::{Architecture, load_commands, other_processor, recognise, second_reader};

/// Java class files begin like a universal file and have a version of at least
/// 45 where the number of slices stands. No universal file comes close.
const MAX_SLICES: u32 = 42;

/// The largest alignment Apple's tools accept, as a power of two.
const MAX_ALIGN: u32 = 15;

/// How the slices are held together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Container {
    /// The file is one image.
    Thin,
    /// A table with 32-bit offsets.
    Fat32,
    /// A table with 64-bit offsets.
    Fat64,
}

/// A Mach-O file: one slice or several.
#[derive(Clone, Debug)]
pub struct Universal<'a> {
    /// How the slices are held together.
    pub container: Container,
    /// The slices in the order of the table.
    pub slices: Vec<Slice<'a>>,
}

/// One image of a universal file, or all of a thin one.
#[derive(Clone, Debug)]
pub struct Slice<'a> {
    /// Place in the table.
    pub index: usize,
    /// The processor, as the table gives it.
    pub architecture: Architecture,
    /// Where the slice begins in the file.
    pub offset: FileOffset,
    /// Bytes.
    pub size: u64,
    /// Alignment in the file, as a power of two; 0 for a thin file.
    pub align: u32,
    /// The slice's bytes.
    pub bytes: &'a [u8],
}

impl<'a> Universal<'a> {
    /// Reads the table of slices. Looks into no slice of a universal file.
    pub fn parse(bytes: &'a [u8]) -> Result<Universal<'a>> {
        let container = match bytes.get(..4) {
            Some(magic) if magic == recognise::FAT32 => Container::Fat32,
            Some(magic) if magic == recognise::FAT64 => Container::Fat64,
            _ => return thin(bytes),
        };
        let slices = table(bytes, container)?;
        refuse_conflicts(&slices, container)?;
        let file = Universal { container, slices };
        second_reader::compare_table(bytes, &file)?;
        Ok(file)
    }

    /// The slice for a processor.
    pub fn slice(&self, architecture: Architecture) -> Result<&Slice<'a>> {
        self.slices.iter().find(|slice| slice.architecture.same_processor(architecture)).ok_or_else(
            || {
                let held: Vec<String> =
                    self.slices.iter().map(|slice| slice.architecture.to_string()).collect();
                Error::new(Code::NoSlice, format!("the file has no {architecture} slice"))
                    .with("slices", held.join(", "))
            },
        )
    }
}

impl<'a> Slice<'a> {
    /// Reads the slice's load commands.
    pub fn image(&self) -> Result<Image<'a>> {
        let image = Image::parse(self.bytes).map_err(|error| {
            error.with("slice", format!("{} at {}", self.architecture, self.offset))
        })?;
        if !image.architecture().agrees_with(self.architecture) {
            return Err(malformed("the slice is for a different processor than the table says")
                .with("table", format!("{:?}", self.architecture))
                .with("slice", format!("{:?}", image.architecture())));
        }
        Ok(image)
    }

    /// Whether its code is looked at. A slice for another processor is carried along.
    pub fn is_searched(&self) -> bool {
        self.architecture.is_supported()
    }

    /// Where its code signature stands, if it has one, in a slice for any processor.
    pub fn code_signature(&self) -> Result<Option<std::ops::Range<SliceOffset>>> {
        if self.is_searched() {
            return self.image().map(|image| image.code_signature());
        }
        other_processor::code_signature(self.bytes).map_err(|error| {
            error.with("slice", format!("{} at {}", self.architecture, self.offset))
        })
    }

    /// The file bytes of the slice's header and load commands, as the header
    /// gives their size: all that [`Slice::image`] looks at. Just the header's
    /// where the slice ends in it.
    pub fn head(&self) -> std::ops::Range<FileOffset> {
        let commands = array(self.bytes, 20).map_or(0, u32::from_le_bytes);
        let size = load_commands::HEADER + u64::from(commands);
        self.offset..FileOffset(self.offset.0.saturating_add(size.min(self.size)))
    }

    /// The file bytes of the slice.
    pub fn range(&self) -> std::ops::Range<FileOffset> {
        self.offset..FileOffset(self.offset.0.saturating_add(self.size))
    }
}

fn thin(bytes: &[u8]) -> Result<Universal<'_>> {
    let architecture = match other_processor::architecture(bytes) {
        // An image for another processor is named like a slice for one.
        Some(other) if !other.is_supported() => {
            other_processor::code_signature(bytes)?;
            other
        }
        _ => {
            recognise::macho64(bytes)?;
            let number = |at| array(bytes, at).map(u32::from_le_bytes);
            let (Some(cpu_type), Some(cpu_subtype)) = (number(4), number(8)) else {
                return Err(malformed("the file ends inside its Mach-O header"));
            };
            Architecture { cpu_type, cpu_subtype }
        }
    };
    let slice = Slice {
        index: 0,
        architecture,
        offset: FileOffset(0),
        size: bytes.len() as u64,
        align: 0,
        bytes,
    };
    Ok(Universal { container: Container::Thin, slices: vec![slice] })
}

fn entry_size(container: Container) -> u64 {
    if container == Container::Fat64 { 32 } else { 20 }
}

fn table(bytes: &[u8], container: Container) -> Result<Vec<Slice<'_>>> {
    let count = array(bytes, 4)
        .map(u32::from_be_bytes)
        .ok_or_else(|| malformed("the file ends inside its table of slices"))?;
    if count == 0 {
        return Err(malformed("the universal file holds no slice"));
    }
    if count > MAX_SLICES {
        return Err(malformed("the universal file claims too many slices")
            .with("slices", count)
            .next("check that it is not a Java class file, which begins with the same bytes"));
    }
    (0..count as usize).map(|index| entry(bytes, container, index)).collect()
}

fn entry(bytes: &[u8], container: Container, index: usize) -> Result<Slice<'_>> {
    let at = 8 + entry_size(container) * index as u64;
    let raw = raw_entry(bytes, container, at).ok_or_else(|| {
        malformed("the file ends inside its table of slices").with("slice", index)
    })?;
    let describe = |error: Error| {
        error
            .with("slice", format!("{index} ({})", raw.architecture))
            .with("offset", hex(raw.offset))
            .with("size", hex(raw.size))
    };
    if raw.size == 0 {
        return Err(describe(malformed("a slice is empty")));
    }
    if raw.align > MAX_ALIGN || !raw.offset.is_multiple_of(1 << raw.align.min(MAX_ALIGN)) {
        return Err(describe(malformed("a slice is not aligned as the table says"))
            .with("align", format!("2^{}", raw.align)));
    }
    let body = range(raw.offset, raw.size, bytes.len()).and_then(|range| slice(bytes, range));
    let Some(body) = body else {
        return Err(describe(malformed("a slice reaches past the end of the file"))
            .with("file-size", hex(bytes.len() as u64)));
    };
    Ok(Slice {
        index,
        architecture: raw.architecture,
        offset: FileOffset(raw.offset),
        size: raw.size,
        align: raw.align,
        bytes: body,
    })
}

struct RawEntry {
    architecture: Architecture,
    offset: u64,
    size: u64,
    align: u32,
}

fn raw_entry(bytes: &[u8], container: Container, at: u64) -> Option<RawEntry> {
    if container == Container::Fat64 {
        let word = |field: u64| array(bytes, at + field).map(u32::from_be_bytes);
        let long = |field: u64| array(bytes, at + field).map(u64::from_be_bytes);
        let _reserved = word(28)?;
        return Some(RawEntry {
            architecture: Architecture { cpu_type: word(0)?, cpu_subtype: word(4)? },
            offset: long(8)?,
            size: long(16)?,
            align: word(24)?,
        });
    }
    let entry = goblin::mach::fat::FatArch::parse(bytes, usize::try_from(at).ok()?).ok()?;
    Some(RawEntry {
        architecture: Architecture { cpu_type: entry.cputype, cpu_subtype: entry.cpusubtype },
        offset: entry.offset.into(),
        size: entry.size.into(),
        align: entry.align,
    })
}

fn refuse_conflicts(slices: &[Slice], container: Container) -> Result<()> {
    let table_end = FileOffset(8 + entry_size(container) * slices.len() as u64);
    for (index, slice) in slices.iter().enumerate() {
        if slice.offset < table_end {
            return Err(malformed("a slice overlaps the table of slices")
                .with("slice", slice.architecture)
                .with("offset", slice.offset));
        }
        for earlier in &slices[..index] {
            refuse_pair(earlier, slice)?;
        }
    }
    Ok(())
}

fn refuse_pair(one: &Slice, other: &Slice) -> Result<()> {
    let (a, b) = (one.range(), other.range());
    if a.start < b.end && b.start < a.end {
        return Err(malformed("two slices overlap")
            .with("first", format!("{} at {}..{}", one.architecture, a.start, a.end))
            .with("second", format!("{} at {}..{}", other.architecture, b.start, b.end)));
    }
    if one.architecture.same_processor(other.architecture) {
        return Err(malformed("two slices are for the same processor")
            .with("architecture", one.architecture)
            .with("offsets", format!("{} and {}", one.offset, other.offset)));
    }
    Ok(())
}
