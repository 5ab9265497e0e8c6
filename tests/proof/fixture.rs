//! A function around the published words, at the published addresses. What is
//! not published (prologue, loads, the lock call, the epilogue but for its first
//! word) is plausible code of our own.

use std::ops::Range;

use agxpatch_core::address::{VmAddr, Word};
use agxpatch_core::arm64::Assembler;
use agxpatch_core::arm64::semantics::Register;
use agxpatch_core::check::Status;
use agxpatch_core::error::Result;
use agxpatch_core::proof::rewrite::{Piece, Refinement, Rewrite, Stubs, refine};
use agxpatch_core::proof::{Defect, LandingPads, Name, Proof, Roles, Site, Surroundings, prove};

pub const ENTRY: VmAddr = VmAddr(0x2bdd1c);
pub const WINDOW: Range<VmAddr> = VmAddr(0x2be05c)..VmAddr(0x2be090);
pub const NEXT_FUNCTION: VmAddr = VmAddr(0x2be1f4);
pub const LOCK: VmAddr = VmAddr(0x6d49d4);
pub const UNLOCK: VmAddr = VmAddr(0x6d49e4);
pub const FREE: VmAddr = VmAddr(0x6d46c4);
pub const TEXT: VmAddr = VmAddr(0x2a0000);

/// The published window; three words of it are our own.
pub const ORIGINAL: [&str; 13] = [
    "b.hi #0x2be07c",
    "add w10, w8, #1",
    "str w10, [x25, #0x1a60]",
    "add x9, x25, x8, lsl #3",
    "str x20, [x9, #0x1a68]",
    "add x0, x25, x21",
    "bl #0x6d49e4",
    "b #0x2be08c",
    "add x0, x25, x21",
    "bl #0x6d49e4",
    "mov x0, x20",
    "bl #0x6d46c4",
    "str xzr, [x19, x24]",
];

/// The rewrite of 7 words.
pub const DEFAULT: [(u64, &str); 7] = [
    (0x2be05c, "b.hi #0x2be074"),
    (0x2be070, "mov x20, xzr"),
    (0x2be074, "str xzr, [x19, x24]"),
    (0x2be078, "add x0, x25, x21"),
    (0x2be07c, "bl #0x6d49e4"),
    (0x2be080, "cbz x20, #0x2be090"),
    (0x2be08c, "nop"),
];

/// The published rewrite of 9 words.
pub const LEGACY: [(u64, &str); 9] = [
    (0x2be05c, "b.hi #0x2be080"),
    (0x2be070, "str xzr, [x19, x24]"),
    (0x2be074, "add x0, x25, x21"),
    (0x2be078, "bl #0x6d49e4"),
    (0x2be07c, "b #0x2be090"),
    (0x2be080, "str xzr, [x19, x24]"),
    (0x2be084, "add x0, x25, x21"),
    (0x2be088, "bl #0x6d49e4"),
    (0x2be08c, "b #0x2be090"),
];

const HEAD: [&str; 24] = [
    "pacibsp",
    "sub sp, sp, #0xa0",
    "stp d9, d8, [sp, #0x30]",
    "stp x28, x27, [sp, #0x40]",
    "stp x26, x25, [sp, #0x50]",
    "stp x24, x23, [sp, #0x60]",
    "stp x22, x21, [sp, #0x70]",
    "stp x20, x19, [sp, #0x80]",
    "stp x29, x30, [sp, #0x90]",
    "add x29, sp, #0x90",
    "mov x19, x0",
    "adrp x8, #0x758000",
    "ldrsw x24, [x8, #0x300]",
    "ldr x20, [x0, x24]",
    "adrp x8, #0x758000",
    "ldrsw x22, [x8, #0x2f8]",
    "ldr x25, [x0, x22]",
    "adrp x8, #0x758000",
    "ldrsw x21, [x8, #0x310]",
    "ldr w23, [x25, #0x638]",
    "and w26, w23, #0xff",
    "cmp w26, #3",
    "csel x27, x26, xzr, lo",
    "ubfx w28, w23, #8, #4",
];

const BEFORE_WINDOW: [&str; 5] = [
    "add x0, x25, x21",
    "bl #0x6d49d4",
    "ldr w8, [x25, #0x1a60]",
    "and x8, x8, #0xffffffff",
    "cmp w8, #7",
];

const EPILOGUE: [&str; 10] = [
    "ldp x29, x30, [sp, #0x90]",
    "ldp x20, x19, [sp, #0x80]",
    "ldp x22, x21, [sp, #0x70]",
    "ldp x24, x23, [sp, #0x60]",
    "ldp x26, x25, [sp, #0x50]",
    "ldp x28, x27, [sp, #0x40]",
    "ldp d9, d8, [sp, #0x30]",
    "add sp, sp, #0xa0",
    "retab",
    "brk #1",
];

fn adr(line: &str, at: VmAddr) -> Word {
    let (register, target) = line["adr x".len()..].split_once(", #0x").unwrap();
    let offset = u64::from_str_radix(target, 16).unwrap().wrapping_sub(at.0) as u32;
    let number: u32 = register.parse().unwrap();
    Word(0x1000_0000 | (offset & 3) << 29 | (offset >> 2 & 0x7ffff) << 5 | number)
}

/// A load of what stands at an address nearby.
fn literal(line: &str, at: VmAddr) -> Word {
    let (mnemonic, operands) = line.split_once(' ').unwrap();
    let (register, target) = operands.split_once(", #0x").unwrap();
    let kind = match (mnemonic, &register[..1]) {
        ("ldr", "w") => 0x1800_0000,
        ("ldr", "x") => 0x5800_0000,
        ("ldrsw", "x") => 0x9800_0000,
        ("ldr", "q") => 0x9c00_0000,
        _ => panic!("{line}"),
    };
    let distance = u64::from_str_radix(target, 16).unwrap().wrapping_sub(at.0) / 4;
    let number: u32 = register[1..].parse().unwrap();
    Word(kind | (distance as u32 & 0x7ffff) << 5 | number)
}

/// The function and an image around it.
#[derive(Clone)]
pub struct Fixture {
    pub before: Vec<Word>,
    pub text: Vec<u8>,
    pub starts: Vec<VmAddr>,
    pub pads: LandingPads,
    pub data: Vec<(VmAddr, Vec<u8>)>,
    pub declared: Vec<Defect>,
}

impl Surroundings for Fixture {
    fn text(&self) -> (VmAddr, &[u8]) {
        (TEXT, &self.text)
    }

    fn function_starts(&self) -> Option<&[VmAddr]> {
        Some(&self.starts)
    }

    fn landing_pads(&self, _: Range<VmAddr>) -> LandingPads {
        self.pads.clone()
    }

    fn data(&self, address: VmAddr, length: usize) -> Option<&[u8]> {
        self.data.iter().find_map(|(start, bytes)| {
            let from = usize::try_from(address.0.checked_sub(start.0)?).ok()?;
            bytes.get(from..from + length)
        })
    }
}

pub fn index(at: VmAddr) -> usize {
    ((at.0 - ENTRY.0) / 4) as usize
}

pub fn roles() -> Roles {
    Roles {
        self_: Register::new(19),
        ivar: Register::new(24),
        impl_: Register::new(20),
        slot: Register::new(9),
        slots: 0x1a68,
        pool: Register::new(25),
        lock: Register::new(21),
        unlock: UNLOCK,
        free: FREE,
    }
}

/// Words at an address. Keystone is older than pointer authentication, and does
/// not take the address of an `adr`.
pub fn assemble(lines: &[&str], at: VmAddr) -> Vec<Word> {
    let assembler = Assembler::new();
    let word = |(index, line): (usize, &&str)| match *line {
        "pacibsp" => Word(0xd503237f),
        "autibsp" => Word(0xd50323ff),
        "retab" => Word(0xd65f0fff),
        "braa x8, x9" => Word(0xd71f0909),
        // `b.eq` with the bit that says its outcome is always the same.
        line if line.starts_with("bc.") => {
            let plain =
                assembler.assemble_line(&line.replacen("bc.", "b.", 1), at.instruction(index));
            Word(plain.unwrap().0 | 1 << 4)
        }
        line if line.starts_with("ldr") && line.contains(", #0x2") && !line.contains('[') => {
            literal(line, at.instruction(index))
        }
        line if line.starts_with("adr ") => adr(line, at.instruction(index)),
        line => assembler.assemble_line(line, at.instruction(index)).unwrap(),
    };
    lines.iter().enumerate().map(word).collect()
}

impl Fixture {
    pub fn new() -> Fixture {
        Fixture::with_window(&ORIGINAL)
    }

    pub fn with_window(window: &[&str; 13]) -> Fixture {
        let total = index(NEXT_FUNCTION);
        let mut before = vec![Word(0xd503201f); total];
        let mut place = |at: VmAddr, lines: &[&str]| {
            let words = assemble(lines, at);
            before[index(at)..][..words.len()].copy_from_slice(&words);
        };
        place(ENTRY, &HEAD);
        place(VmAddr(WINDOW.start.0 - 20), &BEFORE_WINDOW);
        place(WINDOW.start, window);
        place(WINDOW.end, &EPILOGUE);
        Fixture {
            text: vec![0x1f; 0x40000],
            starts: vec![TEXT, ENTRY, NEXT_FUNCTION],
            pads: LandingPads::Known(Vec::new()),
            data: Vec::new(),
            declared: Vec::new(),
            before,
        }
        .with_text()
    }

    /// Writes the function into the image's text.
    pub fn with_text(mut self) -> Fixture {
        for (index, word) in self.before.iter().enumerate() {
            let at = (ENTRY.0 - TEXT.0) as usize + index * 4;
            self.text[at..at + 4].copy_from_slice(&word.to_bytes());
        }
        self
    }

    pub fn put(&mut self, at: u64, line: &str) {
        self.before[index(VmAddr(at))] = assemble(&[line], VmAddr(at))[0];
    }

    /// The function with these lines at these addresses.
    pub fn rewritten(&self, lines: &[(u64, &str)]) -> Vec<Word> {
        let mut after = self.before.clone();
        for &(at, line) in lines {
            after[index(VmAddr(at))] = assemble(&[line], VmAddr(at))[0];
        }
        after
    }

    pub fn site<'a>(&'a self, after: &'a [Word]) -> Site<'a> {
        Site {
            entry: ENTRY,
            before: &self.before,
            after,
            window_start: WINDOW.start,
            window_end: WINDOW.end,
            roles: roles(),
            declared: &self.declared,
            surroundings: self,
        }
    }

    /// The judgement by meaning, which is not told the roles.
    pub fn refine(&self, after: &[Word], added: &[Piece]) -> Result<Refinement> {
        let stubs = Stubs {
            lock: [LOCK].into(),
            unlock: [UNLOCK].into(),
            free: [FREE].into(),
            ..Stubs::default()
        };
        refine(&Rewrite {
            entry: ENTRY,
            before: &self.before,
            after,
            added,
            standing: &[],
            stubs: &stubs,
            surroundings: self,
            call_sites: Some([&[], &[]]),
            captures: false,
        })
    }

    pub fn prove(&self, after: &[Word]) -> Result<Proof> {
        prove(&self.site(after))
    }
}

/// The obligations that fail, by name.
pub fn failures(proof: &Proof) -> Vec<Name> {
    let failed = proof.obligations.iter().filter(|o| o.status == Status::Fail);
    failed.map(|obligation| obligation.name).collect()
}
