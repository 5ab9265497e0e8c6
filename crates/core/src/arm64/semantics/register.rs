//! The registers a step reads and writes.

use std::fmt;

use serde::{Serialize, Serializer};

/// A general register, or the stack pointer.
///
/// Number 31 is `sp` here. Where an encoding means `xzr` by 31 the decoder
/// makes a constant of it, so that no later stage has to remember which of the
/// two a field stood for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Register(u8);

impl Register {
    /// The frame pointer.
    pub const FP: Register = Register(29);
    /// The link register.
    pub const LR: Register = Register(30);
    /// The stack pointer.
    pub const SP: Register = Register(31);
    /// How many there are, `sp` included.
    pub const COUNT: usize = 32;

    /// `x0`..`x30` by number, `sp` for 31. Higher bits are ignored, as a
    /// five-bit field of an instruction has none.
    pub const fn new(number: u32) -> Register {
        Register((number & 31) as u8)
    }

    /// Every general register and `sp`.
    pub fn all() -> impl Iterator<Item = Register> {
        (0..Self::COUNT as u32).map(Register::new)
    }

    /// The number, 31 for `sp`.
    pub const fn index(self) -> usize {
        self.0 as usize
    }

    /// Whether a callee must hand it back as it got it: `x19`..`x29` and `sp`
    /// (Procedure Call Standard for the Arm 64-bit Architecture, section 6.1.1).
    pub const fn is_callee_saved(self) -> bool {
        matches!(self.0, 19..=29 | 31)
    }
}

impl fmt::Display for Register {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            31 => f.write_str("sp"),
            number => write!(f, "x{number}"),
        }
    }
}

impl fmt::Debug for Register {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Register {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
