//! One slice put together: memory, then `__LINKEDIT`, then the header.
//!
//! `__LINKEDIT` holds, in the linker's order, fixups, exports, function starts,
//! data in code, symbols, indirect symbols, strings and the code signature. Where
//! a slice must have a published size, the strings take what is left over.

use super::layout::{LINKEDIT, Memory, Segment};
use super::load_commands::{Cpu, LoadCommands, Place, SymbolTables};
use super::signature;
use super::variant::Signing;
use agxpatch_core::address::VmAddr;

/// A defined symbol.
pub(super) struct Symbol {
    pub(super) name: String,
    pub(super) address: VmAddr,
    /// Number of its section among all sections, from 1.
    pub(super) section: u8,
}

/// An undefined symbol and the ordinal of its library.
pub(super) struct Imported {
    pub(super) name: String,
    pub(super) library: u8,
}

/// Everything a slice consists of.
pub(super) struct Image {
    pub(super) cpu: Cpu,
    pub(super) memory: Memory,
    pub(super) segments: Vec<Segment>,
    pub(super) uuid: [u8; 16],
    pub(super) source_version: u64,
    pub(super) libraries: &'static [&'static str],
    pub(super) fixups: Vec<u8>,
    pub(super) function_starts: Vec<VmAddr>,
    pub(super) locals: Vec<Symbol>,
    pub(super) exported: Vec<Symbol>,
    pub(super) imported: Vec<Imported>,
    /// Indices among the imported symbols, in the order of the indirect table.
    pub(super) indirect: Vec<u32>,
    pub(super) signing: Signing,
    /// The size the slice must have, if it matters.
    pub(super) size: Option<u64>,
}

struct Linkedit {
    start: u64,
    bytes: Vec<u8>,
}

impl Linkedit {
    /// Appends a table on a boundary of 8 bytes.
    fn add(&mut self, table: &[u8]) -> Place {
        self.bytes.resize(self.bytes.len().next_multiple_of(8), 0);
        let offset = (self.start + self.bytes.len() as u64) as u32;
        self.bytes.extend_from_slice(table);
        Place { offset, size: table.len() as u32 }
    }

    fn end(&self) -> u64 {
        self.start + self.bytes.len() as u64
    }
}

impl Image {
    /// The slice's bytes.
    pub(super) fn build(mut self) -> Vec<u8> {
        let start = self.memory.0.len() as u64;
        let mut linkedit = Linkedit { start, bytes: Vec::new() };
        let mut commands = LoadCommands::default();
        let fixups = linkedit.add(&self.fixups);
        let exports = linkedit.add(&exports_trie(&self.exported));
        let starts = linkedit.add(&function_starts(&self.function_starts));
        let data_in_code = linkedit.add(&[]);
        let mut tables = self.symbols(&mut linkedit);
        let seal = self.make_room_for_the_signature(&mut linkedit, &mut tables);
        self.add_linkedit_segment(start, linkedit.end() + u64::from(seal.size));

        for segment in &self.segments {
            commands.segment(segment);
        }
        if !self.fixups.is_empty() {
            commands.chained_fixups(fixups);
        }
        commands.exports_trie(exports);
        commands.symbol_tables(&tables);
        commands.uuid(&self.uuid);
        commands.build_version();
        commands.source_version(self.source_version);
        for library in self.libraries {
            commands.dylib(library);
        }
        commands.function_starts(starts);
        commands.data_in_code(data_in_code);
        if self.signing != Signing::Unsigned {
            commands.code_signature(seal);
        }
        self.memory.put(VmAddr(0), &commands.finish(self.cpu));
        let mut bytes = self.memory.0;
        bytes.extend_from_slice(&linkedit.bytes);
        let text = self.segments.first().map_or(0, |text| text.file_size);
        signature::append(&mut bytes, self.signing, seal.size, text);
        bytes
    }

    fn symbols(&self, linkedit: &mut Linkedit) -> SymbolTables {
        let mut strings = vec![b' ', 0];
        let mut table = Vec::new();
        let mut entry = |name: &str, kind: u8, section: u8, description: u16, value: u64| {
            table.extend_from_slice(&(strings.len() as u32).to_le_bytes());
            table.extend_from_slice(&[kind, section]);
            table.extend_from_slice(&description.to_le_bytes());
            table.extend_from_slice(&value.to_le_bytes());
            strings.extend_from_slice(name.as_bytes());
            strings.push(0);
        };
        const SECTION: u8 = 0xe;
        const EXTERNAL: u8 = 1;
        for symbol in &self.locals {
            entry(&symbol.name, SECTION, symbol.section, 0, symbol.address.0);
        }
        for symbol in &self.exported {
            entry(&symbol.name, SECTION | EXTERNAL, symbol.section, 0, symbol.address.0);
        }
        for symbol in &self.imported {
            entry(&symbol.name, EXTERNAL, 0, u16::from(symbol.library) << 8, 0);
        }
        let defined = (self.locals.len() + self.exported.len()) as u32;
        let indirect: Vec<u8> =
            self.indirect.iter().flat_map(|index| (defined + index).to_le_bytes()).collect();
        SymbolTables {
            locals: self.locals.len() as u32,
            exported: self.exported.len() as u32,
            imported: self.imported.len() as u32,
            symbols_at: linkedit.add(&table).offset,
            indirect: self.indirect.len() as u32,
            indirect_at: linkedit.add(&indirect).offset,
            strings: linkedit.add(&strings),
        }
    }

    /// Ends the strings where the signature begins, and says where that is.
    fn make_room_for_the_signature(
        &self,
        linkedit: &mut Linkedit,
        tables: &mut SymbolTables,
    ) -> Place {
        let natural = linkedit.end().next_multiple_of(16);
        let (at, size) = match self.size {
            Some(size) => {
                let room = signature::size(self.signing, size);
                ((size - room) & !15, room + (size - room) % 16)
            }
            None => (natural, signature::size(self.signing, natural)),
        };
        let at = at.max(natural);
        tables.strings.size += (at - linkedit.end()) as u32;
        linkedit.bytes.resize((at - linkedit.start) as usize, 0);
        Place { offset: at as u32, size: size as u32 }
    }

    fn add_linkedit_segment(&mut self, start: u64, end: u64) {
        let address = self.segments.last().map_or(0, |last| last.address.0 + last.vm_size);
        self.segments.push(Segment {
            name: LINKEDIT,
            address: VmAddr(address),
            vm_size: (end - start).next_multiple_of(0x4000),
            file_offset: start,
            file_size: end - start,
            protection: 1,
            flags: 0,
            sections: Vec::new(),
        });
    }
}

/// The exported symbols as a trie of one level: a node for each, reached from the
/// root by the whole name.
fn exports_trie(exported: &[Symbol]) -> Vec<u8> {
    if exported.is_empty() {
        return Vec::new();
    }
    // Behind so many names every node's offset takes two bytes.
    let names: usize = exported.iter().map(|symbol| symbol.name.len() + 1 + 2).sum();
    let mut node_at = 2 + names as u64;
    let (mut root, mut nodes) = (vec![0, exported.len() as u8], Vec::new());
    for symbol in exported {
        root.extend_from_slice(symbol.name.as_bytes());
        root.push(0);
        uleb128(&mut root, node_at);
        let mut terminal = vec![0];
        uleb128(&mut terminal, symbol.address.0);
        nodes.push(terminal.len() as u8);
        nodes.extend_from_slice(&terminal);
        nodes.push(0);
        node_at = (2 + names + nodes.len()) as u64;
    }
    root.extend_from_slice(&nodes);
    root.resize(root.len().next_multiple_of(8), 0);
    root
}

fn uleb128(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Distances between function starts from the image's beginning, as ULEB128,
/// ended by a zero.
fn function_starts(starts: &[VmAddr]) -> Vec<u8> {
    let mut out = Vec::with_capacity(starts.len() * 2 + 8);
    let mut previous = 0;
    for start in starts {
        uleb128(&mut out, start.0 - previous);
        previous = start.0;
    }
    out.push(0);
    out.resize(out.len().next_multiple_of(8), 0);
    out
}
