//! The chained fixups pass what the dynamic linker checks before it follows them.
//!
//! The rules are dyld's, written again from its format (mach-o/fixup-chains.h);
//! nothing of this program reads the table here.

use goblin::mach::MachO;
use goblin::mach::load_command::CommandVariant;

use super::harness::{arm64e, driver, image};
use agxpatch_oracles::tools::ask as llvm;

const PAGE: u64 = 0x4000;
const NO_CHAIN: u64 = 0xffff;

/// The table of a slice, and the slice it belongs to.
struct Table<'a> {
    slice: &'a [u8],
    macho: &'a MachO<'a>,
    /// Offset and size in the slice.
    at: usize,
    size: usize,
}

impl Table<'_> {
    fn number(&self, at: u64, size: usize) -> u64 {
        let at = at as usize;
        assert!(at + size <= self.size, "a field lies outside the table");
        let bytes = &self.slice[self.at + at..self.at + at + size];
        bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
    }

    fn word(&self, at: u64) -> u64 {
        self.number(at, 4)
    }

    /// The name of every import, all of whose fields are in range.
    fn imports(&self) -> Vec<String> {
        let (imports, symbols) = (self.word(8), self.word(12));
        (0..self.word(16))
            .map(|index| {
                let bits = self.word(imports + 4 * index);
                let library = (bits & 0xff) as usize;
                assert!((1..self.macho.libs.len()).contains(&library), "library {library}");
                let name = &self.slice[self.at..][..self.size][(symbols + (bits >> 9)) as usize..];
                let end = name.iter().position(|byte| *byte == 0).expect("a name ends");
                String::from_utf8(name[..end].to_vec()).unwrap()
            })
            .collect()
    }

    /// The pointers of a segment: address and bits.
    fn pointers(&self, index: usize, starts: u64) -> Vec<(u64, u64)> {
        let segment = &self.macho.segments[index];
        let size = self.word(starts);
        assert_eq!(self.number(starts + 4, 2), PAGE);
        assert_eq!(self.number(starts + 6, 2), 12, "DYLD_CHAINED_PTR_ARM64E_USERLAND24");
        assert_eq!(self.number(starts + 8, 8), segment.vmaddr, "the image begins at 0");
        let pages = self.number(starts + 20, 2);
        assert!(22 + 2 * pages <= size && pages <= segment.filesize.div_ceil(PAGE));
        let mut found = Vec::new();
        for page in 0..pages {
            let start = self.number(starts + 22 + 2 * page, 2);
            if start == NO_CHAIN {
                continue;
            }
            let mut within = start;
            loop {
                assert!(within + 8 <= PAGE && within.is_multiple_of(8), "a chain leaves its page");
                let address = segment.vmaddr + page * PAGE + within;
                let bytes = &self.slice[address as usize..][..8];
                let bits = u64::from_le_bytes(bytes.try_into().unwrap());
                found.push((address, bits));
                match bits >> 51 & 0x7ff {
                    0 => break,
                    next => within += 8 * next,
                }
            }
        }
        found
    }
}

fn with_table<T>(name: &str, look: impl FnOnce(&Table<'_>) -> T) -> T {
    let file = driver(name);
    let (_, slice) = arm64e(&file);
    let macho = image(slice);
    let mut commands = macho.load_commands.iter();
    let place = commands.find_map(|command| match command.command {
        CommandVariant::DyldChainedFixups(data) => Some((data.dataoff, data.datasize)),
        _ => None,
    });
    let (at, size) = place.unwrap();
    look(&Table { slice, macho: &macho, at: at as usize, size: size as usize })
}

#[test]
fn the_loader_accepts_the_table_of_every_kind_of_image() {
    for name in ["published", "renamed", "destructor-called", "stripped-metadata"] {
        with_table(name, |table| {
            assert_eq!(table.word(0), 0, "version");
            let starts = table.word(4);
            let segments = table.macho.segments.len() as u64;
            assert_eq!(table.word(starts), segments, "as many entries as segments");
            let imports = table.imports();
            let mut bound = vec![false; imports.len()];
            for index in 0..segments {
                let offset = table.word(starts + 4 + 4 * index);
                let writable = table.macho.segments[index as usize].initprot & 2 != 0;
                if offset == 0 {
                    continue;
                }
                assert!(writable, "only a writable segment is fixed up");
                for (address, bits) in table.pointers(index as usize, starts + offset) {
                    if bits >> 62 & 1 == 1 {
                        bound[(bits & 0xff_ffff) as usize] = true;
                    } else {
                        let signed = bits >> 63 == 1;
                        let target =
                            if signed { bits & 0xffff_ffff } else { bits & 0x7ff_ffff_ffff };
                        let inside = |s: &goblin::mach::segment::Segment<'_>| {
                            (s.vmaddr..s.vmaddr + s.vmsize).contains(&target)
                        };
                        assert!(table.macho.segments.iter().any(inside), "{address:#x}");
                    }
                }
            }
            assert!(bound.iter().all(|bound| *bound), "every import is used");
        });
    }
}

#[test]
fn llvm_counts_every_segment() {
    let file = driver("published");
    let args = ["--macho", "--chained-fixups", "--arch", "arm64e"];
    let Some(text) = llvm("llvm-objdump", &args, &file) else { return };
    assert!(text.contains("seg_count = 6"), "{text:.2000}");
    assert!(text.contains("seg_offset[5] = 0 (__LINKEDIT)"), "{text:.2000}");
}

#[test]
fn signed_pointers_have_segments_of_their_own() {
    with_table("published", |table| {
        let names: Vec<&str> = table.macho.segments.iter().map(|s| s.name().unwrap()).collect();
        let published =
            ["__TEXT", "__DATA_CONST", "__AUTH_CONST", "__AUTH", "__DATA", "__LINKEDIT"];
        assert_eq!(names, published);
        let starts = table.word(4);
        for (index, name) in names.iter().enumerate() {
            let offset = table.word(starts + 4 + 4 * index as u64);
            if offset == 0 {
                continue;
            }
            let pointers = table.pointers(index, starts + offset);
            let signed = pointers.iter().filter(|(_, bits)| bits >> 63 == 1).count();
            assert_eq!(signed > 0, name.starts_with("__AUTH"), "{name}: {signed} are signed");
        }
    });
}
