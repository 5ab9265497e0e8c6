//! Every rewritten function, proven, beside the original on an emulated processor.
//!
//! Both run on the same random states: the same calls in the same order with the same
//! arguments, the same memory at the end. Permitted is one thing only: the clear of
//! the field comes earlier. So calls are compared with what the memory holds at each,
//! the field left out, and the field at the end.

use std::collections::BTreeMap;
use std::sync::Mutex;

use agxpatch_core::address::VmAddr;
use agxpatch_core::finder::{Program, rewrite};
use agxpatch_core::macho::{Image, Universal};
use agxpatch_core::proof::rewrite::refine_images;
use unicorn_engine::{Arch, Mode, Prot, RegisterARM64, Unicorn};

use super::verdicts::judged;
use agxpatch_oracles::shapes::{self, Compiled};
use agxpatch_oracles::tools::is_full;

const STACK: u64 = 0x7000_0000;
const STACK_SIZE: u64 = 0x10000;
const HEAP: u64 = 0x9000_0000;
const HEAP_SIZE: u64 = 0x1_0000;
const RETURN: u64 = 0x6000_0000;

/// Where the objects of a run stand in the heap.
pub const OBJECT: u64 = HEAP + 0x1000;
const POOLS: u64 = HEAP + 0x2000;
const BLOCK: u64 = HEAP + 0xa000;

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

/// What a run did, as far as anyone else can see.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Each call: its name, its first two arguments, a digest of memory.
    calls: Vec<(String, u64, u64, u64)>,
    memory: u64,
    pub returned: bool,
}

struct Run {
    names: BTreeMap<u64, String>,
    cells: Vec<u64>,
    random: Random,
    seen: Seen,
    cleared_at: BTreeMap<u64, usize>,
}

/// A digest of the heap without the cells.
fn digest(heap: &[u8], cells: &[u64]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325u64;
    for (index, chunk) in heap.chunks(8).enumerate() {
        let at = HEAP + 8 * index as u64;
        let word = u64::from_le_bytes(chunk.try_into().unwrap());
        let word = if cells.contains(&at) { 0 } else { word };
        hash = (hash ^ word).wrapping_mul(0x100_0000_01b3).rotate_left(5);
    }
    hash
}

fn heap(emulator: &Unicorn<'_, Run>) -> Vec<u8> {
    emulator.mem_read_as_vec(HEAP, HEAP_SIZE as usize).unwrap()
}

/// A call of another image: it is written down and returns something.
fn called(emulator: &mut Unicorn<'_, Run>, at: u64) {
    let name = emulator.get_data().names[&at].clone();
    let [x0, x1, lr] = [RegisterARM64::X0, RegisterARM64::X1, RegisterARM64::LR]
        .map(|register| emulator.reg_read(register).unwrap());
    let memory = heap(emulator);
    let run = emulator.get_data_mut();
    let digest = digest(&memory, &run.cells);
    run.seen.calls.push((name.clone(), x0, x1, digest));
    let count = run.seen.calls.len();
    for cell in run.cells.clone() {
        let at = (cell - HEAP) as usize;
        if memory[at..at + 8] == [0; 8] {
            run.cleared_at.entry(cell).or_insert(count);
        }
    }
    let result = match name.as_str() {
        "_os_unfair_lock_trylock" => run.random.next() & 1,
        "_chance" => run.random.next() % 3,
        name if name.contains("objc_msgSend") || name.is_empty() => POOLS,
        _ => run.random.next(),
    };
    if name.starts_with("__Unwind_Resume") || name == "___stack_chk_fail" {
        emulator.emu_stop().unwrap();
        return;
    }
    // The caller-saved registers are anyone's.
    for register in [RegisterARM64::X9, RegisterARM64::X10, RegisterARM64::X16, RegisterARM64::X17]
    {
        let value = emulator.get_data_mut().random.next();
        emulator.reg_write(register, value).unwrap();
    }
    emulator.reg_write(RegisterARM64::X0, result).unwrap();
    emulator.reg_write(RegisterARM64::PC, lr).unwrap();
}

fn map(emulator: &mut Unicorn<'_, Run>, image: &Image<'_>) {
    let end = image.segments().iter().map(|s| s.range().end.0).max().unwrap();
    emulator.mem_map(0, end.next_multiple_of(0x4000), Prot::ALL).unwrap();
    for segment in image.segments() {
        emulator.mem_write(segment.address.0, segment.bytes).unwrap();
    }
    emulator.mem_map(STACK, STACK_SIZE, Prot::ALL).unwrap();
    emulator.mem_map(HEAP, HEAP_SIZE, Prot::ALL).unwrap();
    emulator.mem_map(RETURN, 0x1000, Prot::ALL).unwrap();
}

/// Every way to a function of another image leads to an address of its own.
fn bind(emulator: &mut Unicorn<'_, Run>, image: &Image<'_>) -> BTreeMap<u64, String> {
    let mut names = BTreeMap::new();
    let mut next = RETURN + 0x100;
    for pointer in image.pointers().unwrap() {
        let at = pointer.address.0;
        let data = pointer.name.contains("IVAR") || pointer.name.contains("chk_guard");
        let target = if data { POOLS + 0x7000 } else { next };
        emulator.mem_write(at, &target.to_le_bytes()).unwrap();
        names.insert(next, pointer.name.to_owned());
        next += 4;
    }
    for stub in image.stubs().unwrap() {
        names.insert(stub.address.0, stub.name.to_owned());
    }
    if let Some(section) = image.section("__TEXT", "__objc_stubs") {
        for at in (section.address.0..section.range().end.0).step_by(4) {
            names.insert(at, String::new());
        }
    }
    names
}

/// Random content: small numbers, pointers to the heap, nulls.
fn fill(emulator: &mut Unicorn<'_, Run>, random: &mut Random) {
    let mut heap = vec![0u8; HEAP_SIZE as usize];
    for chunk in heap.chunks_mut(8) {
        let value = match random.next() % 8 {
            0 => 0,
            1..4 => random.next() % 12,
            4 | 5 => ((random.next() % 10) << 32) | (random.next() % 12),
            _ => POOLS + (random.next() % 0x200) * 8,
        };
        chunk.copy_from_slice(&value.to_le_bytes());
    }
    // The object's fields are pointers, most of them to pools, one kind to blocks.
    for field in 0..16u64 {
        let value = match random.next() % 6 {
            0 => 0,
            1 | 2 => BLOCK + (random.next() % 64) * 64,
            _ => POOLS + (random.next() % 8) * 0x200,
        };
        let at = (OBJECT - HEAP + 8 * field) as usize;
        // A block finds the object it captured in its fifth field.
        let value = if field == 4 { OBJECT } else { value };
        heap[at..at + 8].copy_from_slice(&value.to_le_bytes());
    }
    emulator.mem_write(HEAP, &heap).unwrap();
}

/// Runs a function of an image once; `cells` are the fields it may clear.
pub fn run(
    image: &Image<'_>,
    entry: u64,
    cells: &[u64],
    seed: u64,
) -> (Seen, BTreeMap<u64, usize>) {
    let data = Run {
        names: BTreeMap::new(),
        cells: cells.to_vec(),
        random: Random(seed | 1),
        seen: Seen::default(),
        cleared_at: BTreeMap::new(),
    };
    let mut emulator = Unicorn::new_with_data(Arch::ARM64, Mode::LITTLE_ENDIAN, data).unwrap();
    map(&mut emulator, image);
    let names = bind(&mut emulator, image);
    emulator.get_data_mut().names = names.clone();
    let mut random = Random(seed.wrapping_mul(0x9e37_79b9) | 1);
    fill(&mut emulator, &mut random);
    for (at, _) in names {
        emulator.add_code_hook(at, at, move |e, at, _| called(e, at)).unwrap();
    }
    for (index, register) in (0..31).zip(REGISTERS) {
        let value = if index < 3 { OBJECT } else { random.next() };
        emulator.reg_write(register, value).unwrap();
    }
    if seed.is_multiple_of(2) {
        // The second argument is a small number in half of the runs.
        emulator.reg_write(RegisterARM64::X1, seed % 9).unwrap();
        emulator.reg_write(RegisterARM64::X2, seed % 2).unwrap();
    }
    emulator.reg_write(RegisterARM64::SP, STACK + STACK_SIZE / 2).unwrap();
    emulator.reg_write(RegisterARM64::LR, RETURN).unwrap();
    let saved: Vec<u64> =
        REGISTERS[19..30].iter().map(|register| emulator.reg_read(*register).unwrap()).collect();
    let ended = emulator.emu_start(entry, RETURN, 0, 20_000);
    let kept: Vec<u64> =
        REGISTERS[19..30].iter().map(|register| emulator.reg_read(*register).unwrap()).collect();
    let pc = emulator.pc_read().unwrap();
    let sp = emulator.reg_read(RegisterARM64::SP).unwrap();
    let memory = heap(&emulator);
    let run = emulator.get_data_mut();
    run.seen.returned = ended.is_ok() && pc == RETURN;
    if run.seen.returned {
        assert!(kept == saved && sp == STACK + STACK_SIZE / 2, "a register is not restored");
    }
    run.seen.memory = digest(&memory, &[]);
    (run.seen.clone(), run.cleared_at.clone())
}

const REGISTERS: [RegisterARM64; 31] = {
    use RegisterARM64::*;
    [
        X0, X1, X2, X3, X4, X5, X6, X7, X8, X9, X10, X11, X12, X13, X14, X15, X16, X17, X18, X19,
        X20, X21, X22, X23, X24, X25, X26, X27, X28, X29, X30,
    ]
};

/// How many states each function runs on.
fn rounds() -> u64 {
    if is_full() { 1000 } else { 6 }
}

#[derive(Default)]
struct Count {
    rewritten: usize,
    returned: usize,
    refused: BTreeMap<String, usize>,
    differing: Vec<String>,
}

#[test]
fn rewritten_functions_do_the_same_and_clear_earlier() {
    let count: Mutex<Count> = Mutex::default();
    let every = if is_full() { 1 } else { 8 };
    let jobs = shapes::jobs().into_iter().step_by(every).collect();
    shapes::each(jobs, |Compiled { job, image }| {
        let file = Universal::parse(&image).unwrap();
        let original = file.slices[0].image().unwrap();
        let program = Program::new(&original).unwrap();
        let late = judged(&program).into_iter().filter(|(_, wanted)| *wanted == "clears-late");
        for (entry, _) in late {
            let name = program.symbol(entry).unwrap_or_default();
            let mut prove = |before: &Image<'_>, after: &Image<'_>| {
                refine_images(before, after, VmAddr(entry)).is_ok_and(|found| found.holds())
            };
            let changed = match rewrite(&original, entry, &mut prove).unwrap() {
                Ok(rewritten) => rewritten.changes,
                Err(refusal) => {
                    let key = format!("{name}: {refusal}");
                    *count.lock().unwrap().refused.entry(key).or_default() += 1;
                    continue;
                }
            };
            let mut bytes = image.clone();
            for change in &changed {
                let at = change.at.0 as usize;
                bytes[at..at + change.new.len()].copy_from_slice(&change.new);
            }
            let rewritten = Image::parse(&bytes).unwrap();
            let mut returned = 0;
            let mut differing = Vec::new();
            for seed in 1..=rounds() {
                // The object's fields are the cells, whichever the function clears.
                let cells: Vec<u64> = (0..8).map(|field| OBJECT + 8 * field).collect();
                let seed = seed.wrapping_mul(0x1234_5678_9abc_def1);
                let (before, _) = run(&original, entry, &cells, seed);
                let (after, _) = run(&rewritten, entry, &cells, seed);
                returned += usize::from(before.returned);
                // A run that does not end is cut at any point.
                if before.returned && before != after {
                    differing.push(format!("{name} {job:?} seed {seed:#x}"));
                }
            }
            let mut count = count.lock().unwrap();
            count.rewritten += 1;
            count.returned += returned;
            count.differing.extend(differing.into_iter().take(1));
        }
    });
    let count = count.into_inner().unwrap();
    let Count { rewritten, returned, refused, differing } = &count;
    eprintln!("{rewritten} rewritten, {returned} runs returned, refused: {refused:#?}");
    assert!(differing.is_empty(), "{differing:#?}");
    let left: usize = refused.values().sum();
    assert!(left * 10 <= rewritten + left, "{left} refused: {refused:#?}");
    // Most runs end, so that they say something.
    assert!(*returned as u64 * 4 >= *rewritten as u64 * rounds() * 3);
}
