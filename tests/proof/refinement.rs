//! What the proof says of the rewrites in the catalogue.

use agxpatch_core::address::VmAddr;
use agxpatch_core::check::Status;
use agxpatch_core::proof::{Act, Defect, Name, Verdict, paths};

use crate::fixture::{DEFAULT, ENTRY, Fixture, LEGACY, WINDOW, failures, roles};

#[test]
fn the_default_rewrite_satisfies_every_obligation() {
    let fixture = Fixture::new();
    let proof = fixture.prove(&fixture.rewritten(&DEFAULT)).unwrap();
    for obligation in &proof.obligations {
        assert_eq!(obligation.status, Status::Pass, "{obligation:?}");
    }
    let names: Vec<Name> = proof.obligations.iter().map(|o| o.name).collect();
    assert_eq!(names, Name::ALL, "every obligation once, in the order of the table");
    assert_eq!(proof.verdict(&[]), Verdict::Holds);
}

#[test]
fn the_default_rewrite_is_the_pinned_words() {
    let fixture = Fixture::new();
    let after = fixture.rewritten(&DEFAULT);
    let words: Vec<u32> =
        after[crate::fixture::index(WINDOW.start)..][..13].iter().map(|w| w.0).collect();
    assert_eq!(words[0], 0x540000c8);
    assert_eq!(
        words[5..],
        [
            0xaa1f03f4, 0xf8386a7f, 0x8b150320, 0x94105a5a, 0xb4000094, 0xaa1403e0, 0x9410598f,
            0xd503201f
        ]
    );
}

#[test]
fn the_legacy_rewrite_fails_by_the_leak_it_declares_and_nothing_else() {
    let fixture = Fixture::new();
    let proof = fixture.prove(&fixture.rewritten(&LEGACY)).unwrap();
    assert_eq!(failures(&proof), [Name::FreeKept]);
    let leak = proof.obligations.iter().find(|o| o.name == Name::FreeKept).unwrap();
    assert_eq!(leak.defect, Some(Defect::FreeLostWhenFull));
    assert_eq!(leak.at, [VmAddr(0x2be088)]);
    assert_eq!(proof.verdict(&[]), Verdict::Refuted);
    assert_eq!(proof.verdict(&[Defect::FreeLostWhenFull]), Verdict::DeclaredDefect);
}

#[test]
fn the_original_does_not_clear_before_the_unlock() {
    let fixture = Fixture::new();
    let proof = fixture.prove(&fixture.before).unwrap();
    assert_eq!(failures(&proof), [Name::ClearBeforeUnlock]);
}

#[test]
fn the_paths_of_the_default_rewrite_are_the_three_it_has() {
    let fixture = Fixture::new();
    let after = fixture.rewritten(&DEFAULT);
    let mut found: Vec<Vec<Act>> = paths(&after, ENTRY, WINDOW, &roles())
        .unwrap()
        .iter()
        .map(|path| {
            path.steps.iter().map(|step| step.act).filter(|act| *act != Act::Silent).collect()
        })
        .collect();
    found.sort_by_key(Vec::len);
    let full = vec![Act::Clear, Act::Unlock];
    let freed = vec![Act::Clear, Act::Unlock, Act::Free { null: false }];
    let pushed = vec![Act::Store, Act::Push, Act::Clear, Act::Unlock];
    assert_eq!(found, [full, freed, pushed]);
}
