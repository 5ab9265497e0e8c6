//! The table: which version of the window holds what.

use agxpatch_core::proof::interleaving::{
    Act, Property, Readers, Scene, Thread, check, explore, replay, shortest_harm,
};
use agxpatch_core::proof::steps::{Event, Room};

use crate::published::{DEFAULT, LEGACY, ORIGINAL, steps};

const ASKED: [Property; 5] = [
    Property::NoRaceWindow,
    Property::NoStaleUse,
    Property::NoLeak,
    Property::NoDoubleFree,
    Property::UnlockOnce,
];

fn violated(words: &[u32], threads: u8) -> Vec<Property> {
    let found = check(&steps(words), threads).unwrap();
    ASKED.into_iter().filter(|&property| found.violation(property).is_some()).collect()
}

#[test]
fn every_version_violates_what_it_must_and_nothing_else() {
    for threads in 2..=4 {
        assert_eq!(
            violated(&ORIGINAL, threads),
            [Property::NoRaceWindow, Property::NoStaleUse],
            "the original, {threads} threads"
        );
        assert_eq!(violated(&LEGACY, threads), [Property::NoLeak], "legacy, {threads} threads");
        assert_eq!(violated(&DEFAULT, threads), [], "the default, {threads} threads");
    }
}

#[test]
fn a_reader_that_takes_no_lock_is_lost_under_every_version() {
    for words in [ORIGINAL, LEGACY, DEFAULT] {
        let found = check(&steps(&words), 3).unwrap();
        assert!(!found.lockless.holds(Property::NoStaleUse));
        assert!(!found.lockless.holds(Property::NoNullUse));
        assert!(found.lockless_reader_is_lost());
    }
}

#[test]
fn the_original_opens_the_window_on_both_paths_in_the_fewest_steps() {
    let found = explore(&steps(&ORIGINAL), Scene::of_threads(2, Readers::TakeTheLock)).unwrap();
    let trace = |room| {
        let of = |v: &&_| {
            let v: &agxpatch_core::proof::interleaving::Violation = v;
            v.property == Property::NoRaceWindow && v.room == Some(room)
        };
        let moves = &found.violations.iter().find(of).unwrap().trace.moves;
        moves.iter().map(|made| made.at().map(|at| at.0)).collect::<Vec<_>>()
    };
    assert_eq!(trace(Room::Left), [None, Some(0x2be06c), Some(0x2be074)]);
    assert_eq!(trace(Room::Full), [None, Some(0x2be080), Some(0x2be088)]);
}

#[test]
fn the_capacity_of_the_freelist_decides_nothing() {
    for capacity in [1, 3, 8] {
        for (words, expected) in [
            (ORIGINAL, &[Property::NoRaceWindow, Property::NoStaleUse][..]),
            (LEGACY, &[Property::NoLeak]),
            (DEFAULT, &[]),
        ] {
            let scene = Scene { capacity, ..Scene::of_threads(3, Readers::TakeTheLock) };
            let found = explore(&steps(&words), scene).unwrap();
            let violated: Vec<_> = ASKED.into_iter().filter(|&p| !found.holds(p)).collect();
            assert_eq!(violated, expected, "capacity {capacity}");
        }
    }
}

#[test]
fn two_readers_change_no_verdict() {
    for (words, safe) in [(ORIGINAL, false), (LEGACY, true), (DEFAULT, true)] {
        let scene = Scene { readers: 2, ..Scene::of_threads(3, Readers::TakeTheLock) };
        let found = explore(&steps(&words), scene).unwrap();
        assert_eq!(found.holds(Property::NoStaleUse), safe);
        assert!(found.holds(Property::NoNullUse), "a reader that takes the lock looks for null");
    }
}

#[test]
fn the_schedule_that_harms_the_original_harms_the_rewrites_no_more() {
    let scene = Scene::of_threads(2, Readers::TakeTheLock);
    for room in Room::BOTH {
        let trace = shortest_harm(&steps(&ORIGINAL), scene, room).unwrap().unwrap();
        let original = replay(&steps(&ORIGINAL), scene, &trace).unwrap();
        assert_eq!(original.harm, Some(trace.moves.len() - 1));
        for words in [LEGACY, DEFAULT] {
            assert_eq!(shortest_harm(&steps(&words), scene, room).unwrap(), None);
            assert_eq!(replay(&steps(&words), scene, &trace).unwrap().harm, None);
        }
    }
}

#[test]
fn a_reader_without_the_lock_ends_up_in_a_block_of_another_encoder() {
    let scene = Scene::of_threads(2, Readers::TakeNoLock);
    for words in [ORIGINAL, LEGACY, DEFAULT] {
        let trace = shortest_harm(&steps(&words), scene, Room::Left).unwrap().unwrap();
        assert!(replay(&steps(&words), scene, &trace).unwrap().harm.is_some());
    }
}

/// A rewrite that is wrong in one way, and the property that must say so. The
/// steps are read from words, so the checker is not told what to find.
#[test]
fn every_property_can_be_violated() {
    let mut no_unlock = DEFAULT;
    no_unlock[8] = 0xd503201f;
    let mut unlock_twice = DEFAULT;
    unlock_twice[12] = unlock_twice[8] - 4; // bl unlock, four words further on
    unlock_twice[9] = 0xd503201f;
    unlock_twice[10] = 0x8b150320; // add x0, x25, x21
    unlock_twice[11] = 0xd503201f;
    let mut never_null = DEFAULT;
    never_null[5] = 0xd503201f; // no mov x20, xzr: cbz never leaves
    let mut no_clear = DEFAULT;
    no_clear[6] = 0xd503201f;
    for (words, property) in [
        (no_unlock, Property::UnlockOnce),
        (unlock_twice, Property::UnlockOnce),
        (never_null, Property::NoDoubleFree),
        (no_clear, Property::NoRaceWindow),
        (no_clear, Property::NoStaleUse),
    ] {
        assert!(violated(&words, 3).contains(&property), "{property:?}");
    }
}

#[test]
fn the_state_space_grows_as_the_threads_do() {
    let states = |threads| check(&steps(&DEFAULT), threads).unwrap().states();
    let counts: Vec<usize> = (2..=5).map(states).collect();
    // With a reader that locks and with one that does not, together.
    assert_eq!(counts, [269, 1374, 7131, 37711]);
}

#[test]
fn a_scene_outside_the_bounds_is_refused() {
    let scene = Scene::of_threads(9, Readers::TakeTheLock);
    assert!(explore(&steps(&DEFAULT), scene).is_err());
}

#[test]
fn a_trace_names_threads_and_instructions() {
    let scene = Scene::of_threads(2, Readers::TakeTheLock);
    let found = explore(&steps(&ORIGINAL), scene).unwrap();
    let trace = &found.violation(Property::NoStaleUse).unwrap().trace;
    assert!(trace.moves.iter().any(|m| m.thread == Thread::Destroyer(0)
        && matches!(m.act, Act::Step(step) if step.event == Event::Unlock)));
    insta::assert_snapshot!(
        trace
            .moves
            .iter()
            .map(|m| format!("{:<12} {}\n", m.thread.to_string(), m.says()))
            .collect::<String>()
    );
}
