//! Unicorn with a core that has pointer authentication and atomics.

use std::collections::BTreeSet;

use unicorn_engine::{
    Arch, Arm64CpuModel, HookType, Mode, Prot, RegisterARM64, RegisterARM64CP, Unicorn,
};

use super::evaluate::World;

/// What hooks note down.
#[derive(Default)]
pub struct Notes {
    pub written: BTreeSet<u64>,
    pub seen: Vec<super::functions::Seen>,
    pub garbage: u64,
}

pub type Machine = Unicorn<'static, Notes>;

pub fn machine() -> Machine {
    let mut machine =
        Unicorn::new_with_data(Arch::ARM64, Mode::LITTLE_ENDIAN, Notes::default()).unwrap();
    machine.ctl_set_cpu_model(Arm64CpuModel::MAX as i32).unwrap();
    machine
}

pub fn map(machine: &mut Machine, at: u64, size: u64) {
    machine.mem_map(at, size, Prot::ALL).unwrap();
}

pub fn note_writes(machine: &mut Machine) {
    machine
        .add_mem_hook(HookType::MEM_WRITE, 0, u64::MAX, |machine, _, at, size, value| {
            let notes = machine.get_data_mut();
            notes.written.extend((0..size as u64).map(|n| at + n));
            let value = value as u64 & u64::MAX >> (64 - 8 * size.min(8));
            notes.seen.push(super::functions::Seen::Store { at, size, value });
            true
        })
        .unwrap();
}

pub fn general(number: usize) -> RegisterARM64 {
    const LOW: [RegisterARM64; 29] = {
        use RegisterARM64::*;
        [
            X0, X1, X2, X3, X4, X5, X6, X7, X8, X9, X10, X11, X12, X13, X14, X15, X16, X17, X18,
            X19, X20, X21, X22, X23, X24, X25, X26, X27, X28,
        ]
    };
    const ABOVE: [RegisterARM64; 3] = [RegisterARM64::X29, RegisterARM64::X30, RegisterARM64::SP];
    match number {
        0..=28 => LOW[number],
        _ => ABOVE[number - 29],
    }
}

/// Vector registers are consecutive in Unicorn's numbering.
pub fn vector(number: usize) -> i32 {
    RegisterARM64::V0 as i32 + number as i32
}

pub fn double(number: usize) -> i32 {
    RegisterARM64::D0 as i32 + number as i32
}

pub fn load_world(machine: &mut Machine, world: &World) {
    for number in 0..32 {
        machine.reg_write(general(number), world.x[number]).unwrap();
        let (low, high) = world.v[number];
        let bytes = (u128::from(high) << 64 | u128::from(low)).to_le_bytes();
        machine.reg_write_long(vector(number), &bytes).unwrap();
    }
    machine.reg_write(RegisterARM64::NZCV, u64::from(world.nzcv) << 28).unwrap();
}

/// Everything but the upper halves of the vector registers, for which the
/// binding has no safe read on this architecture alone.
pub fn read_world(machine: &Machine) -> World {
    let mut world = World::default();
    for number in 0..32 {
        world.x[number] = machine.reg_read(general(number)).unwrap();
        world.v[number].0 = machine.reg_read(double(number)).unwrap();
    }
    world.nzcv = (machine.reg_read(RegisterARM64::NZCV).unwrap() >> 28) as u8;
    world
}

/// Sets bits of a system register, all of it if `keep` is false.
fn system(
    machine: &mut Machine,
    (op1, crn, crm, op2): (u32, u32, u32, u32),
    keep: bool,
    bits: u64,
) {
    let mut register = RegisterARM64CP { crn, crm, op0: 3, op1, op2, val: 0 };
    if keep {
        machine.reg_read_arm64_coproc(&mut register).unwrap();
    }
    register.val |= bits;
    machine.reg_write_arm64_coproc(&register).unwrap();
}

/// Turns on all four keys of pointer authentication, with keys of their own.
pub fn authenticate_pointers(machine: &mut Machine) {
    for (crm, op2) in [(1, 0), (1, 1), (1, 2), (1, 3), (2, 0), (2, 1), (2, 2), (2, 3)] {
        let key = 0x0123_4567_89ab_cdef_u64.rotate_left(8 * crm + 16 * op2);
        system(machine, (0, 2, crm, op2), false, key);
    }
    // HCR_EL2 and SCR_EL3: API, APK, so that nothing traps to a level above;
    // and NS and RW, as HCR_EL2 counts below a non-secure 64-bit level only.
    system(machine, (4, 1, 1, 0), true, 1 << 41 | 1 << 40 | 1 << 31);
    system(machine, (6, 1, 1, 0), true, 1 << 17 | 1 << 16 | 1 << 10 | 1);
    // SCTLR_EL1: EnIA, EnIB, EnDA, EnDB
    system(machine, (0, 1, 0, 0), true, 1 << 31 | 1 << 30 | 1 << 27 | 1 << 13);
}
