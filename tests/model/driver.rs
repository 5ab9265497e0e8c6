//! The steps read off the synthetic driver are the phases that describe it.
//!
//! The driver is written from the description, and the model's steps are read off
//! its words: here the two ends meet.

use agxpatch_core::address::VmAddr;
use agxpatch_core::driver_logic::DestroyPhase;
use agxpatch_core::macho::{Architecture, Universal};
use agxpatch_core::proof::steps::{Event, Step};
use agxpatch_simulate::driver::{self, Variant, facts};

use crate::published::try_steps_at;

fn phases(steps: &[Step]) -> Vec<DestroyPhase> {
    let phase = |step: &Step| match step.event {
        Event::LoadOrReturn => Some(DestroyPhase::FirstTest),
        Event::Destroy => Some(DestroyPhase::Destructor),
        Event::LoadOrSkip => Some(DestroyPhase::SecondTest),
        Event::Lock => Some(DestroyPhase::Lock),
        Event::Push => Some(DestroyPhase::Push),
        Event::Unlock => Some(DestroyPhase::Unlock),
        Event::Free => Some(DestroyPhase::Free),
        Event::Clear => Some(DestroyPhase::Clear),
        // The destructor loads the field for itself; nothing is decided by that.
        Event::Load => None,
        Event::TakeOrSkip => panic!("the driver has no exchange"),
        Event::LoadOrFull => panic!("the driver does not load under the lock"),
    };
    steps.iter().filter_map(phase).collect()
}

#[test]
fn the_steps_of_the_synthetic_driver_are_the_described_phases() {
    let file = driver::build(&Variant::PUBLISHED).unwrap();
    let file = Universal::parse(&file).unwrap();
    let image = file.slice(Architecture::ARM64E).unwrap().image().unwrap();
    let function = image.function_containing(facts::WINDOW).unwrap().unwrap();
    let words: Vec<_> = image.words(function.clone()).unwrap().collect();
    let steps = try_steps_at(&words, function.start).unwrap();
    for (path, left_out) in [(&steps.left, DestroyPhase::Free), (&steps.full, DestroyPhase::Push)] {
        let read = [phases(&steps.before), phases(&path.steps)].concat();
        let described = DestroyPhase::ORDER.into_iter().filter(|phase| *phase != left_out);
        assert_eq!(read, described.collect::<Vec<_>>());
    }
    assert_eq!(phases(&steps.skipped), [DestroyPhase::Clear]);
    assert_eq!(steps.skipped[0].at, VmAddr(0x2b_e08c));
}
