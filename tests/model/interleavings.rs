//! The table: which version of the window holds what.

use agxpatch_core::proof::interleaving::{
    ASKED, Act, Interleavings, Property, Readers, Scene, Thread, check, explore, limits, limits_of,
    markdown, replay, shortest_harm,
};
use agxpatch_core::proof::steps::{Event, Room, Steps};

use agxpatch_core::proof::abstract_rewrite::{AbstractRewrite, REREAD, TAKE};

use crate::published::{BEFORE, DEFAULT, LEGACY, ORIGINAL, steps, try_steps_of};

fn violated(words: &[u32], threads: u8) -> Vec<Property> {
    violated_by(&steps(words), threads)
}

fn violated_by(steps: &Steps, threads: u8) -> Vec<Property> {
    let found = check(steps, threads).unwrap();
    let asked = ASKED.into_iter().map(|(property, _)| property);
    asked.filter(|&property| found.violation(property).is_some()).collect()
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
        assert!(!found.lockless.holds(Property::NoUseAfterDestructor));
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
    let before = [0x2be028, 0x2be038, 0x2be03c, 0x2be040, 0x2be050];
    let and = |rest: [u64; 2]| before.into_iter().chain(rest).map(Some).collect::<Vec<_>>();
    assert_eq!(trace(Room::Left), and([0x2be06c, 0x2be074]));
    assert_eq!(trace(Room::Full), and([0x2be080, 0x2be088]));
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
            let asked = ASKED.into_iter().map(|(property, _)| property);
            let violated: Vec<_> = asked.filter(|&p| !found.holds(p)).collect();
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
        // Null does not enter the window here, whose words are not what it meets there.
        let mut before = BEFORE;
        before[11] = "cbz x20, #0x2be090";
        let steps = try_steps_of(&before, &words).unwrap();
        assert!(violated_by(&steps, 3).contains(&property), "{property:?}");
    }
}

/// What holds of the block and the lock where threads end one encoder.
fn shared(steps: &Steps, threads: u8) -> Vec<Property> {
    let found = explore(steps, Scene::of_one_encoder(threads)).unwrap();
    let of_readers = [Property::NoStaleUse, Property::NoUseAfterDestructor, Property::NoNullUse];
    let all = Property::ALL.into_iter().filter(|property| !of_readers.contains(property));
    all.filter(|&property| found.holds(property)).collect()
}

#[test]
fn no_order_of_the_window_excludes_the_double_push() {
    use Property::{NoDoubleFree, NoLeak, NoRaceWindow, UnlockOnce};
    for threads in 2..=4 {
        assert_eq!(shared(&steps(&ORIGINAL), threads), [NoLeak, UnlockOnce], "{threads}");
        assert_eq!(shared(&steps(&LEGACY), threads), [NoRaceWindow, NoDoubleFree, UnlockOnce]);
        assert_eq!(shared(&steps(&DEFAULT), threads), [NoRaceWindow, NoLeak, UnlockOnce]);
    }
}

#[test]
fn take_and_reread_exclude_the_double_push_and_leave_the_double_destructor() {
    use Property::{NoDoubleFree, NoDoublePush, NoLeak, NoRaceWindow, UnlockOnce};
    for rewrite in AbstractRewrite::STRONGER {
        let steps = rewrite.of(&steps(&ORIGINAL));
        for threads in 2..=4 {
            assert_eq!(
                shared(&steps, threads),
                [NoRaceWindow, NoLeak, NoDoublePush, NoDoubleFree, UnlockOnce],
                "{}, {threads} threads",
                rewrite.name
            );
            let found = check(&steps, threads).unwrap();
            assert!(ASKED.iter().all(|(p, _)| found.violation(*p).is_none()), "{}", rewrite.name);
            assert!(found.lockless_reader_is_lost());
        }
    }
}

#[test]
fn a_destructor_may_meet_null_when_two_threads_end_one_encoder() {
    // Between the first test and the load that feeds the destructor, which is not
    // tested, the other thread may clear.
    let found = explore(&steps(&DEFAULT), Scene::of_one_encoder(2)).unwrap();
    let trace = &found.violation(Property::NoNullUse).unwrap().trace;
    let last = trace.moves.last().unwrap();
    assert_eq!((last.at().unwrap().0, last.says().as_str()), (0x2be038, "loads A->_impl: null"));
}

#[test]
fn the_table_of_the_rewrites_is_the_readmes() {
    let versions: Vec<(&str, Interleavings)> = [
        ("original", steps(&ORIGINAL)),
        ("legacy", steps(&LEGACY)),
        ("default", steps(&DEFAULT)),
        ("reread*", REREAD.of(&steps(&ORIGINAL))),
        ("take*", TAKE.of(&steps(&ORIGINAL))),
    ]
    .map(|(name, steps)| (name, check(&steps, 3).unwrap()))
    .into();
    let columns: Vec<_> = versions.iter().map(|(name, found)| (*name, found)).collect();
    let table = markdown(&columns);
    insta::assert_snapshot!(table);
    let page = include_str!("../../docs/proof.md");
    assert!(page.contains(&table), "docs/proof.md shows another table:\n{table}");
}

#[test]
fn the_two_lines_before_consent_come_from_the_table() {
    let [before, after] = [ORIGINAL, DEFAULT].map(|words| check(&steps(&words), 3).unwrap());
    let of_bytes = limits_of(&before, &after);
    assert_eq!(limits().unwrap(), of_bytes, "the description and the bytes disagree");
    assert!(of_bytes.closes.contains("published window"));
    for said in ["A, B, C, D and I", "NULL or a block given back", "push its block twice", "E ("] {
        assert!(of_bytes.remains.contains(said), "{said}");
    }
    let nothing = limits_of(&before, &before);
    assert_eq!(nothing.closes, "");
    assert!(nothing.remains.starts_with("the published window; "));
    let reread = limits_of(&before, &check(&REREAD.of(&steps(&ORIGINAL)), 3).unwrap());
    assert!(!reread.remains.contains("twice"), "{}", reread.remains);
}

#[test]
fn two_threads_give_the_table_of_three() {
    let original = steps(&ORIGINAL);
    let versions = AbstractRewrite::STRONGER.map(|rewrite| rewrite.of(&original));
    for version in versions.iter().chain([&original, &steps(&DEFAULT), &steps(&LEGACY)]) {
        let [two, three] = [2, 3].map(|threads| check(version, threads).unwrap().outcomes());
        assert_eq!(two, three);
    }
}

#[test]
fn the_state_space_grows_as_the_threads_do() {
    let states = |threads| check(&steps(&DEFAULT), threads).unwrap().states();
    let counts: Vec<usize> = (2..=4).map(states).collect();
    // Of all three scenes.
    assert_eq!(counts, [1756, 11005, 120985]);
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
        && matches!(m.act, Act::Step { step, .. } if step.event == Event::Unlock)));
    insta::assert_snapshot!(
        trace
            .moves
            .iter()
            .map(|m| format!("{:<12} {}\n", m.thread.to_string(), m.says()))
            .collect::<String>()
    );
}
