//! The rules: which call goes through, which is refused, which waits.
//!
//! | encoder is | an encoding call | `endEncoding` | `deferredEndEncoding`, `destroyImpl` | `dealloc` |
//! |---|---|---|---|---|
//! | live | under its lock | ends it | end it | waits for who is inside, then goes |
//! | ended, `_impl` kept | refused, unless the driver itself calls | refused | go | goes |
//! | destroyed | refused | refused | refused | goes |
//! | unknown | adopted: it lives | same | same | same |
//!
//! What only asks who an encoder is, such as `device` and `label`, goes through whatever the state.
//!
//! Three rules keep this from refusing what is right. A call nested in another of the same thread on the same encoder is the
//! driver's own and always goes through. `init` begins a new life whatever the ledger said of that address. And an ended encoder
//! that the driver begins again (`reInitWithCommandBuffer:`) is live again: it coalesces consecutive compute encoders. An ended
//! encoder that a getter merely returns stays ended.
//!
//! A place of the throttle is waited for before a factory method is entered, outside of every lock: the driver makes each encoder
//! inside one, and a thread that is inside a guarded call is never made to wait.
//!
//! What a call does to an object (retain, release, read `_impl`) goes through [`Objects`], so that the same rules run
//! against a real Objective-C runtime, against simulated objects on the host, and under loom.

use crate::counters::Counter;
use crate::ledger::{Claimed, Ledger, Taken};
use crate::quarantine::Quarantine;
use crate::record::{HELD, IMPL_SEEN, Record, State, TO_QUARANTINE};
use crate::settings::{Mode, Settings};
use crate::sync::{Fault, Ordering, has_fault};
use crate::thread::{Role, Thread};
use crate::throttle::Throttle;

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
    /// A command buffer's method that returns an encoder; its `self` is not an encoder.
    Factory = 6,
    /// Tells what the encoder is and was, not what is encoded: good on an ended encoder too.
    Passive = 7,
    /// `reInitWithCommandBuffer:`: the driver begins an ended encoder again.
    Reinit = 8,
}

impl Kind {
    fn ends(self) -> bool {
        matches!(self, Kind::End | Kind::DeferredEnd | Kind::Destroy)
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
    /// Dispatch it and call [`Guard::leave`] after it with the same record and role.
    Dispatch(*const Record, Role),
    /// Return zero to the caller.
    Refuse(Refusal),
}

/// How far the short way led.
pub enum Short<'a> {
    /// The call goes through; it holds this record's lock.
    Taken(&'a Record),
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
    /// Whether `caller` is an address in the driver's own code, or in the frameworks its classes descend from.
    fn is_driver(&self, caller: usize) -> bool;
    /// Notes what the calling thread, `thread`, is called.
    fn note_name(&self, _thread: &Thread) {}
    /// Milliseconds.
    fn now(&self) -> u64;
    /// Says that `thread` has waited for `record` for `milliseconds`.
    fn long_wait(&self, record: &Record, milliseconds: u64);
}

/// The ledger, the quarantine and the throttle under one set of rules.
#[repr(C)]
pub struct Guard<O: Objects, const BUCKETS: usize> {
    /// Exposed for reports.
    pub ledger: Ledger<BUCKETS>,
    /// Exposed for reports.
    pub quarantine: Quarantine,
    /// Exposed for reports.
    pub throttle: Throttle,
    pub(crate) settings: Settings,
    pub(crate) objects: O,
}

impl<O: Objects, const BUCKETS: usize> Guard<O, BUCKETS> {
    /// A guard with nothing in it.
    pub fn new(settings: Settings, objects: O) -> Self {
        let limit = match settings.mode {
            Mode::Throttle(limit) => limit,
            _ => 0,
        };
        Guard {
            ledger: Ledger::new(),
            quarantine: Quarantine::new(settings.quarantine, settings.quarantine_ms),
            throttle: Throttle::new(limit, settings.throttle_ms),
            settings,
            objects,
        }
    }

    /// The settings in force.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Decides on a call before it is dispatched.
    pub fn enter(&self, thread: &Thread, call: &Call) -> Verdict {
        if call.kind == Kind::Method {
            match self.enter_shortly(thread, call.object, call.impl_offset) {
                Short::Taken(record) => return Verdict::Dispatch(record, Role::Outer),
                Short::Locked(record) => self.ledger.unlock(record),
                Short::No => {}
            }
        }
        self.enter_at_length(thread, call)
    }

    /// The common case of [`Guard::enter`], without a call: an encoding call to a live encoder nobody is inside of.
    #[inline(always)]
    pub fn enter_shortly(&self, thread: &Thread, object: usize, impl_offset: u32) -> Short<'_> {
        let Some(record) = self.ledger.find(object) else { return Short::No };
        if !record.try_lock(thread) {
            return Short::No;
        }
        if record.address() != object || !self.is_sound(record, object, impl_offset) {
            return Short::Locked(record);
        }
        thread.tally.add(Counter::Calls);
        Short::Taken(record)
    }

    /// Closes a call that [`Guard::enter`] let through. `result` is what the method returned.
    #[allow(
        clippy::not_unsafe_ptr_arg_deref,
        reason = "a record `enter` handed out lives as long as the guard"
    )]
    pub fn leave(
        &self,
        thread: &Thread,
        call: &Call,
        record: *const Record,
        role: Role,
        result: usize,
    ) {
        // SAFETY: records are never given back while the guard lives; `enter` handed this one out.
        if let Some(known) = unsafe { record.as_ref() }
            && call.kind == Kind::Method
            && role == Role::Outer
            && Record::is_live(known.status())
        {
            return self.ledger.unlock(known);
        }
        self.leave_at_length(thread, call, record, role, result);
    }

    /// Live, and its `_impl`, once seen, still there.
    #[inline(always)]
    fn is_sound(&self, record: &Record, object: usize, impl_offset: u32) -> bool {
        let status = record.status();
        Record::is_live(status)
            && (status & IMPL_SEEN == 0
                || impl_offset == 0
                || self.objects.implementation(object, impl_offset) != 0)
    }

    /// [`Guard::enter`] for whatever is not the common case.
    pub fn enter_at_length(&self, thread: &Thread, call: &Call) -> Verdict {
        thread.tally.add(Counter::Calls);
        match call.kind {
            Kind::Factory => {
                self.reserve_place(thread);
                Verdict::Dispatch(core::ptr::null(), Role::Bare)
            }
            Kind::Init => self.enter_init(thread, call),
            _ => match self.take(thread, call) {
                Some((record, Role::Outer)) => self.judge(thread, call, record),
                Some((record, role)) => {
                    self.note_entry(thread, call, record);
                    Verdict::Dispatch(record, role)
                }
                None => refuse(thread, Refusal::Gone),
            },
        }
    }

    /// The record of the call's encoder, with its lock or inside it; `None` when the encoder went away during the wait.
    fn take(&self, thread: &Thread, call: &Call) -> Option<(&Record, Role)> {
        loop {
            let Some(record) = self.ledger.find(call.object) else {
                match self.ledger.claim(thread, call.object) {
                    Claimed::Known(_) => continue,
                    Claimed::New(record) => {
                        thread.tally.add(Counter::Adopted);
                        self.note_implementation(record, call);
                        return Some((record, Role::Outer));
                    }
                }
            };
            let generation = record.generation();
            match self.lock(thread, record) {
                Taken::Nested => return Some((record, Role::Nested)),
                Taken::GivenUp
                    if Record::is_live(record.status()) || call.kind == Kind::Dealloc =>
                {
                    return Some((record, Role::Nested));
                }
                Taken::GivenUp => return None,
                Taken::AtOnce if record.address() == call.object => {
                    return Some((record, Role::Outer));
                }
                Taken::AfterWait
                    if has_fault(Fault::NoSecondLook)
                        || (record.generation() == generation
                            && record.address() == call.object) =>
                {
                    return Some((record, Role::Outer));
                }
                Taken::AtOnce => self.ledger.unlock(record),
                Taken::AfterWait => {
                    self.ledger.unlock(record);
                    return None;
                }
            }
        }
    }

    /// Decides on an outermost call whose record is locked.
    fn judge(&self, thread: &Thread, call: &Call, record: &Record) -> Verdict {
        let mut lost = false;
        if record.state() == State::Live && !self.is_sound(record, call.object, call.impl_offset) {
            record.set_state(State::Destroyed);
            lost = true;
        }
        let refusal = match (record.state(), call.kind) {
            (State::Live, _) | (_, Kind::Dealloc | Kind::Passive) => None,
            (State::Ended, Kind::DeferredEnd | Kind::Destroy | Kind::Reinit) => None,
            (State::Ended, Kind::Method) if self.objects.is_driver(call.caller) => {
                thread.tally.add(Counter::DriverOnEnded);
                None
            }
            (_, Kind::Method) if lost => Some(Refusal::NullImpl),
            (_, Kind::Method | Kind::Reinit) => Some(Refusal::Ended),
            _ => Some(Refusal::DoubleEnd),
        };
        if let Some(refusal) = refusal {
            self.ledger.unlock(record);
            return refuse(thread, refusal);
        }
        self.note_entry(thread, call, record);
        Verdict::Dispatch(record, Role::Outer)
    }

    /// What an ending or a `dealloc` changes before it is dispatched, so that the calls nested in it find it.
    fn note_entry(&self, thread: &Thread, call: &Call, record: &Record) {
        if call.kind == Kind::Dealloc {
            record.set_state(State::Leaving);
        } else if call.kind.ends() && record.state() != State::Leaving {
            if record.status() & HELD == 0 {
                record.set(HELD);
                self.objects.retain(call.object);
            }
            record.set(TO_QUARANTINE);
            record.ended_by.store(core::ptr::from_ref(thread).cast_mut(), Ordering::Relaxed);
            self.objects.note_name(thread);
            if record.state() != State::Destroyed {
                record.set_state(State::Ending);
            }
        }
    }

    /// [`Guard::leave`] for whatever is not the common case.
    #[allow(
        clippy::not_unsafe_ptr_arg_deref,
        reason = "a record `enter` handed out lives as long as the guard"
    )]
    pub fn leave_at_length(
        &self,
        thread: &Thread,
        call: &Call,
        record: *const Record,
        role: Role,
        result: usize,
    ) {
        // SAFETY: as in `leave`.
        let Some(record) = (unsafe { record.as_ref() }) else {
            if call.kind == Kind::Factory {
                self.drop_reserved_place(thread);
            }
            return;
        };
        if call.kind == Kind::Destroy && record.state() != State::Leaving {
            record.set_state(State::Destroyed);
        }
        if call.kind == Kind::Reinit && record.state() == State::Ended {
            self.revive(thread, call.object, record);
        }
        if role != Role::Outer {
            return;
        }
        if call.kind == Kind::Init && record.state() != State::Leaving {
            if result == call.object {
                thread.tally.add(Counter::Tracked);
                self.hold(record, call);
            } else {
                record.set_state(State::Leaving);
            }
        }
        self.settle(thread, call.object, record);
    }
}

fn refuse(thread: &Thread, refusal: Refusal) -> Verdict {
    thread.tally.add(match refusal {
        Refusal::Ended => Counter::RefusedEnded,
        Refusal::DoubleEnd => Counter::RefusedDoubleEnd,
        Refusal::Gone => Counter::RefusedGone,
        Refusal::NullImpl => Counter::RefusedNullImpl,
    });
    Verdict::Refuse(refusal)
}
