//! Every instruction kind, on random words and random states: what the terms say
//! happens is what the emulator does.

use std::collections::BTreeMap;

use agxpatch_core::address::{VmAddr, Word};
use agxpatch_core::arm64::Disassembler;
use agxpatch_core::arm64::semantics::{
    Address, Next, Operation, Register, RegisterSet, State, Terms, Test, decode, execute,
};
use unicorn_engine::RegisterARM64;

use super::evaluate::{Evaluator, World};
use super::machine::{self, Machine};
use super::random::Random;

const CODE: u64 = 0x1000_0000;
const CODE_SIZE: u64 = 0x0040_0000;
const AT: u64 = CODE + CODE_SIZE / 2;
const DATA: u64 = 0x4000_0000;
const DATA_SIZE: u64 = 0x0004_0000;
const MIDDLE: u64 = DATA + DATA_SIZE / 2;
const SCRATCH: u64 = 0x5000_0000;
/// `clrex`, which stands before the word that is tried.
const CLEAR_EXCLUSIVE: u32 = 0xd503_3f5f;

/// Name, mask and value of the fixed bits; the others are drawn.
const KINDS: &[(&str, u32, u32)] = &[
    ("adr adrp", 0x1f000000, 0x10000000),
    ("add sub immediate", 0x1f800000, 0x11000000),
    ("logical immediate", 0x1f800000, 0x12000000),
    ("move wide", 0x1f800000, 0x12800000),
    ("bitfield", 0x1f800000, 0x13000000),
    ("extract", 0x7fa00000, 0x13800000),
    ("logical register", 0x1f000000, 0x0a000000),
    ("add sub register", 0x1f200000, 0x0b000000),
    ("add sub extended", 0x1fe00000, 0x0b200000),
    ("adc sbc", 0x3fe0fc00, 0x1a000000),
    ("ccmp", 0x3fe00410, 0x3a400000),
    ("csel", 0x3fe00800, 0x1a800000),
    ("two sources", 0x7fe0c000, 0x1ac00000),
    ("one source", 0x7fffe000, 0x5ac00000),
    ("multiply", 0x7f000000, 0x1b000000),
    ("b", 0xfffe0000, 0x14000000),
    ("b back", 0xfffe0000, 0x17fe0000),
    ("bl", 0xfffe0000, 0x94000000),
    ("b.cond", 0xff000010, 0x54000000),
    ("cbz cbnz", 0x7e000000, 0x34000000),
    ("tbz tbnz", 0x7e000000, 0x36000000),
    ("br", 0xfffffc1f, 0xd61f0000),
    ("blr", 0xfffffc1f, 0xd63f0000),
    ("ret", 0xfffffc1f, 0xd65f0000),
    ("braaz brabz", 0xfffff81f, 0xd61f081f),
    ("blraaz blrabz", 0xfffff81f, 0xd63f081f),
    ("retaa retab", 0xfffffbff, 0xd65f0bff),
    ("braa brab", 0xfffff800, 0xd71f0800),
    ("blraa blrab", 0xfffff800, 0xd73f0800),
    ("hint", 0xfffff01f, 0xd503201f),
    ("barrier", 0xfffff01f, 0xd503301f),
    ("pac register", 0xffff0000, 0xdac10000),
    ("literal", 0x3b000000, 0x18000000),
    ("pair", 0x3a000000, 0x28000000),
    ("scaled", 0x3b000000, 0x39000000),
    ("unscaled pre post", 0x3b200000, 0x38000000),
    ("register offset", 0x3b200c00, 0x38200800),
    ("atomic", 0x3f200c00, 0x38200000),
    ("ldapr", 0x3ffffc00, 0x38bfc000),
    ("ordered and cas", 0x3f000000, 0x08000000),
    ("ldar stlr", 0x3fbffc00, 0x089ffc00),
    ("cas", 0x3fa07c00, 0x08a07c00),
    ("xpac", 0xfffffbe0, 0xdac143e0),
    ("ldraa ldrab", 0xff200400, 0xf8200400),
    ("ldapur stlur", 0x3f200c00, 0x19000000),
    ("mrs tpidr", 0xffffffe0, 0xd53bd060),
    ("movi", 0x9ff80c00, 0x0f000400),
    ("vector logical", 0x9f20fc00, 0x0e201c00),
    ("dup", 0xbfe0fc00, 0x0e000c00),
    ("fmov", 0x7ffefc00, 0x1e260000),
    ("fmov wide", 0x7ffefc00, 0x1e660000),
    ("adcs sbcs", 0x3fe0fc00, 0x3a000000),
    ("crc32", 0x7fe0e000, 0x1ac04000),
    ("cls", 0x7ffffc00, 0x5ac01400),
    ("exclusive", 0x3f800000, 0x08000000),
    ("atomic minimum and maximum", 0x3f20cc00, 0x38204000),
    ("vector structures", 0xbe000000, 0x0c000000),
    ("vector copy", 0x9fe08400, 0x0e000400),
    ("float and integer", 0x5f20fc00, 0x1e200000),
    ("float and fixed point", 0x5f200000, 0x1e000000),
    ("scalar float", 0x5f000000, 0x1e000000),
    ("three scalar floats", 0x5f000000, 0x1f000000),
    ("insert half a vector", 0xffefbc00, 0x6e080400),
    ("vector arithmetic", 0x9f000000, 0x0e000000),
    ("vector by element", 0x9f000000, 0x0f000000),
    ("scalar vector", 0xdf000000, 0x5e000000),
    ("anything vector", 0x0e000000, 0x0e000000),
];

const WORDS_A_KIND: usize = 120;
const STATES_A_WORD: usize = 2;

#[test]
fn every_instruction_kind_does_in_the_emulator_what_its_meaning_says() {
    let mut bench = Bench::new();
    let mut variants: BTreeMap<String, usize> = BTreeMap::new();
    let mut random = Random(2);
    let disassembler = Disassembler::new().unwrap();
    // The bounds are those of whole groups, and the emulator gives up on some
    // words of them that are not an instruction.
    let exists = |word| !disassembler.one(word, VmAddr(AT)).text.starts_with(".word");
    for &(kind, mask, value) in KINDS {
        let mut known = 0;
        for _ in 0..WORDS_A_KIND {
            let word = Word(value | random.next() as u32 & !mask);
            let Some(operation) = decode(word, VmAddr(AT)) else { continue };
            known += 1;
            for _ in 0..STATES_A_WORD {
                let checked = match operation {
                    Operation::Unmodelled { .. } if !exists(word) => continue,
                    Operation::Unmodelled { reads, writes, memory } => {
                        let bounds = Bounds { reads, writes, memory };
                        bench.check_bounds(kind, word, bounds, &mut random)
                    }
                    _ => bench.check(kind, word, &operation, &mut random),
                };
                if checked {
                    let text = format!("{operation:?}");
                    let name = text.split([' ', '{', '(']).next().unwrap().to_owned();
                    *variants.entry(name).or_default() += 1;
                }
            }
        }
        assert!(known > 0, "no word of the kind {kind} is known");
    }
    println!("states checked by operation: {variants:#?}");
    println!("in all: {}", variants.values().sum::<usize>());
    const ALL: [&str; 39] = [
        "Access",
        "AccessPair",
        "AddSubtract",
        "Address",
        "Atomic",
        "Authenticate",
        "Barrier",
        "Bitfield",
        "Unmodelled",
        "Branch",
        "BranchIf",
        "BranchOnBit",
        "BranchOnZero",
        "BranchRegister",
        "Call",
        "CallRegister",
        "Compare",
        "CompareAndSwap",
        "Extract",
        "GeneralFromVector",
        "LoadLiteral",
        "Logical",
        "MoveWide",
        "MultiplyAdd",
        "MultiplyHigh",
        "Nothing",
        "OneSource",
        "ReadSystem",
        "Return",
        "Select",
        "Sign",
        "Strip",
        "TwoSources",
        "VectorDuplicate",
        "VectorFromGeneral",
        "VectorImmediate",
        "VectorInsert",
        "VectorLogical",
        "WithCarry",
    ];
    for name in ALL {
        assert!(variants.get(name).is_some_and(|&count| count >= 10), "{name} is hardly checked");
    }
}

struct Bench {
    machine: Machine,
    data: Vec<u8>,
    code: Vec<u8>,
}

impl Bench {
    fn new() -> Bench {
        let mut random = Random(1);
        let mut machine = machine::machine();
        machine::map(&mut machine, CODE, CODE_SIZE);
        machine::map(&mut machine, DATA, DATA_SIZE);
        machine::map(&mut machine, SCRATCH, 0x1000);
        machine::note_writes(&mut machine);
        let data: Vec<u8> = (0..DATA_SIZE).map(|_| random.next() as u8).collect();
        // The emulator translates ahead, so what is not run must be code as well:
        // movz with random operands.
        let mut code: Vec<u8> = (0..CODE_SIZE / 4)
            .flat_map(|_| (0xd280_0000 | random.next() as u32 & 0x001f_ffff).to_le_bytes())
            .collect();
        let before = (AT - 4 - CODE) as usize;
        code[before..before + 4].copy_from_slice(&CLEAR_EXCLUSIVE.to_le_bytes());
        machine.mem_write(CODE, &code).unwrap();
        machine.mem_write(DATA, &data).unwrap();
        // str q0, [x0] up to str q31, [x0, #496]
        for number in 0..32_u32 {
            let store = 0x3d80_0000 | number << 10 | number;
            machine.mem_write(SCRATCH + u64::from(number) * 4, &store.to_le_bytes()).unwrap();
        }
        Bench { machine, data, code }
    }

    /// Checks one word in one state; false where that state does not suit it.
    fn check(
        &mut self,
        kind: &str,
        word: Word,
        operation: &Operation,
        random: &mut Random,
    ) -> bool {
        let Some(world) = suited(operation, &self.data, random) else { return false };
        let mut terms = Terms::new();
        let mut state = State::initial(&mut terms);
        let next = execute(&mut terms, &mut state, operation);
        if next == Next::Trap {
            return false;
        }
        self.data_restored();
        self.machine.mem_write(AT, &word.to_bytes()).unwrap();
        self.machine.ctl_remove_cache(AT, AT + 4).unwrap();
        machine::load_world(&mut self.machine, &world);
        let outcome = self.machine.emu_start(AT, u64::MAX, 0, 1);
        let what = format!("{kind}: {word} {operation:?}");
        assert!(outcome.is_ok(), "{what}: the emulator says {outcome:?}");

        let code_at = |at: u64| {
            let offset = (at - CODE) as usize;
            if (AT..AT + 4).contains(&at) {
                word.to_bytes()[(at - AT) as usize]
            } else {
                self.code[offset]
            }
        };
        let memory = |at: u64| match at {
            DATA.. => self.data[(at - DATA) as usize],
            _ => code_at(at),
        };
        let evaluator = Evaluator { terms: &terms, world: &world, memory: &memory };
        let after = machine::read_world(&self.machine);
        for number in 0..32 {
            let mut expected = evaluator.term(state.get(Register::new(number)));
            if number == 30 && matches!(next, Next::Call(_)) {
                expected = Some(AT + 4);
            }
            let found = after.x[number as usize];
            assert!(
                expected.is_none_or(|e| e == found),
                "{what}: x{number} {expected:x?} {found:x}"
            );
            let (low, _) = state.vector(number as u8);
            let found = after.v[number as usize].0;
            assert_eq!(evaluator.term(low), Some(found), "{what}: v{number} low");
        }
        assert_eq!(evaluator.flags(state.flags), Some(after.nzcv), "{what}: flags");
        let target = match next {
            Next::Go(target) | Next::Call(target) | Next::Return(target) => {
                evaluator.term(target).unwrap()
            }
            Next::Either(test, target) => {
                let holds = match test {
                    Test::Zero(term, zero) => (evaluator.term(term) == Some(0)) == zero,
                    Test::Flags(condition) => evaluator.condition(condition).unwrap(),
                };
                if holds { evaluator.term(target).unwrap() } else { AT + 4 }
            }
            Next::Fall | Next::Trap => AT + 4,
        };
        assert_eq!(self.machine.reg_read(RegisterARM64::PC).unwrap(), target, "{what}: pc");

        let written = evaluator.written(state.history);
        let touched: Vec<u64> = self.machine.get_data().written.iter().copied().collect();
        assert_eq!(written.keys().copied().collect::<Vec<_>>(), touched, "{what}: places written");
        for (&at, &byte) in &written {
            let mut found = [0];
            self.machine.mem_read(at, &mut found).unwrap();
            assert_eq!(found[0], byte, "{what}: byte at {at:#x}");
        }
        let highs: Vec<Option<u64>> = (0..32).map(|n| evaluator.term(state.vector(n).1)).collect();
        if (0..32).any(|n| state.vector(n) != State::initial(&mut terms).vector(n)) {
            assert_eq!(self.upper_halves(), highs, "{what}: upper halves");
        }
        true
    }

    /// Runs one word in two states that agree in what it may read: what it changes
    /// lies within its bounds, and is the same both times. False where the
    /// emulator does not know the word either.
    fn check_bounds(
        &mut self,
        kind: &str,
        word: Word,
        bounds: Bounds,
        random: &mut Random,
    ) -> bool {
        let what = format!("{kind}: {word} {bounds:?}");
        let mut first = arbitrary(random);
        if bounds.memory {
            let base = (word.0 >> 5 & 31) as usize;
            first.x[base] = MIDDLE + random.next() % 64 * 16;
        }
        let mut second = arbitrary(random);
        for register in Register::all().filter(|&register| bounds.reads.has(register)) {
            second.x[register.index()] = first.x[register.index()];
        }
        for number in (0..32).filter(|&number| bounds.reads.has_vector(number)) {
            second.v[usize::from(number)] = first.v[usize::from(number)];
        }
        if bounds.reads.has_flags() {
            second.nzcv = first.nzcv;
        }
        let Some((one, stores)) = self.outcome(word, &first) else { return false };
        let Some((other, more)) = self.outcome(word, &second) else {
            panic!("{what}: runs in one state only");
        };
        assert!(bounds.memory || stores.is_empty(), "{what}: stores");
        assert_eq!(stores, more, "{what}: what is stored");
        for register in Register::all() {
            let at = register.index();
            let kept = (one.x[at], other.x[at]) == (first.x[at], second.x[at]);
            let may = bounds.writes.has(register);
            assert!(kept || may && one.x[at] == other.x[at], "{what}: {register}");
        }
        let kept = (one.nzcv, other.nzcv) == (first.nzcv, second.nzcv);
        assert!(kept || bounds.writes.has_flags() && one.nzcv == other.nzcv, "{what}: flags");
        true
    }

    /// Runs one word, with no exclusive access begun before; the state after it
    /// and the bytes it stored.
    fn outcome(&mut self, word: Word, world: &World) -> Option<(World, BTreeMap<u64, u8>)> {
        self.data_restored();
        self.machine.mem_write(AT, &word.to_bytes()).unwrap();
        self.machine.ctl_remove_cache(AT, AT + 4).unwrap();
        machine::load_world(&mut self.machine, world);
        self.machine.emu_start(AT - 4, u64::MAX, 0, 2).ok()?;
        assert_eq!(self.machine.reg_read(RegisterARM64::PC).unwrap(), AT + 4, "{word}: pc");
        let mut stored = BTreeMap::new();
        for &at in &self.machine.get_data().written.clone() {
            let mut byte = [0];
            self.machine.mem_read(at, &mut byte).unwrap();
            stored.insert(at, byte[0]);
        }
        Some((machine::read_world(&self.machine), stored))
    }

    fn upper_halves(&mut self) -> Vec<Option<u64>> {
        self.machine.reg_write(RegisterARM64::X0, SCRATCH + 0x800).unwrap();
        self.machine.emu_start(SCRATCH, SCRATCH + 128, 0, 0).unwrap();
        let bytes = self.machine.mem_read_as_vec(SCRATCH + 0x800, 512).unwrap();
        let halves = bytes.chunks_exact(16).map(|v| u64::from_le_bytes(v[8..].try_into().unwrap()));
        halves.map(Some).collect()
    }

    /// Puts the data back that the last instruction wrote.
    fn data_restored(&mut self) {
        let written = std::mem::take(&mut self.machine.get_data_mut().written);
        for at in written {
            if let Some(&byte) = at.checked_sub(DATA).and_then(|at| self.data.get(at as usize)) {
                self.machine.mem_write(at, &[byte]).unwrap();
            }
        }
    }
}

/// What an instruction may touch.
#[derive(Debug)]
struct Bounds {
    reads: RegisterSet,
    writes: RegisterSet,
    memory: bool,
}

fn arbitrary(random: &mut Random) -> World {
    let mut world = World::default();
    for number in 0..32 {
        world.x[number] = random.value();
        world.v[number] = (random.next(), random.next());
    }
    world.x[31] &= !15;
    world.nzcv = (random.next() % 16) as u8;
    world
}

/// A random state in which the instruction stays within what is mapped.
fn suited(operation: &Operation, data: &[u8], random: &mut Random) -> Option<World> {
    let mut world = arbitrary(random);
    let mut place = |register: Register, value: u64| world.x[register.index()] = value;
    let near = MIDDLE + random.next() % 64 * 16;
    match *operation {
        Operation::Access { address, size, ordered, .. } => {
            place_base(&mut world, address, near, ordered, size.bytes, random)?;
        }
        Operation::AccessPair { address, size, .. } => {
            place_base(&mut world, address, near, false, size.bytes, random)?;
        }
        Operation::Atomic { base, operand, .. } => {
            place(base, near);
            (operand != Some(base)).then_some(())?;
        }
        Operation::CompareAndSwap { base, compare, .. } => {
            place(base, near);
            (compare != Some(base)).then_some(())?;
            // Let it be equal every other time.
            if let (Some(compare), 0) = (compare, random.next() % 2) {
                let at = (near - DATA) as usize;
                place(compare, u64::from_le_bytes(data[at..at + 8].try_into().unwrap()));
            }
        }
        Operation::BranchRegister { register, .. }
        | Operation::CallRegister { register, .. }
        | Operation::Return { register, .. } => {
            place(register?, CODE + random.next() % CODE_SIZE / 4 * 4);
        }
        // The keys are off here; signed pointers have a test of their own.
        Operation::Strip { register } => place(register?, near),
        _ => {}
    }
    Some(world)
}

fn place_base(
    world: &mut World,
    address: Address,
    near: u64,
    ordered: bool,
    bytes: u8,
    random: &mut Random,
) -> Option<()> {
    let (base, displacement) = match address {
        Address::Offset(base, offset)
        | Address::Before(base, offset)
        | Address::After(base, offset)
        | Address::Authenticated(_, base, offset, _) => (base, offset),
        Address::Indexed(base, Some(index), extend, _) => {
            (base != index).then_some(())?;
            let value = random.next() % 128;
            let negative = extend.signed && random.next().is_multiple_of(2);
            let value = if negative { value.wrapping_neg() } else { value };
            let above = if extend.bits < 64 { random.next() << extend.bits } else { 0 };
            let kept = u64::MAX >> (64 - extend.bits);
            world.x[index.index()] = above | value & kept;
            (base, 0)
        }
        Address::Indexed(base, None, ..) => (base, 0),
    };
    // An ordered access must be aligned; others need not be, but for sp.
    let slack = if base == Register::SP { 0 } else { random.next() % 8 };
    let at = if ordered {
        near.wrapping_sub(displacement as u64) / u64::from(bytes) * u64::from(bytes)
    } else {
        near + slack
    };
    world.x[base.index()] = at;
    Some(())
}
