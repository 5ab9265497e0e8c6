//! Whole functions before and after, side by side, from random states.
//!
//! Calls go to stubs that note their argument and leave garbage in every
//! register a callee may change, another for each run, so that nothing can agree
//! by resting on it. Return addresses are signed and authenticated for real.

use agxpatch_core::address::Word;
use unicorn_engine::RegisterARM64;

use super::evaluate::World;
use super::machine::{self, Machine};
use super::random::Random;
use crate::fixture::{DEFAULT, ENTRY, FREE, Fixture, LEGACY, LOCK, UNLOCK};

const IMAGE: u64 = 0x2b0000;
const STUBS: u64 = 0x6d4000;
const CELLS: u64 = 0x758000;
const SELF: u64 = 0x1_0000_0000;
const POOL: u64 = 0x1_0010_0000;
const STACK: u64 = 0x1_0020_0000;
const RETURN: u64 = 0x1_0030_0000;
const IVAR: u64 = 0x88;
const LOCK_OFFSET: u64 = 0x1a40;
const COUNT: u64 = POOL + 0x1a60;
const STATES: usize = 10_000;
const OBJECT_SIZE: usize = 0x100;
const POOL_SIZE: usize = 0x1b00;

/// Something a run did that others can see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    Store { at: u64, size: usize, value: u64 },
    Call { target: u64, argument: u64 },
}

/// The ways through the function, by what the state must be like.
#[derive(Clone, Copy, Debug)]
struct Way {
    full: bool,
    null: bool,
}

const WAYS: [Way; 4] = [
    Way { full: false, null: false },
    Way { full: false, null: true },
    Way { full: true, null: false },
    Way { full: true, null: true },
];

/// What a run leaves.
#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    seen: Vec<Seen>,
    memory: Vec<u8>,
    /// `x19`..`x29`, `sp`, and the lower halves of `v8`..`v15`.
    kept: Vec<u64>,
}

#[test]
fn the_default_rewrite_agrees_with_the_original_on_ten_thousand_states_a_path() {
    let fixture = Fixture::new();
    agree(&fixture, &[fixture.rewritten(&DEFAULT)], STATES);
}

#[test]
fn the_emulator_catches_the_legacy_rewrite_losing_a_block() {
    let fixture = Fixture::new();
    let mut pair = Pair::new(&fixture);
    pair.rewrite(&fixture.rewritten(&LEGACY));
    let mut random = Random(5);
    for way in WAYS {
        let difference = (0..50).filter(|_| pair.difference(way, &mut random).is_some()).count();
        let leaks = way.full && !way.null;
        assert_eq!(difference, if leaks { 50 } else { 0 }, "{way:?}");
    }
}

/// Runs each rewrite beside the original, from so many states a path.
pub fn agree(fixture: &Fixture, rewrites: &[Vec<Word>], states: usize) {
    let mut pair = Pair::new(fixture);
    let mut random = Random(4);
    for rewrite in rewrites {
        pair.rewrite(rewrite);
        for way in WAYS {
            for _ in 0..states {
                let difference = pair.difference(way, &mut random);
                assert!(difference.is_none(), "{way:?}: {}", difference.unwrap_or_default());
            }
        }
    }
}

struct Pair {
    old: Machine,
    new: Machine,
}

impl Pair {
    fn new(fixture: &Fixture) -> Pair {
        let mut old = prepared();
        put(&mut old, &fixture.before);
        Pair { old, new: prepared() }
    }

    fn rewrite(&mut self, words: &[Word]) {
        put(&mut self.new, words);
    }

    /// How old and new differ from one random state, beyond what is permitted.
    fn difference(&mut self, way: Way, random: &mut Random) -> Option<String> {
        let state = random.next();
        let old = run(&mut self.old, way, &mut Random(state), random.next());
        let new = run(&mut self.new, way, &mut Random(state), random.next());
        let (old_clear, new_clear) = (clears(&old.seen), clears(&new.seen));
        let unlock = |seen: &[Seen]| seen.iter().position(|seen| is_call(seen, UNLOCK.0));
        let early = new_clear.first() < unlock(&new.seen).as_ref();
        let same = plain(&old.seen) == plain(&new.seen)
            && old.memory == new.memory
            && old.kept == new.kept
            && old_clear.len() == 1
            && new_clear.len() == 1;
        (!same || !early).then(|| format!("{:#x?}\n{:#x?}", old.seen, new.seen))
    }
}

fn is_call(seen: &Seen, to: u64) -> bool {
    matches!(seen, Seen::Call { target, .. } if *target == to)
}

fn clears(seen: &[Seen]) -> Vec<usize> {
    let clear = Seen::Store { at: SELF + IVAR, size: 8, value: 0 };
    (0..seen.len()).filter(|&index| seen[index] == clear).collect()
}

/// Without the clear and without `free(NULL)`, which may differ.
fn plain(seen: &[Seen]) -> Vec<&Seen> {
    let null = Seen::Call { target: FREE.0, argument: 0 };
    let clear = Seen::Store { at: SELF + IVAR, size: 8, value: 0 };
    seen.iter().filter(|seen| **seen != null && **seen != clear).collect()
}

fn prepared() -> Machine {
    let mut machine = machine::machine();
    for (at, size) in [
        (IMAGE, 0x20000),
        (STUBS, 0x1000),
        (CELLS, 0x1000),
        (SELF, 0x1000),
        (POOL, 0x3000),
        (STACK, 0x4000),
        (RETURN, 0x1000),
    ] {
        machine::map(&mut machine, at, size);
    }
    for (cell, value) in [(0x300, IVAR), (0x2f8, 0x40), (0x310, LOCK_OFFSET)] {
        machine.mem_write(CELLS + cell, &(value as u32).to_le_bytes()).unwrap();
    }
    for stub in [LOCK, UNLOCK, FREE] {
        machine.mem_write(stub.0, &0xd65f_03c0_u32.to_le_bytes()).unwrap();
        machine.add_code_hook(stub.0, stub.0, called).unwrap();
    }
    machine::note_writes(&mut machine);
    machine::authenticate_pointers(&mut machine);
    machine
}

/// Notes the call and spoils what a callee may spoil.
fn called(machine: &mut unicorn_engine::Unicorn<'_, machine::Notes>, target: u64, _: u32) {
    let argument = machine.reg_read(RegisterARM64::X0).unwrap();
    machine.get_data_mut().seen.push(Seen::Call { target, argument });
    let mut garbage = Random(machine.get_data().garbage);
    for number in 0..=18 {
        machine.reg_write(machine::general(number), garbage.next()).unwrap();
    }
    machine.reg_write(RegisterARM64::NZCV, garbage.next() & 0xf000_0000).unwrap();
    machine.get_data_mut().garbage = garbage.next();
}

fn put(machine: &mut Machine, words: &[Word]) {
    let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_bytes()).collect();
    machine.mem_write(ENTRY.0, &bytes).unwrap();
    machine.ctl_remove_cache(ENTRY.0, ENTRY.0 + bytes.len() as u64).unwrap();
}

fn run(machine: &mut Machine, way: Way, random: &mut Random, garbage: u64) -> Outcome {
    let mut world = World::default();
    for number in 0..32 {
        world.x[number] = random.value();
        world.v[number] = (random.next(), random.next());
    }
    world.nzcv = (random.next() % 16) as u8;
    world.x[0] = SELF;
    world.x[30] = RETURN;
    world.x[31] = STACK + 0x3000 - random.next() % 64 * 16;
    let mut noise =
        |size: usize| (0..size / 8).flat_map(|_| random.next().to_le_bytes()).collect::<Vec<u8>>();
    let (object, pool) = (noise(OBJECT_SIZE), noise(POOL_SIZE));
    machine.mem_write(SELF, &object).unwrap();
    machine.mem_write(POOL, &pool).unwrap();
    let block = if way.null { 0 } else { random.next() | 1 << (random.next() % 64) };
    machine.mem_write(SELF + IVAR, &block.to_le_bytes()).unwrap();
    machine.mem_write(SELF + 0x40, &POOL.to_le_bytes()).unwrap();
    let count = if way.full { 8 + (random.next() as u32 >> 1) } else { (random.next() % 8) as u32 };
    machine.mem_write(COUNT, &count.to_le_bytes()).unwrap();
    machine::load_world(machine, &world);
    let notes = machine.get_data_mut();
    notes.written.clear();
    notes.seen.clear();
    notes.garbage = garbage;
    machine.emu_start(ENTRY.0, RETURN, 0, 0).unwrap();
    assert_eq!(machine.reg_read(RegisterARM64::PC).unwrap(), RETURN);

    let after = machine::read_world(machine);
    let mut memory = machine.mem_read_as_vec(SELF, OBJECT_SIZE).unwrap();
    memory.extend(machine.mem_read_as_vec(POOL, POOL_SIZE).unwrap());
    let kept = (19..30).chain([31]).map(|n| after.x[n]).chain((8..16).map(|n| after.v[n].0));
    // The saved, signed link register is written to the stack as well.
    let on_stack =
        |seen: &Seen| matches!(seen, Seen::Store { at, .. } if (STACK..RETURN).contains(at));
    let seen = machine.get_data().seen.iter().filter(|seen| !on_stack(seen)).cloned().collect();
    Outcome { seen, memory, kept: kept.collect() }
}
