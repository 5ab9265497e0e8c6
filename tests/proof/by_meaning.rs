//! Rewrites judged without a signature: right ones of several kinds, and what makes
//! each of them wrong.

use std::collections::BTreeSet;

use agxpatch_core::address::{VmAddr, Word};
use agxpatch_core::check::Status;
use agxpatch_core::proof::Name;
use agxpatch_core::proof::rewrite::{Permission, Piece, Refinement};

use crate::fixture::{DEFAULT, Fixture, LEGACY, assemble, index};

fn failed(found: &Refinement) -> Vec<Name> {
    let failed = found.obligations.iter().filter(|found| found.status == Status::Fail);
    failed.map(|found| found.name).collect()
}

fn permissions(found: &Refinement) -> Vec<Permission> {
    found.permissions.iter().copied().collect()
}

/// The clear directly after the lock was taken, what follows moved by one word.
const AFTER_LOCK: [&str; 16] = [
    "str xzr, [x19, x24]",
    "ldr w8, [x25, #0x1a60]",
    "and x8, x8, #0xffffffff",
    "cmp w8, #7",
    "b.hi #0x2be080",
    "add w10, w8, #1",
    "str w10, [x25, #0x1a60]",
    "add x9, x25, x8, lsl #3",
    "str x20, [x9, #0x1a68]",
    "add x0, x25, x21",
    "bl #0x6d49e4",
    "b #0x2be090",
    "add x0, x25, x21",
    "bl #0x6d49e4",
    "mov x0, x20",
    "bl #0x6d46c4",
];

/// The function with lines from an address on.
fn with_lines(words: &[Word], at: u64, lines: &[&str]) -> Vec<Word> {
    let mut words = words.to_vec();
    let lines = assemble(lines, VmAddr(at));
    words[index(VmAddr(at))..][..lines.len()].copy_from_slice(&lines);
    words
}

fn after_lock(fixture: &Fixture) -> Vec<Word> {
    with_lines(&fixture.before, 0x2be050, &AFTER_LOCK)
}

/// Both unlocks by way of a clear in padding.
fn through_padding(fixture: &Fixture) -> (Vec<Word>, Piece) {
    let at = VmAddr(0x2d0000);
    let words = assemble(&["str xzr, [x19, x24]", "b #0x6d49e4"], at);
    let lines = [(0x2be074, "bl #0x2d0000"), (0x2be080, "bl #0x2d0000"), (0x2be08c, "nop")];
    (fixture.rewritten(&lines), Piece { at, words })
}

#[test]
fn the_catalogues_rewrites_are_judged_as_the_signature_judges_them() {
    let fixture = Fixture::new();
    let found = fixture.refine(&fixture.rewritten(&DEFAULT), &[]).unwrap();
    assert_eq!(failed(&found), [], "{:#?}", found.obligations);
    assert_eq!(permissions(&found), [Permission::ClearsEarlier, Permission::SkipsNullFree]);
    let found = fixture.refine(&fixture.rewritten(&LEGACY), &[]).unwrap();
    assert_eq!(failed(&found), [Name::FreeKept], "{:#?}", found.obligations);
}

#[test]
fn the_function_itself_is_a_strict_refinement() {
    let fixture = Fixture::new();
    // Sums commute, and a register that is not read may hold anything.
    for line in [(0x2be070, "add x0, x21, x25"), (0x2be084, "add x0, x20, #0")] {
        let found = fixture.refine(&fixture.rewritten(&[line]), &[]).unwrap();
        assert_eq!((failed(&found), permissions(&found)), (vec![], vec![]), "{line:?}");
    }
}

#[test]
fn a_clear_directly_after_the_lock_is_proven() {
    let mut fixture = Fixture::new();
    let found = fixture.refine(&after_lock(&fixture), &[]).unwrap();
    assert_eq!(failed(&found), [], "{:#?}", found.obligations);
    assert_eq!(permissions(&found), [Permission::ClearsEarlier]);
    // With the entry of a thread without a block, which finds the branch to free.
    for (at, line) in [(0x2be03c, "bl #0x6d4000"), (0x2be040, "ldr x20, [x19, x24]")] {
        fixture.put(at, line);
    }
    fixture.put(0x2be044, "cbz x20, #0x2be08c");
    let wrong = fixture.refine(&after_lock(&fixture), &[]).unwrap();
    assert!(!wrong.holds());
    let right = with_lines(&after_lock(&fixture), 0x2be044, &["cbz x20, #0x2be090"]);
    let found = fixture.refine(&right, &[]).unwrap();
    assert_eq!(failed(&found), [], "{:#?}", found.obligations);
    let used = [Permission::ClearsEarlier, Permission::SkipsNullClear];
    assert_eq!(found.permissions, BTreeSet::from(used));
}

#[test]
fn a_clear_in_padding_is_proven() {
    let fixture = Fixture::new();
    let (after, piece) = through_padding(&fixture);
    let found = fixture.refine(&after, &[piece]).unwrap();
    assert_eq!(failed(&found), [], "{:#?}", found.obligations);
    assert_eq!(permissions(&found), [Permission::ClearsEarlier]);
}

#[test]
fn code_in_padding_that_does_something_else_is_refused() {
    let fixture = Fixture::new();
    let (after, piece) = through_padding(&fixture);
    for lines in [
        ["nop", "b #0x6d49e4"],
        ["str xzr, [x19, x24]", "b #0x6d46c4"],
        ["str xzr, [x19, x24]", "ret"],
        ["str xzr, [x19, x22]", "b #0x6d49e4"],
        ["str x20, [x19, x24]", "b #0x6d49e4"],
        ["str xzr, [x19, x24]", "b #0x2be090"],
        ["sub sp, sp, #16", "b #0x6d49e4"],
        ["mov x19, #0", "b #0x6d49e4"],
        ["mov x0, #0", "b #0x6d49e4"],
        ["str xzr, [x25, x24]", "b #0x6d49e4"],
        ["b #0x2d0000", "b #0x6d49e4"],
    ] {
        let words = assemble(&lines, piece.at);
        let found = fixture.refine(&after, &[Piece { at: piece.at, words }]);
        assert!(found.is_err() || !found.unwrap().holds(), "{lines:?}");
    }
}

/// Other ways to write the function, all of which the same clear serves.
const SHAPES: &[&[(u64, &str)]] = &[
    // Conditions.
    &[(0x2be05c, "b.hs #0x2be07c")],
    &[(0x2be05c, "b.eq #0x2be07c")],
    &[(0x2be05c, "cbz w8, #0x2be07c")],
    &[(0x2be05c, "tbnz w8, #3, #0x2be07c")],
    // The lock by a constant.
    &[(0x2be040, "mov x21, #0x1a64")],
    &[(0x2be070, "add x0, x25, #0x10"), (0x2be07c, "add x0, x25, #0x10")],
    // Pushes.
    &[(0x2be06c, "str x20, [x9]")],
    &[(0x2be06c, "str x20, [x9, x8, lsl #3]")],
    &[(0x2be06c, "stp x20, xzr, [x9, #0x10]")],
    // A linked list: the block's first field is the next, the head is the pool's.
    &[
        (0x2be064, "ldr x10, [x25, #0x1a60]"),
        (0x2be068, "str x10, [x20]"),
        (0x2be06c, "str x20, [x25, #0x1a60]"),
    ],
    // Under the lock nothing else is read of the encoder.
    &[(0x2be068, "ldr x9, [x25, #0x1a70]")],
];

/// The words of `AFTER_LOCK` for a function of another shape: what was there, one
/// word on, its branches to the same places.
fn moved(fixture: &Fixture) -> Vec<Word> {
    let mut after = after_lock(fixture);
    let (from, to) = (index(VmAddr(0x2be050)), index(VmAddr(0x2be08c)));
    for place in from..to {
        let old = fixture.before[place];
        let is_direct = old.0 & 0x7c00_0000 == 0x1400_0000;
        let condition = place == index(VmAddr(0x2be05c));
        after[place + 1] = match (is_direct, condition) {
            // The branches of the published shape are in the template; the first
            // one keeps its distance, for its target moves with it.
            (true, _) => after[place + 1],
            (false, _) => old,
        };
    }
    after
}

#[test]
fn the_same_clear_is_proven_in_other_shapes() {
    for shape in SHAPES {
        let mut fixture = Fixture::new();
        for (at, line) in *shape {
            fixture.put(*at, line);
        }
        let found = fixture.refine(&moved(&fixture), &[]).unwrap();
        assert_eq!(failed(&found), [], "{shape:?} {:#?}", found.obligations);
        let (after, piece) = through_padding(&fixture);
        let found = fixture.refine(&after, &[piece]).unwrap();
        assert_eq!(failed(&found), [], "{shape:?} in padding: {:#?}", found.obligations);
    }
}

/// Functions in which the clear must not come earlier.
const UNSAFE: &[&[(u64, &str)]] = &[
    // The field is read under the lock, by whatever address.
    &[(0x2be060, "ldr x10, [x19, x24]")],
    &[(0x2be060, "add x11, x19, x24"), (0x2be064, "ldr x10, [x11]")],
    &[(0x2be060, "ldr x10, [x19, x22]"), (0x2be064, "ldr x10, [x19, x26]")],
    // Another function is called under the lock.
    &[(0x2be060, "bl #0x6d4000")],
    // Another value is stored there under the lock.
    &[(0x2be060, "str x25, [x19, x24]")],
    // The lock is in the field.
    &[(0x2be03c, "mov x25, x19"), (0x2be040, "mov x21, x24")],
    // The push goes into an unknown place of the encoder.
    &[(0x2be068, "add x9, x19, x26"), (0x2be06c, "str x20, [x9]")],
];

#[test]
fn a_clear_that_passes_what_it_may_disturb_is_refused() {
    for shape in UNSAFE {
        let mut fixture = Fixture::new();
        for (at, line) in *shape {
            fixture.put(*at, line);
        }
        let found = fixture.refine(&moved(&fixture), &[]);
        assert!(found.is_err() || !found.unwrap().holds(), "{shape:?}");
    }
}

#[test]
fn a_clear_in_padding_over_an_unlock_of_the_field_is_refused() {
    let mut fixture = Fixture::new();
    // The lock is in the field.
    for (at, line) in [(0x2be03c, "mov x25, x19"), (0x2be040, "mov x21, x24")] {
        fixture.put(at, line);
    }
    let (after, piece) = through_padding(&fixture);
    let found = fixture.refine(&after, &[piece]).unwrap();
    assert!(failed(&found).contains(&Name::LockApartFromField), "{:#?}", found.obligations);
}

#[test]
fn a_clear_before_the_lock_is_refused() {
    let fixture = Fixture::new();
    let mut lines = vec!["str xzr, [x19, x24]", "add x0, x25, x21", "bl #0x6d49d4"];
    lines.extend(&AFTER_LOCK[1..]);
    let after = with_lines(&fixture.before, 0x2be048, &lines);
    let found = fixture.refine(&after, &[]).unwrap();
    assert!(failed(&found).contains(&Name::SameCalls), "{:#?}", found.obligations);
}

#[test]
fn moving_one_of_two_late_clears_is_refused() {
    let fixture = Fixture::new();
    let found = fixture.refine(&fixture.rewritten(&[(0x2be08c, "nop")]), &[]).unwrap();
    assert!(failed(&found).contains(&Name::ClearKept));
    // Cleared early on one way only, late on the other.
    let lines = [
        (0x2be070, "str xzr, [x19, x24]"),
        (0x2be074, "add x0, x25, x21"),
        (0x2be078, "bl #0x6d49e4"),
        (0x2be07c, "b #0x2be090"),
        (0x2be05c, "b.hi #0x2be080"),
        (0x2be080, "add x0, x25, x21"),
        (0x2be084, "bl #0x6d49e4"),
        (0x2be088, "str xzr, [x19, x24]"),
        (0x2be08c, "nop"),
    ];
    let found = fixture.refine(&fixture.rewritten(&lines), &[]).unwrap();
    assert!(failed(&found).contains(&Name::ClearBeforeUnlock), "{:#?}", found.obligations);
}

#[test]
fn a_branch_from_another_function_into_the_part_is_compared_with_nothing_known() {
    for (to, holds) in [("0x2be060", false), ("0x2be048", false), ("0x2be090", true)] {
        let mut fixture = Fixture::new();
        let word = assemble(&[&format!("b #{to}")], VmAddr(0x2a0100))[0];
        fixture.text[0x100..0x104].copy_from_slice(&word.to_bytes());
        let found = fixture.refine(&after_lock(&fixture), &[]).unwrap();
        assert_eq!(found.holds(), holds, "{to}: {:#?}", found.obligations);
    }
}
