//! Pointer authentication with the keys on: what the terms say of signing holds
//! for the emulator's.

use agxpatch_core::address::{VmAddr, Word};
use agxpatch_core::arm64::semantics::{
    Key, Modifier, Operation, Register, State, Terms, decode, execute,
};
use unicorn_engine::RegisterARM64;

use super::machine;
use super::random::Random;

const AT: u64 = 0x1_0000;

#[test]
fn a_signed_pointer_authenticates_with_the_same_key_and_modifier_only() {
    let mut emulator = machine::machine();
    machine::map(&mut emulator, AT, 0x1000);
    machine::authenticate_pointers(&mut emulator);
    let mut random = Random(3);
    // pacia/pacib/pacda/pacdb x3, x4; then autia/autib/autda/autdb x3, x4 or x5
    for key in 0..4_u32 {
        for (checked_by, modifier) in (0..4).flat_map(|by| [(by, 4), (by, 5)]) {
            let sign = 0xdac1_0000 | key << 10 | 4 << 5 | 3;
            let authenticate = 0xdac1_1000 | checked_by << 10 | modifier << 5 | 3;
            for (index, word) in [sign, authenticate].into_iter().enumerate() {
                emulator.mem_write(AT + index as u64 * 4, &word.to_le_bytes()).unwrap();
            }
            emulator.ctl_remove_cache(AT, AT + 8).unwrap();
            let pointer = random.next() & 0x0000_7fff_ffff_fff0;
            for (number, value) in [(3, pointer), (4, random.next()), (5, random.next())] {
                emulator.reg_write(machine::general(number), value).unwrap();
            }
            emulator.emu_start(AT, AT + 8, 0, 0).unwrap();
            let unchanged = emulator.reg_read(RegisterARM64::X3).unwrap() == pointer;

            let mut terms = Terms::new();
            let mut state = State::initial(&mut terms);
            for word in [sign, authenticate] {
                let operation = decode(Word(word), VmAddr(AT)).unwrap();
                execute(&mut terms, &mut state, &operation);
            }
            let x3 = Register::new(3);
            let restored = state.get(x3) == terms.register(x3);
            assert_eq!(restored, unchanged, "key {key}, by {checked_by} with x{modifier}");
            assert_eq!(restored, key == checked_by && modifier == 4);
        }
    }
}

#[test]
fn the_forms_that_name_no_register_sign_what_the_manual_says() {
    let lr = Register::LR;
    let (zero, stack) = (Modifier::Zero, Modifier::Register(Register::SP));
    let sixteen = Modifier::Register(Register::new(16));
    let (seventeen, a, b) = (Register::new(17), Key::IA, Key::IB);
    for (word, sign, key, register, modifier) in [
        (0xd503211f_u32, true, a, seventeen, sixteen),
        (0xd503215f, true, b, seventeen, sixteen),
        (0xd503219f, false, a, seventeen, sixteen),
        (0xd50321df, false, b, seventeen, sixteen),
        (0xd503231f, true, a, lr, zero),
        (0xd503233f, true, a, lr, stack),
        (0xd503235f, true, b, lr, zero),
        (0xd503237f, true, b, lr, stack),
        (0xd503239f, false, a, lr, zero),
        (0xd50323bf, false, a, lr, stack),
        (0xd50323df, false, b, lr, zero),
        (0xd50323ff, false, b, lr, stack),
    ] {
        let expected = if sign {
            Operation::Sign { key, register, modifier }
        } else {
            Operation::Authenticate { key, register, modifier }
        };
        assert_eq!(decode(Word(word), VmAddr(AT)), Some(expected), "{word:08x}");
    }
}
