//! An emulated processor that runs one function of an image on many random states.
//!
//! The image is mapped, its stubs are bound and its code is translated once. Each run
//! begins with the same data, a heap of random content and random registers. A run is
//! what anyone else can see of it: the calls in order with their arguments and what the
//! memory holds at each, and the memory at the end. The fields that a rewrite may clear
//! earlier are left out at calls and count in the end.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::OnceLock;

use agxpatch_core::macho::Image;
use unicorn_engine::{Arch, Context, Mode, Prot, RegisterARM64, Unicorn};

const STACK: u64 = 0x7000_0000;
const STACK_SIZE: u64 = 0x10000;
const HEAP: u64 = 0x9000_0000;
const HEAP_SIZE: usize = 0x1_0000;
const RETURN: u64 = 0x6000_0000;

/// Where the objects of a run stand in the heap.
pub const OBJECT: u64 = HEAP + 0x1000;
const POOLS: u64 = HEAP + 0x2000;
const BLOCK: u64 = HEAP + 0xa000;

/// How many instructions a run may take.
const MAX_INSTRUCTIONS: usize = 20_000;

/// The model of a processor that has every extension known to the emulator; the usual one
/// has no atomic exchange.
const MOST_EXTENSIONS: i32 = 3;

/// The pieces in which memory is compared with what it was.
const PIECE: usize = 512;

/// The protection of a segment that can be written to.
const WRITE: u32 = 2;

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
    calls: Vec<(Rc<str>, u64, u64, u64)>,
    memory: u64,
    pub returned: bool,
}

/// The state that a run begins in.
pub struct Start {
    seed: u64,
    heap: Vec<u8>,
    registers: [u64; 31],
}

/// Random states, made once: the first so many of one row.
pub fn starts(count: usize) -> &'static [Start] {
    const MOST: usize = 1000;
    static STARTS: OnceLock<Vec<Start>> = OnceLock::new();
    let all = STARTS.get_or_init(|| (1..=MOST as u64).map(Start::random).collect());
    &all[..count]
}

impl Start {
    /// A random one: small numbers, pointers to the heap, nulls.
    fn random(number: u64) -> Start {
        let seed = number.wrapping_mul(0x1234_5678_9abc_def1);
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9) | 1);
        let mut heap = vec![0u8; HEAP_SIZE];
        for chunk in heap.chunks_exact_mut(8) {
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
        let mut registers =
            std::array::from_fn(|index| if index < 3 { OBJECT } else { random.next() });
        if seed.is_multiple_of(2) {
            // The second argument is a small number in half of the runs.
            (registers[1], registers[2]) = (seed % 9, seed % 2);
        }
        registers[30] = RETURN;
        Start { seed, heap, registers }
    }
}

/// The fields of the object, any of which a function may clear.
fn is_field(at: u64) -> bool {
    (OBJECT..OBJECT + 8 * 8).contains(&at)
}

struct Run {
    names: BTreeMap<u64, Rc<str>>,
    random: Random,
    seen: Seen,
    /// The heap as it was at the start, and room to read it again.
    start: Vec<u8>,
    now: Vec<u8>,
}

impl Run {
    /// A digest of what in the heap is not as it was at the start.
    fn digest(&self, with_fields: bool) -> u64 {
        let mut hash = 0xcbf2_9ce4_8422_2325u64;
        let pieces = self.start.chunks_exact(PIECE).zip(self.now.chunks_exact(PIECE));
        for (index, (start, now)) in pieces.enumerate().filter(|(_, (start, now))| start != now) {
            let words = start.chunks_exact(8).zip(now.chunks_exact(8)).enumerate();
            for (word, (_, now)) in words.filter(|(_, (start, now))| start != now) {
                let at = HEAP + (PIECE * index + 8 * word) as u64;
                if with_fields || !is_field(at) {
                    let value = u64::from_le_bytes(now.try_into().unwrap());
                    hash = (hash ^ at).wrapping_mul(0x100_0000_01b3).rotate_left(5);
                    hash = (hash ^ value).wrapping_mul(0x100_0000_01b3).rotate_left(5);
                }
            }
        }
        hash
    }
}

/// A processor with an image in its memory.
pub struct Processor {
    emulator: Unicorn<'static, Run>,
    /// All registers as they were.
    fresh: Context,
    /// What runs may change of the image, as it was.
    data: Vec<(u64, Vec<u8>)>,
}

impl Processor {
    /// With this image.
    pub fn with(image: &Image<'_>) -> Processor {
        let run = Run {
            names: BTreeMap::new(),
            random: Random(1),
            seen: Seen::default(),
            start: vec![0; HEAP_SIZE],
            now: vec![0; HEAP_SIZE],
        };
        let mut emulator = Unicorn::new_with_data(Arch::ARM64, Mode::LITTLE_ENDIAN, run).unwrap();
        emulator.ctl_set_cpu_model(MOST_EXTENSIONS).unwrap();
        map(&mut emulator, image);
        let names = bind(&mut emulator, image);
        for &at in names.keys() {
            emulator.add_code_hook(at, at, move |emulator, at, _| called(emulator, at)).unwrap();
        }
        emulator.get_data_mut().names = names;
        let written = image.segments().iter().filter(|s| s.initial_protection & WRITE != 0);
        let data = written.filter(|segment| !segment.bytes.is_empty()).map(|segment| {
            let at = segment.address.0;
            (at, emulator.mem_read_as_vec(at, segment.bytes.len()).unwrap())
        });
        let data = data.collect();
        let fresh = emulator.context_init().unwrap();
        Processor { emulator, fresh, data }
    }

    /// Writes a word of code.
    pub fn write(&mut self, at: u64, word: [u8; 4]) {
        self.emulator.mem_write(at, &word).unwrap();
        self.emulator.ctl_remove_cache(at, at + 4).unwrap();
    }

    /// Runs the function at an address.
    pub fn run(&mut self, entry: u64, start: &Start) -> Seen {
        let Processor { emulator, fresh, data } = self;
        emulator.context_restore(fresh).unwrap();
        for (at, bytes) in data {
            emulator.mem_write(*at, bytes).unwrap();
        }
        emulator.mem_write(STACK, &[0; STACK_SIZE as usize]).unwrap();
        emulator.mem_write(HEAP, &start.heap).unwrap();
        for (register, value) in REGISTERS.into_iter().zip(start.registers) {
            emulator.reg_write(register, value).unwrap();
        }
        let sp = STACK + STACK_SIZE / 2;
        emulator.reg_write(RegisterARM64::SP, sp).unwrap();
        let run = emulator.get_data_mut();
        run.random = Random(start.seed | 1);
        run.seen = Seen::default();
        run.start.copy_from_slice(&start.heap);
        let ended = emulator.emu_start(entry, RETURN, 0, MAX_INSTRUCTIONS);
        let returned = ended.is_ok() && emulator.pc_read().unwrap() == RETURN;
        let kept = (19..30)
            .all(|number| emulator.reg_read(REGISTERS[number]).unwrap() == start.registers[number]);
        let kept = kept && emulator.reg_read(RegisterARM64::SP).unwrap() == sp;
        read_heap(emulator);
        let run = emulator.get_data_mut();
        // A function that does not restore what its caller keeps did something else.
        run.seen.returned = returned && kept;
        run.seen.memory = run.digest(true);
        std::mem::take(&mut run.seen)
    }
}

fn read_heap(emulator: &mut Unicorn<'_, Run>) {
    let mut now = std::mem::take(&mut emulator.get_data_mut().now);
    emulator.mem_read(HEAP, &mut now).unwrap();
    emulator.get_data_mut().now = now;
}

/// Fills memory as `bzero` and `memset` do. That is a store and no call: a rewrite may
/// make others in its place.
fn fill(emulator: &mut Unicorn<'_, Run>, byte: u8, count: u64) {
    let [to, lr] =
        [RegisterARM64::X0, RegisterARM64::LR].map(|register| emulator.reg_read(register).unwrap());
    let bytes = vec![byte; usize::try_from(count).unwrap_or(HEAP_SIZE).min(HEAP_SIZE)];
    if emulator.mem_write(to, &bytes).is_err() {
        emulator.emu_stop().unwrap();
        return;
    }
    // What it leaves in registers is nothing that anyone may count on.
    for register in [RegisterARM64::X9, RegisterARM64::X16, RegisterARM64::X17] {
        emulator.reg_write(register, 0x5555_5555).unwrap();
    }
    emulator.reg_write(RegisterARM64::PC, lr).unwrap();
}

/// A call of another image: it is written down and returns something.
fn called(emulator: &mut Unicorn<'_, Run>, at: u64) {
    let arguments =
        [RegisterARM64::X1, RegisterARM64::X2].map(|register| emulator.reg_read(register).unwrap());
    match &*emulator.get_data().names[&at] {
        "_bzero" => return fill(emulator, 0, arguments[0]),
        "_memset" => return fill(emulator, arguments[0] as u8, arguments[1]),
        _ => {}
    }
    let [x0, x1, lr] = [RegisterARM64::X0, RegisterARM64::X1, RegisterARM64::LR]
        .map(|register| emulator.reg_read(register).unwrap());
    read_heap(emulator);
    let run = emulator.get_data_mut();
    let name = Rc::clone(&run.names[&at]);
    let digest = run.digest(false);
    run.seen.calls.push((Rc::clone(&name), x0, x1, digest));
    let result = match &*name {
        "_os_unfair_lock_trylock" => run.random.next() & 1,
        "_chance" => run.random.next() % 3,
        name if name.contains("objc_msgSend") || name.is_empty() => POOLS,
        _ => run.random.next(),
    };
    if name.starts_with("__Unwind_Resume") || &*name == "___stack_chk_fail" {
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
    for segment in image.segments().iter().filter(|s| s.initial_protection & WRITE == 0) {
        let size = (segment.range().end.0 - segment.address.0).next_multiple_of(0x4000);
        if segment.initial_protection != 0 && size > 0 {
            emulator.mem_protect(segment.address.0, size, Prot::READ | Prot::EXEC).unwrap();
        }
    }
    emulator.mem_map(STACK, STACK_SIZE, Prot::ALL).unwrap();
    emulator.mem_map(HEAP, HEAP_SIZE as u64, Prot::ALL).unwrap();
    emulator.mem_map(RETURN, 0x1000, Prot::READ | Prot::EXEC).unwrap();
}

/// Every way to a function of another image leads to an address of its own.
fn bind(emulator: &mut Unicorn<'_, Run>, image: &Image<'_>) -> BTreeMap<u64, Rc<str>> {
    let mut names: BTreeMap<u64, Rc<str>> = BTreeMap::new();
    let mut next = RETURN + 0x100;
    for pointer in image.pointers().unwrap() {
        let at = pointer.address.0;
        let data = pointer.name.contains("IVAR") || pointer.name.contains("chk_guard");
        let target = if data { POOLS + 0x7000 } else { next };
        emulator.mem_write(at, &target.to_le_bytes()).unwrap();
        names.insert(next, pointer.name.into());
        next += 4;
    }
    for stub in image.stubs().unwrap() {
        names.insert(stub.address.0, stub.name.into());
    }
    if let Some(section) = image.section("__TEXT", "__objc_stubs") {
        for at in (section.address.0..section.range().end.0).step_by(4) {
            names.insert(at, "".into());
        }
    }
    names
}

const REGISTERS: [RegisterARM64; 31] = {
    use RegisterARM64::*;
    [
        X0, X1, X2, X3, X4, X5, X6, X7, X8, X9, X10, X11, X12, X13, X14, X15, X16, X17, X18, X19,
        X20, X21, X22, X23, X24, X25, X26, X27, X28, X29, X30,
    ]
};
