//! Threads, one after the other: a thread that is made runs to its end before its
//! maker goes on. That is an order a machine with one processor may choose, and
//! the only one here; a thread that waits for its maker would wait for ever, and
//! ends the run.

use anyhow::{Context, Result, anyhow};
use unicorn_engine::{RegisterARM64 as R, Unicorn};

use crate::emulate::{Cpu, THREADS, memory};

use super::System;

/// What a maker goes on with.
pub struct Maker {
    registers: Vec<u64>,
    locals_at: u64,
    keys: std::collections::BTreeMap<u64, u64>,
}

/// The code at [`THREADS`]: calls the thread's function, then this import.
pub const ENDED: &str = "the end of a thread";
const STACK_SIZE: u64 = 4 << 20;

/// What a call may change nothing of but what it returns.
fn registers() -> impl Iterator<Item = R> {
    const ALL: [R; 33] = [
        R::X0,
        R::X1,
        R::X2,
        R::X3,
        R::X4,
        R::X5,
        R::X6,
        R::X7,
        R::X8,
        R::X9,
        R::X10,
        R::X11,
        R::X12,
        R::X13,
        R::X14,
        R::X15,
        R::X16,
        R::X17,
        R::X18,
        R::X19,
        R::X20,
        R::X21,
        R::X22,
        R::X23,
        R::X24,
        R::X25,
        R::X26,
        R::X27,
        R::X28,
        R::X29,
        R::LR,
        R::SP,
        R::NZCV,
    ];
    const FLOATS: [R; 8] = [R::D8, R::D9, R::D10, R::D11, R::D12, R::D13, R::D14, R::D15];
    ALL.into_iter().chain(FLOATS)
}

fn failed(error: unicorn_engine::uc_error) -> anyhow::Error {
    anyhow!("{error:?}")
}

/// `pthread_create`: begins the thread. The import it comes from returns, and so
/// is made to return to the thread.
pub fn begin(cpu: &mut Cpu<'_>, thread: u64, function: u64, argument: u64) -> Result<()> {
    let saved: Result<Vec<u64>, _> = registers().map(|one| cpu.reg_read(one)).collect();
    let stack = memory::allocate(cpu, STACK_SIZE, 0x4000)? + STACK_SIZE - 0x100;
    let system = cpu.get_data_mut();
    system.threads += 1;
    let maker = Maker {
        registers: saved.map_err(failed)?,
        locals_at: std::mem::take(&mut system.locals_at),
        keys: system.keys.clone(),
    };
    system.keys.values_mut().for_each(|value| *value = 0);
    let number = system.threads;
    system.makers.push(maker);
    memory::put(cpu, thread, &number.to_le_bytes())?;
    let set = [(R::X9, function), (R::X0, argument), (R::SP, stack), (R::X29, 0), (R::LR, THREADS)];
    set.into_iter().try_for_each(|(one, value)| cpu.reg_write(one, value)).map_err(failed)
}

/// The thread is done, and its maker goes on as if the call that made it returned.
pub fn end(cpu: &mut Unicorn<'_, System>) -> Result<()> {
    let system = cpu.get_data_mut();
    let maker = system.makers.pop().context("a thread ended that was never started")?;
    system.locals_at = maker.locals_at;
    let made_since = system.keys.keys().filter(|key| !maker.keys.contains_key(key));
    let made_since: Vec<u64> = made_since.copied().collect();
    system.keys = maker.keys;
    system.keys.extend(made_since.into_iter().map(|key| (key, 0)));
    for (one, value) in registers().zip(maker.registers) {
        cpu.reg_write(one, value).map_err(failed)?;
    }
    Ok(())
}
