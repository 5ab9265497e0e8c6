//! The Mach-O header and load commands (mach-o/loader.h), as bytes.

use super::layout::Segment;

/// CPU type and subtype as they stand in headers.
#[derive(Clone, Copy)]
pub(super) struct Cpu {
    pub(super) kind: u32,
    pub(super) subtype: u32,
}

impl Cpu {
    pub(super) const X86_64: Cpu = Cpu { kind: 0x0100_0007, subtype: 3 };
    /// arm64e with pointer-authentication ABI version 0 of user space.
    pub(super) const ARM64E: Cpu = Cpu { kind: 0x0100_000c, subtype: 0x8000_0002 };
}

const BUNDLE: u32 = 8;
/// No undefined symbols, for the dynamic linker, two-level names.
const FLAGS: u32 = 0x85;

/// A place in the file: offset and size.
#[derive(Clone, Copy, Default)]
pub(super) struct Place {
    pub(super) offset: u32,
    pub(super) size: u32,
}

/// Load commands being written.
#[derive(Default)]
pub(super) struct LoadCommands {
    bytes: Vec<u8>,
    count: u32,
}

/// What LC_SYMTAB and LC_DYSYMTAB say.
#[derive(Clone, Copy, Default)]
pub(super) struct SymbolTables {
    pub(super) symbols_at: u32,
    pub(super) locals: u32,
    pub(super) exported: u32,
    pub(super) imported: u32,
    pub(super) strings: Place,
    pub(super) indirect_at: u32,
    pub(super) indirect: u32,
}

impl LoadCommands {
    fn push(&mut self, command: u32, body: &[u8]) {
        let size = (body.len() + 8).next_multiple_of(8);
        self.bytes.extend_from_slice(&command.to_le_bytes());
        self.bytes.extend_from_slice(&(size as u32).to_le_bytes());
        self.bytes.extend_from_slice(body);
        self.bytes.resize(self.bytes.len().next_multiple_of(8), 0);
        self.count += 1;
    }

    fn push_fields(&mut self, command: u32, fields: &[u32]) {
        let body: Vec<u8> = fields.iter().flat_map(|field| field.to_le_bytes()).collect();
        self.push(command, &body);
    }

    pub(super) fn segment(&mut self, segment: &Segment) {
        let mut body = fixed_name(segment.name).to_vec();
        let places = [segment.address.0, segment.vm_size, segment.file_offset, segment.file_size];
        body.extend(places.iter().flat_map(|place| place.to_le_bytes()));
        let count = segment.sections.len() as u32;
        for field in [segment.protection, segment.protection, count, segment.flags] {
            body.extend_from_slice(&field.to_le_bytes());
        }
        for section in &segment.sections {
            body.extend_from_slice(&fixed_name(section.name));
            body.extend_from_slice(&fixed_name(segment.name));
            body.extend_from_slice(&section.address.0.to_le_bytes());
            body.extend_from_slice(&section.size.to_le_bytes());
            let in_file = section.flags != super::layout::flags::ZERO_FILL;
            let offset = if in_file { section.address.0 as u32 } else { 0 };
            let fields = [
                offset,
                section.align,
                0,
                0,
                section.flags,
                section.indirect,
                section.stub_size,
                0,
            ];
            body.extend(fields.iter().flat_map(|field| field.to_le_bytes()));
        }
        self.push(0x19, &body);
    }

    pub(super) fn uuid(&mut self, uuid: &[u8; 16]) {
        self.push(0x1b, uuid);
    }

    pub(super) fn source_version(&mut self, version: u64) {
        self.push(0x2a, &version.to_le_bytes());
    }

    /// macOS 15.0, SDK 15.2, made by one tool: ld.
    pub(super) fn build_version(&mut self) {
        const MACOS: u32 = 1;
        const LD: u32 = 3;
        self.push_fields(0x32, &[MACOS, 0x000f_0000, 0x000f_0200, 1, LD, 0x0473_0000]);
    }

    pub(super) fn dylib(&mut self, path: &str) {
        let mut body = Vec::new();
        for field in [24u32, 2, 0x0001_0000, 0x0001_0000] {
            body.extend_from_slice(&field.to_le_bytes());
        }
        body.extend_from_slice(path.as_bytes());
        body.push(0);
        self.push(0xc, &body);
    }

    pub(super) fn symbol_tables(&mut self, tables: &SymbolTables) {
        let SymbolTables { locals, exported, imported, .. } = *tables;
        let all = locals + exported + imported;
        let strings = tables.strings;
        self.push_fields(0x2, &[tables.symbols_at, all, strings.offset, strings.size]);
        let mut fields = vec![0, locals, locals, exported, locals + exported, imported];
        fields.extend([0; 6]);
        fields.extend([tables.indirect_at, tables.indirect, 0, 0, 0, 0]);
        self.push_fields(0xb, &fields);
    }

    pub(super) fn chained_fixups(&mut self, place: Place) {
        self.push_fields(0x8000_0034, &[place.offset, place.size]);
    }

    pub(super) fn exports_trie(&mut self, place: Place) {
        self.push_fields(0x8000_0033, &[place.offset, place.size]);
    }

    pub(super) fn function_starts(&mut self, place: Place) {
        self.push_fields(0x26, &[place.offset, place.size]);
    }

    pub(super) fn data_in_code(&mut self, place: Place) {
        self.push_fields(0x29, &[place.offset, place.size]);
    }

    pub(super) fn code_signature(&mut self, place: Place) {
        self.push_fields(0x1d, &[place.offset, place.size]);
    }

    /// The header, and the commands behind it.
    pub(super) fn finish(self, cpu: Cpu) -> Vec<u8> {
        let size = self.bytes.len() as u32;
        let header = [0xfeed_facf, cpu.kind, cpu.subtype, BUNDLE, self.count, size, FLAGS, 0];
        let mut all: Vec<u8> = header.iter().flat_map(|field| field.to_le_bytes()).collect();
        all.extend_from_slice(&self.bytes);
        all
    }
}

/// A name in the sixteen bytes the format gives it.
fn fixed_name(name: &str) -> [u8; 16] {
    let mut field = [0; 16];
    for (place, byte) in field.iter_mut().zip(name.bytes()) {
        *place = byte;
    }
    field
}
