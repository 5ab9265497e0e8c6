//! The transitions of the model.

use super::places::{Place, Program};
use super::scene::{Readers, Scene};
use super::state::{Creation, Field, MAX_DESTROYERS, Phase, State};
use super::{Act, Move, Thread};
use crate::error::Result;
use crate::proof::steps::{Event, Room, Step, Steps};

/// A scene with the program its destroyers run.
pub(super) struct Model {
    pub(super) scene: Scene,
    program: Program,
}

impl Model {
    pub(super) fn new(steps: &Steps, scene: Scene) -> Result<Model> {
        scene.check()?;
        Ok(Model { scene, program: Program::of(steps)? })
    }

    /// Every fill level of the freelist, no thread having begun.
    pub(super) fn initial(&self) -> impl Iterator<Item = State> + '_ {
        (0..=self.scene.capacity).map(|others| self.start(others))
    }

    /// No thread has begun, and the freelist holds `others` blocks. A program
    /// that does not load `_impl` itself has the block from the start.
    pub(super) fn start(&self, others: u8) -> State {
        self.destroyers().fold(State(0).with(Field::OTHERS, others), |state, destroyer| {
            state.with(Field::has_block(destroyer), 1)
        })
    }

    pub(super) fn place(&self, state: State, destroyer: usize) -> Place {
        self.program.place(state.get(Field::place(destroyer)))
    }

    pub(super) fn destroyers(&self) -> std::ops::Range<usize> {
        0..usize::from(self.scene.destroyers).min(MAX_DESTROYERS)
    }

    pub(super) fn encoders(&self) -> std::ops::Range<usize> {
        0..usize::from(self.scene.encoders).min(MAX_DESTROYERS)
    }

    pub(super) fn readers(&self) -> std::ops::Range<usize> {
        0..usize::from(self.scene.readers)
    }

    /// Whether the creator was given the block of `encoder`.
    pub(super) fn taken(&self, state: State, encoder: usize) -> bool {
        usize::from(state.get(Field::CREATOR_BLOCK)) == encoder + 1
    }

    /// How many entries of the freelist are the block of `encoder`.
    fn entries(&self, state: State, encoder: usize) -> u8 {
        let taken = u8::from(self.taken(state, encoder));
        state.get(Field::pushed(encoder)).saturating_sub(taken)
    }

    fn count(&self, state: State) -> u8 {
        let ours: u8 = self.encoders().map(|encoder| self.entries(state, encoder)).sum();
        state.get(Field::OTHERS) + ours
    }

    /// Who holds the lock.
    pub(super) fn holder(&self, state: State) -> Option<Thread> {
        Thread::from_number(state.get(Field::LOCK).checked_sub(1)?)
    }

    /// Every step any thread can take from `state`.
    pub(super) fn successors(&self, state: State, out: &mut Vec<(Move, State)>) {
        out.clear();
        for destroyer in self.destroyers() {
            out.extend(self.destroyer(state, destroyer));
        }
        for reader in self.readers() {
            self.reader(state, reader, out);
        }
        if self.scene.creator {
            self.creator(state, out);
        }
    }

    fn destroyer(&self, state: State, index: usize) -> Option<(Move, State)> {
        let thread = Thread::Destroyer(index as u8);
        let encoder = self.scene.encoder_of(index);
        let step = self.place(state, index).next?;
        let has_block = state.is_set(Field::has_block(index));
        let on = |state: State| state.with(Field::place(index), state.get(Field::place(index)) + 1);
        let act = Act::Step { step, encoder: encoder as u8, null: false };
        let after = match step.event {
            Event::Lock => return self.enter(state, index, step),
            Event::Load
            | Event::LoadOrReturn
            | Event::LoadOrSkip
            | Event::LoadOrFull
            | Event::TakeOrSkip => {
                return Some(self.load(state, index, step));
            }
            // The destructor does not survive a null block: the thread stops here.
            Event::Destroy if !has_block => return None,
            Event::Destroy => on(state).count(Field::destroyed(encoder)),
            Event::Push if has_block => on(state).count(Field::pushed(encoder)),
            // A null in the freelist is to the creator what a fresh block is.
            Event::Push => on(state).count(Field::OTHERS),
            Event::Free if has_block => on(state).count(Field::freed(encoder)),
            Event::Free => on(state),
            Event::Clear => on(state).with(Field::cleared(encoder), 1),
            Event::Unlock if self.holder(state) == Some(thread) => on(state).with(Field::LOCK, 0),
            Event::Unlock => on(state),
        };
        let act = match (act, step.event) {
            (Act::Step { step, encoder, .. }, Event::Push | Event::Free) => {
                Act::Step { step, encoder, null: !has_block }
            }
            (act, _) => act,
        };
        Some((Move { thread, act }, after))
    }

    /// Takes the lock, and with it the way that the count decides.
    fn enter(&self, state: State, index: usize, step: Step) -> Option<(Move, State)> {
        let thread = Thread::Destroyer(index as u8);
        if self.holder(state).is_some() {
            return None;
        }
        let full = self.count(state) >= self.scene.capacity;
        let room = if full { Room::Full } else { Room::Left };
        let after = lock(state, thread).with(Field::place(index), self.program.entered(room));
        Some((Move { thread, act: Act::Enter { room, step } }, after))
    }

    /// Loads `_impl`, and does what the code does where it is null.
    fn load(&self, state: State, index: usize, step: Step) -> (Move, State) {
        let thread = Thread::Destroyer(index as u8);
        let encoder = self.scene.encoder_of(index);
        let null = state.is_set(Field::cleared(encoder));
        let next = state.get(Field::place(index)) + 1;
        let to = match step.event {
            Event::LoadOrReturn if null => self.program.returned,
            Event::LoadOrSkip | Event::TakeOrSkip if null => self.program.skipped,
            Event::LoadOrFull if null => self.program.beside(state.get(Field::place(index))) + 1,
            _ => next,
        };
        let mut after =
            state.with(Field::has_block(index), u8::from(!null)).with(Field::place(index), to);
        if step.event == Event::TakeOrSkip {
            after = after.with(Field::cleared(encoder), 1);
        }
        let act = Act::Step { step, encoder: encoder as u8, null };
        (Move { thread, act }, after)
    }

    fn reader(&self, state: State, index: usize, out: &mut Vec<(Move, State)>) {
        let thread = Thread::Reader(index as u8);
        let field = Field::reader_phase(index);
        let locks = self.scene.kind == Readers::TakeTheLock;
        match state.phase(field) {
            Phase::Idle if locks => {
                if self.holder(state).is_none() {
                    let after = lock(state, thread).at_phase(field, Phase::Locked);
                    out.push((Move { thread, act: Act::Lock }, after));
                }
            }
            Phase::Idle | Phase::Locked => {
                for encoder in self.encoders() {
                    let null = state.is_set(Field::cleared(encoder));
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
        match state.creation() {
            Creation::Idle if self.holder(state).is_none() => {
                let after = lock(state, thread).at_creation(Creation::Locked);
                out.push((Move { thread, act: Act::Lock }, after));
            }
            Creation::Locked => {
                let popped = state.at_creation(Creation::Popped);
                for encoder in self.encoders().filter(|&e| self.entries(state, e) > 0) {
                    let block = encoder as u8;
                    let after = popped.with(Field::CREATOR_BLOCK, block + 1);
                    out.push((Move { thread, act: Act::Pop(Some(block)) }, after));
                }
                let others = state.get(Field::OTHERS);
                if others > 0 || self.count(state) == 0 {
                    let after = popped.with(Field::OTHERS, others.saturating_sub(1));
                    out.push((Move { thread, act: Act::Pop(None) }, after));
                }
            }
            Creation::Popped => {
                let after = state.with(Field::LOCK, 0).at_creation(Creation::Wiping);
                out.push((Move { thread, act: Act::Unlock }, after));
            }
            Creation::Wiping => {
                let block = state.get(Field::CREATOR_BLOCK).checked_sub(1);
                let after = state.at_creation(Creation::Done);
                out.push((Move { thread, act: Act::Wipe(block) }, after));
            }
            Creation::Idle | Creation::Done => {}
        }
    }
}

fn lock(state: State, thread: Thread) -> State {
    state.with(Field::LOCK, thread.number() + 1)
}
