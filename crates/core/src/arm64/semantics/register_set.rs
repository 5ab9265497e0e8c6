//! Sets of registers.

use super::Register;

/// A set of general registers, vector registers and the flags.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct RegisterSet {
    general: u32,
    vector: u32,
    flags: bool,
}

impl RegisterSet {
    /// Nothing.
    pub const NONE: RegisterSet = RegisterSet { general: 0, vector: 0, flags: false };
    /// The flags alone.
    pub const FLAGS: RegisterSet = RegisterSet { general: 0, vector: 0, flags: true };

    /// General registers from a set of numbers, and vector registers.
    pub const fn new(general: u32, vector: u32) -> RegisterSet {
        RegisterSet { general, vector, flags: false }
    }

    /// The same, and the flags.
    pub const fn with_flags(self) -> RegisterSet {
        RegisterSet { flags: true, ..self }
    }

    /// One general register.
    pub fn general(register: Register) -> RegisterSet {
        RegisterSet::new(1 << register.index(), 0)
    }

    /// One vector register.
    pub fn vector(number: u8) -> RegisterSet {
        RegisterSet::new(0, 1 << (number & 31))
    }

    /// Everything in either.
    pub fn union(self, other: RegisterSet) -> RegisterSet {
        RegisterSet {
            general: self.general | other.general,
            vector: self.vector | other.vector,
            flags: self.flags | other.flags,
        }
    }

    /// Everything in both.
    pub fn common(self, other: RegisterSet) -> RegisterSet {
        RegisterSet {
            general: self.general & other.general,
            vector: self.vector & other.vector,
            flags: self.flags & other.flags,
        }
    }

    /// Everything here and not there.
    pub fn without(self, other: RegisterSet) -> RegisterSet {
        RegisterSet {
            general: self.general & !other.general,
            vector: self.vector & !other.vector,
            flags: self.flags & !other.flags,
        }
    }

    /// Whether a general register is in it.
    pub fn has(self, register: Register) -> bool {
        self.general >> register.index() & 1 == 1
    }

    /// Whether a vector register is in it, by number.
    pub fn has_vector(self, number: u8) -> bool {
        self.vector >> (number & 31) & 1 == 1
    }

    /// Whether the flags are in it.
    pub fn has_flags(self) -> bool {
        self.flags
    }

    /// Whether there is nothing in it.
    pub fn is_empty(self) -> bool {
        self == RegisterSet::NONE
    }
}

impl std::fmt::Display for RegisterSet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let general = Register::all()
            .filter(|&register| self.has(register))
            .map(|register| register.to_string());
        let vector = (0..32).filter(|&n| self.has_vector(n)).map(|n| format!("v{n}"));
        let flags = self.flags.then(|| "the flags".to_owned());
        f.write_str(&general.chain(vector).chain(flags).collect::<Vec<_>>().join(", "))
    }
}
