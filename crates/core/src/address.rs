//! Numbers that mean a place, and the word found there.
//!
//! A universal Mach-O is addressed in three ways that differ by a constant and
//! look alike: from the start of the file, from the start of one slice, and as
//! the slice is mapped. Mixing them up is the classic error of binary patching,
//! so each is a type of its own and conversions are named. All of them print as
//! hexadecimal and serialise as a hexadecimal string.

use std::fmt;

use serde::{Serialize, Serializer};

macro_rules! place {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:#x}", self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({:#x})"), self.0)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
    };
}

place! {
    /// Bytes from the start of the whole file.
    FileOffset(u64)
}
place! {
    /// Bytes from the start of one slice of a universal file.
    SliceOffset(u64)
}
place! {
    /// An address as the image is laid out in memory, before any slide.
    VmAddr(u64)
}

/// One little-endian 32-bit AArch64 instruction word.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Word(pub u32);

impl fmt::Display for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", self.0)
    }
}

impl fmt::Debug for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Word({:08x})", self.0)
    }
}

impl Serialize for Word {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Word {
    /// Size of an instruction in bytes.
    pub const SIZE: u64 = 4;

    /// Splits bytes into words; a trailing partial word is left out.
    pub fn all(bytes: &[u8]) -> impl ExactSizeIterator<Item = Word> + '_ {
        bytes.chunks_exact(4).map(|c| Word(u32::from_le_bytes([c[0], c[1], c[2], c[3]])))
    }

    /// The four bytes as they stand in the file.
    pub fn to_bytes(self) -> [u8; 4] {
        self.0.to_le_bytes()
    }
}

impl SliceOffset {
    /// The same place counted from the start of the file, for a slice that
    /// begins at `slice`.
    pub fn in_file(self, slice: FileOffset) -> FileOffset {
        FileOffset(slice.0 + self.0)
    }
}

impl std::str::FromStr for VmAddr {
    type Err = &'static str;

    /// Reads an address as it is shown, such as `0x2be05c`.
    fn from_str(text: &str) -> Result<VmAddr, Self::Err> {
        text.strip_prefix("0x")
            .and_then(|digits| u64::from_str_radix(digits, 16).ok())
            .map(VmAddr)
            .ok_or("an address is hexadecimal and begins with 0x")
    }
}

impl VmAddr {
    /// The address `bytes` further on; wraps, because input decides both.
    pub fn plus(self, bytes: u64) -> VmAddr {
        VmAddr(self.0.wrapping_add(bytes))
    }

    /// The address of the `index`-th instruction counted from here.
    pub fn instruction(self, index: usize) -> VmAddr {
        self.plus(index as u64 * Word::SIZE)
    }

    /// Signed distance in bytes from `origin` to here.
    pub fn distance_from(self, origin: VmAddr) -> i64 {
        self.0.wrapping_sub(origin.0) as i64
    }
}
