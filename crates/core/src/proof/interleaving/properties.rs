//! What is asked of every reachable state.

use serde::Serialize;

use super::model::Model;
use super::scene::Readers;
use super::state::{Field, Phase, State};
use crate::proof::steps::{Event, Room};

/// What is asked of every reachable state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum Property {
    /// Never is the lock free and a block in the freelist, taken by another
    /// encoder or freed, while the `_impl` of its encoder still points at it.
    NoRaceWindow,
    /// Never does a reader work on a block that was given back.
    NoStaleUse,
    /// Never does a reader work on a block whose destructor has run.
    NoUseAfterDestructor,
    /// Never does a reader or the destructor work on null.
    NoNullUse,
    /// Where every thread that ends an encoder is through, its block was given
    /// back.
    NoLeak,
    /// No block is pushed into the freelist twice.
    NoDoublePush,
    /// No block is freed that was given back before, or after.
    NoDoubleFree,
    /// The destructor runs once on a block.
    NoDoubleDestructor,
    /// A thread that took the lock and is through released it once, and no
    /// thread releases it twice.
    UnlockOnce,
}

impl Property {
    /// All of them, in the order of reports.
    pub const ALL: [Property; 9] = [
        Property::NoRaceWindow,
        Property::NoStaleUse,
        Property::NoUseAfterDestructor,
        Property::NoNullUse,
        Property::NoLeak,
        Property::NoDoublePush,
        Property::NoDoubleFree,
        Property::NoDoubleDestructor,
        Property::UnlockOnce,
    ];

    /// The name, as in the TLA+ specification.
    pub fn name(self) -> &'static str {
        match self {
            Property::NoRaceWindow => "NoRaceWindow",
            Property::NoStaleUse => "NoStaleUse",
            Property::NoUseAfterDestructor => "NoUseAfterDestructor",
            Property::NoNullUse => "NoNullUse",
            Property::NoLeak => "NoLeak",
            Property::NoDoublePush => "NoDoublePush",
            Property::NoDoubleFree => "NoDoubleFree",
            Property::NoDoubleDestructor => "NoDoubleDestructor",
            Property::UnlockOnce => "UnlockOnce",
        }
    }

    /// What it means when it is violated, in plain words.
    pub fn violated(self) -> &'static str {
        match self {
            Property::NoRaceWindow => {
                "the lock is free and the block given back while self->_impl still points at it"
            }
            Property::NoStaleUse => "a reader works on a block that was given back",
            Property::NoUseAfterDestructor => "a reader works on a block whose destructor has run",
            Property::NoNullUse => "a reader or the destructor dereferences null",
            Property::NoLeak => {
                "every thread is through and the block neither in the freelist nor freed"
            }
            Property::NoDoublePush => "a block is pushed into the freelist twice",
            Property::NoDoubleFree => "a block is freed that is given back a second time",
            Property::NoDoubleDestructor => "the destructor runs twice on a block",
            Property::UnlockOnce => "a thread is through and did not release the lock exactly once",
        }
    }
}

impl Model {
    /// Every property `state` violates, with the way through the window of a
    /// destroyer at fault where one is.
    pub(super) fn violations(&self, state: State, mut found: impl FnMut(Property, Option<Room>)) {
        for encoder in self.encoders() {
            self.violations_of_block(state, encoder, &mut found);
        }
        for index in self.destroyers() {
            let place = self.place(state, index);
            if place.unlocks > 1 || place.is_through() && place.locked && place.unlocks != 1 {
                found(Property::UnlockOnce, place.room);
            }
            let destroys = place.next.is_some_and(|step| step.event == Event::Destroy);
            if destroys && !state.is_set(Field::has_block(index)) {
                found(Property::NoNullUse, None);
            }
        }
        self.violations_of_readers(state, &mut found);
    }

    fn violations_of_block(
        &self,
        state: State,
        encoder: usize,
        found: &mut impl FnMut(Property, Option<Room>),
    ) {
        let mut report = |violated: bool, property| {
            if violated {
                found(property, self.room_of(state, encoder));
            }
        };
        let (pushed, freed) = (state.get(Field::pushed(encoder)), state.get(Field::freed(encoder)));
        let given_back = pushed + freed;
        let set = !state.is_set(Field::cleared(encoder));
        let free = self.holder(state).is_none();
        report(free && given_back > 0 && set, Property::NoRaceWindow);
        report(pushed > 1, Property::NoDoublePush);
        report(freed > 0 && given_back > 1, Property::NoDoubleFree);
        report(state.get(Field::destroyed(encoder)) > 1, Property::NoDoubleDestructor);
        let all_through =
            || self.destroyers_of(encoder).all(|index| self.place(state, index).is_through());
        report(given_back == 0 && all_through(), Property::NoLeak);
    }

    fn violations_of_readers(&self, state: State, found: &mut impl FnMut(Property, Option<Room>)) {
        for index in self.readers() {
            if state.phase(Field::reader_phase(index)) != Phase::Using {
                continue;
            }
            match state.get(Field::reader_block(index)).checked_sub(1).map(usize::from) {
                Some(encoder) => {
                    if self.is_given_back(state, encoder) {
                        found(Property::NoStaleUse, self.room_of(state, encoder));
                    }
                    if state.is_set(Field::destroyed(encoder)) {
                        found(Property::NoUseAfterDestructor, None);
                    }
                }
                None if self.scene.kind == Readers::TakeNoLock => found(Property::NoNullUse, None),
                None => {}
            }
        }
    }

    fn destroyers_of(&self, encoder: usize) -> impl Iterator<Item = usize> + '_ {
        self.destroyers().filter(move |&index| self.scene.encoder_of(index) == encoder)
    }

    /// The way through the window of the first destroyer of `encoder` that is on
    /// one.
    fn room_of(&self, state: State, encoder: usize) -> Option<Room> {
        self.destroyers_of(encoder).find_map(|index| self.place(state, index).room)
    }

    fn is_given_back(&self, state: State, encoder: usize) -> bool {
        state.is_set(Field::pushed(encoder)) || state.is_set(Field::freed(encoder))
    }

    /// Where a stale use does harm: a reader works on a block that was freed or
    /// that another encoder was given. Returns the way through the window of the
    /// destroyer that gave it back.
    pub(super) fn harm(&self, state: State) -> Option<Room> {
        self.readers()
            .filter(|&index| state.phase(Field::reader_phase(index)) == Phase::Using)
            .filter_map(|index| state.get(Field::reader_block(index)).checked_sub(1))
            .map(usize::from)
            .find(|&encoder| self.taken(state, encoder) || state.is_set(Field::freed(encoder)))
            .and_then(|encoder| self.room_of(state, encoder))
    }
}
