//! The main job on damaged files: whatever is looked for, planned, proven,
//! resealed and checked in them, nothing panics, nothing allocates more than the
//! file is long, and what can be resealed is sealed.

use std::sync::OnceLock;

use agxpatch_core::address::FileOffset;
use agxpatch_core::codesign::{self, Concern};
use agxpatch_core::edit::{self, Edit, EditKind};
use agxpatch_core::macho::Universal;
use agxpatch_core::patch::{self, Engine, Outcome, Selection};
use agxpatch_core::proof;
use agxpatch_simulate::driver::{self, Variant};
use proptest::prelude::*;

use crate::damage::{Damage, apply, damage, originals};
use crate::memory;

/// Room for what does not grow with the file: the compiled signature and its
/// captures, the expressions of a proof, and the text of errors.
const CONSTANT: usize = 1 << 20;

thread_local! {
    static ENGINE: Engine = Engine::built_in().unwrap();
}

/// Everything the main job does to a file, with a change of one byte where
/// nothing else is to be changed.
fn main_job(engine: &Engine, bytes: &[u8]) {
    let Ok(file) = Universal::parse(bytes) else { return };
    let _ = patch::verify(engine, bytes, &Selection::ByMethod);
    let _ = proof::check_standing(engine, bytes, &Selection::ByMethod);
    let edits = match engine.plan(&file, None) {
        Ok(Outcome::Plan(plan)) => {
            let _ = proof::require(engine, &file, &plan, false);
            plan.edits
        }
        _ => {
            let Some(change) = change_in_code(&file, bytes) else { return };
            let Ok(seal) = patch::reseal_all(&file, std::slice::from_ref(&change)) else { return };
            seal.into_iter().chain([change]).collect()
        }
    };
    is_sealed_again(bytes, &edits);
}

/// Turns over a byte in the middle of the first code that can be found.
fn change_in_code(file: &Universal<'_>, bytes: &[u8]) -> Option<Edit> {
    let slice = file.slices.first()?;
    let range = slice.image().ok()?.text().ok()?.file_range();
    let at = slice.offset.0 + range.start.0 + (range.end.0 - range.start.0) / 2;
    let old = *bytes.get(usize::try_from(at).ok()?)?;
    Some(Edit {
        at: FileOffset(at),
        old: vec![old],
        new: vec![!old],
        kind: EditKind::Instruction,
        why: String::new(),
    })
}

/// A seal that was made fits, but for digests that were wrong before: of pages
/// and blobs that are not to change.
fn is_sealed_again(bytes: &[u8], edits: &[Edit]) {
    let mut after = bytes.to_vec();
    let mut edits = edits.to_vec();
    edits.sort_by_key(|edit| edit.at);
    edit::apply(&mut after, &edits).unwrap();
    let file = Universal::parse(&after).unwrap();
    for slice in &file.slices {
        let image = slice.image().unwrap();
        let Some(signature) = image.code_signature() else { continue };
        let findings = codesign::check(slice.bytes, signature);
        assert!(findings.iter().all(|f| f.concern() == Concern::Integrity), "{findings:?}");
    }
}

#[track_caller]
fn holds(bytes: &[u8]) -> Result<(), TestCaseError> {
    // Compiled before the watch begins.
    let largest = ENGINE.with(|engine| {
        engine.warm_up();
        memory::largest_allocation(|| main_job(engine, bytes))
    });
    prop_assert!(largest <= bytes.len() + CONSTANT, "{largest} bytes at once");
    Ok(())
}

/// The arm64e slice of the driver alone, and where in it there are tables: load
/// commands, the data the Objective-C runtime reads, and all that comes after.
fn thin() -> &'static (Vec<u8>, Vec<std::ops::Range<usize>>) {
    static DRIVER: OnceLock<(Vec<u8>, Vec<std::ops::Range<usize>>)> = OnceLock::new();
    DRIVER.get_or_init(|| {
        let bytes = driver::build(Variant::named("thin").unwrap()).unwrap();
        let file = Universal::parse(&bytes).unwrap();
        let image = file.slices[0].image().unwrap();
        let head = file.slices[0].head();
        let code = image.text().unwrap().address;
        let tables = image.sections().iter().filter(|section| section.address != code);
        let tables =
            tables.map(|section| section.file_range()).filter(|range| range.start < range.end);
        let linkedit = image.segments().last().unwrap().file_range();
        let ranges = tables.chain([linkedit]);
        let ranges = ranges.map(|range| range.start.0 as usize..range.end.0 as usize);
        let ranges =
            std::iter::once(head.start.0 as usize..head.end.0 as usize).chain(ranges).collect();
        (bytes, ranges)
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_damage_to_a_linker_s_file_stops_it_or_makes_it_allocate_more_than_the_file(
        which in any::<prop::sample::Index>(),
        damages in prop::collection::vec(damage(), 0..5),
        cut in prop::option::weighted(0.1, any::<prop::sample::Index>()),
    ) {
        let mut bytes = which.get(originals()).clone();
        damages.iter().for_each(|damage| apply(&mut bytes, damage));
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        holds(&bytes)?;
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_damage_to_the_driver_s_tables_does_either(
        damages in prop::collection::vec((any::<prop::sample::Index>(), damage()), 1..4),
    ) {
        let (original, tables) = thin();
        let mut bytes = original.clone();
        for (table, damage) in &damages {
            let range = table.get(tables).clone();
            apply(&mut bytes[range], &Damage { early: false, ..damage.clone() });
        }
        holds(&bytes)?;
    }
}

#[test]
fn a_sound_file_is_looked_at_planned_and_sealed_within_its_own_length() {
    for bytes in originals().iter().chain([&thin().0]) {
        holds(bytes).unwrap();
    }
}
