//! An emulated CPU runs the method from its entry to its return.
//!
//! What the functions behind the stubs would do is reduced to a note of the call
//! and its argument.

use std::sync::{Arc, Mutex};

use agxpatch_core::driver_logic::{COMPUTE_POOL, DEVICE_FIELD, Freelist, PART_POOL};
use agxpatch_simulate::driver::facts;
use unicorn_engine::{Arch, Mode, Prot, RegisterARM64, Unicorn};

use super::harness::{arm64e, driver};

const ENCODER: u64 = 0x1000_0000;
const OBJC_DEVICE: u64 = 0x1000_8000;
const DEVICE: u64 = 0x1001_0000;
const IMPL: u64 = 0x1002_0000;
const QUEUE: u64 = 0x1002_8000;
const STACK: u64 = 0x1003_8000;
const RETURN: u64 = 0x2000_0000;
/// What follows the method.
const BLOCK_INVOKE: u64 = 0x2b_e0f4;
const LOCK: u64 = 0x6d_49d4;
/// The offset that the driver's cell names.
const IMPL_AT: u64 = 0x1b8;
/// Fields of the block that choose what its destructor does.
const SPILLS_AT: u64 = 0x184;
const PART_AT: u64 = 0x6a0;
const FENCES_AT: u64 = 0x700;

/// A call, its first argument, and `self->_impl` at that moment.
type Call = (u64, u64, u64);

/// The memory behind the encoder before the method runs.
struct Setting {
    block: u64,
    count: u32,
    /// Other words to write, by address.
    words: Vec<(u64, u64)>,
}

struct Run {
    calls: Vec<Call>,
    field: u64,
    count: u32,
    slots: Vec<u64>,
    part_count: u32,
    parts: Vec<u64>,
    saved: Vec<u64>,
    stack: u64,
}

/// Where the pool's lock lies.
fn lock(pool: Freelist) -> u64 {
    DEVICE + u64::from(pool.lock)
}

fn number(cpu: &Unicorn<'_, ()>, at: u64) -> u64 {
    let mut bytes = [0; 8];
    cpu.mem_read(at, &mut bytes).unwrap();
    u64::from_le_bytes(bytes)
}

const SAVED: [RegisterARM64; 10] = [
    RegisterARM64::X19,
    RegisterARM64::X20,
    RegisterARM64::X21,
    RegisterARM64::X22,
    RegisterARM64::X23,
    RegisterARM64::X24,
    RegisterARM64::X25,
    RegisterARM64::X26,
    RegisterARM64::X27,
    RegisterARM64::X28,
];

/// Runs the method of that variant.
fn run(name: &str, setting: &Setting) -> Run {
    let file = driver(name);
    let (_, slice) = arm64e(&file);
    let mut cpu = Unicorn::new(Arch::ARM64, Mode::LITTLE_ENDIAN).unwrap();
    // The one model that knows pointer authentication.
    cpu.ctl_set_cpu_model(unicorn_engine::Arm64CpuModel::MAX as i32).unwrap();
    cpu.mem_map(0, 0x80_0000, Prot::ALL).unwrap();
    cpu.mem_write(0, &slice[..0x76_0000]).unwrap();
    cpu.mem_map(ENCODER, 0x4_0000, Prot::ALL).unwrap();
    cpu.mem_map(RETURN, 0x1000, Prot::ALL).unwrap();
    let words = [
        (ENCODER + IMPL_AT, setting.block),
        (OBJC_DEVICE + u64::from(DEVICE_FIELD), DEVICE),
        (DEVICE + u64::from(COMPUTE_POOL.count), setting.count.into()),
        (DEVICE + 0x2f8, QUEUE),
    ];
    for (at, value) in words.iter().chain(&setting.words) {
        cpu.mem_write(*at, &value.to_le_bytes()).unwrap();
    }
    let before: Vec<u64> = (0..10).map(|index| 0x1111_1111 * (index + 1)).collect();
    for (register, value) in SAVED.iter().zip(&before) {
        cpu.reg_write(*register, *value).unwrap();
    }
    cpu.reg_write(RegisterARM64::X0, ENCODER).unwrap();
    cpu.reg_write(RegisterARM64::SP, STACK).unwrap();
    cpu.reg_write(RegisterARM64::LR, RETURN).unwrap();
    let calls = Arc::new(Mutex::new(Vec::new()));
    let noted = calls.clone();
    // Whatever is called returns at once.
    cpu.add_code_hook(0, 0x80_0000, move |cpu, at, _| {
        if (facts::ENTRY.0..BLOCK_INVOKE).contains(&at) {
            return;
        }
        let argument = cpu.reg_read(RegisterARM64::X0).unwrap();
        let field = number(cpu, ENCODER + IMPL_AT);
        noted.lock().unwrap().push((at, argument, field));
        cpu.reg_write(RegisterARM64::X0, if argument == ENCODER { OBJC_DEVICE } else { 0 })
            .unwrap();
        let back = cpu.reg_read(RegisterARM64::LR).unwrap();
        cpu.set_pc(back).unwrap();
    })
    .unwrap();
    cpu.emu_start(facts::ENTRY.0, RETURN, 0, 10_000).unwrap();
    let calls = calls.lock().unwrap().clone();
    let count = |pool: Freelist| number(&cpu, DEVICE + u64::from(pool.count)) as u32;
    let slots = |pool: Freelist| -> Vec<u64> {
        let first = DEVICE + u64::from(pool.slots);
        (0..u64::from(pool.capacity)).map(|index| number(&cpu, first + 8 * index)).collect()
    };
    Run {
        calls,
        field: number(&cpu, ENCODER + IMPL_AT),
        count: count(COMPUTE_POOL),
        slots: slots(COMPUTE_POOL),
        part_count: count(PART_POOL),
        parts: slots(PART_POOL),
        saved: SAVED.iter().map(|register| cpu.reg_read(*register).unwrap()).collect(),
        stack: cpu.reg_read(RegisterARM64::SP).unwrap(),
    }
    .expect_the_saved(&before)
}

/// Runs the method with `count` blocks in the freelist and nothing unusual in the
/// block.
fn run_plain(name: &str, count: u32) -> Run {
    run(name, &Setting { block: IMPL, count, words: Vec::new() })
}

/// Runs the published method with these words in the block.
fn run_with(words: &[(u64, u64)]) -> Run {
    run("published", &Setting { block: IMPL, count: 3, words: words.to_vec() })
}

impl Run {
    fn expect_the_saved(self, before: &[u64]) -> Run {
        assert_eq!(self.saved, before);
        assert_eq!(self.stack, STACK);
        self
    }

    fn last(&self, count: usize) -> &[Call] {
        &self.calls[self.calls.len() - count..]
    }
}

/// Lock, unlock, of the compute pool, with the block still in the field.
fn locked_and_unlocked() -> [Call; 2] {
    let lock = lock(COMPUTE_POOL);
    [(LOCK, lock, IMPL), (facts::UNLOCK_STUB.0, lock, IMPL)]
}

#[test]
fn a_freelist_with_room_takes_the_block_and_the_field_is_cleared_after_the_unlock() {
    for count in 0..8 {
        let run = run_plain("published", count);
        assert_eq!(run.last(2), locked_and_unlocked());
        assert_eq!((run.field, run.count), (0, count + 1));
        assert_eq!(run.slots[count as usize], IMPL);
    }
}

#[test]
fn a_full_freelist_frees_the_block() {
    let run = run_plain("published", 8);
    let [locked, unlocked] = locked_and_unlocked();
    assert_eq!(run.last(3), [locked, unlocked, (facts::FREE_STUB.0, IMPL, IMPL)]);
    assert_eq!((run.field, run.count), (0, 8));
    assert_eq!(run.slots, [0; 8]);
}

#[test]
fn an_encoder_without_a_block_returns_without_a_call() {
    let run = run("published", &Setting { block: 0, count: 3, words: Vec::new() });
    assert_eq!(run.calls, []);
    assert_eq!((run.field, run.count), (0, 3));
}

#[test]
fn a_part_of_the_block_goes_to_the_second_freelist_under_its_own_lock() {
    for (count, kept) in [(0, true), (15, true), (16, false)] {
        let count_at = DEVICE + u64::from(PART_POOL.count);
        let run = run_with(&[(IMPL + PART_AT, QUEUE), (count_at, count)]);
        let lock = lock(PART_POOL);
        assert!(run.calls.contains(&(LOCK, lock, IMPL)));
        assert!(run.calls.contains(&(facts::UNLOCK_STUB.0, lock, IMPL)));
        assert_eq!(run.calls.contains(&(facts::FREE_STUB.0, QUEUE, IMPL)), !kept);
        assert_eq!(u64::from(run.part_count), count + u64::from(kept));
        assert_eq!(run.parts.contains(&QUEUE), kept);
        assert_eq!((run.last(2), run.count), (&locked_and_unlocked()[..], 4));
    }
}

#[test]
fn each_fence_of_the_masks_runs_a_block_on_the_queue() {
    let masks = [(IMPL + FENCES_AT, 0b1010_0001), (IMPL + FENCES_AT + 24, 1 << 63)];
    let run = run_with(&masks);
    assert_eq!(run.calls.iter().filter(|call| call.1 == QUEUE).count(), 4);
    assert_eq!((run.last(2), run.field), (&locked_and_unlocked()[..], 0));
}

#[test]
fn the_rare_cases_behind_the_return_come_back_to_the_method() {
    let plain = run_plain("published", 3);
    let rare = run_with(&[(IMPL + SPILLS_AT, 0x1_0000_0001)]);
    assert!(rare.calls.len() > plain.calls.len() + 3);
    assert_eq!(rare.last(2), plain.last(2));
    assert_eq!((rare.field, rare.count), (0, 4));
}

#[test]
fn the_corrected_method_clears_the_field_before_the_unlock() {
    for count in [3, 8] {
        let run = run_plain("no-hit", count);
        let unlock = run.calls.iter().find(|call| call.0 == facts::UNLOCK_STUB.0).unwrap();
        assert_eq!(unlock.2, 0);
    }
}

#[test]
fn the_published_rewrite_leaks_the_block_of_a_full_freelist() {
    let run = run_plain("legacy-patched", 8);
    assert!(run.calls.iter().all(|call| call.0 != facts::FREE_STUB.0));
    assert_eq!(run.last(1), [(facts::UNLOCK_STUB.0, lock(COMPUTE_POOL), 0)]);
}

#[test]
fn two_hits_runs_either_of_them() {
    let run = run_plain("two-hits", 2);
    assert_eq!((run.field, run.count), (0, 3));
}
