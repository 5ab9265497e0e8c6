//! The arm64e slice: the published functions at their addresses, filler between
//! them, and the metadata that leads to them.

use std::collections::HashMap;

use super::assembly::{Bindings, assemble};
use super::classes::{
    COMMAND_BUFFER, COMMAND_BUFFER_SELECTORS, COMPUTE, DESTROY, DEVICE, DEVICE_SELECTORS, ENCODERS,
    PUBLISHED, RENDER,
};
use super::code::{Callees, SHORTEST, Writer};
use super::destroy::{Destroy, Registers};
use super::encode;
use super::fixups::{Authentication, Fixups, Key};
use super::image::{Image, Imported, Symbol};
use super::layout::{DATA, DATA_CONST, Memory, Segment, TEXT, flags};
use super::load_commands::Cpu;
use super::objc::{Class, Metadata, Method, Variable};
use super::random::Random;
use super::variant::{Build, Names, Release, Variant};
use super::{facts, names, siblings};
use crate::address::{VmAddr, Word};
use crate::arm64::Assembler;
use crate::error::{Code, Error, Result};

const FAMILY: &str = "AGXG16XFamily";
const STUB: u64 = 16;
const OBJC_STUB: u64 = 32;

/// Where things are in one build of the driver.
struct Places {
    /// Distance of every published function from its published address.
    shift: u64,
    text: VmAddr,
    text_end: VmAddr,
    stubs: VmAddr,
    text_segment_end: VmAddr,
    cells: VmAddr,
    impl_cell: VmAddr,
    registers: Registers,
    slots: u32,
}

impl Places {
    fn of(build: Build) -> Places {
        let free = names::STUBS.iter().position(|stub| *stub == "_free").unwrap_or_default();
        let stubs = VmAddr(facts::FREE_STUB.0 - STUB * free as u64);
        let published = Places {
            shift: 0,
            text: VmAddr(0x4000),
            text_end: stubs,
            stubs,
            text_segment_end: VmAddr(0x73_8000),
            cells: VmAddr(0x75_8000),
            impl_cell: facts::IMPL_CELL,
            registers: Registers::PUBLISHED,
            slots: facts::SLOTS,
        };
        match build {
            Build::Published => published,
            Build::Other => Places {
                shift: 0x5c40,
                text_end: stubs.plus(0x2344),
                stubs: stubs.plus(0x2344),
                impl_cell: facts::IMPL_CELL.plus(0x54),
                registers: Registers::OTHER,
                slots: 0x1b20,
                ..published
            },
        }
    }

    /// The published build with a `__text` of `size` bytes. Its stubs stand
    /// before the code, within reach of the published functions.
    fn scaled(size: u64) -> Places {
        let text = VmAddr(0x8000);
        let text_end = text.plus(size.next_multiple_of(4));
        let end = VmAddr((text_end.0 + 0x2_0000).next_multiple_of(0x4000));
        Places {
            text,
            text_end,
            stubs: VmAddr(0x4000),
            text_segment_end: end,
            cells: VmAddr(end.0 + 0x2_0000),
            impl_cell: VmAddr(end.0 + 0x2_0300),
            ..Places::of(Build::Published)
        }
    }

    fn stub(&self, name: &str) -> VmAddr {
        let index = names::STUBS.iter().position(|stub| *stub == name).unwrap_or_default();
        self.stubs.plus(STUB * index as u64)
    }

    fn method(&self, class: &str, selector: &str) -> Option<VmAddr> {
        if selector == DESTROY && class != COMPUTE {
            let index = ENCODERS.iter().position(|encoder| encoder.name == class)?;
            return Some(VmAddr(0x2d_0000 + 0x2000 * index as u64).plus(self.shift));
        }
        let published = PUBLISHED.iter().find(|(c, s, _)| (*c, *s) == (class, selector));
        published.map(|(_, _, address)| address.plus(self.shift))
    }

    /// Offset cells: the two published ones, and the others in order.
    fn cell(&self, class: &str, variable: &str) -> VmAddr {
        match (class, variable) {
            (COMPUTE, "_impl") => self.impl_cell,
            (COMMAND_BUFFER, _) => self.cells.plus(0x98),
            (DEVICE, _) => self.cells.plus(0x14),
            _ => {
                let index = ENCODERS.iter().position(|encoder| encoder.name == class);
                let index = index.unwrap_or_default() as u64;
                self.cells.plus(0x100 + 8 * index + if variable == "_impl" { 4 } else { 0 })
            }
        }
    }
}

/// A function that stands where it must.
struct Fixed {
    at: VmAddr,
    words: Vec<u32>,
    name: Option<&'static str>,
}

/// Builds the slice of a variant; `size` is what it must come to, if anything.
pub(super) fn build(variant: &Variant, size: Option<u64>) -> Result<Vec<u8>> {
    Builder::new(*variant, Places::of(variant.build))?.build(size)
}

/// Builds a slice with a `__text` of `size` bytes.
pub(super) fn build_scaled(size: u64) -> Result<Vec<u8>> {
    Builder::new(Variant::PUBLISHED, Places::scaled(size))?.build(None)
}

struct Builder {
    variant: Variant,
    places: Places,
    assembler: Assembler,
    random: Random,
    fixups: Fixups,
    memory: Memory,
    starts: Vec<VmAddr>,
    names: HashMap<VmAddr, String>,
}

impl Builder {
    fn new(variant: Variant, places: Places) -> Result<Builder> {
        let too_small = places.text_end.0 < 0x70_0000 && places.stubs.0 < places.text.0;
        if too_small {
            return Err(Error::new(
                Code::BadArgument,
                "a scaled driver's code must reach beyond its published functions",
            )
            .with("least", "0x700000"));
        }
        let memory = vec![0; places.cells.0 as usize + 0xc000];
        Ok(Builder {
            variant,
            places,
            assembler: Assembler::new()?,
            random: Random::new(0x3292),
            fixups: Fixups::default(),
            memory: Memory(memory),
            starts: Vec::new(),
            names: HashMap::new(),
        })
    }

    fn build(mut self, size: Option<u64>) -> Result<Vec<u8>> {
        let objc_stubs = self.objc_stubs();
        let selectors = selectors();
        let mut fixed = self.fixed_functions(objc_stubs, &selectors)?;
        fixed.sort_by_key(|function| function.at);
        self.write_code(&fixed);
        let mut metadata = Metadata::new(self.classes(), selectors);
        let mut segments = self.segments(&mut metadata, objc_stubs);
        metadata.write(&mut self.memory, &mut self.fixups);
        self.write_cells();
        let indirect = self.write_stubs(&mut segments, &metadata, objc_stubs);
        self.write_tables(&segments);
        let fixups = self.fixups.write(&mut self.memory, &segments);
        let (locals, exported) = self.symbols(&segments, &metadata);
        let imports = self.fixups.imports();
        let imported = imports
            .iter()
            .map(|import| Imported { name: import.name.clone(), library: import.library })
            .collect();
        let other = self.variant.build == Build::Other;
        Ok(Image {
            cpu: Cpu::ARM64E,
            memory: self.memory,
            segments,
            uuid: if other { names::uuid(0x330) } else { facts::UUID },
            source_version: source_version(self.variant.build),
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

    /// Where the stubs that send a message begin.
    fn objc_stubs(&self) -> VmAddr {
        let end = self.places.stubs.plus(STUB * names::STUBS.len() as u64);
        VmAddr(end.0.next_multiple_of(32))
    }

    fn bindings(&self, objc_stubs: VmAddr, selectors: &[&str]) -> Bindings {
        let places = &self.places;
        let send = |selector| {
            let index = selectors.iter().position(|known| *known == selector);
            objc_stubs.plus(OBJC_STUB * index.unwrap_or_default() as u64)
        };
        let mut bindings = Bindings::default();
        bindings
            .cell("impl_cell", places.impl_cell)
            .cell("device_cell", places.cell(COMPUTE, "_device"))
            .cell("pool_cell", places.cell(DEVICE, "_contextPool"))
            .cell("previous_cell", places.cell(COMMAND_BUFFER, "_previousComputeCommandEncoder"))
            .address("objc_retain", places.stub("_objc_retain"))
            .address("objc_release", places.stub("_objc_release"))
            .address("add_metal_resource", places.stub("_MTLResourceListAddResource"))
            .address("add_iogpu_resource", places.stub("_IOGPUResourceListAddResource"))
            .address("lock_stub", places.stub("_os_unfair_lock_lock"))
            .address("unlock", places.stub("_os_unfair_lock_unlock"))
            .address("bzero", places.stub("_bzero"))
            .address("calloc", places.stub("_calloc"))
            .address("send_destroy", send(DESTROY))
            .address("send_deferred_end", send("deferredEndEncoding"))
            .address("neighbour", VmAddr(0x26_430c).plus(places.shift))
            .text("slots", format!("#{:#x}", places.slots))
            .text("count", format!("#{:#x}", places.slots + 64));
        bindings
    }

    fn fixed_functions(&self, objc_stubs: VmAddr, selectors: &[&str]) -> Result<Vec<Fixed>> {
        let bindings = self.bindings(objc_stubs, selectors);
        let written = |address: u64, name, text| -> Result<Fixed> {
            let at = VmAddr(address).plus(self.places.shift);
            let words = assemble(&self.assembler, text, at, &bindings)?;
            Ok(Fixed { at, words: words.iter().map(|word| word.0).collect(), name })
        };
        let mut fixed = vec![
            written(0x26_430c, Some(names::USE_RESOURCE_COMMON), siblings::USE_RESOURCE_COMMON)?,
            written(0x2b_d2b0, None, siblings::SET_COMPUTE_PIPELINE_STATE)?,
            written(0x2b_d8dc, None, siblings::DEFERRED_END_ENCODING)?,
            written(0x24_cc34, None, siblings::COMMIT_ENCODER)?,
            written(facts::NEXT_METHOD.0, None, siblings::INIT)?,
            self.faulting(0x2b_61d0, names::PREPARE_FOR_ENQUEUE, 1268, encode::ldr(8, 20, 0x98)),
            self.faulting(
                0x6b_6f58,
                names::ALLOCATE_USC_SPILL_BUFFER,
                192,
                encode::str_w(8, 20, 0x184),
            ),
        ];
        for (class, selector) in
            [(COMMAND_BUFFER, "computeCommandEncoderWithConfig:"), (COMMAND_BUFFER, "dealloc")]
        {
            if let Some(at) = self.places.method(class, selector) {
                fixed.push(Fixed { at, words: self.filler_words(at, 60), name: None });
            }
        }
        for encoder in &ENCODERS {
            fixed.push(self.destroy(encoder.name)?);
        }
        Ok(fixed)
    }

    /// A filler function with the instruction that a crash report names.
    fn faulting(&self, address: u64, name: &'static str, offset: usize, word: u32) -> Fixed {
        let at = VmAddr(address).plus(self.places.shift);
        let mut words = self.filler_words(at, offset / 4 + 40);
        if let Some(place) = words.get_mut(offset / 4) {
            *place = word;
        }
        Fixed { at, words, name: Some(name) }
    }

    fn filler_words(&self, at: VmAddr, length: usize) -> Vec<u32> {
        Writer::filler(at, length, &mut Random::new(at.0), &self.callees(&[], &[]))
    }

    fn callees<'a>(&self, functions: &'a [VmAddr], stubs: &'a [VmAddr]) -> Callees<'a> {
        let places = &self.places;
        Callees {
            functions,
            stubs,
            lock: places.stub("_os_unfair_lock_lock"),
            unlock: places.stub("_os_unfair_lock_unlock"),
            free: places.stub("_free"),
            cells: (places.cells, places.cells.plus(0x400)),
        }
    }

    fn destroy(&self, class: &str) -> Result<Fixed> {
        let places = &self.places;
        let entry = places.method(class, DESTROY).unwrap_or_default();
        let (window, end) = match class {
            COMPUTE => (facts::WINDOW.plus(places.shift), facts::NEXT_METHOD.plus(places.shift)),
            _ => (entry.plus(0x200), entry.plus(0x2e0)),
        };
        let release = match (class, self.variant.release) {
            (RENDER, Release::InSiblingToo) => Release::Original,
            (COMPUTE, Release::InSiblingToo) => Release::Original,
            (COMPUTE, release) => release,
            _ => Release::Correct,
        };
        let destroy = Destroy {
            entry,
            window,
            end,
            registers: places.registers,
            release,
            impl_cell: places.cell(class, "_impl"),
            device_cell: places.cell(class, "_device"),
            pool_cell: places.cell(DEVICE, "_contextPool"),
            slots: places.slots,
            objc_release: places.stub("_objc_release"),
            lock_stub: places.stub("_os_unfair_lock_lock"),
            unlock_stub: places.stub("_os_unfair_lock_unlock"),
            free_stub: places.stub("_free"),
        };
        let words = destroy.words(&self.assembler)?.iter().map(|Word(word)| *word).collect();
        Ok(Fixed { at: entry, words, name: None })
    }

    /// Writes the fixed functions and filler everywhere else.
    fn write_code(&mut self, fixed: &[Fixed]) {
        let plan = self.plan(fixed);
        self.starts = plan.iter().map(|&(at, _)| at).collect();
        let stubs: Vec<VmAddr> = names::STUBS.iter().map(|name| self.places.stub(name)).collect();
        let starts = std::mem::take(&mut self.starts);
        let callees = self.callees(&starts, &stubs);
        let mut fixed = fixed.iter().peekable();
        for (at, length) in plan {
            match fixed.next_if(|function| function.at == at) {
                Some(function) => {
                    self.memory.put_words(at, function.words.iter().copied());
                    if let Some(name) = function.name {
                        self.names.insert(at, name.to_owned());
                    }
                }
                None => {
                    let words = Writer::filler(at, length, &mut self.random, &callees);
                    self.memory.put_words(at, words);
                }
            }
        }
        self.starts = starts;
    }

    /// Start and length in words of every function, in order.
    fn plan(&mut self, fixed: &[Fixed]) -> Vec<(VmAddr, usize)> {
        let mut plan = Vec::new();
        let mut at = self.places.text;
        let end = Fixed { at: self.places.text_end, words: Vec::new(), name: None };
        for function in fixed.iter().chain([&end]) {
            while at < function.at {
                let room = (function.at.0 - at.0) / 4;
                let wish = self.random.within(SHORTEST, 160);
                let length = if wish + SHORTEST > room { room } else { wish };
                plan.push((at, length as usize));
                at = at.instruction(length as usize);
            }
            if !function.words.is_empty() {
                plan.push((at, function.words.len()));
                at = at.instruction(function.words.len());
            }
        }
        plan
    }

    fn classes(&mut self) -> Vec<Class> {
        if self.variant.names == Names::Neither {
            return Vec::new();
        }
        let encoders = ENCODERS.map(|encoder| {
            let variables = &[("_device", 0x18), ("_impl", 0x1b8)];
            self.class(encoder.name, encoder.superclass, encoder.selectors, variables)
        });
        let mut classes = Vec::from(encoders);
        let previous = [("_previousComputeCommandEncoder", 0x2f0)];
        classes.push(self.class(
            COMMAND_BUFFER,
            "IOGPUMetalCommandBuffer",
            COMMAND_BUFFER_SELECTORS,
            &previous,
        ));
        let pool = [("_contextPool", 0x2a40)];
        classes.push(self.class(DEVICE, "IOGPUMetalDevice", DEVICE_SELECTORS, &pool));
        classes
    }

    /// A class; its methods without a published address take filler functions.
    fn class(
        &mut self,
        name: &'static str,
        superclass: &'static str,
        selectors: &[&'static str],
        variables: &[(&'static str, u32)],
    ) -> Class {
        let class = format!("{FAMILY}{name}");
        let mut methods = Vec::new();
        for &selector in selectors {
            let implementation = self.places.method(name, selector).unwrap_or_else(|| {
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
        let variables = variables
            .iter()
            .map(|&(variable, offset)| Variable {
                name: variable,
                cell: self.places.cell(name, variable),
                offset,
            })
            .collect();
        Class { name: class, superclass: (superclass, names::IOGPU), methods, variables }
    }

    fn segments(&self, metadata: &mut Metadata, objc_stubs: VmAddr) -> Vec<Segment> {
        let places = &self.places;
        let end = places.text_segment_end;
        let data_at = end.plus(0x1_8000);
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

        let mut constant = Segment::new(DATA_CONST, end, data_at, 3);
        let got = 8 * names::STUBS.len() as u64;
        constant.add("__auth_got", got, 3, flags::NON_LAZY_POINTERS);
        constant.add("__const", 8 * TABLE_ENTRIES, 3, flags::REGULAR);
        metadata.add_constant_sections(&mut constant);

        let mut data = Segment::new(DATA, data_at, places.cells.plus(0xc000), 3);
        metadata.add_data_sections(&mut data);
        data.add_at("__objc_ivar", places.cells, 0x400, 2, flags::REGULAR);
        metadata.add_class_section(&mut data);
        data.add("__data", 0x4000, 3, flags::REGULAR);
        let zero = VmAddr(data.address.0 + data.file_size);
        data.add_at("__bss", zero, 0x7f00, 3, flags::ZERO_FILL);
        data.vm_size += 0x8000;
        vec![text, constant, data]
    }

    fn write_cells(&mut self) {
        let mut cells = vec![(self.places.cell(DEVICE, "_contextPool"), 0x2a40)];
        cells.push((self.places.cell(COMMAND_BUFFER, "_previousComputeCommandEncoder"), 0x2f0));
        for encoder in &ENCODERS {
            cells.push((self.places.cell(encoder.name, "_device"), 0x18));
            cells.push((self.places.cell(encoder.name, "_impl"), 0x1b8));
        }
        for (cell, offset) in cells {
            self.memory.put_words(cell, [offset]);
        }
    }

    /// The stubs, the table they jump through, and the indirect symbols of both.
    fn write_stubs(
        &mut self,
        segments: &mut [Segment],
        metadata: &Metadata,
        objc_stubs: VmAddr,
    ) -> Vec<u32> {
        let table = segments.get(1).map_or(VmAddr(0), |constant| constant.address);
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
        for section in segments.iter_mut().flat_map(|segment| &mut segment.sections) {
            if section.name == "__auth_got" {
                section.indirect = count;
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
                (DATA_CONST, "__const") => self.write_function_tables(section.address),
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
        let mut cells =
            vec![(DEVICE, "_contextPool"), (COMMAND_BUFFER, "_previousComputeCommandEncoder")];
        for encoder in &ENCODERS {
            cells.extend([(encoder.name, "_device"), (encoder.name, "_impl")]);
        }
        for (class, variable) in cells {
            let name = format!("_OBJC_IVAR_$_{FAMILY}{class}.{variable}");
            locals.push(symbol(name, self.places.cell(class, variable)));
        }
        let exported =
            metadata.class_symbols().map(|(name, address)| symbol(name, address)).collect();
        (locals, exported)
    }
}

/// Function pointers in constant tables.
const TABLE_ENTRIES: u64 = 0x1000;
const CSTRINGS: &[u8] = b"AGXMetalG16X\0compute\0blit\0render\0resource state\0out of memory\0";

/// Build 329.2, or one that came after it.
pub(super) fn source_version(build: Build) -> u64 {
    match build {
        Build::Published => facts::SOURCE_VERSION,
        Build::Other => 331 << 40 | 4 << 30,
    }
}

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

/// Every selector of every class, each once.
fn selectors() -> Vec<&'static str> {
    let encoders = ENCODERS.iter().flat_map(|encoder| encoder.selectors);
    let mut selectors: Vec<&'static str> =
        encoders.chain(COMMAND_BUFFER_SELECTORS).chain(DEVICE_SELECTORS).copied().collect();
    selectors.sort_unstable();
    selectors.dedup();
    selectors
}

/// Number of the section that holds `address`, from 1.
fn section_number(segments: &[Segment], address: VmAddr) -> u8 {
    let sections = segments.iter().flat_map(|segment| &segment.sections);
    let inside = |(_, section): &(usize, &super::layout::Section)| {
        (section.address.0..section.address.0 + section.size).contains(&address.0)
    };
    sections.enumerate().find(inside).map_or(0, |(index, _)| index as u8 + 1)
}
