//! What one thread does that ends an encoder, as the other threads see it.
//!
//! Before the window the thread loads `self->_impl`, runs the destructor on the
//! block, loads `_impl` again and takes the pool's lock ([`approach`]). The window
//! begins with the lock held and the comparison with the capacity made. From there
//! on only four things can be seen by another thread: the push of the block into
//! the freelist, the clear of `self->_impl`, the unlock, and `free`. This module
//! takes them from the symbolic paths through the window (`paths`), one for a
//! pool with room and one for a full one, so that the original, either rewrite,
//! and a wrong rewrite are all read the same way.
//!
//! A path whose steps do not decide what the other threads see is refused by
//! name.

use std::ops::Range;

use serde::Serialize;

use super::approach;
use super::function::Function;
use super::paths::{self, Act, Exit, Seen, Trace};
use super::site::{Roles, Surroundings};
use crate::address::{VmAddr, Word};
use crate::arm64::semantics::{self, Condition, Register, Term, Terms, Test};
use crate::error::{Code, Error, Result};

/// What another thread can see, or what decides what it will see.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Event {
    /// `self->_impl` is loaded and not tested.
    Load,
    /// It is loaded, and where it is null the thread returns.
    LoadOrReturn,
    /// It is loaded, and where it is null the thread takes no lock and goes on
    /// with [`Steps::skipped`].
    LoadOrSkip,
    /// It is loaded with the lock held, and where it is null the thread goes on as one
    /// that finds no room; of its own way and that one the steps before are the same.
    LoadOrFull,
    /// As [`Event::LoadOrSkip`], and it is null afterwards: an atomic exchange.
    TakeOrSkip,
    /// The destructor works on the block that was loaded.
    Destroy,
    /// The pool's lock is taken.
    Lock,
    /// The block goes into the freelist.
    Push,
    /// `self->_impl` becomes null.
    Clear,
    /// The pool's lock is released.
    Unlock,
    /// The block goes back to the allocator.
    Free,
}

impl Event {
    /// As a word in a specification and in a trace.
    pub fn name(self) -> &'static str {
        match self {
            Event::Load => "load",
            Event::LoadOrReturn => "load-or-return",
            Event::LoadOrSkip => "load-or-skip",
            Event::LoadOrFull => "load-or-full",
            Event::TakeOrSkip => "take-or-skip",
            Event::Destroy => "destroy",
            Event::Lock => "lock",
            Event::Push => "push",
            Event::Clear => "clear",
            Event::Unlock => "unlock",
            Event::Free => "free",
        }
    }
}

/// One atomic step and the instruction that makes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Step {
    /// Address of the instruction.
    pub at: VmAddr,
    /// What it does.
    pub event: Event,
}

/// Which way a thread with a block goes through the window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Room {
    /// The freelist has a slot left (`count <= 7` in the published driver).
    Left,
    /// The freelist is full (`count > 7`).
    Full,
}

impl Room {
    /// Both ways.
    pub const BOTH: [Room; 2] = [Room::Left, Room::Full];
}

impl std::fmt::Display for Room {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Room::Left => "freelist has room",
            Room::Full => "freelist is full",
        })
    }
}

/// One way through the window.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Path {
    /// Which one.
    pub room: Room,
    /// The steps others can see, in order.
    pub steps: Vec<Step>,
    /// Every instruction executed, in order.
    pub executed: Vec<VmAddr>,
    /// The branches that decide it.
    pub decided_at: Vec<VmAddr>,
}

/// Everything a thread does that ends an encoder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Steps {
    /// What it does before the window. The last step takes the lock.
    pub before: Vec<Step>,
    /// What it does where [`Event::LoadOrSkip`] finds null.
    pub skipped: Vec<Step>,
    /// The way through a pool with room.
    pub left: Path,
    /// The way through a full pool.
    pub full: Path,
}

impl Steps {
    /// Reads the steps off the function `words` that begins at `entry`.
    ///
    /// # Errors
    /// Those of [`paths`](super::paths()); [`Code::StepUnknown`] names the
    /// instruction whose effect on the other threads cannot be told,
    /// [`Code::WindowLeft`] a way out that is not the end.
    pub fn of(
        words: &[Word],
        entry: VmAddr,
        window: Range<VmAddr>,
        roles: &Roles,
        surroundings: &dyn Surroundings,
    ) -> Result<Steps> {
        let function = Function { entry, words };
        let approach = approach::read(function, surroundings, window.clone(), roles)?;
        let mut terms = Terms::new();
        let end = window.end;
        let traces = paths::traces(&mut terms, function, window.clone(), roles)?;
        let reader = Reader::new(&mut terms, roles, end, &traces);
        let mut found: Vec<Path> = Vec::new();
        for trace in &traces {
            found.extend(reader.paths(trace)?);
        }
        for path in &mut found {
            path.steps.splice(0..0, approach.locked.iter().copied());
        }
        let skipped = match approach.null_entry {
            None => Vec::new(),
            Some(from) => {
                let traces = paths::traces_from(&mut terms, function, from, window, roles)?;
                reader.skipped(&traces, from)?
            }
        };
        Ok(Steps {
            before: approach.before,
            skipped,
            left: only(&mut found, Room::Left)?,
            full: only(&mut found, Room::Full)?,
        })
    }

    /// Every step of every way.
    pub fn all(&self) -> impl Iterator<Item = &Step> {
        let ways = [&self.before, &self.skipped, &self.left.steps, &self.full.steps];
        ways.into_iter().flatten()
    }

    /// The path taken for `room`.
    pub fn path(&self, room: Room) -> &Path {
        match room {
            Room::Left => &self.left,
            Room::Full => &self.full,
        }
    }
}

/// The one path for `room`.
fn only(found: &mut Vec<Path>, room: Room) -> Result<Path> {
    let mut of_room = found.extract_if(.., |path| path.room == room);
    match (of_room.next(), of_room.next()) {
        (Some(path), None) => Ok(path),
        (first, _) => Err(Error::new(
            Code::StepUnknown,
            match first {
                None => "no way through the window is taken in this case",
                Some(_) => "something else than the count decides the way through the window",
            },
        )
        .with("case", room)),
    }
}

/// The test that holds on every path without a push and on none with one, if
/// there is exactly one such: that is how the code asks whether there is room,
/// by whatever condition. Paths without a block say nothing about it.
fn deciding_test(traces: &[Trace], block: Term) -> Option<Test> {
    let has_block =
        |trace: &&Trace| !trace.tests.iter().any(|(_, test)| *test == Test::Zero(block, true));
    let pushes = |trace: &Trace| trace.events.iter().any(|seen| seen.act == Act::Push);
    let made = |trace: &Trace, test: Test| trace.tests.iter().any(|(_, known)| *known == test);
    let (pushing, others): (Vec<&Trace>, Vec<&Trace>) =
        traces.iter().filter(has_block).partition(|trace| pushes(trace));
    pushing.first()?;
    let (first, rest) = others.split_first()?;
    let mut deciding = first.tests.iter().map(|&(_, test)| test).filter(|&test| {
        rest.iter().all(|trace| made(trace, test))
            && pushing.iter().all(|trace| made(trace, test.negated()))
    });
    deciding.next().filter(|_| deciding.next().is_none())
}

/// The terms that mean something to other threads.
struct Reader {
    block: Term,
    lock: Term,
    field: Term,
    /// Holds where the freelist has no room.
    exceeds: Test,
    end: VmAddr,
}

impl Reader {
    fn new(terms: &mut Terms, roles: &Roles, end: VmAddr, traces: &[Trace]) -> Reader {
        const HI: u32 = 0b1000;
        let mut of = |register: Register| terms.register(register);
        let (pool, lock) = (of(roles.pool), of(roles.lock));
        let (encoder, ivar, block) = (of(roles.self_), of(roles.ivar), of(roles.impl_));
        let published = Test::Flags(Condition::encoded(HI, terms.initial_flags()));
        let exceeds = deciding_test(traces, block).unwrap_or(published);
        let (lock, field) = (terms.add(pool, lock), terms.add(encoder, ivar));
        Reader { block, lock, field, exceeds, end }
    }

    /// The trace as a path, for each state of the freelist in which it is taken.
    fn paths(&self, trace: &Trace) -> Result<Vec<Path>> {
        let Some(rooms) = self.rooms(trace)? else { return Ok(Vec::new()) };
        if trace.path.exit != Exit::To(self.end) {
            return Err(Error::new(
                Code::WindowLeft,
                "a path leaves the window other than at its end",
            )
            .with("by", trace.path.exit)
            .with("end", self.end));
        }
        let steps = self.steps(trace)?;
        let mut executed: Vec<VmAddr> = trace.path.steps.iter().map(|step| step.at).collect();
        executed.dedup();
        let decided_at: Vec<VmAddr> = trace.tests.iter().map(|(at, _)| *at).collect();
        let path = |room| Path {
            room,
            steps: steps.clone(),
            executed: executed.clone(),
            decided_at: decided_at.clone(),
        };
        Ok(rooms.into_iter().map(path).collect())
    }

    /// What a thread does that enters the window at `from` because it found null.
    fn skipped(&self, traces: &[Trace], from: VmAddr) -> Result<Vec<Step>> {
        match traces {
            [trace] if trace.path.exit == Exit::To(self.end) => self.steps(trace),
            _ => {
                Err(unknown("more than one path leads on from where null enters the window", from))
            }
        }
    }

    /// For which freelists the path is taken, by a thread that has a block;
    /// nothing if it is taken only without one.
    fn rooms(&self, trace: &Trace) -> Result<Option<Vec<Room>>> {
        let mut rooms = Room::BOTH.to_vec();
        for &(at, test) in &trace.tests {
            match test {
                Test::Zero(term, zero) if term == self.block => {
                    if zero {
                        return Ok(None);
                    }
                }
                _ if test == self.exceeds => rooms.retain(|&room| room == Room::Full),
                _ if test == self.exceeds.negated() => rooms.retain(|&room| room == Room::Left),
                _ => {
                    return Err(unknown(
                        "a branch depends on something other than the count and the block",
                        at,
                    ));
                }
            }
        }
        Ok(Some(rooms))
    }

    fn steps(&self, trace: &Trace) -> Result<Vec<Step>> {
        let mut steps: Vec<Step> = Vec::new();
        for seen in &trace.events {
            let released = steps.iter().any(|step| step.event == Event::Unlock);
            if let Some(event) = self.event(seen, released).map_err(|why| unknown(why, seen.at))? {
                steps.push(Step { at: seen.at, event });
            }
        }
        Ok(steps)
    }

    /// What others see of it, if anything.
    fn event(&self, seen: &Seen, released: bool) -> Result<Option<Event>, &'static str> {
        use semantics::Event::{Call, Store};
        let argument = match &seen.event {
            Call { arguments, .. } => arguments.first().copied(),
            _ => None,
        };
        match (seen.act, &seen.event) {
            (Act::Push, _) => Ok(Some(Event::Push)),
            (Act::Clear, _) => Ok(Some(Event::Clear)),
            (Act::Unlock, _) if argument == Some(self.lock) => Ok(Some(Event::Unlock)),
            (Act::Unlock, _) => Err("unlock is called with something else than the pool's lock"),
            // free(NULL) does nothing, and no thread can see it.
            (Act::Free { null: true }, _) => Ok(None),
            (Act::Free { .. }, _) if argument == Some(self.block) => Ok(Some(Event::Free)),
            (Act::Free { .. }, _) => Err("free is called with something else than the block"),
            (Act::Call, _) => Err("a call goes to a function that is neither unlock nor free"),
            (Act::Store, Store { address, .. }) if *address == self.field => {
                Err("something else than null is stored in self->_impl")
            }
            (Act::Store, Store { value, .. }) if *value == self.block => {
                Err("the block is stored elsewhere than in the freelist")
            }
            (Act::Store, _) if released => Err("a store of unknown purpose follows the unlock"),
            // Under the lock: the count, which the model keeps itself.
            (Act::Store | Act::Barrier | Act::Silent, _) => Ok(None),
        }
    }
}

fn unknown(why: &str, at: VmAddr) -> Error {
    Error::new(Code::StepUnknown, why)
        .with("address", at)
        .next("run `agxpatch inspect` on the file and report the window's disassembly")
}
