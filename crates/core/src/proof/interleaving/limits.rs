//! What the default rewrite closes and what it leaves open, in the two lines that a
//! user reads before consenting to it.
//!
//! Both lines come out of the model: its steps are made from the description of the
//! driver's phases, so that no file is needed, and a line speaks of an outcome only
//! where the exploration found it, or excluded it. The tests hold them against the
//! lines that the bytes of a driver give.

use super::Property;
use super::table::{Interleavings, check};
use crate::address::VmAddr;
use crate::driver_logic::DestroyPhase;
use crate::error::Result;
use crate::proof::steps::{Event, Path, Room, Step, Steps};

/// What a rewrite changes for the threads of a program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// What it closes; empty where it closes nothing.
    pub closes: String,
    /// Which published crashes it is not known to prevent.
    pub remains: String,
}

/// What to try before any rewrite.
pub const FIRST: &str = "a newer PyTorch or MLX, one lock around GPU work, or the guard \
    (`agxpatch run`)";

/// Threads of the model; the table of two is that of more, as the tests show.
const THREADS: u8 = 2;

/// The limits of the default rewrite in the driver that is described.
pub fn limits() -> Result<Limits> {
    let before = check(&described(&DestroyPhase::ORDER), THREADS)?;
    let after = check(&described(&DestroyPhase::REWRITTEN), THREADS)?;
    Ok(limits_of(&before, &after))
}

/// The limits of the rewrite that leads from one version to another.
pub fn limits_of(before: &Interleavings, after: &Interleavings) -> Limits {
    let possible = |version: &Interleavings, properties: &[Property]| {
        let outcomes = version.outcomes();
        outcomes.iter().any(|row| row.possible && properties.contains(&row.property))
    };
    let window = [Property::NoRaceWindow];
    let closed = possible(before, &window) && !possible(after, &window);
    let closes = if closed { WINDOW.to_owned() } else { String::new() };
    let said = [
        (&[Property::NoRaceWindow][..], "the published window"),
        (&[Property::NoNullUse, Property::NoStaleUse, Property::NoUseAfterDestructor], METHODS),
        (&[Property::NoDoublePush, Property::NoDoubleFree], TWICE),
        (&[Property::NoLeak], "a block leaks where the freelist is full"),
    ];
    let left = said.into_iter().filter(|(properties, _)| possible(after, properties));
    let remains: Vec<&str> = left.map(|(_, line)| line).collect();
    // The model leaves out the lifetime of an encoder, so nothing is known of E.
    let remains = if remains.is_empty() { vec![FREED_ENCODER] } else { remains };
    Limits { closes, remains: remains.join("; ") }
}

const WINDOW: &str = "the published window: after the rewrite the pool's lock is never free \
    while the block is given back and self->_impl still points at it";

const METHODS: &str = "the published crash classes A, B, C, D and I (a method reads _impl \
    without the lock and meets NULL or a block given back) and E (a message to a freed encoder)";

const FREED_ENCODER: &str = "the published crash class E (a message to a freed encoder)";

const TWICE: &str = "two threads that end one encoder can still push its block twice";

/// The steps of a destroyer that goes through `phases` in that order. A step's address
/// is the number of its phase.
fn described(phases: &[DestroyPhase]) -> Steps {
    let locked = phases.iter().position(|phase| *phase == DestroyPhase::Lock).unwrap_or(0);
    let steps = |from: usize, to: usize, left_out: &[DestroyPhase]| -> Vec<Step> {
        let numbered = phases.iter().enumerate().take(to).skip(from);
        let kept = numbered.filter(|(_, phase)| !left_out.contains(phase));
        kept.flat_map(|(number, phase)| {
            events(*phase)
                .iter()
                .map(move |event| Step { at: VmAddr(number as u64), event: *event })
        })
        .collect()
    };
    let path = |room, left_out| {
        let steps = steps(locked + 1, phases.len(), &[left_out]);
        Path { room, steps, executed: Vec::new(), decided_at: Vec::new() }
    };
    // The second test leads to a clear behind the unlock, and past one before it.
    let unlocked = phases.iter().position(|phase| *phase == DestroyPhase::Unlock).unwrap_or(0);
    Steps {
        before: steps(0, locked + 1, &[]),
        skipped: steps(unlocked + 1, phases.len(), &[DestroyPhase::Free]),
        left: path(Room::Left, DestroyPhase::Free),
        full: path(Room::Full, DestroyPhase::Push),
    }
}

fn events(phase: DestroyPhase) -> &'static [Event] {
    match phase {
        DestroyPhase::FirstTest => &[Event::LoadOrReturn],
        DestroyPhase::Destructor => &[Event::Load, Event::Destroy],
        DestroyPhase::SecondTest => &[Event::LoadOrSkip],
        DestroyPhase::Lock => &[Event::Lock],
        DestroyPhase::Push => &[Event::Push],
        DestroyPhase::Unlock => &[Event::Unlock],
        DestroyPhase::Free => &[Event::Free],
        DestroyPhase::Clear => &[Event::Clear],
    }
}
