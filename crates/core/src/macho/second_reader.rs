//! The second reader: the same facts read again by a crate that shares no code
//! with the first, and compared.
//!
//! The comparison costs a walk over the load commands, and one over the symbol
//! table or the function starts when those are asked for. Nothing is copied.

use object::LittleEndian;
use object::macho;
use object::read::macho::{FatArch, MachHeader, MachOFatFile, Nlist, Section as _, Segment as _};

use crate::address::{SliceOffset, VmAddr};
use crate::error::{Code, Error, Result};

use super::chained_fixups::Fixup;
use super::facts::Facts;
use super::image::Image;
use super::pointer::Pointer;
use super::symbols::{Entry, SymbolTable, Symbols};
use super::universal::{Container, Universal};
use super::version::{BuildVersion, PackedVersion, Platform, SourceVersion, Uuid};

type Header = macho::MachHeader64<LittleEndian>;
type Command<'a> = object::read::macho::LoadCommandData<'a, LittleEndian>;
const LE: LittleEndian = LittleEndian;

fn disagree(about: &str) -> Error {
    Error::new(Code::ReadersDisagree, format!("two readers disagree about {about}"))
        .next("do not patch this file; report it, because one of the readers is wrong")
}

fn refused(error: object::read::Error) -> Error {
    disagree("whether the file can be read").with("second-reader", error)
}

fn must_agree(holds: bool, about: &str) -> Result<()> {
    if holds { Ok(()) } else { Err(disagree(about)) }
}

/// Compares the table of slices.
pub fn compare_table(bytes: &[u8], file: &Universal) -> Result<()> {
    match file.container {
        Container::Thin => Ok(()),
        Container::Fat32 => compare_entries::<macho::FatArch32>(bytes, file),
        Container::Fat64 => compare_entries::<macho::FatArch64>(bytes, file),
    }
}

fn compare_entries<F: FatArch>(bytes: &[u8], file: &Universal) -> Result<()> {
    let second = MachOFatFile::<F>::parse(bytes).map_err(refused)?;
    let same = second.arches().len() == file.slices.len()
        && second.arches().iter().zip(&file.slices).all(|(other, slice)| {
            other.file_range() == (slice.offset.0, slice.size)
                && other.cputype().0 == slice.architecture.cpu_type
                && other.cpusubtype().0 == slice.architecture.cpu_subtype
                && other.align() == slice.align
                && other.data(bytes).is_ok_and(|body| std::ptr::eq(body, slice.bytes))
        });
    must_agree(same, "the table of slices")
}

/// Compares what the load commands say.
pub fn compare_image(image: &Image) -> Result<()> {
    let header = Header::parse(image.bytes(), 0).map_err(refused)?;
    let same = header.cputype(LE).0 == image.architecture().cpu_type
        && header.cpusubtype(LE).0 == image.architecture().cpu_subtype
        && header.filetype(LE).0 == image.file_type().0;
    must_agree(same, "the Mach-O header")?;

    let mut second = Facts::default();
    let (mut segments, mut sections) = (0, 0);
    let mut commands = header.load_commands(LE, image.bytes(), 0).map_err(refused)?;
    while let Some(command) = commands.next().map_err(refused)? {
        match command.segment_64().map_err(refused)? {
            Some((segment, rest)) => {
                sections += compare_segment(image, segments, sections, segment, rest)?;
                segments += 1;
            }
            None => note(&mut second, &command).map_err(refused)?,
        }
    }
    let counted = segments == image.segments().len() && sections == image.sections().len();
    must_agree(counted, "the number of segments and sections")?;
    must_agree(second == image.facts, "identity, signature, symbols or fixups")
}

fn compare_segment(
    image: &Image,
    index: usize,
    first_section: usize,
    second: &macho::SegmentCommand64<LittleEndian>,
    rest: &[u8],
) -> Result<usize> {
    let headers = second.sections(LE, rest).map_err(refused)?;
    let segment = image.segments().get(index).ok_or_else(|| disagree("the number of segments"))?;
    let same = second.name() == segment.name.as_bytes()
        && second.vmaddr(LE) == segment.address.0
        && second.vmsize(LE) == segment.size
        && second.file_range(LE) == (segment.offset.0, segment.bytes.len() as u64)
        && second.maxprot(LE).0 == segment.maximum_protection
        && second.initprot(LE).0 == segment.initial_protection;
    must_agree(same, &format!("segment {}", segment.name))?;

    for (place, header) in headers.iter().enumerate() {
        let section = image.sections().get(first_section + place);
        let section = section.ok_or_else(|| disagree("the number of sections"))?;
        let offset = u64::from(header.offset(LE));
        let left_out = !image.is_linked() && segment.bytes.is_empty();
        let in_file = header.file_range(LE, offset).filter(|_| !left_out);
        let size = in_file.map_or(0, |(_, size)| size);
        let same = header.name() == section.name.as_bytes()
            && header.segment_name() == section.segment.as_bytes()
            && header.addr(LE) == section.address.0
            && header.size(LE) == section.size
            && offset == section.offset.0
            && header.flags(LE).0 == section.flags
            && [header.reserved1.get(LE), header.reserved2.get(LE)] == section.reserved
            && size == section.bytes.len() as u64;
        must_agree(same, &format!("section {},{}", section.segment, section.name))?;
    }
    Ok(headers.len())
}

/// Takes down what one command says, as the second reader understands it.
fn note(facts: &mut Facts, command: &Command) -> object::read::Result<()> {
    use object::read::macho::LoadCommandVariant as Is;
    match command.variant()? {
        Is::Uuid(c) => facts.uuid = Some(Uuid(c.uuid)),
        Is::SourceVersion(c) => {
            facts.source_version = Some(SourceVersion(c.version.get(LE)));
        }
        Is::BuildVersion(c, _) => {
            let found = version(c.platform.get(LE).0, c.minos.get(LE).0, c.sdk.get(LE).0);
            facts.build_version.get_or_insert(found);
        }
        Is::VersionMin(c) => {
            let platform = match command.cmd() {
                macho::LC_VERSION_MIN_MACOSX => 1,
                macho::LC_VERSION_MIN_IPHONEOS => 2,
                _ => return Ok(()),
            };
            let found = version(platform, c.version.get(LE).0, c.sdk.get(LE).0);
            facts.build_version.get_or_insert(found);
        }
        Is::Symtab(c) => {
            let size = u64::from(c.nsyms.get(LE)) * 16;
            facts.symbols = Some(SymbolTable {
                entries: span(c.symoff.get(LE).into(), size),
                strings: span(c.stroff.get(LE).into(), c.strsize.get(LE).into()),
            });
        }
        Is::Dysymtab(c) => {
            let size = u64::from(c.nindirectsyms.get(LE)) * 4;
            facts.indirect_symbols = Some(span(c.indirectsymoff.get(LE).into(), size));
        }
        Is::LinkeditData(c) => {
            let place = match command.cmd() {
                macho::LC_CODE_SIGNATURE => &mut facts.code_signature,
                macho::LC_FUNCTION_STARTS => &mut facts.function_starts,
                macho::LC_DYLD_CHAINED_FIXUPS => &mut facts.chained_fixups,
                _ => return Ok(()),
            };
            *place = Some(span(c.dataoff.get(LE).into(), c.datasize.get(LE).into()));
        }
        Is::EncryptionInfo32(c) => facts.encryption = Some(c.cryptid.get(LE)),
        Is::EncryptionInfo64(c) => facts.encryption = Some(c.cryptid.get(LE)),
        _ => {}
    }
    Ok(())
}

fn span(at: u64, size: u64) -> std::ops::Range<SliceOffset> {
    SliceOffset(at)..SliceOffset(at.saturating_add(size))
}

fn version(platform: u32, minimum: u32, sdk: u32) -> BuildVersion {
    BuildVersion {
        platform: Platform(platform),
        minimum: PackedVersion(minimum),
        sdk: PackedVersion(sdk),
    }
}

/// The command of a kind, as the second reader finds it.
fn find<'a>(image: &Image<'a>, kind: macho::LoadCommandType) -> Result<Option<Command<'a>>> {
    let header = Header::parse(image.bytes(), 0).map_err(refused)?;
    let mut commands = header.load_commands(LE, image.bytes(), 0).map_err(refused)?;
    while let Some(command) = commands.next().map_err(refused)? {
        if command.cmd() == kind {
            return Ok(Some(command));
        }
    }
    Ok(None)
}

/// Compares every entry of the symbol table. Names are compared by where they
/// begin: both readers were seen to agree on the string table.
pub fn compare_symbols(image: &Image, symbols: &Symbols) -> Result<()> {
    let command = find(image, macho::LC_SYMTAB)?;
    let Some(table) = command.and_then(|command| command.symtab().ok().flatten()) else {
        return must_agree(symbols.is_empty(), "whether there are symbols");
    };
    let table = table.symbols::<Header, _>(LE, image.bytes()).map_err(refused)?;
    let same = table.len() == symbols.len()
        && table.iter().zip(symbols.entries()).all(|(other, entry)| {
            let other = Entry {
                name: other.n_strx(LE),
                kind: other.n_type().0,
                section: other.n_sect(),
                description: other.n_desc(LE).0,
                value: other.n_value(LE),
            };
            other == entry
        });
    must_agree(same, "the symbols")
}

/// Compares every function start.
pub fn compare_function_starts(
    image: &Image,
    starts: impl Iterator<Item = Result<VmAddr>>,
) -> Result<()> {
    let command = find(image, macho::LC_FUNCTION_STARTS)?;
    let table = command.map(|command| command.data::<macho::LinkeditDataCommand<LittleEndian>>());
    let Some(table) = table.transpose().map_err(refused)? else { return Ok(()) };
    let mut second = table.function_starts(LE, image.bytes(), image.base().0).map_err(refused)?;
    for start in starts {
        let other = second.next().map_err(refused)?;
        must_agree(other == Some(start?.0), "the function starts")?;
    }
    must_agree(second.next().map_err(refused)?.is_none(), "the number of functions")
}

/// Compares every fixup of every chain and counts them.
pub fn compare_fixups(
    image: &Image,
    base: VmAddr,
    fixups: impl Iterator<Item = Result<Fixup>>,
) -> Result<usize> {
    let command = find(image, macho::LC_DYLD_CHAINED_FIXUPS)?;
    let table = command.map(|command| command.data::<macho::LinkeditDataCommand<LittleEndian>>());
    let Some(table) = table.transpose().map_err(refused)? else { return Ok(0) };
    let table = table.chained_fixups(LE, image.bytes()).map_err(refused)?;
    let mut second = table.segments(LE).map_err(refused)?.flat_map(|starts| {
        let starts = starts.ok();
        let segment = starts.and_then(|starts| image.segments().get(starts.index() as usize));
        let each = starts.zip(segment).map(|(starts, segment)| {
            let address = segment.address;
            starts
                .fixups(LE, base.0, segment.bytes)
                .map(move |fixup| fixup.map(|(at, fixup)| (address.plus(at), fixup)))
        });
        each.into_iter().flatten()
    });
    let mut count = 0;
    for fixup in fixups {
        let fixup = fixup?;
        let other = second.next().transpose().map_err(refused)?;
        let same =
            other.is_some_and(|(at, other)| at == fixup.at && same_target(&fixup, &other, base));
        must_agree(same, &format!("the fixup at {}", fixup.at))?;
        count += 1;
    }
    must_agree(second.next().is_none(), "the number of fixups")?;
    Ok(count)
}

fn same_target(fixup: &Fixup, other: &object::read::macho::Fixup, base: VmAddr) -> bool {
    use object::read::macho::Fixup as Is;
    match (fixup.target, other) {
        (Pointer::Address(target), Is::Rebase(rebase)) => {
            // The high byte is a tag, kept out of the sum.
            let tag = rebase.target_offset & (0xff << 56);
            let offset = rebase.target_offset & !(0xff << 56);
            let same = base.plus(offset).0 & !(0xff << 56) == target.0 & !(0xff << 56);
            same && tag == target.0 & (0xff << 56) && rebase.auth.is_some() == fixup.authenticated
        }
        (Pointer::Import { ordinal, addend }, Is::Bind(bind)) => {
            bind.ordinal == ordinal
                && i64::from(bind.addend) == addend
                && bind.auth.is_some() == fixup.authenticated
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(words: &[u32]) -> Vec<u8> {
        words.iter().flat_map(|word| word.to_le_bytes()).collect()
    }

    /// A bundle with one section, a UUID, a symbol and a function start.
    fn bundle() -> Vec<u8> {
        let name = |name: &[u8]| [name, &[0; 16][name.len()..]].concat();
        let mut bytes = words(&[0xfeed_facf, 0x0100_000c, 0, 8, 4, 152 + 24 + 24 + 16, 0, 0]);
        bytes.extend([words(&[0x19, 152]), name(b"__TEXT")].concat());
        bytes.extend(words(&[0, 0, 0x400, 0, 0, 0, 0x400, 0, 7, 5, 1, 0]));
        bytes.extend([name(b"__text"), name(b"__TEXT")].concat());
        bytes.extend(words(&[0x200, 0, 0x100, 0, 0x200, 0, 0, 0, 0, 0, 0, 0]));
        bytes.extend([words(&[0x1b, 24]), vec![7; 16]].concat());
        bytes.extend(words(&[2, 24, 0x300, 1, 0x380, 4]));
        bytes.extend(words(&[0x26, 16, 0x3f0, 4]));
        bytes.resize(0x400, 0);
        bytes[0x300..0x310].copy_from_slice(&words(&[1, 0x010f, 0x200, 0]));
        bytes[0x380..0x384].copy_from_slice(b"\0_a\0");
        bytes[0x3f0..0x3f2].copy_from_slice(&[0x80, 4]);
        bytes
    }

    fn refused_about(result: Result<()>, about: &str) {
        let error = result.unwrap_err();
        assert_eq!(error.code(), Code::ReadersDisagree);
        assert_eq!(error.message(), format!("two readers disagree about {about}"));
    }

    #[test]
    fn readers_that_see_the_same_agree() {
        let bytes = bundle();
        let image = Image::parse(&bytes).unwrap();
        assert_eq!(image.symbols().unwrap().address_of("_a"), Some(VmAddr(0x200)));
        assert_eq!(image.function_starts().unwrap(), [VmAddr(0x200)]);
    }

    #[test]
    fn a_first_reader_that_misreads_a_load_command_is_caught() {
        let bytes = bundle();
        let misread = |change: &dyn Fn(&mut Image), about: &str| {
            let mut image = Image::parse(&bytes).unwrap();
            change(&mut image);
            refused_about(compare_image(&image), about);
        };
        let rest = "identity, signature, symbols or fixups";
        misread(&|image| image.facts.uuid = None, rest);
        misread(&|image| image.facts.source_version = Some(SourceVersion(1)), rest);
        misread(&|image| image.facts.code_signature = Some(span(0, 1)), rest);
        misread(&|image| image.facts.symbols = None, rest);
        misread(&|image| image.segments[0].address = VmAddr(0x1000), "segment __TEXT");
        misread(&|image| image.segments[0].size -= 1, "segment __TEXT");
        misread(&|image| image.sections[0].offset = SliceOffset(0x204), "section __TEXT,__text");
        misread(&|image| image.sections[0].flags = 1, "section __TEXT,__text");
        misread(&|image| image.segments.clear(), "the number of segments");
        misread(&|image| image.sections.clear(), "the number of sections");
    }

    #[test]
    fn a_first_reader_that_misreads_a_table_is_caught() {
        let bytes = bundle();
        let image = Image::parse(&bytes).unwrap();
        let mut other = bytes.clone();
        other[0x308] = 4;
        let symbols = Symbols::new(&other, image.facts.symbols.clone());
        refused_about(compare_symbols(&image, &symbols), "the symbols");

        let wrong = [Ok(VmAddr(0x204))].into_iter();
        refused_about(compare_function_starts(&image, wrong), "the function starts");
        refused_about(
            compare_function_starts(&image, std::iter::empty()),
            "the number of functions",
        );
    }

    #[test]
    fn a_first_reader_that_misreads_the_table_of_slices_is_caught() {
        let mut bytes: Vec<u8> = [0xcafe_babe_u32, 1, 0x0100_000c, 0, 0x40, 0x400, 2]
            .iter()
            .flat_map(|word| word.to_be_bytes())
            .collect();
        bytes.resize(0x40, 0);
        bytes.extend(bundle());
        let mut file = Universal::parse(&bytes).unwrap();
        file.slices[0].align = 3;
        refused_about(compare_table(&bytes, &file), "the table of slices");
    }
}
