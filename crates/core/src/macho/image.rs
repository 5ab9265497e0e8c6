//! One slice: what its load commands say, and addresses turned into offsets.

use std::ops::Range;

use goblin::mach::load_command::CommandVariant;

use crate::address::{SliceOffset, VmAddr, Word};
use crate::error::{Code, Error, Result};

use super::bytes::{malformed, slice};
use super::facts::Facts;
use super::load_commands::{self, Command};
use super::segment::{self, MAX_SECTIONS, Section, Segment};
use super::stubs::{self, Stub};
use super::symbols::Symbols;
use super::{
    Architecture, BuildVersion, CallSite, ChainedFixups, FileType, Ivar, Method, SourceVersion,
    Uuid, function_starts, landing_pads, objc, second_reader,
};

/// A 64-bit little-endian image, borrowed from its bytes.
#[derive(Clone, Debug)]
pub struct Image<'a> {
    bytes: &'a [u8],
    architecture: Architecture,
    file_type: FileType,
    pub(super) segments: Vec<Segment<'a>>,
    pub(super) sections: Vec<Section<'a>>,
    pub(super) facts: Facts,
}

impl<'a> Image<'a> {
    /// Reads the load commands of a slice. Refuses what is not a 64-bit
    /// little-endian Mach-O, what contradicts itself, what two readers
    /// understand differently, and code that is encrypted.
    pub fn parse(bytes: &'a [u8]) -> Result<Image<'a>> {
        let header = load_commands::header(bytes)?;
        let mut image = Image {
            bytes,
            architecture: header.architecture,
            file_type: FileType(header.file_type),
            segments: Vec::new(),
            sections: Vec::new(),
            facts: Facts::default(),
        };
        for command in load_commands::each(bytes, header) {
            image.take(command?)?;
        }
        if image.is_linked() {
            segment::refuse_overlaps(&image.segments)?;
        }
        second_reader::compare_image(&image)?;
        match image.facts.encryption {
            Some(scheme) if scheme != 0 => {
                Err(Error::new(Code::Encrypted, "the code is encrypted")
                    .with("cryptid", scheme)
                    .next("take the file from the system volume, where code is not encrypted"))
            }
            _ => Ok(image),
        }
    }

    fn take(&mut self, command: Command<'a>) -> Result<()> {
        use goblin::mach::load_command::{LC_SEGMENT, LC_SEGMENT_64};
        match command.number {
            LC_SEGMENT_64 | LC_SEGMENT => self.take_segment(command),
            _ => self.facts.take(command, self.bytes.len()),
        }
    }

    fn take_segment(&mut self, command: Command<'a>) -> Result<()> {
        let CommandVariant::Segment64(decoded) = command.decode()? else {
            return Err(command.malformed("a 64-bit image holds a 32-bit segment"));
        };
        if self.segments.len() >= MAX_SECTIONS {
            return Err(command.malformed("the image has more than 255 segments"));
        }
        let linked = self.is_linked();
        let segment = segment::read(self.bytes, command, &decoded, &mut self.sections, linked)?;
        self.segments.push(segment);
        Ok(())
    }

    /// Whether addresses are final and sections have their bytes: everything
    /// but object files, debugging companions and stubs.
    pub(super) fn is_linked(&self) -> bool {
        !matches!(self.file_type, FileType::OBJECT | FileType::DSYM | FileType::STUB)
    }

    /// Bytes of the header and the load commands.
    pub fn header_size(&self) -> u64 {
        super::bytes::u32_at(self.bytes, 20).map_or(0, |size| 32 + u64::from(size))
    }

    /// All bytes of the slice.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The processor, as the slice's own header gives it.
    pub fn architecture(&self) -> Architecture {
        self.architecture
    }

    /// The kind of image.
    pub fn file_type(&self) -> FileType {
        self.file_type
    }

    /// The segments in the order of their load commands.
    pub fn segments(&self) -> &[Segment<'a>] {
        &self.segments
    }

    /// All sections in the order of the load commands, which is the order
    /// symbols number them in, from 1.
    pub fn sections(&self) -> &[Section<'a>] {
        &self.sections
    }

    /// The segment of that name.
    pub fn segment(&self, name: &str) -> Option<&Segment<'a>> {
        self.segments.iter().find(|segment| segment.name == name)
    }

    /// The section of that segment and name.
    pub fn section(&self, segment: &str, name: &str) -> Option<&Section<'a>> {
        self.sections.iter().find(|section| section.segment == segment && section.name == name)
    }

    /// `__TEXT,__text`, where compiled code stands.
    ///
    /// # Errors
    /// If the section is missing or empty, as in a dSYM.
    pub fn text(&self) -> Result<&Section<'a>> {
        if self.file_type == FileType::DSYM {
            return Err(malformed("the file is a dSYM companion, which holds no code")
                .next("name the image whose debugging information it is"));
        }
        self.section("__TEXT", "__text")
            .filter(|section| !section.bytes.is_empty())
            .ok_or_else(|| malformed("the image has no code: __TEXT,__text is missing or empty"))
    }

    /// The address the image's own header is mapped at, which offsets in
    /// chained fixups and function starts count from.
    pub fn base(&self) -> VmAddr {
        let header = self.segments.iter().find(|s| s.offset.0 == 0 && !s.bytes.is_empty());
        header.or_else(|| self.segment("__TEXT")).map_or(VmAddr(0), |segment| segment.address)
    }

    /// Names this build of the image.
    pub fn uuid(&self) -> Option<Uuid> {
        self.facts.uuid
    }

    /// The version of the project it was built from.
    pub fn source_version(&self) -> Option<SourceVersion> {
        self.facts.source_version
    }

    /// What it was built for; the first, where it was built for two platforms.
    pub fn build_version(&self) -> Option<BuildVersion> {
        self.facts.build_version
    }

    /// Where the code signature stands.
    pub fn code_signature(&self) -> Option<Range<SliceOffset>> {
        self.facts.code_signature.clone()
    }

    /// Where the byte of an address stands in the slice; `None` for addresses
    /// outside the image and for memory the file does not fill.
    pub fn offset_of(&self, address: VmAddr) -> Option<SliceOffset> {
        let (segment, into) = self.locate(address)?;
        (into < segment.bytes.len() as u64).then(|| SliceOffset(segment.offset.0 + into))
    }

    /// The address a byte of the slice is mapped at.
    pub fn address_of(&self, offset: SliceOffset) -> Option<VmAddr> {
        let segment =
            self.segments.iter().find(|segment| segment.file_range().contains(&offset))?;
        Some(segment.address.plus(offset.0 - segment.offset.0))
    }

    /// The segment an address lies in and how far into it.
    pub(super) fn locate(&self, address: VmAddr) -> Option<(&Segment<'a>, u64)> {
        let segment = self.segments.iter().find(|segment| segment.range().contains(&address))?;
        Some((segment, address.0 - segment.address.0))
    }

    /// The file's bytes from an address to the end of its segment.
    pub(super) fn bytes_from(&self, address: VmAddr) -> Option<&'a [u8]> {
        let (segment, into) = self.locate(address)?;
        segment.bytes.get(usize::try_from(into).ok()?..)
    }

    /// The bytes of a range of addresses, which must lie in one segment.
    pub fn bytes_at(&self, addresses: Range<VmAddr>) -> Result<&'a [u8]> {
        addresses
            .end
            .0
            .checked_sub(addresses.start.0)
            .and_then(|size| self.bytes_from(addresses.start)?.get(..usize::try_from(size).ok()?))
            .ok_or_else(|| {
                malformed("an address range does not lie within one segment's bytes")
                    .with("range", format!("{}..{}", addresses.start, addresses.end))
            })
    }

    /// The instruction words of a range of addresses.
    pub fn words(
        &self,
        addresses: Range<VmAddr>,
    ) -> Result<impl ExactSizeIterator<Item = Word> + use<'a>> {
        self.bytes_at(addresses).map(Word::all)
    }

    /// The symbol table, read by both readers; empty if there is none.
    pub fn symbols(&self) -> Result<Symbols<'a>> {
        let symbols = Symbols::new(self.bytes, self.facts.symbols.clone());
        second_reader::compare_symbols(self, &symbols)?;
        Ok(symbols)
    }

    /// The stubs through which code calls functions of other images; empty if
    /// there are none.
    pub fn stubs(&self) -> Result<Vec<Stub<'a>>> {
        stubs::all(self)
    }

    /// The cells through which code reaches symbols of other images; empty if
    /// there are none.
    pub fn pointers(&self) -> Result<Vec<Stub<'a>>> {
        stubs::pointers(self)
    }

    /// The entries of a function's exception table, or why they are not known.
    pub fn call_sites(
        &self,
        function: &Range<VmAddr>,
    ) -> std::result::Result<Vec<CallSite>, &'static str> {
        landing_pads::call_sites(self, function)
    }

    /// The instructions of a function before which the rules change by which it is
    /// unwound, or why they are not known.
    pub fn unwind_steps(
        &self,
        function: &Range<VmAddr>,
    ) -> std::result::Result<Vec<VmAddr>, &'static str> {
        landing_pads::unwind_steps(self, function)
    }

    /// Where exceptions continue inside a function, or why that is not known.
    pub fn landing_pads(
        &self,
        function: &Range<VmAddr>,
    ) -> std::result::Result<Vec<VmAddr>, &'static str> {
        landing_pads::of(self, function)
    }

    /// The first address of every function, ascending; empty if the image has
    /// no such table.
    pub fn function_starts(&self) -> Result<Vec<VmAddr>> {
        function_starts::all(self)
    }

    /// The function an address lies in: from its start to the next start or the
    /// end of the section. `None` if the image has no table of function starts,
    /// or the address is not code.
    pub fn function_containing(&self, address: VmAddr) -> Result<Option<Range<VmAddr>>> {
        function_starts::containing(self, address)
    }

    /// Objective-C methods of all classes and categories.
    pub fn methods(&self) -> Result<Vec<Method<'a>>> {
        objc::methods(self)
    }

    /// Objective-C instance variables of all classes, each with the cell that
    /// holds its offset.
    pub fn ivars(&self) -> Result<Vec<Ivar<'a>>> {
        objc::ivars(self)
    }

    /// The chained fixups, if the image has them.
    pub fn chained_fixups(&self) -> Result<Option<ChainedFixups<'a>>> {
        ChainedFixups::of(self)
    }
}

/// The bytes of a range that was checked when the load commands were read.
pub(super) fn bytes_of(bytes: &[u8], range: Range<SliceOffset>) -> &[u8] {
    slice(bytes, range.start.0..range.end.0).unwrap_or(&[])
}
