//! The arm64e slice: its code, and the metadata that leads to it.

use std::collections::HashMap;

use super::classes::{ClassShape, SENT_TO_SUPER, Superclass, classes, selectors, variables};
use super::encode;
use super::fixups::{Authentication, Fixups, Key};
use super::image::{Image, Imported, Symbol};
use super::layout::{AUTH, AUTH_CONST, DATA, DATA_CONST, Memory, Segment, TEXT, flags};
use super::load_commands::Cpu;
use super::names;
use super::objc::{Class, Metadata, Method, Parent, Variable};
use super::places::{Places, STUB};
use super::random::Random;
use super::variant::{Names, Variant};
use agxpatch_core::address::VmAddr;
use agxpatch_core::arm64::Assembler;
use agxpatch_core::error::{Code, Error, Result};

const FAMILY: &str = "AGXG16XFamily";
/// Size of one stub that sends a message.
pub(super) const OBJC_STUB: u64 = 32;

/// Builds the slice of a variant; `size` is what it must come to, if anything.
pub(super) fn build(variant: &Variant, size: Option<u64>) -> Result<Vec<u8>> {
    Builder::new(*variant, Places::of(variant.build))?.build(size)
}

/// Builds a slice with a `__text` of `size` bytes. It has no symbols, which would
/// outgrow the code.
pub(super) fn build_scaled(size: u64) -> Result<Vec<u8>> {
    // The published functions need the one, relative method lists the other.
    const SIZES: std::ops::RangeInclusive<u64> = 0x70_0000..=2_000_000_000;
    if !SIZES.contains(&size) {
        return Err(Error::new(Code::BadArgument, "no scaled driver has that much code")
            .with("least", SIZES.start())
            .with("most", SIZES.end()));
    }
    let variant = Variant { names: Names::MetadataOnly, ..Variant::PUBLISHED };
    Builder::new(variant, Places::scaled(size))?.build(None)
}

/// A slice in the making.
pub(super) struct Builder {
    pub(super) variant: Variant,
    pub(super) places: Places,
    pub(super) assembler: Assembler,
    pub(super) random: Random,
    pub(super) fixups: Fixups,
    pub(super) memory: Memory,
    pub(super) starts: Vec<VmAddr>,
    pub(super) names: HashMap<VmAddr, String>,
}

impl Builder {
    fn new(variant: Variant, places: Places) -> Result<Builder> {
        let memory = vec![0; places.cells.0 as usize + 0xc000];
        Ok(Builder {
            variant,
            places,
            assembler: Assembler::new(),
            random: Random::new(0x3292),
            fixups: Fixups::default(),
            memory: Memory(memory),
            starts: Vec::new(),
            names: HashMap::new(),
        })
    }

    fn build(mut self, size: Option<u64>) -> Result<Vec<u8>> {
        let objc_stubs = self.places.objc_stubs();
        let selectors = selectors(self.variant.build);
        let mut fixed = self.fixed_functions(objc_stubs, &selectors)?;
        fixed.sort_by_key(|function| function.at);
        self.write_code(&fixed);
        let mut metadata = Metadata::new(self.classes(), selectors);
        let mut segments = self.segments(&mut metadata, objc_stubs);
        metadata.write(&mut self.memory, &mut self.fixups);
        self.write_cells(&metadata);
        let indirect = self.write_stubs(&mut segments, &metadata, objc_stubs);
        self.write_tables(&segments);
        let fixups = self.fixups.write(&mut self.memory, &segments);
        let (locals, exported) = self.symbols(&segments, &metadata);
        let imports = self.fixups.imports();
        let imported = imports
            .iter()
            .map(|import| Imported { name: import.name.clone(), library: import.library })
            .collect();
        Ok(Image {
            cpu: Cpu::ARM64E,
            memory: self.memory,
            segments,
            uuid: names::uuid_of(self.variant.build),
            source_version: names::source_version(self.variant.build),
            libraries: names::LIBRARIES,
            fixups,
            function_starts: self.starts,
            locals,
            exported,
            imported,
            indirect,
            signing: self.variant.signing,
            size,
        }
        .build())
    }

    fn classes(&mut self) -> Vec<Class> {
        if self.variant.names == Names::Neither {
            return Vec::new();
        }
        classes(self.variant.build).map(|class| self.class(class)).collect()
    }

    /// A class; its methods without an address of their own take filler functions.
    fn class(&mut self, shape: &ClassShape) -> Class {
        let class = format!("{FAMILY}{}", shape.name);
        let mut methods = Vec::new();
        for &selector in shape.selectors {
            let implementation = self.places.method(shape.name, selector).unwrap_or_else(|| {
                loop {
                    let start = self.random.pick(&self.starts);
                    let far = start.0 < 0x24_0000;
                    if far && !self.names.contains_key(&start) {
                        break start;
                    }
                }
            });
            self.names.insert(implementation, format!("-[{class} {selector}]"));
            methods.push(Method { selector, implementation });
        }
        let variables = shape.variables.iter().map(|&(name, offset)| {
            let cell = self.places.cell(shape.name, name);
            Variable { name, cell, offset }
        });
        let superclass = match shape.superclass {
            Superclass::Imported(name) => Parent::Imported(name, names::IOGPU),
            Superclass::Own(name) => Parent::Own(format!("{FAMILY}{name}")),
        };
        let variables = variables.collect();
        Class { name: class, superclass, methods, variables }
    }

    fn segments(&self, metadata: &mut Metadata, objc_stubs: VmAddr) -> Vec<Segment> {
        let text = self.text_segment(metadata, objc_stubs);
        let places = &self.places;
        let (signed, signed_data) = (places.signed_constants(), places.signed_data());
        let mut constant = Segment::new(DATA_CONST, places.got(), signed, 3);
        constant.add("__got", 8, 3, flags::NON_LAZY_POINTERS);
        constant.add("__const", BLOCK_DESCRIPTOR, 3, flags::REGULAR);
        metadata.add_constant_sections(&mut constant);

        let mut signed_constant = Segment::new(AUTH_CONST, signed, signed_data, 3);
        let got = 8 * names::STUBS.len() as u64;
        signed_constant.add("__auth_got", got, 3, flags::NON_LAZY_POINTERS);
        signed_constant.add("__const", 8 * TABLE_ENTRIES, 3, flags::REGULAR);
        metadata.add_signed_constants(&mut signed_constant);

        let mut signed = Segment::new(AUTH, signed_data, places.data(), 3);
        metadata.add_class_section(&mut signed);

        let mut data = Segment::new(DATA, places.data(), places.cells.plus(0xc000), 3);
        metadata.add_data_sections(&mut data);
        data.add_at("__objc_ivar", places.cells, 0x400, 2, flags::REGULAR);
        let supers = 8 * SENT_TO_SUPER.len() as u64;
        data.add("__objc_superrefs", supers, 3, flags::REGULAR | flags::NO_DEAD_STRIP);
        data.add("__data", 0x4000, 3, flags::REGULAR);
        let zero = VmAddr(data.address.0 + data.file_size);
        data.add_at("__bss", zero, 0x7f00, 3, flags::ZERO_FILL);
        data.vm_size += 0x8000;
        vec![text, constant, signed_constant, signed, data]
    }

    /// The code and everything else that no one writes to.
    fn text_segment(&self, metadata: &mut Metadata, objc_stubs: VmAddr) -> Segment {
        let places = &self.places;
        let end = places.text_segment_end;
        let mut text = Segment::new(TEXT, VmAddr(0), end, 5);
        let size = places.text_end.0 - places.text.0;
        let stubs = STUB * names::STUBS.len() as u64;
        let objc_size = OBJC_STUB * metadata.selectors().len() as u64;
        let code = |text: &mut Segment| {
            text.add_at("__text", places.text, size, 2, flags::CODE);
        };
        let stub_sections = |text: &mut Segment| {
            text.add_at("__auth_stubs", places.stubs, stubs, 2, flags::STUBS);
            text.add_at("__objc_stubs", objc_stubs, objc_size, 5, flags::CODE);
            text.add("__literal8", 8, 3, flags::LITERALS_8);
        };
        if places.stubs < places.text {
            stub_sections(&mut text);
            code(&mut text);
        } else {
            code(&mut text);
            stub_sections(&mut text);
        }
        metadata.add_text_sections(&mut text);
        text.add("__cstring", CSTRINGS.len() as u64, 0, flags::CSTRINGS);
        text.add("__const", (end.0 - text.used().0) & !15, 4, flags::REGULAR);
        text
    }

    /// The offsets of the instance variables, and the references to classes whose
    /// superclass is sent messages.
    fn write_cells(&mut self, metadata: &Metadata) {
        for (class, variable, offset) in variables(self.variant.build) {
            self.memory.put_words(self.places.cell(class, variable), [offset]);
        }
        for class in SENT_TO_SUPER {
            if let Some(object) = metadata.class_object(&format!("{FAMILY}{class}")) {
                self.fixups.point(self.places.super_reference(class), object);
            }
        }
    }

    /// The stubs, the table they jump through, and the indirect symbols of both.
    fn write_stubs(
        &mut self,
        segments: &mut [Segment],
        metadata: &Metadata,
        objc_stubs: VmAddr,
    ) -> Vec<u32> {
        let table = self.places.signed_constants();
        let mut indirect = Vec::new();
        let mut send = VmAddr(0);
        for (index, name) in names::STUBS.iter().enumerate() {
            let entry = table.plus(8 * index as u64);
            let import = self.fixups.import(name, names::library(name));
            let signed =
                Authentication { key: Key::InstructionA, discriminator: 0, by_address: true };
            self.fixups.bind(entry, import, Some(signed));
            indirect.push(import);
            if *name == "_objc_msgSend" {
                send = entry;
            }
            let at = self.places.stub(name);
            self.memory.put_words(at, jump_through(at, entry));
        }
        for (index, selector) in metadata.selectors().iter().enumerate() {
            let at = objc_stubs.plus(OBJC_STUB * index as u64);
            let reference = metadata.selector_reference(selector);
            let low = (reference.0 & 0xfff) as u32;
            let load = [encode::adrp(1, at, reference), encode::ldr(1, 1, low)];
            let jump = jump_through(at.plus(8), send);
            let trap = [encode::BRK_1; 2];
            self.memory.put_words(at, load.into_iter().chain(jump).chain(trap));
        }
        let count = indirect.len() as u32;
        indirect.extend_from_within(..);
        let import = self.fixups.import(names::STACK_BLOCK, names::library(names::STACK_BLOCK));
        self.fixups.bind(self.places.got(), import, None);
        indirect.push(import);
        for section in segments.iter_mut().flat_map(|segment| &mut segment.sections) {
            match section.name {
                "__auth_got" => section.indirect = count,
                "__got" => section.indirect = 2 * count,
                _ => {}
            }
        }
        indirect
    }

    /// Constant data: strings, tables of numbers, tables of functions.
    fn write_tables(&mut self, segments: &[Segment]) {
        let sections = segments.iter().flat_map(|segment| {
            segment.sections.iter().map(move |section| (segment.name, section))
        });
        for (segment, section) in sections {
            match (segment, section.name) {
                (TEXT, "__cstring") => self.memory.put(section.address, CSTRINGS),
                (TEXT, "__const") => {
                    for offset in (0..section.size).step_by(16) {
                        let value = self.random.next() & 0x0fff_0fff;
                        self.memory.put(section.address.plus(offset), &value.to_le_bytes());
                    }
                }
                (TEXT, "__literal8") => self.memory.put_words(section.address, BLOCK_FLAGS),
                (DATA_CONST, "__const") => {
                    self.memory.put_words(section.address, [0, 0, 0x30, 0]);
                }
                (AUTH_CONST, "__const") => self.write_function_tables(section.address),
                _ => {}
            }
        }
    }

    fn write_function_tables(&mut self, table: VmAddr) {
        for index in 0..TABLE_ENTRIES {
            let function = self.random.pick(&self.starts);
            let discriminator = self.random.next() as u16;
            let signed = Authentication { key: Key::InstructionA, discriminator, by_address: true };
            self.fixups.point_signed(table.plus(8 * index), function, signed);
        }
    }

    fn symbols(&self, segments: &[Segment], metadata: &Metadata) -> (Vec<Symbol>, Vec<Symbol>) {
        if self.variant.names != Names::All {
            return (Vec::new(), Vec::new());
        }
        let symbol = |name: String, address: VmAddr| {
            let section = section_number(segments, address);
            Symbol { name, address, section }
        };
        let text = section_number(segments, self.places.text);
        let mut locals: Vec<Symbol> = self
            .starts
            .iter()
            .enumerate()
            .map(|(index, &address)| {
                let known = self.names.get(&address).cloned();
                let name = known.unwrap_or_else(|| names::function(index));
                Symbol { name, address, section: text }
            })
            .collect();
        for (class, variable, _) in variables(self.variant.build) {
            let name = format!("_OBJC_IVAR_$_{FAMILY}{class}.{variable}");
            locals.push(symbol(name, self.places.cell(class, variable)));
        }
        let exported =
            metadata.class_symbols().map(|(name, address)| symbol(name, address)).collect();
        (locals, exported)
    }
}

/// Size of the descriptor of a block: reserved, size of the block.
const BLOCK_DESCRIPTOR: u64 = 16;
/// Flags of a block that captures nothing to copy, and what is reserved.
const BLOCK_FLAGS: [u32; 2] = [0x4000_0000, 0];
/// Function pointers in constant tables.
const TABLE_ENTRIES: u64 = 0x1000;
const CSTRINGS: &[u8] = b"AGXMetalG16X\0compute\0blit\0render\0resource state\0out of memory\0";

/// A jump through the signed pointer at `entry`.
fn jump_through(at: VmAddr, entry: VmAddr) -> [u32; 4] {
    let low = (entry.0 & 0xfff) as u32;
    [
        encode::adrp(17, at, entry),
        encode::add_imm(17, 17, low),
        encode::ldr(16, 17, 0),
        encode::BRAA_X16_X17,
    ]
}

/// Number of the section that holds `address`, from 1.
fn section_number(segments: &[Segment], address: VmAddr) -> u8 {
    let sections = segments.iter().flat_map(|segment| &segment.sections);
    let inside = |(_, section): &(usize, &super::layout::Section)| {
        (section.address.0..section.address.0 + section.size).contains(&address.0)
    };
    sections.enumerate().find(inside).map_or(0, |(index, _)| index as u8 + 1)
}
