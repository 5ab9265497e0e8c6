//! The instructions the semantics knows, typed.

use super::Register;
use super::register_set::RegisterSet;
use super::term::{Binary, Key};
use crate::address::VmAddr;

/// A register field in which 31 is `xzr`: none stands for it.
pub type Field = Option<Register>;

/// One decoded instruction.
///
/// `wide` says that it works on 64 bits and not on 32. Names of the variants
/// are those of the groups in the Arm Architecture Reference Manual (DDI 0487),
/// chapter C4.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Operation {
    /// Has no effect a proof can see: `nop`, `bti`, a prefetch.
    Nothing,
    /// Orders memory accesses.
    Barrier,
    /// Ends the program: `brk`, `udf`.
    Trap,
    Branch {
        target: VmAddr,
    },
    BranchIf {
        condition: u32,
        target: VmAddr,
    },
    /// `cbz`, `cbnz`.
    BranchOnZero {
        wide: bool,
        register: Field,
        zero: bool,
        target: VmAddr,
    },
    /// `tbz`, `tbnz`.
    BranchOnBit {
        register: Field,
        bit: u8,
        set: bool,
        target: VmAddr,
    },
    Call {
        target: VmAddr,
    },
    /// `br`, `braa` and kin.
    BranchRegister {
        register: Field,
        authenticate: Option<(Key, Modifier)>,
    },
    /// `blr`, `blraa` and kin.
    CallRegister {
        register: Field,
        authenticate: Option<(Key, Modifier)>,
    },
    /// `ret`, `retab` and kin.
    Return {
        register: Field,
        authenticate: Option<(Key, Modifier)>,
    },
    /// `pacia` and kin.
    Sign {
        key: Key,
        register: Register,
        modifier: Modifier,
    },
    /// `autia` and kin.
    Authenticate {
        key: Key,
        register: Register,
        modifier: Modifier,
    },
    /// `xpaci`, `xpacd`.
    Strip {
        register: Field,
    },
    /// `adr`, `adrp`, the value worked out.
    Address {
        to: Field,
        value: u64,
    },
    MoveWide {
        wide: bool,
        to: Field,
        kind: MoveWide,
        value: u64,
        shift: u8,
    },
    AddSubtract {
        wide: bool,
        to: Field,
        left: Field,
        right: Operand,
        subtract: bool,
        flags: bool,
    },
    /// `adc`, `sbc`, not those that set flags.
    WithCarry {
        wide: bool,
        to: Field,
        left: Field,
        right: Field,
        subtract: bool,
    },
    Logical {
        wide: bool,
        to: Field,
        left: Field,
        right: Operand,
        operation: Binary,
        invert: bool,
        flags: bool,
    },
    Bitfield {
        wide: bool,
        to: Field,
        from: Field,
        kind: Bitfield,
        rotate: u8,
        top: u8,
    },
    /// `extr`.
    Extract {
        wide: bool,
        to: Field,
        high: Field,
        low: Field,
        lsb: u8,
    },
    /// `csel`, `csinc`, `csinv`, `csneg`.
    Select {
        wide: bool,
        to: Field,
        then: Field,
        otherwise: Field,
        condition: u32,
        invert: bool,
        increment: bool,
    },
    /// `ccmp`, `ccmn`.
    Compare {
        wide: bool,
        left: Field,
        right: Operand,
        subtract: bool,
        condition: u32,
        otherwise: u8,
    },
    /// `udiv`, `sdiv`, and shifts by a register.
    TwoSources {
        wide: bool,
        to: Field,
        left: Field,
        right: Field,
        operation: Binary,
    },
    OneSource {
        wide: bool,
        to: Field,
        from: Field,
        operation: OneSource,
    },
    /// `madd` and kin: `addend` plus or minus the product.
    MultiplyAdd {
        wide: bool,
        to: Field,
        left: Field,
        right: Field,
        addend: Field,
        subtract: bool,
        extend: Option<bool>,
    },
    /// `umulh`, `smulh`.
    MultiplyHigh {
        to: Field,
        left: Field,
        right: Field,
        signed: bool,
    },
    Access {
        load: bool,
        register: Data,
        size: Size,
        address: Address,
        ordered: bool,
    },
    AccessPair {
        load: bool,
        registers: (Data, Data),
        size: Size,
        address: Address,
    },
    LoadLiteral {
        to: Data,
        size: Size,
        from: VmAddr,
    },
    /// `ldadd` and kin: the old value goes to `to`.
    Atomic {
        bytes: u8,
        to: Field,
        operand: Field,
        base: Register,
        operation: Atomic,
    },
    /// `cas` and kin.
    CompareAndSwap {
        bytes: u8,
        compare: Field,
        new: Field,
        base: Register,
    },
    /// Reads a system register; nothing is promised about the value.
    ReadSystem {
        to: Field,
    },
    /// `movi`, both halves worked out.
    VectorImmediate {
        to: u8,
        low: u64,
        high: u64,
    },
    /// `and`, `orr`, `eor` of vectors.
    VectorLogical {
        to: u8,
        left: u8,
        right: u8,
        operation: Binary,
        both: bool,
    },
    /// `dup` from a general register, lanes of so many bytes.
    VectorDuplicate {
        to: u8,
        from: Field,
        lane: u8,
        both: bool,
    },
    /// `ins` of one half: from the upper half of a register or its lower, to one of
    /// another, whose other half stays.
    VectorInsert {
        to: u8,
        upper: bool,
        from: u8,
        from_upper: bool,
    },
    /// `fmov` to a vector register.
    VectorFromGeneral {
        wide: bool,
        to: u8,
        from: Field,
    },
    /// `fmov` from a vector register.
    GeneralFromVector {
        wide: bool,
        to: Field,
        from: u8,
    },
    /// Goes on to the next instruction; what it does is bounded and not worked
    /// out. It reads nothing but `reads`, changes nothing but `writes`, all of
    /// which it may leave alone, and memory only where `memory` says so.
    Unmodelled {
        reads: RegisterSet,
        writes: RegisterSet,
        memory: bool,
    },
}

/// The second argument of signing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Modifier {
    /// Zero.
    Zero,
    /// The value of a register, `sp` included.
    Register(Register),
}

/// How `movz`, `movn` and `movk` treat the other bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MoveWide {
    /// They become zero.
    Zero,
    /// Zero, and the result is inverted.
    Inverted,
    /// They stay.
    Keep,
}

/// How a bitfield move treats the other bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bitfield {
    /// They become the sign.
    Signed,
    /// They become zero.
    Unsigned,
    /// They stay.
    Insert,
}

/// Operations on one register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OneSource {
    /// `rbit`.
    ReverseBits,
    /// `rev16`, `rev32`, `rev`: the bytes of each group.
    ReverseBytes(u8),
    /// `clz`.
    LeadingZeros,
}

/// The second operand of arithmetic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operand {
    /// A number.
    Immediate(u64),
    /// A register, shifted: the operation is a shift or rotation.
    Shifted(Field, Binary, u8),
    /// The lowest bits of a register, extended and shifted left.
    Extended(Field, Extend, u8),
}

/// An extension: so many bits, signed or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extend {
    /// How many of the lowest bits are taken.
    pub bits: u8,
    /// Whether the sign fills the rest.
    pub signed: bool,
}

/// What a load or store moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Data {
    /// A general register.
    General(Field),
    /// A vector register.
    Vector(u8),
}

/// How many bytes move, and how a load extends them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// 1, 2, 4, 8 or, for vectors, 16.
    pub bytes: u8,
    /// Sign extension to 64 or 32 bits.
    pub signed: Option<bool>,
}

/// The address of a load or store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Address {
    /// Base plus displacement.
    Offset(Register, i64),
    /// As before; the sum goes to the base first.
    Before(Register, i64),
    /// The base; the sum goes to the base afterwards.
    After(Register, i64),
    /// Base plus an extended and shifted register.
    Indexed(Register, Field, Extend, u8),
    /// As `Offset`, the base authenticated with a data key and zero first
    /// (`ldraa`, `ldrab`); with write-back if the flag is set.
    Authenticated(Key, Register, i64, bool),
}

/// What an atomic operation writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Atomic {
    /// The sum.
    Add,
    /// The old value without the operand's bits.
    Clear,
    /// The exclusive or.
    Xor,
    /// The old value with the operand's bits.
    Set,
    /// The operand.
    Swap,
}
