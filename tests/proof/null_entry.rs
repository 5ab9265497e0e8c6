//! The entry of a destroyer without a block: it is let pass where the block is
//! known to be NULL, and refused everywhere else.

use agxpatch_core::address::VmAddr;
use agxpatch_core::check::Status;
use agxpatch_core::proof::{LandingPads, Name, Obligation};

use crate::fixture::{DEFAULT, Fixture, LEGACY, failures};

/// Where the lines under test stand, right before the lock is taken.
const RELOAD: u64 = 0x2be020;

/// The fixture with these lines from [`RELOAD`] on.
fn with_lines(lines: &[&str]) -> Fixture {
    let mut fixture = Fixture::new();
    for (index, line) in lines.iter().enumerate() {
        fixture.put(RELOAD + 4 * index as u64, line);
    }
    fixture
}

fn outcome(fixture: &Fixture) -> Obligation {
    let proof = fixture.prove(&fixture.rewritten(&DEFAULT)).unwrap();
    proof.obligations.into_iter().find(|found| found.name == Name::NullEntryOnly).unwrap()
}

#[test]
fn the_genuine_reload_and_test_are_accepted_with_their_addresses() {
    let genuine = ["bl #0x6d4000", "ldr x20, [x19, x24]", "cbz x20, #0x2be08c"];
    let fixture = with_lines(&genuine);
    for rewrite in [&DEFAULT[..], &LEGACY[..]] {
        let proof = fixture.prove(&fixture.rewritten(rewrite)).unwrap();
        assert!(!failures(&proof).contains(&Name::NullEntryOnly));
        assert!(!failures(&proof).contains(&Name::NoBranchIntoWindow));
    }
    let found = outcome(&fixture);
    assert_eq!(found.at, [VmAddr(RELOAD + 4), VmAddr(RELOAD + 8), VmAddr(0x2be08c)]);
    assert!(
        found.detail.contains("0x2be028 branches to the clear at 0x2be08c"),
        "{}",
        found.detail
    );
}

/// Other ways to write the test, each of which shows that the field is NULL.
const ACCEPTED: &[&[&str]] = &[
    &["ldr x20, [x19, x24]", "cmp x20, #0", "b.eq #0x2be08c"],
    &["ldr x20, [x19, x24]", "tst x20, x20", "b.eq #0x2be08c"],
    &["ldr x20, [x19, x24]", "cbnz x20, #0x2be02c", "b #0x2be08c"],
    &["ldr x20, [x19, x24]", "cmp x20, #0", "b.ne #0x2be030", "b #0x2be08c"],
    // A chain: the second branch is only taken where the first was.
    &["ldr x20, [x19, x24]", "cbz x20, #0x2be02c", "b #0x2be030", "cbz x20, #0x2be08c"],
    &["ldr x20, [x19, x24]", "cbz x20, #0x2be02c", "b #0x2be030", "b #0x2be08c"],
    // The test stands before the branch, on every way.
    &["ldr x20, [x19, x24]", "cbnz x20, #0x2be034", "cmp w8, #3", "b.hi #0x2be08c", "b #0x2be08c"],
    &["ldr x20, [x19, x24]", "mov x9, x20", "cbz x9, #0x2be08c"],
    &["mov x10, x19", "ldr x20, [x10, x24]", "cbz x20, #0x2be08c"],
    &["add x10, x19, x24", "ldr x20, [x10]", "cbz x20, #0x2be08c"],
];

#[test]
fn a_test_of_the_loaded_block_is_accepted_however_it_is_written() {
    for lines in ACCEPTED {
        let found = outcome(&with_lines(lines));
        assert_eq!(found.status, Status::Pass, "{lines:?}: {}", found.detail);
    }
}

/// Entries at which the field may hold a block.
const REFUSED: &[&[&str]] = &[
    // The opposite, no and another test.
    &["ldr x20, [x19, x24]", "cbnz x20, #0x2be08c"],
    &["ldr x20, [x19, x24]", "b #0x2be08c"],
    &["ldr x20, [x19, x24]", "cbz x22, #0x2be08c"],
    &["ldr x20, [x19, x24]", "cbz w20, #0x2be08c"],
    &["ldr x20, [x19, x24]", "cmp x20, #1", "b.eq #0x2be08c"],
    &["ldr x20, [x19, x24]", "cmp x20, #0", "b.ge #0x2be08c"],
    &["ldr x20, [x19, x24]", "tbz x20, #0, #0x2be08c"],
    // Another field, object or size.
    &["ldr x20, [x19, x22]", "cbz x20, #0x2be08c"],
    &["ldr x20, [x19]", "cbz x20, #0x2be08c"],
    &["ldr x20, [x25, x24]", "cbz x20, #0x2be08c"],
    &["ldr w20, [x19, x24]", "cbz x20, #0x2be08c"],
    &["ldrsw x20, [x19, x24]", "cbz x20, #0x2be08c"],
    // A call or a store between.
    &["ldr x20, [x19, x24]", "bl #0x6d4000", "cbz x20, #0x2be08c"],
    &["ldr x20, [x19, x24]", "str x20, [x25]", "cbz x20, #0x2be08c"],
    &["ldr x20, [x19, x24]", "cbz x20, #0x2be02c", "b #0x2be034", "bl #0x6d4000", "b #0x2be08c"],
    &["ldr x20, [x19, x24]", "stp x1, x2, [sp]", "cbz x20, #0x2be08c"],
    &["ldr x20, [x19, x24]", "ldar x9, [x25]", "cbz x20, #0x2be08c"],
    // What is tested, cleared or addressed is changed between.
    &["ldr x20, [x19, x24]", "ldr x20, [x25]", "cbz x20, #0x2be08c"],
    &["ldr x20, [x19, x24]", "and x20, x20, #1", "cbz x20, #0x2be08c"],
    &["ldr x20, [x19, x24]", "mov x24, #0", "cbz x20, #0x2be08c"],
    &["ldr x20, [x19, x24]", "mov x19, x25", "cbz x20, #0x2be08c"],
    // Another way leads past the test.
    &["cbz x8, #0x2be02c", "ldr x20, [x19, x24]", "cbnz x20, #0x2be030", "b #0x2be08c"],
    &["ldr x20, [x19, x24]", "cmp x20, #0", "cmp x8, #0", "b.eq #0x2be08c"],
];

#[test]
fn an_entry_at_the_clear_is_refused_where_the_block_may_be_there() {
    for lines in REFUSED {
        let found = outcome(&with_lines(lines));
        assert_eq!(found.status, Status::Fail, "{lines:?}: {}", found.detail);
    }
}

#[test]
fn the_test_excuses_no_entry_at_another_place() {
    for to in ["0x2be074", "0x2be07c", "0x2be084", "0x2be088"] {
        let line = format!("cbz x20, #{to}");
        let fixture = with_lines(&["ldr x20, [x19, x24]", &line]);
        let proof = fixture.prove(&fixture.rewritten(&DEFAULT)).unwrap();
        assert_eq!(failures(&proof), [Name::NoBranchIntoWindow], "{line}");
    }
}

#[test]
fn a_branch_from_another_function_to_the_test_takes_the_knowledge_away() {
    let mut fixture = with_lines(&["ldr x20, [x19, x24]", "cbz x20, #0x2be08c"]);
    let foreign = crate::fixture::assemble(&["b #0x2be024"], VmAddr(0x2a0100))[0];
    fixture.text[0x100..0x104].copy_from_slice(&foreign.to_bytes());
    assert_eq!(outcome(&fixture).status, Status::Fail);
    let mut fixture = with_lines(&["ldr x20, [x19, x24]", "cbz x20, #0x2be08c"]);
    fixture.pads = LandingPads::Known(vec![VmAddr(RELOAD + 4)]);
    assert_eq!(outcome(&fixture).status, Status::Fail);
}

#[test]
fn a_rewrite_that_does_more_where_the_entry_arrives_is_refused() {
    let fixture = with_lines(&["ldr x20, [x19, x24]", "cbz x20, #0x2be08c"]);
    for line in ["str xzr, [x19]", "mov x22, #0", "bl #0x6d46c4", "ldr x9, [x20]", "cmp x1, #0"] {
        let mut rewrite = DEFAULT;
        rewrite[6].1 = line;
        let proof = fixture.prove(&fixture.rewritten(&rewrite)).unwrap();
        assert!(failures(&proof).contains(&Name::NullEntryOnly), "{line}");
    }
}
