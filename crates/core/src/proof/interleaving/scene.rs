//! Who takes part in an exploration, and what each property means.
//!
//! **Threads.** Each destroyer ends an encoder of its own and gives its own
//! block to the one pool that all share; contention is for the pool's lock and
//! the freelist, as in the driver. Two threads that end *one* encoder are not
//! modelled: what decides that case is where the function loads `self->_impl`,
//! which is before the window and the same before and after the rewrite.
//! A reader picks any encoder, loads its `_impl`, works on the block for a
//! while, and stops. An encoder being created takes a block out of the freelist
//! under the lock, or a fresh one where the freelist is empty.
//!
//! **Bounds.** The published freelist holds eight; [`Scene::capacity`] is small,
//! because only whether it is full decides anything and every fill level from
//! none to full is an initial state. Any block of the freelist may be taken, not
//! only the last one pushed, which includes what the driver does and more.

use serde::Serialize;

use crate::error::{Code, Error, Result};

/// Whether readers take the pool's lock around their use of the block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Readers {
    /// They take it, load `_impl`, leave if it is null, use it, and release it.
    TakeTheLock,
    /// They load `_impl` and use it, without lock and without looking whether
    /// it is null: what the encoder methods of the driver do.
    TakeNoLock,
}

/// One finite instance of the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Scene {
    /// Threads that end an encoder, 1 to 5.
    pub destroyers: u8,
    /// Threads that use one, 0 to 2.
    pub readers: u8,
    /// What kind of readers.
    pub kind: Readers,
    /// Whether an encoder is created meanwhile, which may get a block from the
    /// freelist.
    pub creator: bool,
    /// How many blocks the freelist holds, 1 to 8.
    pub capacity: u8,
}

impl Scene {
    /// The instance for a number of threads: one of them reads, the others end
    /// encoders; the creation of another encoder is not counted.
    pub fn of_threads(threads: u8, kind: Readers) -> Scene {
        Scene {
            destroyers: threads.saturating_sub(1),
            readers: 1,
            kind,
            creator: true,
            capacity: 2,
        }
    }

    pub(super) fn check(&self) -> Result<()> {
        let fits = (1..=super::state::DESTROYERS).contains(&usize::from(self.destroyers))
            && usize::from(self.readers) <= super::state::READERS
            && (1..=8).contains(&self.capacity);
        if fits {
            return Ok(());
        }
        Err(Error::new(Code::SceneTooLarge, "the scene is outside the checker's bounds")
            .with("destroyers", format!("{} (1 to {})", self.destroyers, super::state::DESTROYERS))
            .with("readers", format!("{} (0 to {})", self.readers, super::state::READERS))
            .with("capacity", format!("{} (1 to 8)", self.capacity)))
    }
}

/// What is asked of every reachable state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum Property {
    /// Never is the lock free and a block in the freelist, taken by somebody
    /// else or freed, while the `_impl` of its encoder still points at it.
    NoRaceWindow,
    /// Never does a reader work on a block that was given back.
    NoStaleUse,
    /// Never does a reader work on null.
    NoNullUse,
    /// Who is through has given the block back.
    NoLeak,
    /// No block is given back twice.
    NoDoubleFree,
    /// The lock is released once by everyone who is through, and never twice.
    UnlockOnce,
}

impl Property {
    /// All of them, in the order of reports.
    pub const ALL: [Property; 6] = [
        Property::NoRaceWindow,
        Property::NoStaleUse,
        Property::NoNullUse,
        Property::NoLeak,
        Property::NoDoubleFree,
        Property::UnlockOnce,
    ];

    /// The name, as in the TLA+ specification.
    pub fn name(self) -> &'static str {
        match self {
            Property::NoRaceWindow => "NoRaceWindow",
            Property::NoStaleUse => "NoStaleUse",
            Property::NoNullUse => "NoNullUse",
            Property::NoLeak => "NoLeak",
            Property::NoDoubleFree => "NoDoubleFree",
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
            Property::NoNullUse => "a reader dereferences null",
            Property::NoLeak => {
                "a thread is through and its block neither in the freelist nor freed"
            }
            Property::NoDoubleFree => "a block is given back twice",
            Property::UnlockOnce => "a thread is through and did not release the lock exactly once",
        }
    }
}
