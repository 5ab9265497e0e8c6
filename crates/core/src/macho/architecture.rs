//! The processor a slice is for: type and subtype, kept whole.
//!
//! The high byte of a subtype carries capability bits. For arm64e they say
//! which pointer-authentication ABI the code follows, so they are kept and
//! shown, and left out only where two slices are asked whether the loader
//! could tell them apart.

use std::fmt;

use serde::{Serialize, Serializer};

/// A processor type and subtype as they stand in the file.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Architecture {
    /// `cputype`; bit 24 marks 64-bit processors.
    pub cpu_type: u32,
    /// `cpusubtype`, capability bits included.
    pub cpu_subtype: u32,
}

const CAPABILITIES: u32 = 0xff00_0000;
const LIB64: u32 = 0x8000_0000;
const CPU_ARM64: u32 = 0x0100_000c;
const CPU_X86_64: u32 = 0x0100_0007;

/// Names as `lipo` and `otool` use them.
const NAMES: &[(u32, u32, &str)] = &[
    (CPU_X86_64, 3, "x86_64"),
    (CPU_X86_64, 8, "x86_64h"),
    (CPU_ARM64, 0, "arm64"),
    (CPU_ARM64, 1, "arm64v8"),
    (CPU_ARM64, 2, "arm64e"),
    (0x0200_000c, 1, "arm64_32"),
    (7, 3, "i386"),
    (12, 6, "armv6"),
    (12, 9, "armv7"),
    (12, 11, "armv7s"),
    (12, 12, "armv7k"),
    (18, 0, "ppc"),
    (0x0100_0012, 0, "ppc64"),
];

impl Architecture {
    /// Intel, 64 bits.
    pub const X86_64: Architecture = Architecture { cpu_type: CPU_X86_64, cpu_subtype: 3 };
    /// 64-bit ARM without pointer authentication in its ABI.
    pub const ARM64: Architecture = Architecture { cpu_type: CPU_ARM64, cpu_subtype: 0 };
    /// 64-bit ARM with pointer authentication, userland ABI version 0.
    pub const ARM64E: Architecture = Architecture { cpu_type: CPU_ARM64, cpu_subtype: 0x8000_0002 };

    /// Whether the loader would take both for the same processor, which is to
    /// say whether they differ at most in capability bits.
    pub fn same_processor(self, other: Architecture) -> bool {
        self.cpu_type == other.cpu_type && self.subtype() == other.subtype()
    }

    /// Whether the code is AArch64 with 64-bit pointers, with or without
    /// pointer authentication.
    pub fn is_aarch64(self) -> bool {
        self.cpu_type == CPU_ARM64
    }

    /// Whether images for it are read beyond their signature: 64-bit ARM and Intel.
    pub fn is_supported(self) -> bool {
        matches!(self.cpu_type, CPU_ARM64 | CPU_X86_64)
    }

    /// Whether the code is AArch64 with pointer authentication in its ABI.
    pub fn is_arm64e(self) -> bool {
        self.same_processor(Architecture::ARM64E)
    }

    /// The name `lipo` gives it, where it has one.
    pub fn name(self) -> Option<&'static str> {
        NAMES
            .iter()
            .find(|(cpu, subtype, _)| (*cpu, *subtype) == (self.cpu_type, self.subtype()))
            .map(|(_, _, name)| *name)
    }

    /// The architecture of that name, with the capability bits Apple's tools
    /// give it.
    pub fn named(name: &str) -> Option<Architecture> {
        let (cpu_type, subtype, _) = NAMES.iter().find(|(_, _, known)| *known == name)?;
        let arm64e = Architecture::ARM64E;
        let plain = Architecture { cpu_type: *cpu_type, cpu_subtype: *subtype };
        Some(if plain.same_processor(arm64e) { arm64e } else { plain })
    }

    fn subtype(self) -> u32 {
        self.cpu_subtype & !CAPABILITIES
    }

    /// Whether the two say the same, apart from the bit that main programs of
    /// 64-bit Intel carry in their own header only.
    pub(super) fn agrees_with(self, other: Architecture) -> bool {
        let plain = |a: Architecture| match a.cpu_type {
            CPU_X86_64 => a.cpu_subtype & !LIB64,
            _ => a.cpu_subtype,
        };
        self.cpu_type == other.cpu_type && plain(self) == plain(other)
    }
}

impl fmt::Display for Architecture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.pad(name),
            None => write!(f, "cpu {:#x}/{:#x}", self.cpu_type, self.cpu_subtype),
        }
    }
}

impl fmt::Debug for Architecture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self} ({:#x}, {:#x})", self.cpu_type, self.cpu_subtype)
    }
}

impl Serialize for Architecture {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
