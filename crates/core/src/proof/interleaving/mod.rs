//! Every interleaving of threads that go through the window.
//!
//! The steps of a destroying thread come from the words ([`steps`](super::steps));
//! the readers, the encoder that is created meanwhile, and the freelist are
//! written here, because the window does not contain them. The state space is
//! finite and small, so it is searched whole: what is said to hold, holds in
//! every reachable state of the [`Scene`], and what does not comes with a
//! shortest trace. Memory is sequentially consistent in the model: it shows what
//! the order of the steps permits, and weaker memory could only permit more to
//! the readers that take no lock, who are lost already.

mod explore;
mod model;
mod replay;
mod scene;
mod state;
mod table;

pub use explore::{Exploration, Trace, Violation, explore, shortest_harm};
pub use replay::{Replay, Turn, replay};
pub use scene::{Property, Readers, Scene};
pub use table::{ASKED, Interleavings, check};

use std::fmt;

use serde::{Serialize, Serializer};

use super::steps::{Room, Step};

/// Who takes a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Thread {
    /// Ends the encoder of the same number.
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
    Enter(Room),
    /// A destroyer executes an instruction of the window.
    Step(Step),
    /// A reader or the creator takes the lock.
    Lock,
    /// A reader loads `_impl` of an encoder.
    Load {
        /// Whose.
        encoder: u8,
        /// Whether it was null.
        null: bool,
    },
    /// The creator takes an encoder's block from the freelist, or one that was
    /// nobody's.
    Take(Option<u8>),
    /// A reader or the creator is through, and releases the lock if it holds it.
    Leave,
}

impl Act {
    /// Whether both stand for the same choice of a thread that has one.
    fn same_choice(self, other: Act) -> bool {
        match (self, other) {
            (Act::Load { encoder: a, .. }, Act::Load { encoder: b, .. }) => a == b,
            (Act::Take(a), Act::Take(b)) => a == b,
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
    /// The instruction that makes the step, for those of the window.
    pub fn at(&self) -> Option<crate::address::VmAddr> {
        match self.act {
            Act::Step(step) => Some(step.at),
            _ => None,
        }
    }

    /// The step in words, without the thread and the address.
    pub fn says(&self) -> String {
        use super::steps::Event;
        match (self.act, self.thread) {
            (Act::Enter(room), _) => format!("takes the lock; {room}"),
            (Act::Step(step), Thread::Destroyer(own)) => match step.event {
                Event::Push => format!("pushes block {} into the freelist", letter(own)),
                Event::Clear => format!("clears {}->_impl", letter(own)),
                Event::Unlock => "releases the lock".to_owned(),
                Event::Free => format!("frees block {}", letter(own)),
            },
            (Act::Step(step), _) => step.event.name().to_owned(),
            (Act::Lock, _) => "takes the lock".to_owned(),
            (Act::Load { encoder, null: true }, _) => {
                format!("loads {}->_impl: null", letter(encoder))
            }
            (Act::Load { encoder, .. }, _) => {
                format!("loads {0}->_impl: block {0}, and works on it", letter(encoder))
            }
            (Act::Take(Some(block)), _) => {
                format!("takes block {} from the freelist", letter(block))
            }
            (Act::Take(None), _) => "takes a block that was nobody's".to_owned(),
            (Act::Leave, _) => "is through".to_owned(),
        }
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
