//! The methods go through the phases that the description lists, in its order.

use agxpatch_core::driver_logic::{COMPUTE_POOL, DestroyPhase, InitPhase, LEAST_BLOCK_SIZE};
use agxpatch_simulate::driver::facts;

use super::execution::DESTROY;
use super::machine::{
    BLOCK, Event, FREE, IMPL_AT, LOCK, OBJECT, OTHER_BLOCK, Run, Setting, UNLOCK, in_device,
};

const FIELD: u64 = OBJECT + IMPL_AT;

fn run(method: std::ops::Range<u64>, words: &[(u64, u64)]) -> Run {
    Setting { variant: "published", method, words: words.to_vec() }.run()
}

fn is_slot(at: u64) -> bool {
    let first = in_device(COMPUTE_POOL.slots);
    (first..first + 64).contains(&at)
}

/// The phases a run went through, each once.
fn phases<P: PartialEq>(run: &Run, mut phase: impl FnMut(&Event, &[P]) -> Option<P>) -> Vec<P> {
    let mut found = Vec::new();
    for event in &run.events {
        if let Some(phase) = phase(event, &found)
            && found.last() != Some(&phase)
        {
            found.push(phase);
        }
    }
    found
}

fn destroy_phase(event: &Event, so_far: &[DestroyPhase]) -> Option<DestroyPhase> {
    let lock = in_device(COMPUTE_POOL.lock);
    let destroyed = so_far.contains(&DestroyPhase::Destructor);
    match *event {
        Event::Load { at: FIELD } if so_far.is_empty() => Some(DestroyPhase::FirstTest),
        // The destructor gets the block from the field, too.
        Event::Load { at: FIELD } => destroyed.then_some(DestroyPhase::SecondTest),
        Event::Call { to: LOCK, x0, .. } if x0 == lock => Some(DestroyPhase::Lock),
        Event::Call { to: UNLOCK, x0, .. } if x0 == lock => Some(DestroyPhase::Unlock),
        Event::Call { to: FREE, x0: BLOCK, .. } => Some(DestroyPhase::Free),
        Event::Store { at, value: BLOCK } if is_slot(at) => Some(DestroyPhase::Push),
        Event::Store { at: FIELD, value: 0 } => Some(DestroyPhase::Clear),
        Event::Load { at } | Event::Store { at, .. } => {
            (BLOCK..BLOCK + 0x4000).contains(&at).then_some(DestroyPhase::Destructor)
        }
        Event::Call { .. } => None,
    }
}

#[test]
fn destroy_impl_goes_through_its_phases_in_order() {
    for (count, left_out) in [(3, DestroyPhase::Free), (8, DestroyPhase::Push)] {
        let run = run(DESTROY, &[(FIELD, BLOCK), (in_device(COMPUTE_POOL.count), count)]);
        let expected = DestroyPhase::ORDER.into_iter().filter(|phase| *phase != left_out);
        assert_eq!(phases(&run, destroy_phase), expected.collect::<Vec<_>>());
    }
}

fn init_phase(event: &Event, _: &[InitPhase]) -> Option<InitPhase> {
    match *event {
        Event::Call { to: LOCK, .. } => Some(InitPhase::Lock),
        Event::Call { to: UNLOCK, .. } => Some(InitPhase::Unlock),
        Event::Load { at } if is_slot(at) => Some(InitPhase::Pop),
        Event::Store { at: FIELD, .. } => Some(InitPhase::Publish),
        Event::Call { x0: BLOCK, .. } | Event::Call { x1: 1, .. } => {
            Some(InitPhase::WipeOrAllocate)
        }
        _ => None,
    }
}

#[test]
fn init_goes_through_its_phases_in_order() {
    let init = facts::NEXT_METHOD.0..facts::NEXT_METHOD.0 + 0x110;
    let size = (in_device(COMPUTE_POOL.size), u64::from(LEAST_BLOCK_SIZE));
    let (count, slot) = (in_device(COMPUTE_POOL.count), in_device(COMPUTE_POOL.slots) + 16);
    let popped = run(init.clone(), &[size, (count, 3), (slot, BLOCK)]);
    assert_eq!(phases(&popped, init_phase), InitPhase::ORDER);
    assert_eq!((popped.field(), popped.count(COMPUTE_POOL)), (BLOCK, 2));
    // A NULL in the freelist does no harm.
    let null = run(init.clone(), &[size, (count, 3)]);
    assert_eq!(phases(&null, init_phase), InitPhase::ORDER);
    assert_eq!((null.field(), null.count(COMPUTE_POOL)), (OTHER_BLOCK, 2));
    let empty = run(init, &[size]);
    let expected = InitPhase::ORDER.into_iter().filter(|phase| *phase != InitPhase::Pop);
    assert_eq!(phases(&empty, init_phase), expected.collect::<Vec<_>>());
    assert_eq!(empty.field(), OTHER_BLOCK);
}
