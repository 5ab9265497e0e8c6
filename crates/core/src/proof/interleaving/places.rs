//! Where a destroyer can be.
//!
//! The steps before the lock, those of the two ways through the window, and
//! those of a thread that found `_impl` null at its second test are laid out one
//! after the other, each with a place behind its last step where the thread is
//! through. What a thread did to its lock follows from its place.

use super::state::MAX_PLACES;
use crate::error::{Code, Error, Result};
use crate::proof::steps::{Event, Room, Step, Steps};

/// Where a destroyer is, with everything that follows from it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Place {
    /// The way through the window, once the count has decided it.
    pub room: Option<Room>,
    /// What it does next, and from where; nothing where it is through.
    pub next: Option<Step>,
    /// Whether it ever took the lock.
    pub locked: bool,
    /// How often it released the lock.
    pub unlocks: u8,
}

/// All places, and where the ways begin.
pub(super) struct Program {
    places: Vec<Place>,
    left: u8,
    full: u8,
    /// The first place of a thread that skips the window's beginning.
    pub skipped: u8,
    /// Through without having done anything.
    pub returned: u8,
}

impl Program {
    pub(super) fn of(steps: &Steps) -> Result<Program> {
        let mut places = Vec::new();
        let outside = Place::default();
        places.extend(steps.before.iter().map(|&step| Place { next: Some(step), ..outside }));
        let [left, full] = Room::BOTH.map(|room| {
            let place = Place { room: Some(room), locked: true, ..outside };
            lay_out(&mut places, place, &steps.path(room).steps)
        });
        let skipped = lay_out(&mut places, outside, &steps.skipped);
        let returned = lay_out(&mut places, outside, &[]);
        if places.len() > MAX_PLACES {
            return Err(Error::new(Code::SceneTooLarge, "the window has too many visible steps")
                .with("places", places.len())
                .with("at most", MAX_PLACES));
        }
        Ok(Program { places, left, full, skipped, returned })
    }

    pub(super) fn place(&self, index: u8) -> Place {
        self.places.get(usize::from(index)).copied().unwrap_or_default()
    }

    /// The place in the way of a full pool that a thread on either way is at.
    pub(super) fn beside(&self, place: u8) -> u8 {
        let first = if place < self.full { self.left } else { self.full };
        self.full + place.saturating_sub(first)
    }

    /// Where a thread is that has just taken the lock.
    pub(super) fn entered(&self, room: Room) -> u8 {
        match room {
            Room::Left => self.left,
            Room::Full => self.full,
        }
    }
}

/// Appends the places of `steps` and the one behind them; returns the first.
fn lay_out(places: &mut Vec<Place>, mut place: Place, steps: &[Step]) -> u8 {
    let first = places.len() as u8;
    for &step in steps {
        places.push(Place { next: Some(step), ..place });
        place.unlocks += u8::from(step.event == Event::Unlock);
    }
    places.push(place);
    first
}

impl Place {
    /// Whether the thread has nothing left to do.
    pub(super) fn is_through(&self) -> bool {
        self.next.is_none()
    }
}
