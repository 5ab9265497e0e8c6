//! Pointers in data, decoded as the loader would before it runs the image.
//!
//! With chained fixups the eight bytes of a pointer hold, besides its target,
//! the distance to the next pointer of the chain and perhaps how it is to be
//! signed. The layout depends on the segment's pointer format
//! (`mach-o/fixup-chains.h`). One pointer can be decoded without walking the
//! chain that leads to it.

use crate::address::VmAddr;

/// What a pointer in the file will point to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pointer {
    /// Nothing.
    Null,
    /// A place in this image, high tag bits included where there are any.
    Address(VmAddr),
    /// A symbol of another image.
    Import {
        /// Place in the table of imports.
        ordinal: u32,
        /// Bytes to add to the symbol's address.
        addend: i64,
    },
}

/// The layouts of 64-bit pointers that linkers write into images.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PointerFormat {
    /// `DYLD_CHAINED_PTR_ARM64E`, and the threaded pointers that came before it.
    Arm64e,
    /// `DYLD_CHAINED_PTR_64`.
    Plain,
    /// `DYLD_CHAINED_PTR_64_OFFSET`.
    PlainOffset,
    /// `DYLD_CHAINED_PTR_ARM64E_KERNEL`.
    Arm64eKernel,
    /// `DYLD_CHAINED_PTR_ARM64E_USERLAND`.
    Arm64eUserland,
    /// `DYLD_CHAINED_PTR_ARM64E_FIRMWARE`.
    Arm64eFirmware,
    /// `DYLD_CHAINED_PTR_ARM64E_USERLAND24`.
    Arm64eUserland24,
}

/// A decoded pointer and its place in the chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decoded {
    /// What it points to.
    pub target: Pointer,
    /// Whether the loader signs it.
    pub authenticated: bool,
    /// Bytes to the next pointer of the chain; 0 ends it.
    pub next: u64,
}

impl PointerFormat {
    /// The format of a number in `dyld_chained_starts_in_segment`.
    pub fn numbered(number: u16) -> Option<PointerFormat> {
        Some(match number {
            1 => PointerFormat::Arm64e,
            2 => PointerFormat::Plain,
            6 => PointerFormat::PlainOffset,
            7 => PointerFormat::Arm64eKernel,
            9 => PointerFormat::Arm64eUserland,
            10 => PointerFormat::Arm64eFirmware,
            12 => PointerFormat::Arm64eUserland24,
            _ => return None,
        })
    }

    /// Decodes the eight bytes of a fixup; `base` is the image's own address.
    pub fn decode(self, raw: u64, base: VmAddr) -> Decoded {
        match self {
            PointerFormat::Plain | PointerFormat::PlainOffset => self.decode_plain(raw, base),
            _ => self.decode_arm64e(raw, base),
        }
    }

    /// Whether targets of plain rebases count from the image's base; the others
    /// are addresses.
    fn counts_from_base(self) -> bool {
        use PointerFormat::{Arm64eKernel, Arm64eUserland, Arm64eUserland24, PlainOffset};
        matches!(self, PlainOffset | Arm64eKernel | Arm64eUserland | Arm64eUserland24)
    }

    fn rebase(self, target: u64, high8: u64, base: VmAddr) -> Pointer {
        let from = if self.counts_from_base() { base.0 } else { 0 };
        Pointer::Address(VmAddr(from.wrapping_add(target) | high8 << 56))
    }

    fn decode_plain(self, raw: u64, base: VmAddr) -> Decoded {
        let target = if bits(raw, 63, 1) == 1 {
            let addend = bits(raw, 24, 8) as i64;
            Pointer::Import { ordinal: bits(raw, 0, 24) as u32, addend }
        } else {
            self.rebase(bits(raw, 0, 36), bits(raw, 36, 8), base)
        };
        Decoded { target, authenticated: false, next: bits(raw, 51, 12) * 4 }
    }

    fn decode_arm64e(self, raw: u64, base: VmAddr) -> Decoded {
        let (authenticated, bind) = (bits(raw, 63, 1) == 1, bits(raw, 62, 1) == 1);
        let target = match (bind, authenticated) {
            (true, _) => {
                let wide = self == PointerFormat::Arm64eUserland24;
                let ordinal = bits(raw, 0, if wide { 24 } else { 16 }) as u32;
                let addend = if authenticated { 0 } else { signed19(bits(raw, 32, 19)) };
                Pointer::Import { ordinal, addend }
            }
            (false, true) => Pointer::Address(base.plus(bits(raw, 0, 32))),
            (false, false) => self.rebase(bits(raw, 0, 43), bits(raw, 43, 8), base),
        };
        Decoded { target, authenticated, next: bits(raw, 51, 11) * self.stride() }
    }

    fn stride(self) -> u64 {
        match self {
            PointerFormat::Arm64e
            | PointerFormat::Arm64eUserland
            | PointerFormat::Arm64eUserland24 => 8,
            _ => 4,
        }
    }
}

fn bits(raw: u64, from: u32, count: u32) -> u64 {
    raw >> from & ((1 << count) - 1)
}

fn signed19(value: u64) -> i64 {
    (value as i64) << 45 >> 45
}
