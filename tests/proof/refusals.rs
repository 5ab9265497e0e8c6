//! Functions that cannot be judged: a refusal that names the place.

use agxpatch_core::address::{VmAddr, Word};
use agxpatch_core::arm64::semantics::{Footprint, decode};
use agxpatch_core::check::Status;
use agxpatch_core::error::{Code, Error};
use agxpatch_core::proof::Name;

use crate::fixture::{DEFAULT, Fixture, failures, index};

fn refusal(fixture: &Fixture) -> Error {
    fixture.prove(&fixture.rewritten(&DEFAULT)).unwrap_err()
}

fn names(error: &Error, key: &'static str, value: &str) -> bool {
    error.context().contains(&(key, value.to_owned()))
}

#[test]
fn a_word_without_a_known_meaning_is_named_with_its_address() {
    let mut fixture = Fixture::new();
    // add z0.b, z0.b, z0.b: scalable vectors are not known at all.
    fixture.before[index(VmAddr(0x2be1f0))] = Word(0x04200000);
    let error = refusal(&fixture);
    assert_eq!(error.code(), Code::NotUnderstood);
    assert!(names(&error, "address", "0x2be1f0") && names(&error, "word", "04200000"));
}

/// `fadd d0, d0, d1`, `ldxr x8, [x9]`, `ld1 {v0.16b}, [x8]`.
const BOUNDED: [u32; 3] = [0x1e612800, 0xc85f7d28, 0x4c407100];

#[test]
fn outside_of_the_window_an_instruction_is_understood_by_what_it_may_touch() {
    for word in BOUNDED {
        let mut fixture = Fixture::new();
        fixture.before[index(VmAddr(0x2bdf00))] = Word(word);
        let proof = fixture.prove(&fixture.rewritten(&DEFAULT)).unwrap();
        assert_eq!(failures(&proof), vec![], "{word:08x}");
    }
}

#[test]
fn inside_the_window_every_effect_has_to_be_worked_out() {
    for word in BOUNDED {
        let mut fixture = Fixture::new();
        fixture.before[index(VmAddr(0x2be060))] = Word(word);
        let error = refusal(&fixture);
        assert_eq!(error.code(), Code::NotUnderstood);
        assert!(names(&error, "address", "0x2be060"), "{word:08x}");
    }
}

#[test]
fn an_indirect_branch_that_cannot_be_resolved_is_named() {
    for line in ["br x8", "braa x8, x9"] {
        let mut fixture = Fixture::new();
        fixture.put(0x2bdf00, line);
        let error = refusal(&fixture);
        assert_eq!(error.code(), Code::UnresolvedBranch);
        assert!(names(&error, "address", "0x2bdf00"), "{line}");
    }
}

#[test]
fn a_loop_in_the_old_window_is_named() {
    let mut fixture = Fixture::new();
    fixture.put(0x2be068, "cbnz x8, #0x2be060");
    let error = refusal(&fixture);
    assert_eq!(error.code(), Code::LoopInWindow);
    assert!(names(&error, "address", "0x2be060"));
}

#[test]
fn a_function_that_runs_off_its_end_is_refused() {
    let mut fixture = Fixture::new();
    for at in [0x2be094, 0x2be0b0, 0x2be0b4] {
        fixture.put(at, "nop");
    }
    assert_eq!(refusal(&fixture).code(), Code::NotUnderstood);
}

#[test]
fn a_window_outside_the_function_is_refused() {
    let fixture = Fixture::new();
    let after = fixture.rewritten(&DEFAULT);
    for (start, end) in
        [(0x2bd000, 0x2be090), (0x2be05c, 0x2be400), (0x2be05e, 0x2be090), (0x2be090, 0x2be05c)]
    {
        let mut site = fixture.site(&after);
        (site.window_start, site.window_end) = (VmAddr(start), VmAddr(end));
        assert_eq!(agxpatch_core::proof::prove(&site).unwrap_err().code(), Code::NotUnderstood);
    }
    let mut site = fixture.site(&after);
    site.after = &after[..40];
    assert_eq!(agxpatch_core::proof::prove(&site).unwrap_err().code(), Code::NotUnderstood);
}

/// What follows `done`, and whether the block's register is dead there.
const AFTER_DONE: &[(&[(u64, &str)], bool)] = &[
    (&[], true),
    (&[(0x2be098, "mov x22, x20"), (0x2be094, "nop")], false),
    (&[(0x2be094, "nop")], false),
    (&[(0x2be090, "mov x0, x20")], false),
    (&[(0x2be090, "str x20, [sp]")], false),
    (&[(0x2be090, "cbz x20, #0x2be094")], false),
    (&[(0x2be090, "ldr x9, [x20, #8]")], false),
    (&[(0x2be090, "add x9, x20, #1")], false),
    (&[(0x2be090, "ldr x20, [sp, #0x80]")], true),
    (&[(0x2be090, "bl #0x6d4000")], true),
    (&[(0x2be090, "mov x0, x20"), (0x2be094, "mov x20, xzr")], false),
    (&[(0x2be0ac, "nop"), (0x2be0b0, "b #0x2a0000")], true),
    (&[(0x2be094, "nop"), (0x2be0b0, "b #0x2a0000")], false),
    (&[(0x2be094, "b.eq #0x2a0000")], false),
    (&[(0x2be090, "b.eq #0x2be0c0"), (0x2be0c0, "mov x1, x20")], false),
    (&[(0x2be090, "b.eq #0x2be0c0"), (0x2be0c0, "b #0x2be090")], true),
    (&[(0x2be090, "fmov d20, d1"), (0x2be098, "fadd d20, d20, d20")], true),
    (&[(0x2be090, "scvtf d0, x20")], false),
    (&[(0x2be090, "ldxr x9, [x20]")], false),
    (&[(0x2be090, "stxr w9, x20, [x8]")], false),
    // It is overwritten; that is not among the bounds, so it counts as alive.
    (&[(0x2be090, "fcvtzs x20, d0"), (0x2be094, "nop")], false),
];

#[test]
fn the_blocks_register_is_followed_to_every_return_and_tail_call() {
    for (lines, dead) in AFTER_DONE {
        let mut fixture = Fixture::new();
        for (at, line) in *lines {
            fixture.put(*at, line);
        }
        // A place off the way ends in a trap.
        for at in (0x2be0c4..0x2be0cc).step_by(4) {
            fixture.put(at, "brk #1");
        }
        let proof = fixture.prove(&fixture.rewritten(&DEFAULT)).unwrap();
        let expected = if *dead { vec![] } else { vec![Name::ClobberedDead] };
        assert_eq!(failures(&proof), expected, "{lines:?}");
    }
}

#[test]
fn the_first_read_of_a_register_that_should_be_dead_is_named() {
    let mut fixture = Fixture::new();
    fixture.put(0x2be090, "mov x0, x20");
    let proof = fixture.prove(&fixture.rewritten(&DEFAULT)).unwrap();
    let found = proof.obligations.iter().find(|o| o.name == Name::ClobberedDead).unwrap();
    assert_eq!((found.status, &*found.at), (Status::Fail, &[VmAddr(0x2be090)][..]));
    assert!(found.detail.contains("x20"), "{}", found.detail);
}

#[test]
fn no_word_makes_the_decoder_or_the_semantics_panic() {
    let mut word = 1_u32;
    for _ in 0..300_000 {
        word = word.wrapping_mul(1664525).wrapping_add(1013904223);
        let mixed = word.rotate_left(13) ^ word;
        if let Some(operation) = decode(Word(mixed), VmAddr(u64::MAX - 3)) {
            Footprint::of(&operation);
        }
    }
}

#[test]
fn a_refusal_says_what_the_rewrite_does_otherwise() {
    let fixture = Fixture::new();
    for (name, line, said) in [
        (Name::UnlockKept, (0x2be078, "mov x0, x25"), "gets another argument"),
        (Name::UnlockKept, (0x2be08c, "bl #0x6d49e4"), "a path unlocks 2 times and not 1"),
        (Name::ClearKept, (0x2be074, "nop"), "a path clears 0 times and not 1"),
    ] {
        let lines: Vec<(u64, &str)> = DEFAULT.into_iter().chain([line]).collect();
        let proof = fixture.prove(&fixture.rewritten(&lines)).unwrap();
        let found = proof.obligations.iter().find(|o| o.name == name).unwrap();
        assert!(found.detail.contains(said), "{line:?}: {}", found.detail);
    }
}
