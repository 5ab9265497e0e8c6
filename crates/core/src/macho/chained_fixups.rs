//! `LC_DYLD_CHAINED_FIXUPS`: which pointers of an image the loader will fill in.
//!
//! The table names, for each segment, the format of its pointers and the first
//! pointer of each page; the rest of the chain is in the pointers themselves.
//! [`ChainedFixups::resolve`] decodes one pointer without the chain.
//! [`ChainedFixups::each`] walks all chains, and [`ChainedFixups::check`] walks
//! them with two readers and counts.

use std::ops::Range;

use crate::address::VmAddr;
use crate::error::Result;

use super::bytes::{hex, malformed, text_before_nul, u16_at, u32_at, u64_at};
use super::image::{Image, bytes_of};
use super::pointer::{Decoded, Pointer, PointerFormat};
use super::second_reader;

const START_NONE: u16 = 0xffff;
const START_MULTI: u16 = 0x8000;
const START_LAST: u16 = 0x8000;

/// The longest name of an import looked at.
const MAX_NAME: usize = 1 << 16;

/// An image's chained fixups, borrowed from it.
#[derive(Clone, Debug)]
pub struct ChainedFixups<'a> {
    data: &'a [u8],
    base: VmAddr,
    image_range: Range<VmAddr>,
    segments: Vec<Starts<'a>>,
    imports: Imports<'a>,
    limit: usize,
}

/// One pointer the loader fills in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fixup {
    /// Where the pointer stands.
    pub at: VmAddr,
    /// What it will point to.
    pub target: Pointer,
    /// Whether the loader signs it.
    pub authenticated: bool,
}

#[derive(Clone, Debug)]
struct Starts<'a> {
    address: VmAddr,
    bytes: &'a [u8],
    format: PointerFormat,
    page_size: u64,
    pages: u16,
    /// Where `page_start[]` begins in the table, and where the table's part
    /// for this segment ends.
    list: Range<u64>,
}

#[derive(Clone, Debug)]
struct Imports<'a> {
    entries: &'a [u8],
    names: &'a [u8],
    count: u32,
    entry_size: u64,
}

impl<'a> ChainedFixups<'a> {
    pub(super) fn of(image: &Image<'a>) -> Result<Option<ChainedFixups<'a>>> {
        let Some(range) = image.facts.chained_fixups.clone() else { return Ok(None) };
        let data = bytes_of(image.bytes(), range);
        let short = || malformed("the chained fixups table is too short");
        let word = |at| u32_at(data, at).ok_or_else(short);
        if word(0)? != 0 {
            return Err(
                malformed("the chained fixups are of an unknown version").with("version", word(0)?)
            );
        }
        let imports = Imports::read(data, word(8)?, word(12)?, word(16)?, word(20)?, word(24)?)?;
        let starts = u64::from(word(4)?);
        let count = word(starts)?;
        if count as usize > image.segments().len() {
            return Err(malformed("chained fixups for more segments than there are")
                .with("segments", count));
        }
        let mut segments = Vec::with_capacity(count as usize);
        for (index, segment) in image.segments().iter().enumerate().take(count as usize) {
            let at = word(starts + 4 + 4 * index as u64)?;
            if at != 0 {
                let bytes = (segment.address, segment.bytes);
                segments.push(Starts::read(data, starts + u64::from(at), bytes)?);
            }
        }
        let end = image.segments().iter().map(|segment| segment.range().end).max();
        let image_range = image.base()..end.unwrap_or_default();
        let limit = image.bytes().len() / 4;
        Ok(Some(ChainedFixups { data, base: image.base(), image_range, segments, imports, limit }))
    }

    /// What the pointer at an address will point to, given its eight bytes. A
    /// segment without fixups holds plain numbers.
    pub fn resolve(&self, at: VmAddr, raw: u64) -> Pointer {
        if raw == 0 {
            return Pointer::Null;
        }
        let holds = |starts: &&Starts| {
            at.0.checked_sub(starts.address.0).is_some_and(|into| into < starts.bytes.len() as u64)
        };
        match self.segments.iter().find(holds) {
            Some(starts) => starts.format.decode(raw, self.base).target,
            None => Pointer::Address(VmAddr(raw)),
        }
    }

    /// The symbol an import stands for, with its leading underscore.
    pub fn import_name(&self, ordinal: u32) -> Option<&'a str> {
        self.imports.name(ordinal)
    }

    /// Every fixup, chain by chain; the first that does not hold together is an
    /// error and the last item.
    pub fn each(&self) -> impl Iterator<Item = Result<Fixup>> + '_ {
        let mut left = self.limit;
        let all = self.segments.iter().flat_map(move |starts| {
            starts.chains(self.data).flat_map(move |chain| self.chain(starts, chain))
        });
        let mut failed = false;
        all.map(move |fixup| {
            left = left.checked_sub(1).ok_or_else(|| malformed("the fixup chains do not end"))?;
            fixup
        })
        .take_while(move |fixup| !std::mem::replace(&mut failed, fixup.is_err()))
    }

    /// Walks every chain with both readers and counts the fixups.
    pub fn check(&self, image: &Image) -> Result<usize> {
        second_reader::compare_fixups(image, self.base, self.each())
    }

    /// The fixups of one chain, which may not leave its page.
    fn chain<'s>(
        &'s self,
        starts: &'s Starts<'a>,
        chain: Result<Chain>,
    ) -> impl Iterator<Item = Result<Fixup>> + 's {
        let mut chain = chain.map(Some);
        std::iter::from_fn(move || match std::mem::replace(&mut chain, Ok(None)) {
            Err(error) => Some(Err(error)),
            Ok(None) => None,
            Ok(Some(here)) => Some(self.link(starts, here).map(|(fixup, next)| {
                chain = Ok(next);
                fixup
            })),
        })
    }

    fn link(&self, starts: &Starts, here: Chain) -> Result<(Fixup, Option<Chain>)> {
        let at = starts.address.plus(here.offset);
        let raw = u64_at(starts.bytes, here.offset).filter(|_| here.offset < here.page_end);
        let raw = raw.ok_or_else(|| malformed("a fixup chain leaves its page").with("at", at))?;
        let Decoded { target, authenticated, next } = starts.format.decode(raw, self.base);
        self.check_target(at, target)?;
        let next =
            (next != 0).then_some(Chain { offset: here.offset + next, page_end: here.page_end });
        Ok((Fixup { at, target, authenticated }, next))
    }

    fn check_target(&self, at: VmAddr, target: Pointer) -> Result<()> {
        match target {
            Pointer::Import { ordinal, .. } if ordinal >= self.imports.count => {
                Err(malformed("a fixup names an import that does not exist")
                    .with("at", at)
                    .with("ordinal", ordinal))
            }
            Pointer::Address(VmAddr(target)) => {
                let plain = VmAddr(target & !(0xff << 56));
                if plain >= self.image_range.start && plain <= self.image_range.end {
                    return Ok(());
                }
                Err(malformed("a fixup points outside the image")
                    .with("at", at)
                    .with("target", VmAddr(target)))
            }
            _ => Ok(()),
        }
    }
}

/// A place in a segment where a pointer of a chain stands.
#[derive(Clone, Copy, Debug)]
struct Chain {
    offset: u64,
    page_end: u64,
}

impl<'a> Starts<'a> {
    fn read(data: &[u8], at: u64, segment: (VmAddr, &'a [u8])) -> Result<Starts<'a>> {
        let short = || malformed("the chained fixups table is too short").with("at", hex(at));
        let half = |from| u16_at(data, at + from).ok_or_else(short);
        let size = u64::from(u32_at(data, at).ok_or_else(short)?);
        let (page_size, number, pages) = (half(4)?, half(6)?, half(20)?);
        let format = PointerFormat::numbered(number).ok_or_else(|| {
            malformed("the image's pointers are of a format this tool does not read")
                .with("pointer-format", number)
        })?;
        let list = at + 22..at + size;
        if size < 22 + 2 * u64::from(pages) || list.end > data.len() as u64 || page_size == 0 {
            return Err(short());
        }
        let (address, bytes) = segment;
        Ok(Starts { address, bytes, format, page_size: page_size.into(), pages, list })
    }

    /// The first pointer of every chain. A page of a 32-bit format may have
    /// several, listed after the page starts.
    fn chains<'s>(&'s self, data: &'s [u8]) -> impl Iterator<Item = Result<Chain>> + 's {
        (0..u64::from(self.pages)).flat_map(move |page| {
            let first = self.start(data, page);
            let mut index = match first {
                Ok(START_NONE) => None,
                Ok(start) if start & START_MULTI != 0 => Some(u64::from(start & !START_MULTI)),
                _ => Some(page),
            };
            std::iter::from_fn(move || {
                let here = index.take()?;
                let start = match self.start(data, here) {
                    Ok(start) => start,
                    Err(error) => return Some(Err(error)),
                };
                if here != page && start & START_LAST == 0 {
                    index = Some(here + 1);
                }
                let begin = page * self.page_size;
                let offset = begin + u64::from(start & !START_LAST);
                Some(Ok(Chain { offset, page_end: begin + self.page_size }))
            })
        })
    }

    fn start(&self, data: &[u8], index: u64) -> Result<u16> {
        let at = self.list.start + 2 * index;
        u16_at(data, at).filter(|_| at + 2 <= self.list.end).ok_or_else(|| {
            malformed("a page's fixup chain is not in the table").with("at", hex(at))
        })
    }
}

impl<'a> Imports<'a> {
    fn read(
        data: &'a [u8],
        entries: u32,
        names: u32,
        count: u32,
        format: u32,
        names_format: u32,
    ) -> Result<Imports<'a>> {
        let entry_size = match (format, names_format) {
            (1, 0) => 4,
            (2, 0) => 8,
            (3, 0) => 16,
            _ => {
                return Err(malformed("the imports are of a format this tool does not read")
                    .with("imports-format", format)
                    .with("symbols-format", names_format));
            }
        };
        let entries = data.get(entries as usize..).unwrap_or(&[]);
        if u64::from(count) * entry_size > entries.len() as u64 {
            return Err(malformed("the table of imports is too short").with("imports", count));
        }
        let names = data.get(names as usize..).unwrap_or(&[]);
        Ok(Imports { entries, names, count, entry_size })
    }

    fn name(&self, ordinal: u32) -> Option<&'a str> {
        if ordinal >= self.count {
            return None;
        }
        let at = u64::from(ordinal) * self.entry_size;
        let name = match self.entry_size {
            16 => u64_at(self.entries, at)? >> 32,
            _ => u64::from(u32_at(self.entries, at)? >> 9),
        };
        let rest = self.names.get(usize::try_from(name).ok()?..)?;
        text_before_nul(&rest[..rest.len().min(MAX_NAME)])
    }
}
