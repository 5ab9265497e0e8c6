//! The same schedule under other code.
//!
//! A trace found under one version of the window is a list of whose turn it is.
//! Here the threads take the same turns under another version. A thread whose
//! turn comes while another holds the lock waits, and the holder goes on until
//! it has released it, as on a real machine.

use serde::Serialize;

use super::explore::Trace;
use super::model::Model;
use super::properties::Property;
use super::scene::Scene;
use super::state::State;
use super::{Move, Thread};
use crate::error::Result;
use crate::proof::steps::Steps;

/// One turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Turn {
    /// The thread takes this step.
    Takes(Move),
    /// The thread waits for the lock.
    Waits(Thread),
}

/// What became of a schedule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Replay {
    /// What the threads did, to the end of all of them.
    pub turns: Vec<Turn>,
    /// What was violated on the way, in the order of [`Property::ALL`].
    pub violated: Vec<Property>,
    /// The first turn after which a reader worked on a block that was freed or
    /// given to another encoder.
    pub harm: Option<usize>,
}

/// Plays the turns of `trace` under `steps`, and then every thread to its end.
pub fn replay(steps: &Steps, scene: Scene, trace: &Trace) -> Result<Replay> {
    let model = Model::new(steps, scene)?;
    let state = model.start(trace.in_freelist);
    let mut player =
        Player { model: &model, state, turns: Vec::new(), seen: Vec::new(), harm: None };
    for wish in &trace.moves {
        player.turn(wish);
    }
    for thread in trace.moves.iter().map(|made| made.thread) {
        player.finish(thread);
    }
    let violated = Property::ALL.into_iter().filter(|p| player.seen.contains(p)).collect();
    Ok(Replay { turns: player.turns, violated, harm: player.harm })
}

struct Player<'a> {
    model: &'a Model,
    state: State,
    turns: Vec<Turn>,
    seen: Vec<Property>,
    harm: Option<usize>,
}

impl Player<'_> {
    fn turn(&mut self, wish: &Move) {
        if self.step(wish.thread, Some(wish)) {
            return;
        }
        if let Some(holder) = self.model.holder(self.state).filter(|&holder| holder != wish.thread)
        {
            self.turns.push(Turn::Waits(wish.thread));
            while self.model.holder(self.state) == Some(holder) && self.step(holder, None) {}
            self.step(wish.thread, Some(wish));
        }
    }

    fn finish(&mut self, thread: Thread) {
        while self.step(thread, None) {}
    }

    /// Takes a step of `thread`, `wish` if that is among those it can take.
    fn step(&mut self, thread: Thread, wish: Option<&Move>) -> bool {
        let mut out = Vec::new();
        self.model.successors(self.state, &mut out);
        let of_thread = || out.iter().filter(|(made, _)| made.thread == thread);
        let chosen = of_thread()
            .find(|(made, _)| wish.is_some_and(|wish| made.act.same_choice(wish.act)))
            .or_else(|| of_thread().next());
        let Some(&(made, after)) = chosen else { return false };
        self.turns.push(Turn::Takes(made));
        self.state = after;
        if self.model.harm(after).is_some() {
            self.harm.get_or_insert(self.turns.len() - 1);
        }
        self.model.violations(after, |property, _| self.seen.push(property));
        true
    }
}
