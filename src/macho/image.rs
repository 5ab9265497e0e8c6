//! One slice: what its load commands say, and addresses turned into offsets.

use std::fmt;
use std::ops::Range;

use goblin::mach::load_command::{
    CommandVariant, DysymtabCommand, LinkeditDataCommand, SymtabCommand,
};
use serde::{Serialize, Serializer};

use crate::address::{SliceOffset, VmAddr, Word};
use crate::error::{Code, Error, Result};

use super::bytes::{hex, malformed, range, slice};
use super::landing_pads;
use super::load_commands::{self, Command};
use super::segment::{self, MOST, Section, Segment};
use super::stubs::{self, Stub};
use super::symbols::{SymbolTable, Symbols};
use super::{
    Architecture, BuildVersion, ChainedFixups, Ivar, Method, PackedVersion, Platform,
    SourceVersion, Uuid, function_starts, objc, second_reader,
};

/// The kind of image: `MH_…`.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct FileType(pub u32);

impl FileType {
    /// An object file, not yet linked.
    pub const OBJECT: FileType = FileType(1);
    /// A main program.
    pub const EXECUTABLE: FileType = FileType(2);
    /// A dynamic library.
    pub const DYLIB: FileType = FileType(6);
    /// A library's symbols without its code, for linking against.
    pub const STUB: FileType = FileType(9);
    /// A loadable bundle, which is what the driver is.
    pub const BUNDLE: FileType = FileType(8);
    /// The companion file of debugging information, whose sections have no bytes.
    pub const DSYM: FileType = FileType(10);
}

impl fmt::Display for FileType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            1 => "object file",
            2 => "executable",
            5 => "preloaded executable",
            6 => "dynamic library",
            7 => "dynamic linker",
            8 => "bundle",
            9 => "stub library",
            10 => "debug symbols",
            11 => "kernel extension",
            12 => "file set",
            number => return write!(f, "file type {number}"),
        })
    }
}

impl fmt::Debug for FileType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FileType({self})")
    }
}

impl Serialize for FileType {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

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

/// What the load commands other than segments say. Each may occur once, but
/// for build versions, of which the first counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Facts {
    pub uuid: Option<Uuid>,
    pub source_version: Option<SourceVersion>,
    pub build_version: Option<BuildVersion>,
    pub code_signature: Option<Range<SliceOffset>>,
    pub function_starts: Option<Range<SliceOffset>>,
    pub chained_fixups: Option<Range<SliceOffset>>,
    pub symbols: Option<SymbolTable>,
    /// The table of symbol numbers that stubs and pointers refer to.
    pub indirect_symbols: Option<Range<SliceOffset>>,
    /// `cryptid` of the encryption command; 0 means not encrypted.
    pub encryption: Option<u32>,
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
        use goblin::mach::load_command as lc;
        match command.number {
            lc::LC_SEGMENT_64 | lc::LC_SEGMENT => self.take_segment(command),
            lc::LC_UUID
            | lc::LC_SOURCE_VERSION
            | lc::LC_BUILD_VERSION
            | lc::LC_VERSION_MIN_MACOSX
            | lc::LC_VERSION_MIN_IPHONEOS
            | lc::LC_SYMTAB
            | lc::LC_DYSYMTAB
            | lc::LC_CODE_SIGNATURE
            | lc::LC_FUNCTION_STARTS
            | lc::LC_DYLD_CHAINED_FIXUPS
            | lc::LC_ENCRYPTION_INFO
            | lc::LC_ENCRYPTION_INFO_64 => self.take_fact(command),
            _ => Ok(()),
        }
    }

    fn take_segment(&mut self, command: Command<'a>) -> Result<()> {
        let CommandVariant::Segment64(decoded) = command.decode()? else {
            return Err(command.malformed("a 64-bit image holds a 32-bit segment"));
        };
        if self.segments.len() >= MOST {
            return Err(command.malformed("the image has more than 255 segments"));
        }
        let linked = self.is_linked();
        let segment = segment::read(self.bytes, command, &decoded, &mut self.sections, linked)?;
        self.segments.push(segment);
        Ok(())
    }

    fn take_fact(&mut self, command: Command<'a>) -> Result<()> {
        use CommandVariant as Is;
        let length = self.bytes.len();
        let facts = &mut self.facts;
        match command.decode()? {
            Is::Uuid(c) => once(&command, &mut facts.uuid, Uuid(c.uuid)),
            Is::SourceVersion(c) => {
                once(&command, &mut facts.source_version, SourceVersion(c.version))
            }
            Is::BuildVersion(c) => {
                facts.build_version.get_or_insert(build_version(c.platform, c.minos, c.sdk));
                Ok(())
            }
            Is::VersionMinMacosx(c) => {
                facts.build_version.get_or_insert(build_version(1, c.version, c.sdk));
                Ok(())
            }
            Is::VersionMinIphoneos(c) => {
                facts.build_version.get_or_insert(build_version(2, c.version, c.sdk));
                Ok(())
            }
            Is::Symtab(c) => {
                once(&command, &mut facts.symbols, symbol_table(&command, &c, length)?)
            }
            Is::Dysymtab(c) => {
                let table = indirect_table(&command, &c, length)?;
                once(&command, &mut facts.indirect_symbols, table)
            }
            Is::CodeSignature(c) => {
                once(&command, &mut facts.code_signature, data_range(&command, &c, length)?)
            }
            Is::FunctionStarts(c) => {
                once(&command, &mut facts.function_starts, data_range(&command, &c, length)?)
            }
            Is::DyldChainedFixups(c) => {
                once(&command, &mut facts.chained_fixups, data_range(&command, &c, length)?)
            }
            Is::EncryptionInfo64(c) => once(&command, &mut facts.encryption, c.cryptid),
            Is::EncryptionInfo32(c) => once(&command, &mut facts.encryption, c.cryptid),
            _ => Ok(()),
        }
    }

    /// Whether addresses are final and sections have their bytes: everything
    /// but object files, debugging companions and stubs.
    pub(super) fn is_linked(&self) -> bool {
        !matches!(self.file_type, FileType::OBJECT | FileType::DSYM | FileType::STUB)
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
    pub fn text(&self) -> Result<&Section<'a>> {
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
    /// or the address is no code.
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

fn once<T>(command: &Command, place: &mut Option<T>, value: T) -> Result<()> {
    match place.replace(value) {
        None => Ok(()),
        Some(_) => Err(command
            .malformed("a load command that may occur once occurs twice")
            .with("kind", hex(command.number))),
    }
}

fn build_version(platform: u32, minimum: u32, sdk: u32) -> BuildVersion {
    BuildVersion {
        platform: Platform(platform),
        minimum: PackedVersion(minimum),
        sdk: PackedVersion(sdk),
    }
}

fn data_range(
    command: &Command,
    decoded: &LinkeditDataCommand,
    length: usize,
) -> Result<Range<SliceOffset>> {
    let (at, size) = (decoded.dataoff.into(), decoded.datasize.into());
    let range = range(at, size, length).ok_or_else(|| {
        command
            .malformed("the data of a load command reaches past the end of the file")
            .with("kind", goblin::mach::load_command::cmd_to_str(command.number))
            .with("offset", hex(at))
            .with("size", hex(size))
    })?;
    Ok(SliceOffset(range.start)..SliceOffset(range.end))
}

fn symbol_table(command: &Command, decoded: &SymtabCommand, length: usize) -> Result<SymbolTable> {
    let entries = range(decoded.symoff.into(), u64::from(decoded.nsyms) * 16, length);
    let strings = range(decoded.stroff.into(), decoded.strsize.into(), length);
    match (entries, strings) {
        (Some(entries), Some(strings)) => Ok(SymbolTable {
            entries: SliceOffset(entries.start)..SliceOffset(entries.end),
            strings: SliceOffset(strings.start)..SliceOffset(strings.end),
        }),
        _ => Err(command
            .malformed("the symbol table reaches past the end of the file")
            .with("symbols", decoded.nsyms)),
    }
}

fn indirect_table(
    command: &Command,
    decoded: &DysymtabCommand,
    length: usize,
) -> Result<Range<SliceOffset>> {
    let size = u64::from(decoded.nindirectsyms) * 4;
    let range = range(decoded.indirectsymoff.into(), size, length).ok_or_else(|| {
        command
            .malformed("the indirect symbol table reaches past the end of the file")
            .with("symbols", decoded.nindirectsyms)
    })?;
    Ok(SliceOffset(range.start)..SliceOffset(range.end))
}

/// The bytes of a range that was checked when the load commands were read.
pub(super) fn bytes_of(bytes: &[u8], range: Range<SliceOffset>) -> &[u8] {
    slice(bytes, range.start.0..range.end.0).unwrap_or(&[])
}
