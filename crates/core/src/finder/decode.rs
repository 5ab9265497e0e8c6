//! From an instruction word to what the analysis needs to know about it.
//!
//! The forms that carry addresses, constants and conditions are decoded in full.
//! Any other form of a known group keeps only its destination, whose value then
//! is unknown. A word of a group that is not known decodes to [`Op::Unknown`],
//! and the analysis refuses a path that reaches it.

use crate::address::{VmAddr, Word};

mod data;
mod memory;
mod vector;

/// The stack pointer as a register number.
pub const SP: u8 = 31;

/// The zero register as a register number of its own.
pub const ZR: u8 = 32;

/// The bit of the condition flags in a mask of registers.
pub const FLAGS: u64 = 1 << 33;

/// Every general register, the stack pointer and the flags.
pub const ALL: u64 = 0xffff_ffff | FLAGS;

/// The second operand of arithmetic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operand {
    /// A constant, shifted already.
    Immediate(u64),
    /// A register shifted left by a number of bits.
    Shifted(u8, u8),
    /// A register, sign- or zero-extended from 32 bits, then shifted left.
    Extended(u8, u8),
    /// A register under another shift or extension; its value is unknown.
    Opaque(u8),
}

/// Bitwise operations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Logic {
    /// `and`, `ands`, `tst`.
    And,
    /// `orr`, `mov`.
    Or,
    /// `eor`.
    Xor,
    /// The forms that invert their second operand.
    Inverted,
}

/// What a conditional select does to its second source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Select {
    /// `csel`
    Plain,
    /// `csinc`
    Increment,
    /// `csinv`
    Invert,
    /// `csneg`
    Negate,
}

/// Where an access goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Base register and constant.
    Offset(u8, i64),
    /// Base register, then the constant is added to the base.
    After(u8, i64),
    /// The constant is added to the base, which then is the address.
    Before(u8, i64),
    /// Base and index; the index is extended and shifted as in arithmetic.
    Indexed(u8, Operand),
    /// An address known from the instruction alone.
    Literal(u64),
}

impl Place {
    /// The base register.
    pub fn base(self) -> Option<u8> {
        match self {
            Place::Offset(base, _)
            | Place::After(base, _)
            | Place::Before(base, _)
            | Place::Indexed(base, _) => Some(base),
            Place::Literal(_) => None,
        }
    }

    /// Whether the base register changes.
    pub fn writes_back(self) -> bool {
        matches!(self, Place::After(..) | Place::Before(..))
    }
}

/// A plain load or store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access {
    /// The register, and the second of a pair.
    pub registers: (u8, Option<u8>),
    /// Bytes of each.
    pub size: u8,
    /// Whether they are vector registers.
    pub vector: bool,
    /// Whether a load extends the sign to 64 bits.
    pub signed: bool,
    /// Where.
    pub place: Place,
}

/// One instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// Nothing the analysis would notice.
    Nop,
    /// The path ends: `brk`, `udf`.
    Trap,
    /// A constant.
    Constant { to: u8, value: u64 },
    /// `movk`: sixteen bits at `shift`.
    Keep { to: u8, value: u64, shift: u8 },
    /// Addition and subtraction.
    Add { to: u8, from: u8, by: Operand, subtract: bool, flags: bool, wide: bool },
    /// Bitwise.
    Logic { kind: Logic, to: u8, from: u8, by: Operand, flags: bool, wide: bool },
    /// `sxtw` and `uxtw`, also as bit-field moves.
    Extend { to: u8, from: u8 },
    /// `lsl` by a constant.
    ShiftLeft { to: u8, from: u8, by: u8, wide: bool },
    /// Anything else with one destination; `narrow` if bits 63 to 32 are zero.
    Other { to: u8, uses: u64, narrow: bool },
    /// A vector register changes; to zero in all its bits, or to something unknown.
    Vector { to: u8, zero: bool },
    /// The flags become unknown.
    Flags { uses: u64 },
    /// Conditional select.
    Select { kind: Select, to: u8, yes: u8, no: u8, condition: u8, wide: bool },
    /// Conditional compare; `by` is a register or a constant.
    Compare { from: u8, by: Operand, condition: u8, otherwise: u8, negated: bool, wide: bool },
    /// A load.
    Load(Access),
    /// A store.
    Store(Access),
    /// `swp`: what stood at the address comes to `to`, `from` is stored.
    Swap { from: u8, to: u8, base: u8, size: u8 },
    /// Another atomic operation on memory; `to` gets a value that is unknown.
    Atomic { to: u8, from: u8, base: u8, size: u8 },
    /// `stxr`: `status` is zero where `from` was stored.
    StoreExclusive { status: u8, from: u8, base: u8, size: u8 },
    /// `b`
    Branch(u64),
    /// `b.cond`
    BranchIf { condition: u8, target: u64 },
    /// `cbz`, `cbnz`
    BranchZero { register: u8, wide: bool, nonzero: bool, target: u64 },
    /// `tbz`, `tbnz`
    BranchBit { register: u8, bit: u8, nonzero: bool, target: u64 },
    /// `bl`
    Call(u64),
    /// `blr` and its authenticated forms.
    CallRegister(u8),
    /// `br` and its authenticated forms.
    Jump(u8),
    /// `ret` and its authenticated forms.
    Return(u8),
    /// A word whose meaning is not known.
    Unknown,
}

/// The register in a field where 31 is the zero register.
fn zero(word: u32, at: u32) -> u8 {
    match (word >> at & 31) as u8 {
        31 => ZR,
        register => register,
    }
}

/// The register in a field where 31 is the stack pointer.
fn stack(word: u32, at: u32) -> u8 {
    (word >> at & 31) as u8
}

/// The bits `at..at + width`, sign-extended.
fn signed(word: u32, at: u32, width: u32) -> i64 {
    i64::from((word << (32 - at - width)) as i32 >> (32 - width))
}

fn field(word: u32, at: u32, width: u32) -> u32 {
    word >> at & ((1 << width) - 1)
}

/// The mask of one register; none for the zero register.
pub fn bit(register: u8) -> u64 {
    if register == ZR { 0 } else { 1 << register }
}

/// Decodes the word at an address.
pub fn decode(word: Word, at: VmAddr) -> Op {
    let word = word.0;
    match word >> 25 & 0xf {
        0b0000 if word >> 16 == 0 => Op::Trap,
        0b1000 | 0b1001 => data::immediate(word, at.0),
        0b1010 | 0b1011 => branch(word, at.0),
        0b0101 | 0b1101 => data::register(word),
        0b0111 | 0b1111 => vector::data(word),
        0b0100 | 0b0110 | 0b1100 | 0b1110 => memory::access(word, at.0),
        _ => Op::Unknown,
    }
}

fn branch(word: u32, at: u64) -> Op {
    let to = |distance: i64| at.wrapping_add_signed(distance * 4);
    match word >> 24 {
        top if top & 0xfc == 0x14 => Op::Branch(to(signed(word, 0, 26))),
        top if top & 0xfc == 0x94 => Op::Call(to(signed(word, 0, 26))),
        0x54 => Op::BranchIf { condition: (word & 15) as u8, target: to(signed(word, 5, 19)) },
        top if top & 0x7e == 0x34 => Op::BranchZero {
            register: zero(word, 0),
            wide: word >> 31 == 1,
            nonzero: top & 1 == 1,
            target: to(signed(word, 5, 19)),
        },
        top if top & 0x7e == 0x36 => Op::BranchBit {
            register: zero(word, 0),
            bit: (field(word, 31, 1) << 5 | field(word, 19, 5)) as u8,
            nonzero: top & 1 == 1,
            target: to(signed(word, 5, 14)),
        },
        0xd4 if word & 0xffe0_001f == 0xd420_0000 => Op::Trap,
        0xd5 => system(word),
        0xd6 | 0xd7 => indirect(word),
        _ => Op::Unknown,
    }
}

/// `br`, `blr`, `ret`, plain or authenticated.
fn indirect(word: u32) -> Op {
    let register = zero(word, 5);
    let authenticated = word & 0x800 != 0;
    // Bit 24 tells the forms with a modifier register, bits 11 and 10 the key.
    if word & 0xfe9f_f000 != 0xd61f_0000 || (!authenticated && word & 0x0100_0c1f != 0) {
        return Op::Unknown;
    }
    match word >> 21 & 3 {
        0 => Op::Jump(register),
        1 => Op::CallRegister(register),
        2 if authenticated => Op::Return(30),
        2 => Op::Return(register),
        _ => Op::Unknown,
    }
}

/// Hints, barriers and system registers.
fn system(word: u32) -> Op {
    match word & 0xfff0_0000 {
        // `mrs`
        0xd530_0000 => Op::Other { to: zero(word, 0), uses: 0, narrow: false },
        // `msr`, which may write the flags (NZCV).
        0xd510_0000 if word & 0x000f_ffe0 == 0x000b_4200 => Op::Flags { uses: bit(zero(word, 0)) },
        0xd510_0000 => Op::Nop,
        0xd500_0000 if word & 0x000f_f01f == 0x0003_201f => Op::Nop,
        0xd500_0000 if word & 0x000f_f000 == 0x0003_3000 => Op::Nop,
        _ => Op::Unknown,
    }
}
