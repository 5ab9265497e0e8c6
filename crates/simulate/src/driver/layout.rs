//! Segments, sections, and the bytes they lie in.

use agxpatch_core::address::VmAddr;

pub(super) const TEXT: &str = "__TEXT";
pub(super) const DATA_CONST: &str = "__DATA_CONST";
/// What holds signed pointers, in images for arm64e, apart from what holds others.
pub(super) const AUTH_CONST: &str = "__AUTH_CONST";
pub(super) const AUTH: &str = "__AUTH";
pub(super) const DATA: &str = "__DATA";
pub(super) const LINKEDIT: &str = "__LINKEDIT";

/// Section types and attributes of mach-o/loader.h.
pub(super) mod flags {
    pub(crate) const REGULAR: u32 = 0;
    pub(crate) const ZERO_FILL: u32 = 1;
    pub(crate) const CSTRINGS: u32 = 2;
    pub(crate) const LITERALS_8: u32 = 4;
    pub(crate) const LITERAL_POINTERS: u32 = 5;
    pub(crate) const NON_LAZY_POINTERS: u32 = 6;
    pub(crate) const CODE: u32 = 0x8000_0400;
    pub(crate) const STUBS: u32 = 0x8000_0408;
    pub(crate) const NO_DEAD_STRIP: u32 = 0x1000_0000;
}

/// One section.
#[derive(Clone)]
pub(super) struct Section {
    pub(super) name: &'static str,
    pub(super) address: VmAddr,
    pub(super) size: u64,
    /// Binary logarithm of its alignment.
    pub(super) align: u32,
    pub(super) flags: u32,
    /// First entry in the indirect symbol table.
    pub(super) indirect: u32,
    /// Size of one stub.
    pub(super) stub_size: u32,
}

/// One segment. Everything but `__LINKEDIT` lies in the file at its address.
#[derive(Clone)]
pub(super) struct Segment {
    pub(super) name: &'static str,
    pub(super) address: VmAddr,
    pub(super) vm_size: u64,
    pub(super) file_offset: u64,
    pub(super) file_size: u64,
    /// Read 1, write 2, execute 4.
    pub(super) protection: u32,
    pub(super) flags: u32,
    pub(super) sections: Vec<Section>,
}

impl Segment {
    /// A segment from `address` to `end`, at its address in the file.
    pub(super) fn new(name: &'static str, address: VmAddr, end: VmAddr, protection: u32) -> Self {
        let size = end.0 - address.0;
        Segment {
            name,
            address,
            vm_size: size,
            file_offset: address.0,
            file_size: size,
            protection,
            // Made read-only after fixups.
            flags: if matches!(name, DATA_CONST | AUTH_CONST) { 0x10 } else { 0 },
            sections: Vec::new(),
        }
    }

    /// Where the last section ends.
    pub(super) fn used(&self) -> VmAddr {
        self.sections.last().map_or(self.address, |last| last.address.plus(last.size))
    }

    /// Adds a section behind the last one and returns where it begins. One
    /// without size is left out.
    pub(super) fn add(&mut self, name: &'static str, size: u64, align: u32, flags: u32) -> VmAddr {
        let address = VmAddr(self.used().0.next_multiple_of(1 << align));
        if size > 0 {
            self.add_at(name, address, size, align, flags);
        }
        address
    }

    /// Adds a section at an address of its own.
    pub(super) fn add_at(
        &mut self,
        name: &'static str,
        address: VmAddr,
        size: u64,
        align: u32,
        flags: u32,
    ) {
        let stub_size = if flags == flags::STUBS { 16 } else { 0 };
        self.sections.push(Section { name, address, size, align, flags, indirect: 0, stub_size });
    }
}

/// The bytes of an image up to `__LINKEDIT`, by address.
pub(super) struct Memory(pub(super) Vec<u8>);

impl Memory {
    /// Writes `bytes`; what leaves the image is dropped, which a test would see.
    pub(super) fn put(&mut self, at: VmAddr, bytes: &[u8]) {
        let from = at.0 as usize;
        if let Some(room) = self.0.get_mut(from..from + bytes.len()) {
            room.copy_from_slice(bytes);
        }
    }

    pub(super) fn put_words(&mut self, at: VmAddr, words: impl IntoIterator<Item = u32>) {
        for (index, word) in words.into_iter().enumerate() {
            self.put(at.instruction(index), &word.to_le_bytes());
        }
    }
}
