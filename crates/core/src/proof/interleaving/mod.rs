//! Every interleaving of threads that end encoders, use them and create them.
//!
//! The steps of a destroying thread come from the words ([`steps`](super::steps)),
//! from its first load of `self->_impl` on; the readers, the encoder that is being
//! created, and the freelist are written here, because the function does not
//! contain them. The state space is finite and small, so it is searched whole:
//! what is said to hold, holds in every reachable state of the [`Scene`], and what
//! does not comes with a shortest trace. Memory is sequentially consistent in the
//! model: it shows what the order of the steps permits, and weaker memory could
//! only permit more to the readers that take no lock, which are lost already.

mod explore;
mod limits;
mod model;
mod places;
mod properties;
mod replay;
mod scene;
mod state;
mod table;

pub use explore::{Exploration, Trace, Violation, explore, shortest_harm};
pub use limits::{FIRST, Limits, limits, limits_of};
pub use properties::Property;
pub use replay::{Replay, Turn, replay};
pub use scene::{Readers, Scene};
pub use table::{ASKED, Interleavings, Outcome, check, markdown};

use std::fmt;

use serde::{Serialize, Serializer};

use super::steps::{Event, Room, Step};

/// Who takes a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Thread {
    /// Ends an encoder.
    Destroyer(u8),
    /// Uses an encoder.
    Reader(u8),
    /// Creates an encoder and takes a block for it.
    Creator,
}

impl Thread {
    const FIRST_READER: u8 = 8;
    const CREATOR: u8 = 12;

    fn number(self) -> u8 {
        match self {
            Thread::Destroyer(index) => index,
            Thread::Reader(index) => Thread::FIRST_READER + index,
            Thread::Creator => Thread::CREATOR,
        }
    }

    fn from_number(number: u8) -> Option<Thread> {
        match number {
            0..Thread::FIRST_READER => Some(Thread::Destroyer(number)),
            Thread::FIRST_READER..Thread::CREATOR => {
                Some(Thread::Reader(number - Thread::FIRST_READER))
            }
            Thread::CREATOR => Some(Thread::Creator),
            _ => None,
        }
    }
}

impl fmt::Display for Thread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&match self {
            Thread::Destroyer(index) => format!("destroyer {}", letter(*index)),
            Thread::Reader(0) => "reader".to_owned(),
            Thread::Reader(index) => format!("reader {}", index + 1),
            Thread::Creator => "creator".to_owned(),
        })
    }
}

impl Serialize for Thread {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Encoders and their destroyers go by letters.
fn letter(index: u8) -> char {
    char::from(b'A'.saturating_add(index))
}

/// What a thread does in one step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// A destroyer takes the lock and compares the count with the capacity.
    Enter {
        /// What it finds.
        room: Room,
        /// The call that takes the lock.
        step: Step,
    },
    /// A destroyer takes another step of the function.
    Step {
        /// Which.
        step: Step,
        /// Whose encoder it ends.
        encoder: u8,
        /// Whether null was loaded, pushed or freed.
        null: bool,
    },
    /// A reader or the creator takes the lock.
    Lock,
    /// A reader loads `_impl` of an encoder.
    Load {
        /// Whose.
        encoder: u8,
        /// Whether it was null.
        null: bool,
    },
    /// The creator takes an encoder's block from the freelist, or a block of no
    /// encoder here.
    Pop(Option<u8>),
    /// The creator releases the lock.
    Unlock,
    /// The creator wipes its block, and is through.
    Wipe(Option<u8>),
    /// A reader is through, and releases the lock if it holds it.
    Leave,
}

impl Act {
    /// Whether both stand for the same choice of a thread that has one.
    fn same_choice(self, other: Act) -> bool {
        match (self, other) {
            (Act::Load { encoder: a, .. }, Act::Load { encoder: b, .. }) => a == b,
            (Act::Pop(a), Act::Pop(b)) => a == b,
            _ => false,
        }
    }
}

/// One step of one thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Move {
    /// Whose.
    pub thread: Thread,
    /// What.
    pub act: Act,
}

impl Move {
    /// The instruction that makes the step, for those of the function.
    pub fn at(&self) -> Option<crate::address::VmAddr> {
        match self.act {
            Act::Step { step, .. } | Act::Enter { step, .. } => Some(step.at),
            _ => None,
        }
    }

    /// The step in words, without the thread and the address.
    pub fn says(&self) -> String {
        let block = |index: u8| format!("block {}", letter(index));
        match self.act {
            Act::Enter { room, .. } => format!("takes the lock; {room}"),
            Act::Step { step, encoder, null } => says_step(step, encoder, null),
            Act::Lock => "takes the lock".to_owned(),
            Act::Load { encoder, null: true } => {
                format!("loads {}->_impl: null", letter(encoder))
            }
            Act::Load { encoder, .. } => {
                format!("loads {}->_impl: {}, and works on it", letter(encoder), block(encoder))
            }
            Act::Pop(Some(index)) => format!("takes {} from the freelist", block(index)),
            Act::Pop(None) => "takes a block of no encoder here".to_owned(),
            Act::Unlock => "releases the lock".to_owned(),
            Act::Wipe(Some(index)) => format!("wipes {}, for another encoder", block(index)),
            Act::Wipe(None) => "wipes its block".to_owned(),
            Act::Leave => "is through".to_owned(),
        }
    }
}

/// A step of the function in words.
fn says_step(step: Step, encoder: u8, null: bool) -> String {
    let name = letter(encoder);
    match (step.event, null) {
        (Event::Load | Event::LoadOrReturn | Event::LoadOrSkip | Event::LoadOrFull, false) => {
            format!("loads {name}->_impl: block {name}")
        }
        (Event::LoadOrReturn, true) => format!("loads {name}->_impl: null, and returns"),
        (Event::LoadOrSkip, true) => format!("loads {name}->_impl: null, and skips the lock"),
        (Event::LoadOrFull, true) => {
            format!("loads {name}->_impl: null, and goes on as where there is no room")
        }
        (Event::Load, true) => format!("loads {name}->_impl: null"),
        (Event::TakeOrSkip, false) => {
            format!("exchanges {name}->_impl with null: block {name}")
        }
        (Event::TakeOrSkip, true) => {
            format!("exchanges {name}->_impl with null: null, and skips the lock")
        }
        (Event::Destroy, _) => format!("destroys block {name} in place"),
        (Event::Lock, _) => "takes the lock".to_owned(),
        (Event::Push, false) => format!("pushes block {name} into the freelist"),
        (Event::Push, true) => "pushes null into the freelist".to_owned(),
        (Event::Clear, _) => format!("clears {name}->_impl"),
        (Event::Unlock, _) => "releases the lock".to_owned(),
        (Event::Free, false) => format!("frees block {name}"),
        (Event::Free, true) => "frees null".to_owned(),
    }
}

impl Serialize for Move {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeMap;
        let mut map = serializer.serialize_map(Some(3))?;
        map.serialize_entry("thread", &self.thread)?;
        map.serialize_entry("at", &self.at())?;
        map.serialize_entry("does", &self.says())?;
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_is_its_number() {
        let threads =
            [Thread::Destroyer(0), Thread::Destroyer(4), Thread::Reader(1), Thread::Creator];
        for thread in threads {
            assert_eq!(Thread::from_number(thread.number()), Some(thread));
        }
    }
}
