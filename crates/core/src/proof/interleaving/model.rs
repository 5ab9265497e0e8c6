//! The transitions of the model, and which properties a state violates.

use super::scene::{Property, Readers, Scene};
use super::state::{DESTROYERS, Field, PLACES, Phase, State};
use super::{Act, Move, Thread};
use crate::error::{Code, Error, Result};
use crate::proof::steps::{Event, Room, Step, Steps};

/// Where a destroyer can be, with everything that follows from it.
#[derive(Clone, Copy, Debug)]
struct Place {
    room: Option<Room>,
    /// What it does next, and from where.
    next: Option<Step>,
    pushed: u8,
    freed: u8,
    unlocks: u8,
    cleared: bool,
}

impl Place {
    const OUTSIDE: Place =
        Place { room: None, next: None, pushed: 0, freed: 0, unlocks: 0, cleared: false };

    fn after(mut self, event: Event) -> Place {
        match event {
            Event::Push => self.pushed += 1,
            Event::Free => self.freed += 1,
            Event::Unlock => self.unlocks += 1,
            Event::Clear => self.cleared = true,
        }
        self
    }

    fn done(&self) -> bool {
        self.room.is_some() && self.next.is_none()
    }

    fn given_back(&self) -> u8 {
        self.pushed + self.freed
    }
}

/// A scene with the steps its destroyers take.
pub(super) struct Model {
    pub(super) scene: Scene,
    places: Vec<Place>,
    /// The first place inside the window, by path.
    entered: [(Room, u8); 2],
}

impl Model {
    pub(super) fn new(steps: &Steps, scene: Scene) -> Result<Model> {
        scene.check()?;
        let mut places = vec![Place::OUTSIDE];
        let entered = Room::BOTH.map(|room| {
            let first = places.len() as u8;
            let mut place = Place { room: Some(room), ..Place::OUTSIDE };
            for &step in &steps.path(room).steps {
                places.push(Place { next: Some(step), ..place });
                place = place.after(step.event);
            }
            places.push(place);
            (room, first)
        });
        if places.len() > PLACES {
            return Err(Error::new(Code::SceneTooLarge, "the window has too many visible steps")
                .with("places", places.len())
                .with("at most", PLACES));
        }
        Ok(Model { scene, places, entered })
    }

    /// Every fill level of the freelist, nobody having begun.
    pub(super) fn initial(&self) -> impl Iterator<Item = State> + '_ {
        (0..=self.scene.capacity).map(|others| State(0).with(Field::OTHERS, others))
    }

    fn place(&self, state: State, destroyer: usize) -> Place {
        self.places
            .get(usize::from(state.get(Field::destroyer(destroyer))))
            .copied()
            .unwrap_or(Place::OUTSIDE)
    }

    fn destroyers(&self) -> std::ops::Range<usize> {
        0..usize::from(self.scene.destroyers).min(DESTROYERS)
    }

    fn readers(&self) -> std::ops::Range<usize> {
        0..usize::from(self.scene.readers)
    }

    fn taken(&self, state: State, encoder: usize) -> bool {
        usize::from(state.get(Field::CREATOR_BLOCK)) == encoder + 1
    }

    fn in_freelist(&self, state: State, encoder: usize) -> bool {
        let place = self.place(state, encoder);
        place.pushed > 0 && place.freed == 0 && !self.taken(state, encoder)
    }

    fn count(&self, state: State) -> u8 {
        let ours = self.destroyers().filter(|&encoder| self.in_freelist(state, encoder)).count();
        state.get(Field::OTHERS) + ours as u8
    }

    /// Who holds the lock.
    pub(super) fn holder(&self, state: State) -> Option<Thread> {
        holder(state)
    }

    fn given_back(&self, state: State, encoder: usize) -> bool {
        self.place(state, encoder).given_back() > 0
    }

    /// Every step any thread can take from `state`.
    pub(super) fn successors(&self, state: State, out: &mut Vec<(Move, State)>) {
        out.clear();
        for index in self.destroyers() {
            self.destroyer(state, index, out);
        }
        for index in self.readers() {
            self.reader(state, index, out);
        }
        if self.scene.creator {
            self.creator(state, out);
        }
    }

    fn destroyer(&self, state: State, index: usize, out: &mut Vec<(Move, State)>) {
        let thread = Thread::Destroyer(index as u8);
        let field = Field::destroyer(index);
        let place = self.place(state, index);
        if let Some(step) = place.next {
            let mut after = state.with(field, state.get(field) + 1);
            if step.event == Event::Unlock && holder(state) == Some(thread) {
                after = after.with(Field::LOCK, 0);
            }
            out.push((Move { thread, act: Act::Step(step) }, after));
        } else if place.room.is_none() && holder(state).is_none() {
            let room =
                if self.count(state) >= self.scene.capacity { Room::Full } else { Room::Left };
            let first =
                self.entered.iter().find(|(path, _)| *path == room).map_or(0, |(_, at)| *at);
            out.push((
                Move { thread, act: Act::Enter(room) },
                lock(state, thread).with(field, first),
            ));
        }
    }

    fn reader(&self, state: State, index: usize, out: &mut Vec<(Move, State)>) {
        let thread = Thread::Reader(index as u8);
        let field = Field::reader_phase(index);
        let locks = self.scene.kind == Readers::TakeTheLock;
        match state.phase(field) {
            Phase::Idle if locks => {
                if holder(state).is_none() {
                    let after = lock(state, thread).at_phase(field, Phase::Locked);
                    out.push((Move { thread, act: Act::Lock }, after));
                }
            }
            Phase::Idle | Phase::Locked => {
                for encoder in self.destroyers() {
                    let null = self.place(state, encoder).cleared;
                    let loaded = if null { 0 } else { encoder as u8 + 1 };
                    let after = state
                        .at_phase(field, Phase::Using)
                        .with(Field::reader_block(index), loaded);
                    let act = Act::Load { encoder: encoder as u8, null };
                    out.push((Move { thread, act }, after));
                }
            }
            Phase::Using => {
                let after = if locks { state.with(Field::LOCK, 0) } else { state };
                let after = after.at_phase(field, Phase::Done).with(Field::reader_block(index), 0);
                out.push((Move { thread, act: Act::Leave }, after));
            }
            Phase::Done => {}
        }
    }

    fn creator(&self, state: State, out: &mut Vec<(Move, State)>) {
        let thread = Thread::Creator;
        let field = Field::CREATOR_PHASE;
        match state.phase(field) {
            Phase::Idle if holder(state).is_none() => {
                let after = lock(state, thread).at_phase(field, Phase::Locked);
                out.push((Move { thread, act: Act::Lock }, after));
            }
            Phase::Locked => {
                let using = state.at_phase(field, Phase::Using);
                for encoder in self.destroyers().filter(|&e| self.in_freelist(state, e)) {
                    let block = encoder as u8;
                    let after = using.with(Field::CREATOR_BLOCK, block + 1);
                    out.push((Move { thread, act: Act::Take(Some(block)) }, after));
                }
                let others = state.get(Field::OTHERS);
                if others > 0 || self.count(state) == 0 {
                    let after = using.with(Field::OTHERS, others.saturating_sub(1));
                    out.push((Move { thread, act: Act::Take(None) }, after));
                }
            }
            Phase::Using => {
                let after = state.with(Field::LOCK, 0).at_phase(field, Phase::Done);
                out.push((Move { thread, act: Act::Leave }, after));
            }
            Phase::Idle | Phase::Done => {}
        }
    }

    /// Every property `state` violates, with the path of the destroyer at fault
    /// where one is.
    pub(super) fn violations(&self, state: State, mut found: impl FnMut(Property, Option<Room>)) {
        let free = holder(state).is_none();
        for index in self.destroyers() {
            let place = self.place(state, index);
            let mut report = |violated: bool, property| {
                if violated {
                    found(property, place.room);
                }
            };
            report(free && place.given_back() > 0 && !place.cleared, Property::NoRaceWindow);
            report(place.done() && place.given_back() == 0, Property::NoLeak);
            report(place.given_back() > 1, Property::NoDoubleFree);
            report(place.unlocks > 1 || place.done() && place.unlocks != 1, Property::UnlockOnce);
        }
        for index in self.readers() {
            if state.phase(Field::reader_phase(index)) != Phase::Using {
                continue;
            }
            match state.get(Field::reader_block(index)).checked_sub(1).map(usize::from) {
                Some(encoder) if self.given_back(state, encoder) => {
                    found(Property::NoStaleUse, self.place(state, encoder).room);
                }
                None if self.scene.kind == Readers::TakeNoLock => found(Property::NoNullUse, None),
                _ => {}
            }
        }
    }

    /// Where a stale use does harm: a reader works on a block that was freed or
    /// that another encoder was given. Returns the path of the destroyer that
    /// gave it back.
    pub(super) fn harm(&self, state: State) -> Option<Room> {
        self.readers()
            .filter(|&index| state.phase(Field::reader_phase(index)) == Phase::Using)
            .filter_map(|index| state.get(Field::reader_block(index)).checked_sub(1))
            .map(usize::from)
            .find(|&encoder| self.taken(state, encoder) || self.place(state, encoder).freed > 0)
            .and_then(|encoder| self.place(state, encoder).room)
    }
}

fn holder(state: State) -> Option<Thread> {
    Thread::from_number(state.get(Field::LOCK).checked_sub(1)?)
}

fn lock(state: State, thread: Thread) -> State {
    state.with(Field::LOCK, thread.number() + 1)
}
