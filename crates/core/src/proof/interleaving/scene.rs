//! Who takes part in an exploration.
//!
//! **Destroyers.** Each runs the steps that were read off the function, from its
//! first load of `self->_impl` to its end. In two of the three scenes each ends
//! an encoder of its own, and the threads contend for the pool's lock and the
//! freelist; in the third all of them end one encoder, as `commitEncoder` lets
//! two threads do.
//!
//! **Readers.** A reader picks any encoder, loads its `_impl`, works on the block
//! for a while, and stops. In the known builds of the driver no reader of `_impl`
//! takes the pool's lock, and none of the methods known looks whether it is null.
//! The reader that does both is a model: it shows what the order of the window's
//! steps is worth to a reader that could be helped by it.
//!
//! **The creator.** An encoder being created takes a block out of the freelist
//! under the lock, or a fresh one where the freelist is empty, and wipes it after
//! the unlock. A null in the freelist leads to a fresh block, as in the driver's
//! `init`, so that it counts as a block of no encoder.
//!
//! **Bounds.** The published freelist holds eight; [`Scene::capacity`] is small,
//! because only whether it is full decides anything and every fill level from
//! none to full is an initial state. Any block of the freelist may be taken, not
//! only the last one pushed, which includes what the driver does and more.

use serde::Serialize;

use super::state::{MAX_DESTROYERS, MAX_READERS};
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
    /// The encoders they end: as many as destroyers, or fewer, which they share.
    pub encoders: u8,
    /// Threads that use one, 0 to 2.
    pub readers: u8,
    /// What kind of readers.
    pub kind: Readers,
    /// Whether an encoder is created at the same time, which may get a block
    /// from the freelist.
    pub creator: bool,
    /// How many blocks the freelist holds, 1 to 8.
    pub capacity: u8,
}

impl Scene {
    /// The instance for a number of threads: one of them reads, the others end
    /// encoders of their own; the creation of another encoder is not counted.
    pub fn of_threads(threads: u8, kind: Readers) -> Scene {
        let destroyers = threads.saturating_sub(1);
        Scene { destroyers, encoders: destroyers, readers: 1, kind, creator: true, capacity: 2 }
    }

    /// The instance for a number of threads that all end one encoder. Of more
    /// than two threads one reads instead, as the driver's methods do.
    pub fn of_one_encoder(threads: u8) -> Scene {
        let readers = u8::from(threads > 2);
        Scene {
            destroyers: threads.saturating_sub(readers),
            encoders: 1,
            readers,
            ..Scene::of_threads(threads, Readers::TakeNoLock)
        }
    }

    /// The encoder that a destroyer ends.
    pub fn encoder_of(&self, destroyer: usize) -> usize {
        destroyer % usize::from(self.encoders.max(1))
    }

    pub(super) fn check(&self) -> Result<()> {
        let fits = (1..=MAX_DESTROYERS).contains(&usize::from(self.destroyers))
            && (1..=self.destroyers).contains(&self.encoders)
            && usize::from(self.readers) <= MAX_READERS
            && (1..=8).contains(&self.capacity);
        if fits {
            return Ok(());
        }
        Err(Error::new(Code::SceneTooLarge, "the scene exceeds the checker's bounds")
            .with("destroyers", format!("{} (1 to {MAX_DESTROYERS})", self.destroyers))
            .with("encoders", format!("{} (1 to {})", self.encoders, self.destroyers))
            .with("readers", format!("{} (0 to {MAX_READERS})", self.readers))
            .with("capacity", format!("{} (1 to 8)", self.capacity)))
    }
}
