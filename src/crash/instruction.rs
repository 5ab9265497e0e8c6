//! The instruction that faulted: through which register it reached memory.
//!
//! A report holds the code at the program counter, so what faulted need not be
//! guessed from the address: a load through a register that is zero is a NULL
//! pointer at any offset, on any version of the driver. Only loads and stores are
//! decoded (Arm ARM C4.1.88), and only what the judgement needs of them.

use super::address::Access;
use super::base64;

/// A load or store that adds a constant to a register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryAccess {
    /// The register that holds the base address; 31 is the stack pointer.
    pub base: u8,
    /// What is added to it; nothing where that is another register.
    pub offset: Option<i64>,
    /// Whether it reads or writes.
    pub access: Access,
}

/// Decodes `word`, if it is a load or a store.
pub fn decode(word: u32) -> Option<MemoryAccess> {
    let base = (word >> 5 & 31) as u8;
    let access = |load: bool| if load { Access::Read } else { Access::Write };
    let with = |offset, load| Some(MemoryAccess { base, offset, access: access(load) });
    match (word >> 27 & 7, word >> 24 & 3) {
        // One register, unsigned offset scaled by its size.
        (0b111, 1) => {
            let offset = i64::from(word >> 10 & 0xfff) << scale(word);
            with(Some(offset), is_load(word))
        }
        (0b111, 0) => one_register(word, base),
        // Pairs; bit 22 tells a load.
        (0b101, _) => {
            let size = if word >> 26 & 1 == 1 { 2 + (word >> 30) } else { 2 + (word >> 31) };
            let offset = signed(word >> 15 & 0x7f, 7) << size;
            // After the access the base is changed, not before.
            let post = word >> 23 & 7 == 1;
            with(Some(if post { 0 } else { offset }), word >> 22 & 1 == 1)
        }
        // Exclusive, acquire and release: no offset.
        (0b001, 0) if word >> 26 & 1 == 0 => with(Some(0), word >> 22 & 1 == 1),
        _ => None,
    }
}

fn one_register(word: u32, base: u8) -> Option<MemoryAccess> {
    let imm9 = signed(word >> 12 & 0x1ff, 9);
    let access = if is_load(word) { Access::Read } else { Access::Write };
    let offset = match (word >> 21 & 1, word >> 10 & 3) {
        (0, 1) => Some(0),
        (0, _) => Some(imm9),
        // A register is added.
        (1, 2) => None,
        // An atomic operation reads and writes: a fault of it is a write.
        (1, 0) => return Some(MemoryAccess { base, offset: Some(0), access: Access::Write }),
        // Authenticated loads scale ten bits, of which the top one is bit 22.
        _ => {
            let top = word >> 22 & 1;
            let offset = signed(top << 9 | (word >> 12 & 0x1ff), 10) << 3;
            return Some(MemoryAccess { base, offset: Some(offset), access: Access::Read });
        }
    };
    Some(MemoryAccess { base, offset, access })
}

fn is_load(word: u32) -> bool {
    let opc = word >> 22 & 3;
    match word >> 26 & 1 {
        // Of a vector register opc's low bit tells; 128-bit accesses use both.
        1 => opc & 1 == 1,
        _ => opc != 0,
    }
}

fn scale(word: u32) -> u32 {
    let size = word >> 30;
    let vector = word >> 26 & 1 == 1;
    if vector && size == 0 && word >> 23 & 1 == 1 { 4 } else { size }
}

fn signed(value: u32, bits: u32) -> i64 {
    let shift = 64 - bits;
    (i64::from(value) << shift) >> shift
}

/// The first instruction of code in base 64.
pub fn from_base64(text: &str) -> Option<u32> {
    // Six characters hold the 32 bits, and four bits of the next word.
    let code = base64::decode(text.get(..6)?)?;
    Some(u32::from_le_bytes(code.get(..4)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loads_and_stores_are_decoded_with_base_and_offset() {
        let cases = [
            (0xf942_e680, Some((20, Some(0x5c8), Access::Read))), // ldr x0, [x20, #0x5c8]
            (0xb901_8668, Some((19, Some(0x184), Access::Write))), // str w8, [x19, #0x184]
            (0xf838_6a7f, Some((19, None, Access::Write))),       // str xzr, [x19, x24]
            (0xa949_7bfd, Some((31, Some(0x90), Access::Read))),  // ldp x29, x30, [sp, #0x90]
            (0xa9bf_7bfd, Some((31, Some(-16), Access::Write))),  // stp x29, x30, [sp, #-16]!
            (0xa8c1_7bfd, Some((31, Some(0), Access::Read))),     // ldp x29, x30, [sp], #16
            (0xf85f_8128, Some((9, Some(-8), Access::Read))),     // ldur x8, [x9, #-8]
            (0x3dc0_0420, Some((1, Some(16), Access::Read))),     // ldr q0, [x1, #16]
            (0x885f_fc20, Some((1, Some(0), Access::Read))),      // ldaxr w0, [x1]
            (0xd503_201f, None),                                  // nop
            (0x8b15_0320, None),                                  // add x0, x25, x21
        ];
        for (word, wanted) in cases {
            let found = decode(word).map(|it| (it.base, it.offset, it.access));
            assert_eq!(found, wanted, "{word:#x}");
        }
    }

    #[test]
    fn code_in_base_64_gives_its_first_instruction() {
        // The bytes 80 e6 42 f9.
        assert_eq!(from_base64("gOZC+QAAAAA="), Some(0xf942_e680));
        assert_eq!(from_base64("gOZC"), None);
        assert_eq!(from_base64("!!!!!!!!"), None);
    }
}
