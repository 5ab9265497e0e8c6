//! What the proof takes the function to mean: the parts that registers play, the
//! lock and the field apart, and no code read as data.

use agxpatch_core::address::VmAddr;
use agxpatch_core::check::Status;
use agxpatch_core::proof::{Name, Obligation};

use crate::fixture::{DEFAULT, Fixture, TEXT, assemble};

fn outcome(fixture: &Fixture, name: Name) -> Obligation {
    let proof = fixture.prove(&fixture.rewritten(&DEFAULT)).unwrap();
    proof.obligations.into_iter().find(|found| found.name == name).unwrap()
}

/// The fixture with lines at an address of the function.
fn with_lines(at: u64, lines: &[&str]) -> Fixture {
    let mut fixture = Fixture::new();
    for (index, line) in lines.iter().enumerate() {
        fixture.put(at + 4 * index as u64, line);
    }
    fixture
}

/// The fixture with lines in another function.
fn with_foreign_lines(at: u64, lines: &[&str]) -> Fixture {
    let mut fixture = Fixture::new();
    for (index, word) in assemble(lines, VmAddr(at)).into_iter().enumerate() {
        let offset = (at - TEXT.0) as usize + 4 * index;
        fixture.text[offset..offset + 4].copy_from_slice(&word.to_bytes());
    }
    fixture
}

#[test]
fn the_captured_registers_must_hold_what_they_are_taken_for() {
    let found = outcome(&Fixture::new(), Name::RolesDerived);
    assert_eq!((found.status, found.at), (Status::Pass, vec![VmAddr(0x2bdd50)]));
    for line in [
        "mov x19, x1",
        "mov x20, x25",
        "ldr x20, [x19]",
        "ldr x20, [x25, x24]",
        "mov x24, #24",
        "add x19, x19, #8",
        // Nothing is promised about it after a call.
        "ldr x20, [x0, x24]",
    ] {
        let found = outcome(&with_lines(0x2be000, &["bl #0x6d4000", line]), Name::RolesDerived);
        assert_eq!(found.status, Status::Fail, "{line}");
    }
    // Loaded again, and spoilt on one of two ways.
    let again = with_lines(0x2be000, &["bl #0x6d4000", "ldr x20, [x19, x24]"]);
    assert_eq!(outcome(&again, Name::RolesDerived).status, Status::Pass);
    let one_way = with_lines(0x2be000, &["cbz x8, #0x2be008", "mov x20, x25"]);
    assert_eq!(outcome(&one_way, Name::RolesDerived).status, Status::Fail);
}

#[test]
fn the_cleared_field_must_not_be_the_lock() {
    let apart = |line| outcome(&with_lines(0x2be000, &[line]), Name::LockApartFromField);
    for line in ["nop", "mov x21, #0x1a64", "mov x25, x19"] {
        assert_eq!(apart(line).status, Status::Pass, "{line}");
    }
    // An address that was worked out or kept in the frame may be any object's.
    for line in ["ldr x25, [sp, #8]", "sub x25, x25, x26", "ldrsw x25, [x25]"] {
        assert_eq!(apart(line).status, Status::Fail, "{line}");
    }
    // The lock is in self: nothing tells its offset from the field's.
    let inside = |line| with_lines(0x2be000, &["mov x25, x19", line]);
    for line in
        ["mov x21, x24", "add x21, x24, #4", "sub x21, x24, #3", "mov x21, #16", "mov x21, x26"]
    {
        let found = outcome(&inside(line), Name::LockApartFromField);
        assert_eq!(found.status, Status::Fail, "{line}");
    }
    for line in ["add x21, x24, #8", "sub x21, x24, #4"] {
        let found = outcome(&inside(line), Name::LockApartFromField);
        assert_eq!(found.status, Status::Pass, "{line}");
    }
}

#[test]
fn a_kept_instruction_that_reads_a_rewritten_word_is_found() {
    for line in [
        // 0x2be080 and 0x2be08c are rewritten; 0x2be084 and 0x2be088 stay.
        "ldr x10, #0x2be080",
        "ldr w10, #0x2be08c",
        "ldr q0, #0x2be064",
        "ldrsw x10, #0x2be070",
    ] {
        let kept = with_lines(0x2be060, &[line]);
        let found = outcome(&kept, Name::RewrittenNotRead);
        assert_eq!((found.status, found.at), (Status::Fail, vec![VmAddr(0x2be060)]), "{line}");
        let elsewhere = with_foreign_lines(0x2b0000 + 0x2be060 % 0x1000, &[line]);
        assert_eq!(outcome(&elsewhere, Name::RewrittenNotRead).status, Status::Fail, "{line}");
    }
    for line in
        ["ldr x10, #0x2be084", "ldr w10, #0x2be060", "ldr x10, #0x2be090", "ldr q0, #0x2be060"]
    {
        let kept = with_lines(0x2bdf00, &[line]);
        assert_eq!(outcome(&kept, Name::RewrittenNotRead).status, Status::Pass, "{line}");
    }
}

#[test]
fn the_address_of_a_rewritten_word_made_from_its_page_is_found() {
    // The window's first word may be entered and must not be read.
    for (offset, enters, reads) in [(0x5c, false, true), (0x80, true, true), (0x84, true, false)] {
        let add = format!("add x16, x16, #{offset:#x}");
        let lines = ["adrp x16, #0x2be000", "nop", &add, "br x16"];
        let fixture = with_foreign_lines(0x2c1000, &lines);
        let status = |fails| if fails { Status::Fail } else { Status::Pass };
        let entry = outcome(&fixture, Name::NoBranchIntoWindow);
        assert_eq!(entry.status, status(enters), "{offset:#x}");
        let read = outcome(&fixture, Name::RewrittenNotRead);
        assert_eq!(read.status, status(reads), "{offset:#x}");
    }
    let load = with_foreign_lines(0x2c1000, &["adrp x9, #0x2be000", "ldr w9, [x9, #0x80]"]);
    assert_eq!(outcome(&load, Name::RewrittenNotRead).at, [VmAddr(0x2c1004)]);
    assert_eq!(outcome(&load, Name::NoBranchIntoWindow).status, Status::Pass);
    // Another register, another page, another function.
    for lines in [
        ["adrp x16, #0x2be000", "add x17, x17, #0x80"],
        ["adrp x16, #0x2bf000", "add x16, x16, #0x80"],
        ["adrp x16, #0x2be000", "sub x16, x16, #0x80"],
    ] {
        let fixture = with_foreign_lines(0x2c1000, &lines);
        assert_eq!(outcome(&fixture, Name::NoBranchIntoWindow).status, Status::Pass);
        assert_eq!(outcome(&fixture, Name::RewrittenNotRead).status, Status::Pass);
    }
    let mut two = with_foreign_lines(0x2c1000, &["adrp x16, #0x2be000", "add x16, x16, #0x80"]);
    two.starts.push(VmAddr(0x2c1004));
    assert_eq!(outcome(&two, Name::NoBranchIntoWindow).status, Status::Pass);
}

#[test]
fn a_page_address_at_either_end_of_the_text_is_found() {
    let last = TEXT.0 + Fixture::new().text.len() as u64 - 8;
    for at in [TEXT.0, last] {
        let fixture = with_foreign_lines(at, &["adrp x3, #0x2be000", "add x4, x3, #0x88"]);
        assert_eq!(outcome(&fixture, Name::NoBranchIntoWindow).at, [VmAddr(at + 4)]);
    }
}
