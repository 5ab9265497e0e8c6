//! Steps are read off the words, and what cannot be read is refused by name.

use agxpatch_core::address::{VmAddr, Word};
use agxpatch_core::error::Code;
use agxpatch_core::proof::steps::{Event, Path, Step};

use crate::published::{
    BEFORE, DEFAULT, LEGACY, ORIGINAL, method, steps, try_steps, try_steps_in, try_steps_of,
};

fn shown(path: &Path) -> Vec<(&'static str, u64)> {
    named(&path.steps)
}

fn named(steps: &[Step]) -> Vec<(&'static str, u64)> {
    steps.iter().map(|step| (step.event.name(), step.at.0)).collect()
}

#[test]
fn phases_before_the_lock_are_read_off_the_function() {
    for window in [ORIGINAL, LEGACY, DEFAULT] {
        assert_eq!(
            named(&steps(&window).before),
            [
                ("load-or-return", 0x2be028),
                ("load", 0x2be038),
                ("destroy", 0x2be03c),
                ("load-or-skip", 0x2be040),
                ("lock", 0x2be050),
            ]
        );
    }
}

#[test]
fn null_at_the_second_test_skips_to_the_windows_last_word() {
    // The original stores null over null there, the default has a nop, and the
    // published rewrite a branch to the end.
    assert_eq!(named(&steps(&ORIGINAL).skipped), [("clear", 0x2be08c)]);
    assert_eq!(named(&steps(&DEFAULT).skipped), []);
    assert_eq!(named(&steps(&LEGACY).skipped), []);
}

#[test]
fn a_method_without_the_second_load_destroys_and_pushes_what_it_loaded_first() {
    let mut before = BEFORE;
    before[4] = "ldr x20, [x0, x24]";
    before[5] = "cbz x20, #0x2be090";
    before[8] = "mov x0, x20";
    before[10] = "nop";
    before[11] = "nop";
    let steps = try_steps_of(&before, &ORIGINAL).unwrap();
    assert_eq!(
        named(&steps.before),
        [("load-or-return", 0x2be028), ("destroy", 0x2be03c), ("lock", 0x2be050)]
    );
    assert_eq!(named(&steps.skipped), []);
}

#[test]
fn an_exchange_with_null_is_a_step_of_its_own() {
    const SWPAL_XZR_X20_X9: Word = Word(0xf8ff8134);
    let mut before = BEFORE.to_vec();
    before[10] = "add x9, x19, x24";
    before.insert(11, "nop");
    let mut words = method(&before, &ORIGINAL);
    words[11] = SWPAL_XZR_X20_X9;
    let steps = try_steps_in(&words).unwrap();
    assert_eq!(named(&steps.before)[3], ("take-or-skip", 0x2be040));
}

#[test]
fn a_load_again_under_the_lock_is_a_step_of_both_ways() {
    let mut before = BEFORE.to_vec();
    before.extend(["ldr x20, [x19, x24]", "str xzr, [x19, x24]"]);
    let steps = try_steps_of(&before, &ORIGINAL).unwrap();
    for path in [&steps.left, &steps.full] {
        assert_eq!(named(&path.steps)[..2], [("load", 0x2be054), ("clear", 0x2be058)]);
    }
}

#[test]
fn a_clear_on_a_way_that_leaves_the_method_is_not_a_step_before_the_window() {
    let mut before = BEFORE.to_vec();
    before.splice(9..9, ["cbz x1, #0x2be03c", "str xzr, [x19, x24]", "b #0x2be090"]);
    let steps = try_steps_of(&before, &ORIGINAL).unwrap();
    let events: Vec<Event> = steps.all().map(|step| step.event).collect();
    assert_eq!(events.iter().filter(|event| **event == Event::Clear).count(), 3);
}

#[test]
fn a_step_that_cannot_be_told_or_can_be_passed_by_is_refused() {
    for (index, line, why) in [
        (6, "cbnz x1, #0x2be03c", "without this step"),
        (13, "add x0, x25, x24", "acquires the lock"),
        (9, "str x1, [x19, x24]", "else than null is stored"),
        (5, "cbz x8, #0x2be038", "comes to the steps"),
    ] {
        let mut before = BEFORE;
        before[index] = line;
        let error = try_steps_of(&before, &ORIGINAL).expect_err(line);
        assert_eq!(error.code(), Code::StepUnknown, "{error}");
        assert!(error.message().contains(why), "{line}: {error}");
    }
}

#[test]
fn the_original_clears_last_on_both_paths() {
    let steps = steps(&ORIGINAL);
    assert_eq!(shown(&steps.left), [("push", 0x2be06c), ("unlock", 0x2be074), ("clear", 0x2be08c)]);
    assert_eq!(shown(&steps.full), [("unlock", 0x2be080), ("free", 0x2be088), ("clear", 0x2be08c)]);
}

#[test]
fn the_published_rewrite_clears_before_the_unlock_and_frees_nothing() {
    let steps = steps(&LEGACY);
    assert_eq!(shown(&steps.left), [("push", 0x2be06c), ("clear", 0x2be070), ("unlock", 0x2be078)]);
    assert_eq!(shown(&steps.full), [("clear", 0x2be080), ("unlock", 0x2be088)]);
}

#[test]
fn the_default_rewrite_clears_before_the_unlock_and_frees_when_full() {
    let steps = steps(&DEFAULT);
    assert_eq!(shown(&steps.left), [("push", 0x2be06c), ("clear", 0x2be074), ("unlock", 0x2be07c)]);
    assert_eq!(shown(&steps.full), [("clear", 0x2be074), ("unlock", 0x2be07c), ("free", 0x2be088)]);
    assert_eq!(steps.full.executed.len(), 8);
    assert!(!steps.left.executed.contains(&VmAddr(0x2be088)), "cbz leads past free");
}

#[test]
fn a_window_without_the_unpublished_words_is_read_alike() {
    let mut bare = DEFAULT;
    bare[1..4].fill(0xd503201f);
    assert_eq!(steps(&bare).left.steps, steps(&DEFAULT).left.steps);
}

/// Replaces one word and expects a refusal with that code, for a reason that
/// says `why`.
#[track_caller]
fn refused(index: usize, word: u32, code: Code, why: &str) {
    let mut words = DEFAULT;
    words[index] = word;
    let error = try_steps(&words).unwrap_err();
    assert_eq!(error.code(), code, "{error}");
    assert!(error.message().contains(why), "{error}");
    assert!(!error.context().is_empty(), "a refusal names the place");
}

#[test]
fn steps_that_are_not_understood_are_refused_by_name() {
    let unknown = Code::StepUnknown;
    refused(1, 0xd4000001, Code::NotUnderstood, ""); // svc #0
    refused(1, 0xc85ffe0b, Code::NotUnderstood, ""); // ldaxr x11, [x16]
    refused(1, 0xd61f0200, Code::UnresolvedBranch, "indirect branch"); // br x16
    refused(2, 0xf9000f34, unknown, "block is stored elsewhere"); // str x20, [x25, #24]
    refused(6, 0xf8386a74, unknown, "else than null is stored"); // str x20, [x19, x24]
    refused(7, 0x8b180320, unknown, "else than the pool's lock"); // add x0, x25, x24
    refused(8, 0x94105a5b, unknown, "neither unlock nor free");
    refused(9, 0xb4000095, unknown, "other than the count and the block"); // cbz x21
    refused(9, 0x54000088, unknown, "other than the count and the block"); // b.hi after a call
    refused(10, 0xaa1503e0, unknown, "else than the block"); // mov x0, x21
    refused(12, 0xf9000f35, unknown, "follows the unlock"); // str x21, [x25, #24]
}

#[test]
fn any_condition_may_ask_whether_there_is_room() {
    let published = steps(&DEFAULT);
    for condition in [0, 1, 2, 3, 10, 12] {
        let mut words = DEFAULT;
        words[0] = words[0] & !0xf | condition;
        let read = steps(&words);
        assert_eq!(
            (read.left.steps, read.full.steps),
            (published.left.steps.clone(), published.full.steps.clone())
        );
    }
}

#[test]
fn a_loop_and_a_way_out_are_refused_by_name() {
    refused(12, 0x17ffffff, Code::LoopInWindow, "loop"); // b .-4
    refused(12, 0x14000002, Code::WindowLeft, "other than at its end"); // b .+8
    refused(12, 0xd65f03c0, Code::WindowLeft, "other than at its end"); // ret
}

#[test]
fn the_other_condition_means_the_other_path() {
    // b.ls over a b to the full path, in the place of b.hi to it.
    let mut words = DEFAULT;
    words[0] = 0x540000a9 & !0x00ffffe0 | (2 << 5); // b.ls .+8
    words[1] = 0x14000005; // b .+20, the target b.hi had
    let read = steps(&words);
    assert_eq!(read.full.steps, steps(&DEFAULT).full.steps);
    assert_eq!(read.left.steps.first().map(|step| step.event), Some(Event::Push));
}
