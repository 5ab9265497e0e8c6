//! Chained fixups: the pointers dyld writes, and the chains that lead to them.
//!
//! arm64e images of user space use `DYLD_CHAINED_PTR_ARM64E_USERLAND24`: each
//! pointer holds its target or the number of an import, what it is authenticated
//! with, and in 11 bits the distance to the next, in units of 8 bytes. Chains do
//! not cross 16 KiB pages. (mach-o/fixup-chains.h)

use super::layout::{Memory, Segment};
use agxpatch_core::address::VmAddr;

const PAGE: u64 = 0x4000;
const POINTER_FORMAT_ARM64E_USERLAND24: u16 = 12;
const IMPORT_FORMAT: u32 = 1;
const NO_CHAIN: u16 = 0xffff;

/// How a pointer is signed.
#[derive(Clone, Copy)]
pub(super) struct Authentication {
    pub(super) key: Key,
    pub(super) discriminator: u16,
    /// Whether the pointer's own address takes part.
    pub(super) by_address: bool,
}

#[derive(Clone, Copy)]
pub(super) enum Key {
    InstructionA = 0,
    DataA = 2,
}

/// What dyld makes a pointer point to.
#[derive(Clone, Copy)]
enum Target {
    Address(VmAddr),
    Import(u32),
}

struct Pointer {
    at: VmAddr,
    target: Target,
    authentication: Option<Authentication>,
}

/// An imported symbol.
pub(super) struct Import {
    pub(super) name: String,
    /// Ordinal of the library among the load commands, from 1.
    pub(super) library: u8,
}

/// Every pointer of an image.
#[derive(Default)]
pub(super) struct Fixups {
    pointers: Vec<Pointer>,
    imports: Vec<Import>,
}

impl Fixups {
    pub(super) fn point(&mut self, at: VmAddr, to: VmAddr) {
        self.push(at, Target::Address(to), None);
    }

    pub(super) fn point_signed(&mut self, at: VmAddr, to: VmAddr, signed: Authentication) {
        self.push(at, Target::Address(to), Some(signed));
    }

    pub(super) fn bind(&mut self, at: VmAddr, import: u32, signed: Option<Authentication>) {
        self.push(at, Target::Import(import), signed);
    }

    /// The number of an import, which is added if it is new.
    pub(super) fn import(&mut self, name: &str, library: u8) -> u32 {
        let found = self.imports.iter().position(|import| import.name == name);
        let index = found.unwrap_or_else(|| {
            self.imports.push(Import { name: name.to_owned(), library });
            self.imports.len() - 1
        });
        index as u32
    }

    pub(super) fn imports(&self) -> &[Import] {
        &self.imports
    }

    fn push(&mut self, at: VmAddr, target: Target, authentication: Option<Authentication>) {
        self.pointers.push(Pointer { at, target, authentication });
    }

    /// Writes the chains into memory and returns the table that starts them.
    pub(super) fn write(&mut self, memory: &mut Memory, segments: &[Segment]) -> Vec<u8> {
        self.pointers.sort_by_key(|pointer| pointer.at);
        for (index, pointer) in self.pointers.iter().enumerate() {
            let next = self
                .pointers
                .get(index + 1)
                .filter(|next| next.at.0 / PAGE == pointer.at.0 / PAGE)
                .map_or(0, |next| (next.at.0 - pointer.at.0) / 8);
            memory.put(pointer.at, &(pointer.bits() | next << 51).to_le_bytes());
        }
        self.table(segments)
    }

    fn table(&self, segments: &[Segment]) -> Vec<u8> {
        const HEADER: u32 = 32;
        let starts = self.starts(segments);
        let imports_at = HEADER + starts.len() as u32;
        let symbols_at = imports_at + 4 * self.imports.len() as u32;
        let mut table = Vec::new();
        let count = self.imports.len() as u32;
        for field in [0, HEADER, imports_at, symbols_at, count, IMPORT_FORMAT, 0, 0] {
            table.extend_from_slice(&field.to_le_bytes());
        }
        table.extend_from_slice(&starts);
        let mut names = vec![0];
        for import in &self.imports {
            let bits = u32::from(import.library) | (names.len() as u32) << 9;
            table.extend_from_slice(&bits.to_le_bytes());
            names.extend_from_slice(import.name.as_bytes());
            names.push(0);
        }
        table.extend_from_slice(&names);
        table.resize(table.len().next_multiple_of(8), 0);
        table
    }

    /// `dyld_chained_starts_in_image` and what it points to. It has an entry for
    /// each segment; `__LINKEDIT`, which is the last and not made yet, holds no
    /// pointer.
    fn starts(&self, segments: &[Segment]) -> Vec<u8> {
        let count = segments.len() + 1;
        let mut offsets = Vec::new();
        let mut bodies = Vec::new();
        let head = (4 + 4 * count).next_multiple_of(8);
        for segment in segments {
            let pages = self.page_starts(segment);
            if pages.iter().all(|&start| start == NO_CHAIN) {
                offsets.push(0);
                continue;
            }
            offsets.push((head + bodies.len()) as u32);
            let size = 22 + 2 * pages.len() as u32;
            bodies.extend_from_slice(&size.to_le_bytes());
            bodies.extend_from_slice(&(PAGE as u16).to_le_bytes());
            bodies.extend_from_slice(&POINTER_FORMAT_ARM64E_USERLAND24.to_le_bytes());
            bodies.extend_from_slice(&segment.address.0.to_le_bytes());
            bodies.extend_from_slice(&0u32.to_le_bytes());
            bodies.extend_from_slice(&(pages.len() as u16).to_le_bytes());
            bodies.extend(pages.iter().flat_map(|start| start.to_le_bytes()));
            bodies.resize(bodies.len().next_multiple_of(8), 0);
        }
        offsets.push(0);
        let mut starts = (count as u32).to_le_bytes().to_vec();
        starts.extend(offsets.iter().flat_map(|offset: &u32| offset.to_le_bytes()));
        starts.resize(head, 0);
        starts.extend_from_slice(&bodies);
        starts
    }

    fn page_starts(&self, segment: &Segment) -> Vec<u16> {
        let mut pages = vec![NO_CHAIN; segment.file_size.div_ceil(PAGE) as usize];
        for pointer in &self.pointers {
            let Some(offset) = pointer.at.0.checked_sub(segment.address.0) else { continue };
            if let Some(start) = pages.get_mut((offset / PAGE) as usize) {
                *start = (*start).min((offset % PAGE) as u16);
            }
        }
        pages
    }
}

impl Pointer {
    fn bits(&self) -> u64 {
        let target = match self.target {
            Target::Address(address) => address.0,
            Target::Import(number) => u64::from(number) | 1 << 62,
        };
        let Some(signed) = self.authentication else { return target };
        target
            | u64::from(signed.discriminator) << 32
            | u64::from(signed.by_address) << 48
            | (signed.key as u64) << 49
            | 1 << 63
    }
}
