//! An emulated CPU runs the method from its entry to its return.
//!
//! What the functions behind the stubs would do is reduced to a note of the call
//! and its argument.

use std::sync::{Arc, Mutex};

use agxpatch_simulate::driver::facts;
use unicorn_engine::{Arch, Mode, Prot, RegisterARM64, Unicorn};

use super::harness::{arm64e, driver};

const ENCODER: u64 = 0x1000_0000;
const DEVICE: u64 = 0x1001_0000;
const IMPL: u64 = 0x1002_0000;
const STACK: u64 = 0x1003_8000;
const RETURN: u64 = 0x2000_0000;
const LOCK: u64 = 0x6d_49d4;
/// Offsets that the driver's cells name.
const IMPL_AT: u64 = 0x1b8;
const POOL_AT: u64 = 0x2a40;

/// A call, its first argument, and `self->_impl` at that moment.
type Call = (u64, u64, u64);

struct Run {
    calls: Vec<Call>,
    field: u64,
    count: u32,
    slots: Vec<u64>,
    saved: Vec<u64>,
    stack: u64,
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

/// Runs the method with `count` blocks in the freelist; `rare` takes the blocks
/// behind the return.
fn run(name: &str, count: u32, imp: u64, rare: bool) -> Run {
    let file = driver(name);
    let (_, slice) = arm64e(&file);
    let mut cpu = Unicorn::new(Arch::ARM64, Mode::LITTLE_ENDIAN).unwrap();
    // The one model that knows pointer authentication.
    cpu.ctl_set_cpu_model(unicorn_engine::Arm64CpuModel::MAX as i32).unwrap();
    cpu.mem_map(0, 0x80_0000, Prot::ALL).unwrap();
    cpu.mem_write(0, &slice[..0x76_0000]).unwrap();
    cpu.mem_map(ENCODER, 0x4_0000, Prot::ALL).unwrap();
    cpu.mem_map(RETURN, 0x1000, Prot::ALL).unwrap();
    let pool = DEVICE + POOL_AT;
    let count_at = pool + u64::from(facts::SLOTS) + 64;
    cpu.mem_write(ENCODER + IMPL_AT, &imp.to_le_bytes()).unwrap();
    cpu.mem_write(ENCODER + 0x18, &DEVICE.to_le_bytes()).unwrap();
    cpu.mem_write(count_at, &count.to_le_bytes()).unwrap();
    cpu.mem_write(IMPL + 0x184, &[u8::from(rare); 16]).unwrap();
    let before: Vec<u64> = (0..10).map(|index| 0x1111_1111 * (index + 1)).collect();
    for (register, value) in SAVED.iter().zip(&before) {
        cpu.reg_write(*register, *value).unwrap();
    }
    cpu.reg_write(RegisterARM64::X0, ENCODER).unwrap();
    cpu.reg_write(RegisterARM64::SP, STACK).unwrap();
    cpu.reg_write(RegisterARM64::LR, RETURN).unwrap();
    let calls = Arc::new(Mutex::new(Vec::new()));
    let noted = calls.clone();
    // Every call goes to a stub, and returns at once.
    cpu.add_code_hook(0x6d_4554, 0x6d_5000, move |cpu, at, _| {
        let argument = cpu.reg_read(RegisterARM64::X0).unwrap();
        let field = number(cpu, ENCODER + IMPL_AT);
        noted.lock().unwrap().push((at, argument, field));
        let back = cpu.reg_read(RegisterARM64::LR).unwrap();
        cpu.set_pc(back).unwrap();
    })
    .unwrap();
    cpu.emu_start(facts::ENTRY.0, RETURN, 0, 10_000).unwrap();
    let calls = calls.lock().unwrap().clone();
    Run {
        calls,
        field: number(&cpu, ENCODER + IMPL_AT),
        count: number(&cpu, count_at) as u32,
        slots: (0..8).map(|i| number(&cpu, pool + u64::from(facts::SLOTS) + 8 * i)).collect(),
        saved: SAVED.iter().map(|register| cpu.reg_read(*register).unwrap()).collect(),
        stack: cpu.reg_read(RegisterARM64::SP).unwrap(),
    }
    .expect_the_saved(&before)
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

#[test]
fn a_freelist_with_room_takes_the_block_and_the_field_is_cleared_after_the_unlock() {
    for count in 0..8 {
        let run = run("published", count, IMPL, false);
        let lock = DEVICE + POOL_AT;
        assert_eq!(run.last(2), [(LOCK, lock, IMPL), (facts::UNLOCK_STUB.0, lock, IMPL)]);
        assert_eq!((run.field, run.count), (0, count + 1));
        assert_eq!(run.slots[count as usize], IMPL);
    }
}

#[test]
fn a_full_freelist_frees_the_block() {
    let run = run("published", 8, IMPL, false);
    let lock = DEVICE + POOL_AT;
    let free = facts::FREE_STUB.0;
    let expected = [(LOCK, lock, IMPL), (facts::UNLOCK_STUB.0, lock, IMPL), (free, IMPL, IMPL)];
    assert_eq!(run.last(3), expected);
    assert_eq!((run.field, run.count), (0, 8));
    assert_eq!(run.slots, [0; 8]);
}

#[test]
fn an_encoder_without_a_block_returns_without_a_call() {
    let run = run("published", 3, 0, false);
    assert_eq!(run.calls, []);
    assert_eq!((run.field, run.count), (0, 3));
}

#[test]
fn the_rare_cases_behind_the_return_come_back_to_the_method() {
    let plain = run("published", 3, IMPL, false);
    let rare = run("published", 3, IMPL, true);
    assert!(rare.calls.len() > plain.calls.len() + 10);
    assert_eq!(rare.last(2), plain.last(2));
    assert_eq!((rare.field, rare.count), (0, 4));
}

#[test]
fn the_corrected_method_clears_the_field_before_the_unlock() {
    for count in [3, 8] {
        let run = run("no-hit", count, IMPL, false);
        let unlock = run.calls.iter().find(|call| call.0 == facts::UNLOCK_STUB.0).unwrap();
        assert_eq!(unlock.2, 0);
    }
}

#[test]
fn the_published_rewrite_leaks_the_block_of_a_full_freelist() {
    let run = run("legacy-patched", 8, IMPL, false);
    assert!(run.calls.iter().all(|call| call.0 != facts::FREE_STUB.0));
    assert_eq!(run.last(1), [(facts::UNLOCK_STUB.0, DEVICE + POOL_AT, 0)]);
}

#[test]
fn two_hits_runs_either_of_them() {
    let run = run("two-hits", 2, IMPL, false);
    assert_eq!((run.field, run.count), (0, 3));
}
