//! What the load commands other than segments say: who the image is, and where
//! its tables stand.

use std::ops::Range;

use goblin::mach::load_command as lc;
use goblin::mach::load_command::{
    CommandVariant, DysymtabCommand, LinkeditDataCommand, SymtabCommand,
};

use crate::address::SliceOffset;
use crate::error::Result;

use super::bytes::{hex, range};
use super::load_commands::Command;
use super::symbols::SymbolTable;
use super::{BuildVersion, PackedVersion, Platform, SourceVersion, Uuid};

/// What the load commands other than segments say. Each may occur once, but
/// for build versions, of which the first counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
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

impl Facts {
    /// Takes down what a command says, if it is one of those that matter.
    /// Every range it names is checked against an image of `length` bytes.
    pub fn take(&mut self, command: Command, length: usize) -> Result<()> {
        match command.number {
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
            | lc::LC_ENCRYPTION_INFO_64 => self.take_known(command, length),
            _ => Ok(()),
        }
    }

    fn take_known(&mut self, command: Command, length: usize) -> Result<()> {
        use CommandVariant as Is;
        match command.decode()? {
            Is::Uuid(c) => once(&command, &mut self.uuid, Uuid(c.uuid)),
            Is::SourceVersion(c) => {
                once(&command, &mut self.source_version, SourceVersion(c.version))
            }
            Is::BuildVersion(c) => self.take_version(c.platform, c.minos, c.sdk),
            Is::VersionMinMacosx(c) => self.take_version(1, c.version, c.sdk),
            Is::VersionMinIphoneos(c) => self.take_version(2, c.version, c.sdk),
            Is::Symtab(c) => once(&command, &mut self.symbols, symbol_table(&command, &c, length)?),
            Is::Dysymtab(c) => {
                let table = indirect_table(&command, &c, length)?;
                once(&command, &mut self.indirect_symbols, table)
            }
            Is::CodeSignature(c) => {
                once(&command, &mut self.code_signature, data_range(&command, &c, length)?)
            }
            Is::FunctionStarts(c) => {
                once(&command, &mut self.function_starts, data_range(&command, &c, length)?)
            }
            Is::DyldChainedFixups(c) => {
                once(&command, &mut self.chained_fixups, data_range(&command, &c, length)?)
            }
            Is::EncryptionInfo64(c) => once(&command, &mut self.encryption, c.cryptid),
            Is::EncryptionInfo32(c) => once(&command, &mut self.encryption, c.cryptid),
            _ => Ok(()),
        }
    }

    fn take_version(&mut self, platform: u32, minimum: u32, sdk: u32) -> Result<()> {
        self.build_version.get_or_insert(BuildVersion {
            platform: Platform(platform),
            minimum: PackedVersion(minimum),
            sdk: PackedVersion(sdk),
        });
        Ok(())
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
