//! Ways into the window from outside, each of which must be seen.

use agxpatch_core::address::{VmAddr, Word};
use agxpatch_core::check::Status;
use agxpatch_core::proof::{LandingPads, Name, Obligation};

use crate::fixture::{DEFAULT, ENTRY, Fixture, TEXT, WINDOW, assemble};

fn outcome(fixture: &Fixture, name: Name) -> Obligation {
    let proof = fixture.prove(&fixture.rewritten(&DEFAULT)).unwrap();
    proof.obligations.into_iter().find(|obligation| obligation.name == name).unwrap()
}

/// The fixture with one line of code somewhere else in the text.
fn with_line_at(at: u64, line: &str) -> Fixture {
    let mut fixture = Fixture::new();
    let word = assemble(&[line], VmAddr(at))[0];
    let offset = (at - TEXT.0) as usize;
    fixture.text[offset..offset + 4].copy_from_slice(&word.to_bytes());
    fixture
}

#[test]
fn every_kind_of_direct_branch_into_the_window_from_another_function_is_found() {
    for line in [
        "b #0x2be060",
        "bl #0x2be08c",
        "b.eq #0x2be07c",
        "cbz x0, #0x2be074",
        "cbnz w3, #0x2be088",
        "tbz w0, #3, #0x2be064",
        "tbnz x9, #40, #0x2be084",
        "adr x1, #0x2be078",
        "bc.eq #0x2be068",
    ] {
        for at in [0x2be1f4_u64, 0x2bd000, 0x2c0000] {
            let found = outcome(&with_line_at(at, line), Name::NoBranchIntoWindow);
            assert_eq!((found.status, found.at), (Status::Fail, vec![VmAddr(at)]), "{line}");
        }
    }
}

#[test]
fn a_far_branch_at_the_first_and_the_last_word_of_the_text_is_found() {
    let last = TEXT.0 + Fixture::new().text.len() as u64 - 4;
    for at in [TEXT.0, last] {
        let found = outcome(&with_line_at(at, "b #0x2be08c"), Name::NoBranchIntoWindow);
        assert_eq!(found.at, [VmAddr(at)]);
    }
}

#[test]
fn branches_to_the_first_word_and_to_what_follows_the_window_are_not_ways_in() {
    for line in ["b #0x2be05c", "b #0x2be090", "b.ne #0x2be090", "cbz x0, #0x2be05c"] {
        let found = outcome(&with_line_at(0x2be200, line), Name::NoBranchIntoWindow);
        assert_eq!(found.status, Status::Pass, "{line}");
    }
}

#[test]
fn an_early_out_of_the_function_itself_into_the_window_is_found() {
    let mut fixture = Fixture::new();
    fixture.put(0x2bdd80, "cbz x20, #0x2be08c");
    // The block is known there by another register and object than at the clear.
    fixture.put(0x2bdd50, "ldr x20, [x25, x24]");
    let found = outcome(&fixture, Name::NullEntryOnly);
    assert_eq!((found.status, found.at), (Status::Fail, vec![VmAddr(0x2bdd80)]));
    fixture.put(0x2bdd80, "cbz x20, #0x2be088");
    let found = outcome(&fixture, Name::NoBranchIntoWindow);
    assert_eq!((found.status, found.at), (Status::Fail, vec![VmAddr(0x2bdd80)]));
}

#[test]
fn a_function_that_begins_inside_the_window_is_found() {
    let mut fixture = Fixture::new();
    fixture.starts.insert(2, VmAddr(0x2be070));
    assert_eq!(outcome(&fixture, Name::NoFunctionStartInWindow).status, Status::Fail);
    fixture.starts = vec![TEXT];
    assert_eq!(outcome(&fixture, Name::NoFunctionStartInWindow).status, Status::Fail);
}

#[test]
fn landing_pads_are_looked_at_or_said_to_be_skipped() {
    let mut fixture = Fixture::new();
    fixture.pads = LandingPads::Known(vec![VmAddr(0x2be100)]);
    assert_eq!(outcome(&fixture, Name::NoLandingPadInWindow).status, Status::Pass);
    fixture.pads = LandingPads::Known(vec![VmAddr(0x2be084)]);
    assert_eq!(outcome(&fixture, Name::NoLandingPadInWindow).status, Status::Fail);
    fixture.pads = LandingPads::Unknown("no unwind information is read".into());
    let found = outcome(&fixture, Name::NoLandingPadInWindow);
    assert_eq!(found.status, Status::Skipped);
    assert_eq!(found.detail, "no unwind information is read");
}

/// A jump table in the form compilers give it with pointer authentication:
/// three entries, relative to the table.
fn with_table(entries: [i64; 3]) -> Fixture {
    let mut fixture = Fixture::new();
    for (index, line) in [
        "cmp x16, #2",
        "csel x16, x16, xzr, ls",
        "adrp x17, #0x700000",
        "add x17, x17, #0x40",
        "ldrsw x16, [x17, x16, lsl #2]",
        "add x16, x17, x16",
        "br x16",
    ]
    .iter()
    .enumerate()
    {
        fixture.put(0x2bdf00 + 4 * index as u64, line);
    }
    let table = entries.iter().flat_map(|to| ((to - 0x700040) as i32).to_le_bytes()).collect();
    fixture.data.push((VmAddr(0x700040), table));
    fixture
}

#[test]
fn a_jump_table_is_followed_to_each_of_its_targets() {
    let fixture = with_table([0x2bdf40, 0x2bdf80, 0x2be05c]);
    let found = outcome(&fixture, Name::NoTableIntoWindow);
    assert_eq!(found.status, Status::Pass, "{found:?}");
    let fixture = with_table([0x2bdf40, 0x2bdf80, 0x2be074]);
    let found = outcome(&fixture, Name::NoTableIntoWindow);
    assert_eq!((found.status, found.at), (Status::Fail, vec![VmAddr(0x2bdf18)]));
}

#[test]
fn a_table_bounded_by_a_branch_is_followed_as_well() {
    let mut fixture = Fixture::new();
    for (index, line) in [
        "cmp x8, #1",
        "b.hi #0x2bdf80",
        "adrp x9, #0x700000",
        "adr x10, #0x2bdf40",
        "ldrb w11, [x9, x8]",
        "add x10, x10, x11, lsl #2",
        "br x10",
    ]
    .iter()
    .enumerate()
    {
        fixture.put(0x2bdf00 + 4 * index as u64, line);
    }
    fixture.data.push((VmAddr(0x700000), vec![0, 9]));
    assert_eq!(outcome(&fixture, Name::NoTableIntoWindow).status, Status::Pass);
    let inside = ((WINDOW.start.0 + 8 - 0x2bdf40) / 4) as u8;
    fixture.data = vec![(VmAddr(0x700000), vec![0, inside])];
    assert_eq!(outcome(&fixture, Name::NoTableIntoWindow).status, Status::Fail);
}

#[test]
fn the_scan_of_the_text_agrees_with_looking_at_every_word() {
    use agxpatch_core::arm64::semantics::{Operation, decode};
    for seed in 1..=6_u64 {
        let mut fixture = Fixture::new();
        let mut state = seed;
        for word in fixture.text.chunks_exact_mut(4) {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            // Branches of all kinds, most of which go somewhere near.
            let near = (state >> 33) as u32 & 0x0000_3fff;
            let kind =
                [0x1400_0000, 0x9400_0000, 0x5400_0000, 0x3400_0000, 0x3600_0000, 0x1000_0000]
                    [(state >> 20) as usize % 6];
            let field = if kind == 0x1400_0000 || kind == 0x9400_0000 { near } else { near << 5 };
            word.copy_from_slice(&(kind | field & 0x00ff_ffff).to_le_bytes());
        }
        let mut expected = Vec::new();
        for (index, word) in fixture.text.chunks_exact(4).enumerate() {
            let at = TEXT.instruction(index);
            let target = match decode(Word(u32::from_le_bytes(word.try_into().unwrap())), at) {
                Some(
                    Operation::Branch { target }
                    | Operation::Call { target }
                    | Operation::BranchIf { target, .. }
                    | Operation::BranchOnZero { target, .. }
                    | Operation::BranchOnBit { target, .. },
                ) => target,
                Some(Operation::Address { value, .. }) => VmAddr(value),
                _ => continue,
            };
            let own = ENTRY <= at && at < crate::fixture::NEXT_FUNCTION;
            if WINDOW.start < target && target < WINDOW.end && !own {
                expected.push(at);
            }
        }
        assert!(expected.len() > 2);
        assert_eq!(outcome(&fixture, Name::NoBranchIntoWindow).at, expected);
    }
}
