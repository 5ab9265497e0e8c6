//! A call to a hooked method, as the rules see it: what it is given as, and what becomes of it.

use crate::event::Who;
use crate::races::{Finding, Hazard, Part};
use crate::record::Record;
use crate::thread::Role;

/// What a hooked method does to its encoder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// Anything that is none of the others.
    Method = 0,
    /// `init…`: begins a life.
    Init = 1,
    /// `endEncoding`.
    End = 2,
    /// `deferredEndEncoding`: the driver's second half of an end.
    DeferredEnd = 3,
    /// `destroyImpl`: gives `_impl` back.
    Destroy = 4,
    /// `dealloc`.
    Dealloc = 5,
    /// A command buffer's method that returns an encoder.
    Factory = 6,
    /// Tells what the encoder is and was, not what is encoded: good on an ended encoder too.
    Passive = 7,
    /// `reInitWithCommandBuffer:`: the driver begins an ended encoder again.
    Reinit = 8,
    /// Another method of a command buffer that ends or reads its encoders, such as `commit`.
    Buffer = 9,
    /// A command buffer's `dealloc`.
    BufferDealloc = 10,
    /// `commit` and its like.
    Commit = 11,
    /// `commitEncoder`: a command buffer ends the encoders it keeps. In a commit, the last step
    /// that concerns encoders.
    CommitEncoder = 12,
    /// `encode…Event…`, and the end of a command buffer of Metal 4: Metal asserts there while an
    /// encoder is open.
    Event = 13,
}

impl Kind {
    pub(crate) fn ends(self) -> bool {
        matches!(self, Kind::End | Kind::DeferredEnd | Kind::Destroy)
    }

    /// Whether Metal asserts at it while an encoder of the command buffer is open.
    pub(crate) fn needs_encoders_ended(self) -> bool {
        matches!(self, Kind::Factory | Kind::Event | Kind::Commit)
    }

    pub(crate) fn deallocates(self) -> bool {
        matches!(self, Kind::Dealloc | Kind::BufferDealloc)
    }
}

/// One call to a hooked method.
#[derive(Clone, Copy, Debug)]
pub struct Call {
    /// `self`.
    pub object: usize,
    /// What the method does.
    pub kind: Kind,
    /// Where `_impl` lies in objects of this class, in bytes; 0 when the class has none.
    pub impl_offset: u32,
    /// The address the call returns to: who called.
    pub caller: usize,
    /// The frame record of the call, where a backtrace begins; 0 for none.
    pub frame: usize,
    /// A word that stands for the method; 0 for none.
    pub method: usize,
}

/// Why a call is not dispatched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The encoder was ended.
    Ended,
    /// The encoder was ended already, and this call would end it again.
    DoubleEnd,
    /// The encoder was deallocated while the call waited.
    Gone,
    /// `_impl` had become NULL without an end the guard saw.
    NullImpl,
}

/// What is to be done with a call.
#[derive(Clone, Copy)]
pub enum Verdict {
    /// Dispatch it and call [`Guard::leave`] after it with the same value.
    Dispatch(Entered),
    /// Return zero to the caller.
    Refuse(Refusal),
}

/// A call that goes through.
#[derive(Clone, Copy)]
pub struct Entered {
    /// The record of the encoder or command buffer; NULL for [`Role::Bare`].
    pub record: *const Record,
    /// The record whose lock the call runs under; NULL for [`Role::Bare`].
    pub lock: *const Record,
    /// How the call stands to that lock.
    pub role: Role,
}

impl Entered {
    /// A call that concerns no record.
    pub const BARE: Entered =
        Entered { record: core::ptr::null(), lock: core::ptr::null(), role: Role::Bare };

    pub(crate) fn new(record: &Record, lock: &Record, role: Role) -> Entered {
        Entered { record, lock, role }
    }
}

/// How far the fast path led.
pub enum Fast<'a> {
    /// The call to this encoder goes through; it holds the second record's lock.
    Taken(&'a Record, &'a Record),
    /// The call is to be judged; it holds this record's lock, which is to be let go first.
    Locked(&'a Record),
    /// The call is to be judged. Nothing has changed.
    No,
}

/// What the rules do to objects and ask about the process.
pub trait Objects {
    /// Adds a reference.
    fn retain(&self, object: usize);
    /// Drops a reference; may deallocate the object, and so enter the guard again.
    fn release(&self, object: usize);
    /// Whether there is one reference to the object and no more.
    fn is_held_once(&self, object: usize) -> bool;
    /// Reads the pointer at `object + offset`.
    fn implementation(&self, object: usize, offset: u32) -> usize;
    /// Whether `caller` is an address in the driver's own code, or in the frameworks its classes
    /// descend from.
    fn is_driver(&self, caller: usize) -> bool;
    /// The calling thread.
    fn who(&self) -> Who {
        Who::UNKNOWN
    }
    /// Return addresses of the call's callers, the innermost first, as far as there is room.
    fn frames(&self, _call: &Call, _frames: &mut [usize]) {}
    /// What a method is in a sequence of encoding calls.
    fn part(&self, _method: usize) -> Part {
        Part::Other
    }
    /// Whether a finding with these two call sites is known; it is counted then.
    fn has_found(&self, _hazard: Hazard, _earlier: usize, _later: usize) -> bool {
        true
    }
    /// Keeps a finding that was not known.
    fn find(&self, _finding: &Finding) {}
    /// Milliseconds.
    fn now(&self) -> u64;
    /// Whether the object a factory returned is an encoder of a class that was not hooked until now.
    fn is_new_kind(&self, _object: usize) -> bool {
        false
    }
    /// Whether ended encoders are let go on a thread of the guard's own, which is told now that
    /// there are some to let go; else they are let go where they are ended.
    fn sweeps_elsewhere(&self) -> bool {
        false
    }
    /// Lets other threads run, such as the guard's own when it is far behind.
    fn give_way(&self) {}
    /// Says that `thread` has waited for `record` for `milliseconds`.
    fn long_wait(&self, record: &Record, milliseconds: u64);
}
