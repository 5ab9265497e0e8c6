//! Wrong rewrites by name, each of which must be refused for the right reason.
//!
//! Most start from the default rewrite and spoil it in one way.

use agxpatch_core::address::VmAddr;
use agxpatch_core::check::Status;
use agxpatch_core::error::Code;
use agxpatch_core::proof::{Name, Verdict};

use crate::fixture::{DEFAULT, Fixture, LEGACY, failures, index};

/// What a wrong rewrite must be refused by.
#[derive(Clone, Copy, Debug)]
enum By {
    Obligation(Name),
    Refusal(Code),
}

struct Wrong {
    name: &'static str,
    /// Lines over the default rewrite.
    lines: &'static [(u64, &'static str)],
    by: By,
}

const fn wrong(name: &'static str, by: Name, lines: &'static [(u64, &'static str)]) -> Wrong {
    Wrong { name, lines, by: By::Obligation(by) }
}

const fn refused(name: &'static str, by: Code, lines: &'static [(u64, &'static str)]) -> Wrong {
    Wrong { name, lines, by: By::Refusal(by) }
}

const UNLOCK_AT_78: &str = "bl #0x6d49e4";

const TABLE: &[Wrong] = &[
    // The clear.
    wrong(
        "clear after unlock",
        Name::ClearBeforeUnlock,
        &[
            (0x2be074, "add x0, x25, x21"),
            (0x2be078, UNLOCK_AT_78),
            (0x2be07c, "str xzr, [x19, x24]"),
        ],
    ),
    wrong(
        "clear after unlock on the full path only",
        Name::ClearBeforeUnlock,
        &[
            (0x2be05c, "b.hi #0x2be07c"),
            (0x2be070, "str xzr, [x19, x24]"),
            (0x2be074, "add x0, x25, x21"),
            (0x2be078, UNLOCK_AT_78),
            (0x2be07c, "add x0, x25, x21"),
            (0x2be080, "bl #0x6d49e4"),
            (0x2be08c, "str xzr, [x19, x24]"),
        ],
    ),
    wrong("clear lost", Name::ClearKept, &[(0x2be074, "nop")]),
    wrong("clear lost on the full path", Name::ClearKept, &[(0x2be05c, "b.hi #0x2be078")]),
    wrong("clear twice", Name::ClearKept, &[(0x2be08c, "str xzr, [x19, x24]")]),
    wrong("clear writes half a pointer", Name::ClearKept, &[(0x2be074, "str wzr, [x19, x24]")]),
    wrong("clear writes a byte", Name::ClearKept, &[(0x2be074, "strb wzr, [x19, x24]")]),
    wrong("clear scaled", Name::ClearKept, &[(0x2be074, "str xzr, [x19, x24, lsl #3]")]),
    wrong(
        "clear of another register's object",
        Name::ClearKept,
        &[(0x2be074, "str xzr, [x25, x24]")],
    ),
    wrong("clear at another offset", Name::ClearKept, &[(0x2be074, "str xzr, [x19, x21]")]),
    wrong("clear at self", Name::ClearKept, &[(0x2be074, "str xzr, [x19]")]),
    wrong("clear stores the block", Name::ClearKept, &[(0x2be074, "str x20, [x19, x24]")]),
    wrong("clear stores something else", Name::ClearKept, &[(0x2be074, "str x23, [x19, x24]")]),
    wrong("clear reads instead", Name::ClearKept, &[(0x2be074, "ldr xzr, [x19, x24]")]),
    wrong("clear pairs with a second word", Name::ClearKept, &[(0x2be074, "stp xzr, xzr, [x19]")]),
    wrong(
        "clear before the push",
        Name::SameStores,
        &[
            (0x2be060, "str xzr, [x19, x24]"),
            (0x2be064, "str w10, [x25, #0x1a60]"),
            (0x2be074, "nop"),
        ],
    ),
    // The unlock.
    wrong("no unlock", Name::UnlockKept, &[(0x2be07c, "nop")]),
    wrong("two unlocks", Name::UnlockKept, &[(0x2be08c, "bl #0x6d49e4")]),
    wrong("unlock of the pool and not its lock", Name::UnlockKept, &[(0x2be078, "mov x0, x25")]),
    wrong("unlock with another sum", Name::UnlockKept, &[(0x2be078, "add x0, x25, x24")]),
    wrong("unlock with a difference", Name::UnlockKept, &[(0x2be078, "sub x0, x25, x21")]),
    wrong("unlock with half a sum", Name::UnlockKept, &[(0x2be078, "add w0, w25, w21")]),
    wrong("unlock with a shifted sum", Name::UnlockKept, &[(0x2be078, "add x0, x25, x21, lsl #1")]),
    wrong("unlock without its argument", Name::UnlockKept, &[(0x2be078, "nop")]),
    wrong("unlock argument in x1", Name::UnlockKept, &[(0x2be078, "add x1, x25, x21")]),
    wrong("lock in place of unlock", Name::UnlockKept, &[(0x2be07c, "bl #0x6d49d4")]),
    wrong("free in place of unlock", Name::UnlockKept, &[(0x2be07c, "bl #0x6d46c4")]),
    wrong("unlock a word off", Name::UnlockKept, &[(0x2be07c, "bl #0x6d49e8")]),
    wrong("unlock jumped to and not called", Name::SameExits, &[(0x2be07c, "b #0x6d49e4")]),
    wrong(
        "unlock skipped on the short path",
        Name::UnlockKept,
        &[(0x2be078, "cbz x20, #0x2be080")],
    ),
    // The free.
    wrong("free lost", Name::FreeKept, &[(0x2be088, "nop")]),
    wrong(
        "free skipped where there is a block",
        Name::FreeKept,
        &[(0x2be080, "cbnz x20, #0x2be090")],
    ),
    wrong("free always skipped", Name::FreeKept, &[(0x2be080, "b #0x2be090")]),
    wrong("free decided by one bit", Name::FreeKept, &[(0x2be080, "tbz w20, #4, #0x2be090")]),
    wrong("free decided by the lower half", Name::FreeKept, &[(0x2be080, "cbz w20, #0x2be090")]),
    wrong("free of the pool", Name::FreeNotAdded, &[(0x2be084, "mov x0, x25")]),
    wrong("free of half a pointer", Name::FreeNotAdded, &[(0x2be084, "mov w0, w20")]),
    wrong("free of a stale argument", Name::FreeNotAdded, &[(0x2be084, "nop")]),
    wrong("free of the pushed block", Name::FreeNotAdded, &[(0x2be070, "nop")]),
    wrong("free on both paths", Name::FreeNotAdded, &[(0x2be070, "nop"), (0x2be080, "nop")]),
    wrong(
        "free twice",
        Name::FreeNotAdded,
        &[
            (0x2be080, "mov x0, x20"),
            (0x2be084, "bl #0x6d46c4"),
            (0x2be088, "mov x0, x20"),
            (0x2be08c, "bl #0x6d46c4"),
        ],
    ),
    wrong(
        "free before the unlock",
        Name::SameCalls,
        &[
            (0x2be078, "mov x0, x20"),
            (0x2be07c, "bl #0x6d46c4"),
            (0x2be080, "nop"),
            (0x2be084, "add x0, x25, x21"),
            (0x2be088, "bl #0x6d49e4"),
        ],
    ),
    wrong("free of null where nothing was freed", Name::FreeNotAdded, &[(0x2be080, "nop")]),
    wrong("the block is lost before it is freed", Name::FreeKept, &[(0x2be05c, "b.hi #0x2be070")]),
    // The push and the other stores.
    wrong("push lost", Name::PushKept, &[(0x2be06c, "nop")]),
    wrong("push one slot on", Name::PushKept, &[(0x2be06c, "str x20, [x9, #0x1a70]")]),
    wrong("push of half a pointer", Name::PushKept, &[(0x2be06c, "str w20, [x9, #0x1a68]")]),
    wrong("push of another register", Name::PushKept, &[(0x2be06c, "str x21, [x9, #0x1a68]")]),
    wrong("push of null", Name::PushKept, &[(0x2be068, "mov x20, xzr")]),
    wrong(
        "push a word later",
        Name::PushKept,
        &[(0x2be06c, "nop"), (0x2be070, "str x20, [x9, #0x1a68]")],
    ),
    wrong(
        "push after the unlock",
        Name::PushKept,
        &[
            (0x2be06c, "str xzr, [x19, x24]"),
            (0x2be070, "add x0, x25, x21"),
            (0x2be074, "bl #0x6d49e4"),
            (0x2be078, "str x20, [x9, #0x1a68]"),
            (0x2be07c, "b #0x2be090"),
        ],
    ),
    wrong("freelist slot not scaled", Name::PushKept, &[(0x2be068, "add x9, x25, x8")]),
    wrong("count not stored", Name::SameStores, &[(0x2be064, "nop")]),
    wrong("count not raised", Name::SameStores, &[(0x2be060, "mov w10, w8")]),
    wrong("count raised twice", Name::SameStores, &[(0x2be060, "add w10, w8, #2")]),
    wrong("count as 64 bits", Name::SameStores, &[(0x2be064, "str x10, [x25, #0x1a60]")]),
    wrong("a store more", Name::SameStores, &[(0x2be08c, "str xzr, [x19, #8]")]),
    wrong("a store to the stack", Name::SameStores, &[(0x2be08c, "str x20, [sp]")]),
    wrong("a vector store more", Name::SameStores, &[(0x2be08c, "str q0, [x19]")]),
    wrong("a call more", Name::SameCalls, &[(0x2be08c, "bl #0x6d49d4")]),
    // Branches.
    wrong("condition inverted", Name::PushKept, &[(0x2be05c, "b.ls #0x2be074")]),
    wrong("condition of equality", Name::PushKept, &[(0x2be05c, "b.eq #0x2be074")]),
    wrong("condition that includes equality", Name::PushKept, &[(0x2be05c, "b.hs #0x2be074")]),
    wrong("condition signed", Name::PushKept, &[(0x2be05c, "b.gt #0x2be074")]),
    wrong("never full", Name::PushKept, &[(0x2be05c, "nop")]),
    wrong("always full", Name::PushKept, &[(0x2be05c, "b #0x2be074")]),
    wrong("branch past the clear", Name::ClearKept, &[(0x2be05c, "b.hi #0x2be078")]),
    wrong("branch to the wrong exit", Name::SameExits, &[(0x2be080, "cbz x20, #0x2be094")]),
    wrong("branch out before the window's end", Name::SameExits, &[(0x2be08c, "b #0x2be098")]),
    wrong(
        "branch back to the start of the function",
        Name::SameExits,
        &[(0x2be08c, "b #0x2bdd1c")],
    ),
    wrong("a return in the window", Name::SameExits, &[(0x2be08c, "ret")]),
    wrong("a trap in the window", Name::SameExits, &[(0x2be08c, "brk #1")]),
    wrong("flags assumed across a call", Name::WindowDecided, &[(0x2be080, "b.ls #0x2be090")]),
    wrong(
        "a scratch register assumed across a call",
        Name::WindowDecided,
        &[(0x2be070, "mov x9, xzr"), (0x2be080, "cbz x9, #0x2be090")],
    ),
    wrong("the unlock's result decides", Name::WindowDecided, &[(0x2be080, "cbz x0, #0x2be090")]),
    // Registers and the stack.
    wrong("callee-saved register lost", Name::SameCalleeSaved, &[(0x2be08c, "mov x22, xzr")]),
    wrong("self lost", Name::SameCalleeSaved, &[(0x2be08c, "mov x19, x20")]),
    wrong("frame pointer lost", Name::SameCalleeSaved, &[(0x2be08c, "mov x29, sp")]),
    wrong(
        "the path kept in another register",
        Name::SameCalleeSaved,
        &[(0x2be070, "mov x26, xzr"), (0x2be080, "cbz x26, #0x2be090")],
    ),
    wrong("stack unbalanced", Name::SameStack, &[(0x2be08c, "sub sp, sp, #16")]),
    wrong("stack lowered on one path", Name::SameStack, &[(0x2be070, "sub sp, sp, #16")]),
    wrong("a push to the stack", Name::SameStack, &[(0x2be08c, "str x20, [sp, #-16]!")]),
    wrong(
        "flags left alone become assumed",
        Name::WindowDecided,
        &[(0x2be070, "cmp x20, #0"), (0x2be080, "b.eq #0x2be090")],
    ),
    wrong("callee-saved vector register lost", Name::ClobberedDead, &[(0x2be08c, "movi d10, #0")]),
    wrong(
        "a load from where a call left garbage",
        Name::SameLoads,
        &[(0x2be08c, "ldr x20, [x0, x24]")],
    ),
    wrong("a load from the freed block", Name::SameLoads, &[(0x2be08c, "ldr x9, [x20]")]),
    wrong("a load into nothing", Name::SameLoads, &[(0x2be08c, "ldr xzr, [x9]")]),
    // Words outside, words unknown, and loops.
    wrong("a word before the window", Name::OnlyWindowChanged, &[(0x2be058, "cmp w8, #8")]),
    wrong("a word after the window", Name::OnlyWindowChanged, &[(0x2be094, "nop")]),
    wrong(
        "a branch from before the window into it",
        Name::NoBranchIntoWindow,
        &[(0x2be040, "b #0x2be078")],
    ),
    refused("a loop in the window", Code::LoopInWindow, &[(0x2be08c, "b #0x2be074")]),
    refused("a branch to itself", Code::LoopInWindow, &[(0x2be08c, "b #0x2be08c")]),
    refused("an indirect branch in the window", Code::UnresolvedBranch, &[(0x2be08c, "br x20")]),
    refused("an exclusive load", Code::NotUnderstood, &[(0x2be08c, "ldxr x9, [x19]")]),
    refused("a system call", Code::NotUnderstood, &[(0x2be08c, "svc #0x80")]),
    refused("floating point", Code::NotUnderstood, &[(0x2be08c, "fadd d0, d0, d1")]),
];

#[test]
fn every_wrong_rewrite_is_refused_for_the_right_reason() {
    assert!(TABLE.len() >= 40);
    let fixture = Fixture::new();
    let mut complaints = Vec::new();
    for wrong in TABLE {
        let lines: Vec<(u64, &str)> = DEFAULT.iter().chain(wrong.lines).copied().collect();
        let outcome = fixture.prove(&fixture.rewritten(&lines));
        let right = match (&outcome, wrong.by) {
            (Ok(proof), By::Obligation(name)) => {
                proof.verdict(&[]) == Verdict::Refuted && failures(proof).contains(&name)
            }
            (Err(error), By::Refusal(code)) => error.code() == code,
            _ => false,
        };
        if !right {
            let seen = match &outcome {
                Ok(proof) => format!("{:?}", failures(proof)),
                Err(error) => format!("{error} {:?}", error.context()),
            };
            complaints.push(format!("{}: wanted {:?}, got {seen}", wrong.name, wrong.by));
        }
    }
    println!("{} wrong rewrites", TABLE.len());
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}

/// Wrong by the rules of the window alone: the registers that these change are
/// loaded again by the epilogue before anything reads them.
const HARMLESS: [&str; 4] = [
    "callee-saved register lost",
    "frame pointer lost",
    "self lost",
    "the path kept in another register",
];

#[test]
fn every_wrong_rewrite_is_refused_by_meaning_too() {
    let fixture = Fixture::new();
    let mut complaints = Vec::new();
    let mut harmless = Vec::new();
    for wrong in TABLE {
        let lines: Vec<(u64, &str)> = DEFAULT.iter().chain(wrong.lines).copied().collect();
        let after = fixture.rewritten(&lines);
        match fixture.refine(&after, &[]) {
            Ok(found) if found.holds() => {
                harmless.push(after);
                if !HARMLESS.contains(&wrong.name) {
                    complaints.push(wrong.name);
                }
            }
            _ => {}
        }
    }
    assert!(complaints.is_empty(), "{complaints:?}");
    crate::emulation::agree(&fixture, &harmless, 64);
}

#[test]
fn every_obligation_is_the_one_that_catches_some_wrong_rewrite_or_site() {
    // Those of the surroundings have tests of their own in `inbound`, `null_entry`
    // and `understanding`.
    let elsewhere = [
        Name::FunctionUnderstood,
        Name::NoTableIntoWindow,
        Name::NoLandingPadInWindow,
        Name::NoFunctionStartInWindow,
        Name::NullEntryOnly,
        Name::RewrittenNotRead,
        Name::RolesDerived,
        Name::LockApartFromField,
    ];
    for &name in Name::ALL.iter().filter(|name| !elsewhere.contains(name)) {
        let caught = TABLE.iter().any(|wrong| matches!(wrong.by, By::Obligation(by) if by == name));
        assert!(caught, "no wrong rewrite is caught by {}", name.as_str());
    }
}

#[test]
fn a_pinned_word_off_by_any_one_bit_is_refused_or_the_same_instruction() {
    let fixture = Fixture::new();
    let right = fixture.rewritten(&DEFAULT);
    let mut accepted = Vec::new();
    for (at, _) in DEFAULT {
        for bit in 0..32 {
            let mut after = right.clone();
            after[index(VmAddr(at))].0 ^= 1 << bit;
            let proof = fixture.prove(&after);
            if proof.is_ok_and(|proof| proof.verdict(&[]) == Verdict::Holds) {
                accepted.push((at, after[index(VmAddr(at))]));
            }
        }
    }
    // Sums commute and dead registers may hold anything; what is accepted is
    // shown equivalent below, by running it.
    for (at, word) in &accepted {
        println!("equivalent: {at:#x} {word}");
    }
    let mut all = Vec::new();
    for &(at, word) in &accepted {
        let mut after = right.clone();
        after[index(VmAddr(at))] = word;
        all.push(after);
    }
    crate::emulation::agree(&fixture, &all, 64);
}

#[test]
fn the_legacy_rewrite_spoilt_further_is_not_excused_by_what_it_declares() {
    let fixture = Fixture::new();
    let lines: Vec<(u64, &str)> = LEGACY.iter().copied().chain([(0x2be070, "nop")]).collect();
    let proof = fixture.prove(&fixture.rewritten(&lines)).unwrap();
    let declared = [agxpatch_core::proof::Defect::FreeLostWhenFull];
    assert_eq!(proof.verdict(&declared), Verdict::Refuted);
    assert!(proof.obligations.iter().any(|o| o.status == Status::Fail));
}
