//! Instructions that keystone does not know, encoded here.
//!
//! Keystone's AArch64 is that of Armv8.0. Code for Apple's processors also holds
//! pointer authentication, branch targets, and the atomics of Armv8.1 and 8.3. Each
//! table holds the word of a mnemonic with zeros where its operands stand (Arm
//! Architecture Reference Manual, C6.2). Tests have capstone read every form back,
//! and hold the words against clang's.

use crate::address::{VmAddr, Word};

/// Mnemonics without operands.
const PLAIN: &[(&str, u32)] = &[
    ("paciaz", 0xd503_231f),
    ("paciasp", 0xd503_233f),
    ("pacibz", 0xd503_235f),
    ("pacibsp", 0xd503_237f),
    ("autiaz", 0xd503_239f),
    ("autiasp", 0xd503_23bf),
    ("autibz", 0xd503_23df),
    ("autibsp", 0xd503_23ff),
    ("pacia1716", 0xd503_211f),
    ("pacib1716", 0xd503_215f),
    ("autia1716", 0xd503_219f),
    ("autib1716", 0xd503_21df),
    ("xpaclri", 0xd503_20ff),
    ("retaa", 0xd65f_0bff),
    ("retab", 0xd65f_0fff),
    ("eretaa", 0xd69f_0bff),
    ("eretab", 0xd69f_0fff),
    ("bti", 0xd503_241f),
    ("bti c", 0xd503_245f),
    ("bti j", 0xd503_249f),
    ("bti jc", 0xd503_24df),
];

/// Mnemonics with one register, which stands in the low five bits.
const OF_ONE: &[(&str, u32)] = &[
    ("xpaci", 0xdac1_43e0),
    ("xpacd", 0xdac1_47e0),
    ("paciza", 0xdac1_23e0),
    ("pacizb", 0xdac1_27e0),
    ("pacdza", 0xdac1_2be0),
    ("pacdzb", 0xdac1_2fe0),
    ("autiza", 0xdac1_33e0),
    ("autizb", 0xdac1_37e0),
    ("autdza", 0xdac1_3be0),
    ("autdzb", 0xdac1_3fe0),
];

/// Branches with one register, which stands in bits 5 to 9.
const BRANCH_TO_ONE: &[(&str, u32)] = &[
    ("braaz", 0xd61f_081f),
    ("brabz", 0xd61f_0c1f),
    ("blraaz", 0xd63f_081f),
    ("blrabz", 0xd63f_0c1f),
];

/// Branches with a target in bits 5 to 9 and a modifier in the low five.
const BRANCH_TO_TWO: &[(&str, u32)] =
    &[("braa", 0xd71f_0800), ("brab", 0xd71f_0c00), ("blraa", 0xd73f_0800), ("blrab", 0xd73f_0c00)];

/// Mnemonics with a pointer in the low five bits and a modifier in bits 5 to 9.
const OF_TWO: &[(&str, u32)] = &[
    ("pacia", 0xdac1_0000),
    ("pacib", 0xdac1_0400),
    ("pacda", 0xdac1_0800),
    ("pacdb", 0xdac1_0c00),
    ("autia", 0xdac1_1000),
    ("autib", 0xdac1_1400),
    ("autda", 0xdac1_1800),
    ("autdb", 0xdac1_1c00),
];

/// Atomic operations on memory by name: the word for a 64-bit register, and the bits
/// that acquire and release set in it.
const ATOMIC: &[(&str, u32, u32, u32)] = &[
    ("swp", 0xf820_8000, ACQUIRE, RELEASE),
    ("cas", 0xc8a0_7c00, RELEASE, 1 << 15),
    ("ldadd", 0xf820_0000, ACQUIRE, RELEASE),
    ("ldclr", 0xf820_1000, ACQUIRE, RELEASE),
    ("ldeor", 0xf820_2000, ACQUIRE, RELEASE),
    ("ldset", 0xf820_3000, ACQUIRE, RELEASE),
    ("ldsmax", 0xf820_4000, ACQUIRE, RELEASE),
    ("ldsmin", 0xf820_5000, ACQUIRE, RELEASE),
    ("ldumax", 0xf820_6000, ACQUIRE, RELEASE),
    ("ldumin", 0xf820_7000, ACQUIRE, RELEASE),
];
const ACQUIRE: u32 = 1 << 23;
const RELEASE: u32 = 1 << 22;

/// `ldapr` of 64 bits.
const LDAPR: u32 = 0xf8bf_c000;

/// Suffixes of an atomic: whether it acquires and releases.
const ORDERS: &[(&str, bool, bool)] =
    &[("al", true, true), ("a", true, false), ("l", false, true), ("", false, false)];

/// Suffixes of a memory access narrower than a register, and the number that stands
/// in bits 30 and 31.
const NARROW: &[(&str, u32)] = &[("b", 0), ("h", 1)];

/// Why a line of one of these mnemonics has no encoding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WrongOperands;

/// The word of `line` at `address`; `None` if its mnemonic is not one of these.
pub fn encode_at(line: &str, address: VmAddr) -> Option<Result<Word, WrongOperands>> {
    let lower = line.trim().to_ascii_lowercase();
    let word = match lower.split_once(char::is_whitespace) {
        Some(("adr", operands)) => adr(operands, address),
        Some(("adrp", operands)) => adrp(operands, address),
        _ => return encode(line),
    };
    Some(word.map(Word).ok_or(WrongOperands))
}

/// `adr` of an absolute address, of which keystone reads distances only.
fn adr(operands: &str, address: VmAddr) -> Option<u32> {
    let (into, target) = into_and_target(operands)?;
    displaced(0x1000_0000, into, target.wrapping_sub(address.0) as i64)
}

/// `adrp` of the first byte of a page, likewise.
fn adrp(operands: &str, address: VmAddr) -> Option<u32> {
    let (into, target) = into_and_target(operands)?;
    let pages = (target.wrapping_sub(address.0 & !0xfff) as i64) >> 12;
    (target & 0xfff == 0).then(|| displaced(0x9000_0000, into, pages))?
}

fn into_and_target(operands: &str) -> Option<(u32, u64)> {
    let (into, target) = operands.split_once(',')?;
    let digits = target.trim().strip_prefix('#')?;
    let target = match digits.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16).ok()?,
        None => digits.parse().ok()?,
    };
    Some((x(into.trim())?, target))
}

/// `adr` or `adrp` with a distance of 21 bits in bytes or in pages.
fn displaced(word: u32, into: u32, distance: i64) -> Option<u32> {
    let near = (-(1 << 20)..1 << 20).contains(&distance);
    let (low, high) = (distance as u32 & 3, (distance >> 2) as u32 & 0x7_ffff);
    near.then_some(word | low << 29 | high << 5 | into)
}

/// The word of `line` if it does not depend on where it stands.
fn encode(line: &str) -> Option<Result<Word, WrongOperands>> {
    let line = line.trim().to_ascii_lowercase();
    let spaced = line.split_whitespace().collect::<Vec<_>>().join(" ");
    let known = |table: &[(&str, u32)], name: &str| {
        table.iter().find_map(|(known, word)| (*known == name).then_some(*word))
    };
    if let Some(word) = known(PLAIN, &spaced) {
        return Some(Ok(Word(word)));
    }
    let (name, operands) = spaced.split_once(' ').unwrap_or((spaced.as_str(), ""));
    let operands: Vec<&str> = operands.split(',').map(str::trim).collect();
    let word = if let Some(word) = known(OF_ONE, name) {
        one(&operands).map(|register| word | register)
    } else if let Some(word) = known(BRANCH_TO_ONE, name) {
        one(&operands).map(|register| word | register << 5)
    } else if let Some(word) = known(BRANCH_TO_TWO, name) {
        two(&operands).map(|(target, modifier)| word | target << 5 | modifier)
    } else if let Some(word) = known(OF_TWO, name) {
        two(&operands).map(|(pointer, modifier)| word | modifier << 5 | pointer)
    } else if name == "pacga" {
        pacga(&operands)
    } else if known(PLAIN, name).is_some() {
        None
    } else {
        return memory(name, &operands);
    };
    Some(word.map(Word).ok_or(WrongOperands))
}

/// Loads and atomics, whose names say how wide they are and how they are ordered.
fn memory(name: &str, operands: &[&str]) -> Option<Result<Word, WrongOperands>> {
    let (name, narrow) = match NARROW.iter().find(|(suffix, _)| is_narrow(name, suffix)) {
        Some((suffix, size)) => (&name[..name.len() - suffix.len()], Some(*size)),
        None => (name, None),
    };
    let word = if name == "ldapr" {
        load(LDAPR, narrow, operands)
    } else {
        let find = |(stem, word, acquire, release): &(&str, u32, u32, u32)| {
            let suffix = name.strip_prefix(stem)?;
            let (_, acquires, releases) = ORDERS.iter().find(|(order, ..)| *order == suffix)?;
            Some(word | if *acquires { *acquire } else { 0 } | if *releases { *release } else { 0 })
        };
        atomic(ATOMIC.iter().find_map(find)?, narrow, operands)
    };
    Some(word.map(Word).ok_or(WrongOperands))
}

/// Whether `suffix` is that of a narrow access: `ldclr` ends in no such letter, and
/// `ldapr` and the atomics have no other ending in `b` or `h`.
fn is_narrow(name: &str, suffix: &str) -> bool {
    let stems = ATOMIC.iter().map(|(stem, ..)| *stem).chain(["ldapr"]);
    name.ends_with(suffix) && stems.into_iter().any(|stem| name.starts_with(stem))
}

fn one(operands: &[&str]) -> Option<u32> {
    match operands {
        [register] => x(register),
        _ => None,
    }
}

/// A register and a modifier, which may be the stack pointer.
fn two(operands: &[&str]) -> Option<(u32, u32)> {
    match operands {
        [register, modifier] => Some((x(register)?, x_or_sp(modifier)?)),
        _ => None,
    }
}

fn pacga(operands: &[&str]) -> Option<u32> {
    match operands {
        [into, of, modifier] => {
            Some(0x9ac0_3000 | x_or_sp(modifier)? << 16 | x(of)? << 5 | x(into)?)
        }
        _ => None,
    }
}

fn load(word: u32, narrow: Option<u32>, operands: &[&str]) -> Option<u32> {
    match operands {
        [into, place] => {
            let (number, size) = sized(into, narrow)?;
            Some(with_size(word, size) | base(place)? << 5 | number)
        }
        _ => None,
    }
}

fn atomic(word: u32, narrow: Option<u32>, operands: &[&str]) -> Option<u32> {
    match operands {
        [with, into, place] => {
            let (with, size) = sized(with, narrow)?;
            let (into, same) = sized(into, narrow)?;
            let word = with_size(word, size) | with << 16 | base(place)? << 5 | into;
            (size == same).then_some(word)
        }
        _ => None,
    }
}

/// A register's number, and the size that its width and the mnemonic's suffix give.
fn sized(register: &str, narrow: Option<u32>) -> Option<(u32, u32)> {
    match (narrow, register.starts_with('w')) {
        (None, false) => Some((x(register)?, 3)),
        (None, true) => Some((w(register)?, 2)),
        (Some(size), true) => Some((w(register)?, size)),
        (Some(_), false) => None,
    }
}

fn with_size(word: u32, size: u32) -> u32 {
    word & 0x3fff_ffff | size << 30
}

/// `[x1]`, which may also be written `[x1, #0]`.
fn base(place: &str) -> Option<u32> {
    x_or_sp(place.strip_prefix('[')?.strip_suffix(']')?.trim())
}

fn x(register: &str) -> Option<u32> {
    if register == "xzr" { Some(31) } else { numbered(register, 'x') }
}

fn w(register: &str) -> Option<u32> {
    if register == "wzr" { Some(31) } else { numbered(register, 'w') }
}

fn x_or_sp(register: &str) -> Option<u32> {
    if register == "sp" { Some(31) } else { numbered(register, 'x') }
}

fn numbered(register: &str, letter: char) -> Option<u32> {
    let number: u32 = match (register, letter) {
        ("fp", 'x') => 29,
        ("lr", 'x') => 30,
        _ => register.strip_prefix(letter)?.parse().ok()?,
    };
    (number < 31).then_some(number)
}

/// One line for every form, for tests that hold it against other tools.
pub fn every_form() -> Vec<String> {
    let mut lines: Vec<String> = PLAIN.iter().map(|(name, _)| (*name).to_owned()).collect();
    let with = |table: &[(&str, u32)], operands: &'static str| {
        table.iter().map(move |(name, _)| format!("{name} {operands}")).collect::<Vec<_>>()
    };
    lines.extend(with(OF_ONE, "x17"));
    lines.extend(with(BRANCH_TO_ONE, "x9"));
    for modifier in ["x8, x17", "x30, sp"] {
        lines.extend(with(BRANCH_TO_TWO, modifier));
        lines.extend(with(OF_TWO, modifier));
    }
    lines.push("pacga x0, x1, x2".to_owned());
    for (stem, ..) in ATOMIC {
        for (order, ..) in ORDERS {
            for (width, operands) in [
                ("", "x1, x2, [x3]"),
                ("", "w1, w2, [sp]"),
                ("b", "w4, w5, [x6]"),
                ("h", "w7, w8, [x9]"),
            ] {
                lines.push(format!("{stem}{order}{width} {operands}"));
            }
        }
    }
    for line in ["ldapr x1, [x2]", "ldapr w1, [sp]", "ldaprb w3, [x4]", "ldaprh w5, [x6]"] {
        lines.push(line.to_owned());
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arm64::Disassembler;

    #[test]
    fn capstone_reads_every_form_back() {
        let disassembler = Disassembler::new().unwrap();
        for line in every_form() {
            let word = encode(&line).unwrap().unwrap();
            let read = disassembler.one(word, VmAddr(0)).text;
            assert_eq!(encode(&read), Some(Ok(word)), "{line} reads back as {read}");
        }
    }

    #[test]
    fn adr_reaches_a_megabyte_either_way() {
        let disassembler = Disassembler::new().unwrap();
        for target in [0x20_0000_u64, 0x10_0000, 0x1f_ffff, 0x2f_ffff] {
            let line = format!("adr x3, #{target:#x}");
            let at = VmAddr(0x20_0000);
            let word = encode_at(&line, at).unwrap().unwrap();
            assert_eq!(disassembler.one(word, at).text, line);
        }
        let too_far = encode_at("adr x3, #0x300000", VmAddr(0x20_0000));
        assert_eq!(too_far, Some(Err(WrongOperands)));
    }

    #[test]
    fn adrp_reaches_four_gigabytes_either_way() {
        let disassembler = Disassembler::new().unwrap();
        for target in [0x1_2000_0000_u64, 0x2_1fff_f000, 0x2000_0000] {
            let line = format!("adrp x3, #{target:#x}");
            let at = VmAddr(0x1_2000_0abc & !3);
            let word = encode_at(&line, at).unwrap().unwrap();
            assert_eq!(disassembler.one(word, at).text, line);
        }
        for (target, at) in [("#0x300004", 0x20_0000), ("#0x200000000", 0xfff)] {
            let line = format!("adrp x3, {target}");
            assert_eq!(encode_at(&line, VmAddr(at)), Some(Err(WrongOperands)), "{line}");
        }
    }

    #[test]
    fn wrong_operands_are_refused_and_other_mnemonics_left_to_keystone() {
        for line in ["retab x0", "xpaci", "xpaci w0", "blraa x0", "swpal x0, w1, [x2]", "bti x"] {
            assert_eq!(encode(line), Some(Err(WrongOperands)), "{line}");
        }
        for line in ["nop", "ldr x0, [x1]", "swap x0, x1, [x2]", "casing x0"] {
            assert_eq!(encode(line), None, "{line}");
        }
    }
}
