//! What the methods do with blocks and pools, seen on an emulated CPU.

use std::ops::Range;

use agxpatch_core::driver_logic::{
    COMMAND_BUFFER_POOL, COMPUTE_POOL, Freelist, PART_POOL, RENDER_POOL,
};
use agxpatch_simulate::driver::facts;

use super::machine::{
    BLOCK, FREE, IMPL_AT, LOCK, OBJECT, OTHER_BLOCK, Run, Setting, UNLOCK, in_device,
};

/// `-[… ComputeContext destroyImpl]`; a block's function follows it.
pub const DESTROY: Range<u64> = facts::ENTRY.0..0x2b_e0f4;
/// Fields of the block that choose what its destructor does.
const SPILLS_AT: u64 = 0x184;
const PART_AT: u64 = 0x6a0;
const FENCES_AT: u64 = 0x700;
const QUEUE_AT: u32 = 0x2f8;
const QUEUE: u64 = OTHER_BLOCK + 0x100;

/// An encoder with a block, and so many blocks in its pool.
fn setting(variant: &'static str, method: Range<u64>, list: Freelist, count: u64) -> Setting {
    let words = vec![
        (OBJECT + IMPL_AT, BLOCK),
        (in_device(list.count), count),
        (in_device(QUEUE_AT), QUEUE),
    ];
    Setting { variant, method, words }
}

/// Runs `destroyImpl` with `count` blocks in the freelist and nothing unusual in
/// the block.
fn run(variant: &'static str, count: u64) -> Run {
    setting(variant, DESTROY, COMPUTE_POOL, count).run()
}

/// Runs the published `destroyImpl` with these words in memory.
fn run_with(words: &[(u64, u64)]) -> Run {
    let mut setting = setting("published", DESTROY, COMPUTE_POOL, 3);
    setting.words.extend(words);
    setting.run()
}

/// The run took that list's lock and dropped it, and cleared the field later.
fn clears_late(run: &Run, list: Freelist) {
    assert!(run.calls().contains(&(LOCK, in_device(list.lock))));
    assert!(run.unlock(list) < run.clear());
    assert_eq!(run.field(), 0);
}

#[test]
fn a_freelist_with_room_takes_the_block_and_the_field_is_cleared_after_the_unlock() {
    for count in 0..8 {
        let run = run("published", count);
        clears_late(&run, COMPUTE_POOL);
        assert_eq!(run.count(COMPUTE_POOL), count + 1);
        assert_eq!(run.slots(COMPUTE_POOL)[count as usize], BLOCK);
    }
}

#[test]
fn a_full_freelist_frees_the_block() {
    let run = run("published", 8);
    clears_late(&run, COMPUTE_POOL);
    assert_eq!(run.calls().last(), Some(&(FREE, BLOCK)));
    assert_eq!(run.count(COMPUTE_POOL), 8);
    assert_eq!(run.slots(COMPUTE_POOL), [0; 8]);
}

#[test]
fn an_encoder_without_a_block_returns_without_a_call() {
    let run = run_with(&[(OBJECT + IMPL_AT, 0)]);
    assert_eq!(run.calls(), []);
    assert_eq!((run.field(), run.count(COMPUTE_POOL)), (0, 3));
}

#[test]
fn a_part_of_the_block_goes_to_the_second_freelist_under_its_own_lock() {
    for (count, kept) in [(0, true), (15, true), (16, false)] {
        let run = run_with(&[(BLOCK + PART_AT, QUEUE), (in_device(PART_POOL.count), count)]);
        let lock = in_device(PART_POOL.lock);
        assert!(run.calls().contains(&(LOCK, lock)) && run.calls().contains(&(UNLOCK, lock)));
        assert_eq!(run.calls().contains(&(FREE, QUEUE)), !kept);
        assert_eq!(run.count(PART_POOL), count + u64::from(kept));
        assert_eq!(run.slots(PART_POOL).contains(&QUEUE), kept);
        assert_eq!(run.count(COMPUTE_POOL), 4);
    }
}

#[test]
fn each_fence_of_the_masks_runs_a_block_on_the_queue() {
    let run = run_with(&[(BLOCK + FENCES_AT, 0b1010_0001), (BLOCK + FENCES_AT + 24, 1 << 63)]);
    assert_eq!(run.calls().iter().filter(|call| call.1 == QUEUE).count(), 4);
    clears_late(&run, COMPUTE_POOL);
}

#[test]
fn the_rare_cases_behind_the_return_come_back_to_the_method() {
    let plain = run("published", 3);
    let rare = run_with(&[(BLOCK + SPILLS_AT, 0x1_0000_0001)]);
    assert!(rare.calls().len() > plain.calls().len() + 3);
    assert_eq!((rare.field(), rare.count(COMPUTE_POOL)), (0, 4));
}

#[test]
fn the_corrected_method_clears_the_field_before_the_unlock() {
    for count in [3, 8] {
        let run = run("no-hit", count);
        assert!(run.clear() < run.unlock(COMPUTE_POOL));
    }
}

#[test]
fn the_published_rewrite_leaks_the_block_of_a_full_freelist() {
    let run = run("legacy-patched", 8);
    assert!(run.calls().iter().all(|call| call.0 != FREE));
    assert!(run.clear() < run.unlock(COMPUTE_POOL));
}

#[test]
fn two_hits_runs_either_of_them() {
    let run = run("two-hits", 2);
    assert_eq!((run.field(), run.count(COMPUTE_POOL)), (0, 3));
}

#[test]
fn a_called_destructor_leaves_the_same_tail() {
    let list = COMPUTE_POOL.moved(0x170);
    let lock = in_device(list.lock);
    let method = facts::ENTRY.0 + 0x7b80..facts::ENTRY.0 + 0x7b80 + 0x100;
    for (count, last) in [(3, &[lock, lock][..]), (8, &[lock, lock, BLOCK])] {
        let run = setting("destructor-called", method.clone(), list, count).run();
        let arguments: Vec<u64> = run.calls().iter().map(|call| call.1).collect();
        assert!(arguments.ends_with(last), "{arguments:x?}");
        assert_eq!(run.clear(), run.events.len() - 1, "the clear comes last");
    }
}

/// The render encoder's method, and the blit encoder's.
const RENDER: Range<u64> = 0x2d_4000..0x2d_4400;
const BLIT: Range<u64> = 0x2d_2000..0x2d_2100;

#[test]
fn a_render_encoder_has_a_pool_of_its_own_and_clears_as_late() {
    let run = setting("published", RENDER, RENDER_POOL, 3).run();
    clears_late(&run, RENDER_POOL);
    assert_eq!((run.count(RENDER_POOL), run.count(COMPUTE_POOL)), (4, 0));
    assert_eq!(run.slots(RENDER_POOL)[3], BLOCK);
}

#[test]
fn two_blocks_go_to_two_pools() {
    let mut setting = setting("two-blocks", RENDER, COMPUTE_POOL, 3);
    setting.words.extend([(OBJECT + 0x1c0, OTHER_BLOCK), (in_device(RENDER_POOL.count), 5)]);
    let run = setting.run();
    clears_late(&run, COMPUTE_POOL);
    assert_eq!((run.count(COMPUTE_POOL), run.count(RENDER_POOL)), (4, 6));
    assert_eq!(run.slots(COMPUTE_POOL)[3], BLOCK);
    assert_eq!((run.slots(RENDER_POOL)[5], run.word(OBJECT + 0x1c0)), (OTHER_BLOCK, 0));
}

#[test]
fn a_blit_encoder_has_no_pool() {
    let run = setting("published", BLIT, COMPUTE_POOL, 3).run();
    assert!(run.calls().iter().all(|call| call.0 != LOCK));
    assert_eq!(run.calls().last(), Some(&(FREE, BLOCK)));
    assert_eq!((run.field(), run.count(COMPUTE_POOL)), (0, 3));
}

#[test]
fn a_command_buffer_gives_its_block_back_in_dealloc() {
    let mut setting = setting("published", 0x25_0440..0x25_0600, COMMAND_BUFFER_POOL, 3);
    setting.words.push((OBJECT + 0x308, BLOCK));
    let run = setting.run();
    assert_eq!(run.word(OBJECT + 0x308), 0);
    assert_eq!(run.slots(COMMAND_BUFFER_POOL)[3], BLOCK);
}
