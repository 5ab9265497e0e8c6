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
//! Three rules keep this from refusing what is right. A call nested in another of the same thread
//! on the same encoder is the driver's own and always goes through. `init` begins a new life
//! whatever the ledger said of that address. And an ended encoder that the driver begins again
//! (`reInitWithCommandBuffer:`) is live again: it coalesces consecutive compute encoders. An ended
//! encoder that a getter merely returns stays ended.
//!
//! A command buffer and its encoders have one lock (see [`crate::record`]), so a call that the
//! driver makes to an encoder from inside `commit` or a factory is nested too. Sub-encoders of a
//! parallel render encoder have locks of their own, for Metal lets each be used by a thread of its
//! own; so has an encoder whose command buffer is not known. A thread takes a second lock while it
//! has one only where the driver calls from one such group into another, and a circle of waiting
//! threads is broken ([`crate::waits`]). A commit lets go of the lock before it submits and calls
//! handlers ([`crate::commits`]).
//!
//! A place of the throttle is waited for before a factory method is entered, outside of every lock:
//! the driver makes each encoder inside one, and a thread that is inside a guarded call is never
//! made to wait.
//!
//! What a call does to an object (retain, release, read `_impl`) goes through [`Objects`], so that
//! the same rules run against a real Objective-C runtime, against simulated objects on the host,
//! and under loom.

use alloc::boxed::Box;

use crate::call::{Call, Entered, Fast, Kind, Objects, Refusal, Verdict};
use crate::counters::Counter;
use crate::ledger::{Claimed, Ledger, Taken};
use crate::quarantine::Quarantine;
use crate::record::{BUFFER, HELD, IMPL_SEEN, Record, State, TO_QUARANTINE};
use crate::sequence::Site;
use crate::settings::{Mode, Settings};
use crate::sync::{Fault, has_fault};
use crate::thread::{Role, Thread};
use crate::throttle::Throttle;

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
    /// Its lock is the lock of every record in mode `serialize`.
    pub(crate) only_lock: Record,
}

impl<O: Objects, const BUCKETS: usize> Guard<O, BUCKETS> {
    /// A guard with nothing in it.
    pub fn new(settings: Settings, objects: O) -> Self {
        let limit = match settings.mode {
            Mode::Throttle(limit) => limit,
            Mode::Serialize => 1,
            _ => 0,
        };
        Guard {
            ledger: Ledger::new(),
            quarantine: Quarantine::new(settings.quarantine, settings.quarantine_ms),
            throttle: Throttle::new(limit, settings.throttle_ms),
            settings,
            objects,
            only_lock: Record::open(Box::leak(Box::default())),
        }
    }

    /// The settings in force.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Decides on a call before it is dispatched.
    pub fn enter(&self, thread: &Thread, call: &Call) -> Verdict {
        if call.kind == Kind::Method {
            match self.enter_fast(thread, call) {
                Fast::Taken(record, lock) => {
                    return Verdict::Dispatch(Entered::new(record, lock, Role::Fast));
                }
                Fast::Locked(lock) => self.ledger.unlock(lock),
                Fast::No => {}
            }
        }
        self.enter_slow(thread, call)
    }

    /// The common case of [`Guard::enter`], without a call: an encoding call to a live encoder
    /// whose lock is free, and whose last call was this thread's.
    #[inline(always)]
    pub fn enter_fast(&self, thread: &Thread, call: &Call) -> Fast<'_> {
        let &Call { object, impl_offset, .. } = call;
        let Some(record) = self.ledger.find(object) else { return Fast::No };
        let lock = record.lock();
        if !lock.try_lock_again(thread) {
            return Fast::No;
        }
        if !record.is_guarded_by(lock)
            || record.address() != object
            || !self.is_sound(record, object, impl_offset)
        {
            return Fast::Locked(lock);
        }
        thread.tally.add(Counter::Calls);
        lock.sequence.note_again(call.caller, call.method);
        Fast::Taken(record, lock)
    }

    /// Closes a call that [`Guard::enter`] let through. `result` is what the method returned.
    #[allow(
        clippy::not_unsafe_ptr_arg_deref,
        reason = "a record `enter` handed out lives as long as the guard"
    )]
    pub fn leave(&self, thread: &Thread, call: &Call, entered: Entered, result: usize) {
        // SAFETY: records are never given back while the guard lives; `enter` handed this one out.
        match unsafe { entered.lock.as_ref() } {
            Some(lock) if entered.role == Role::Fast => {
                if self.ledger.unlock_fast(lock, thread) {
                    self.ledger.wake(lock);
                }
            }
            _ => self.leave_slow(thread, call, entered, result),
        }
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
    pub fn enter_slow(&self, thread: &Thread, call: &Call) -> Verdict {
        thread.tally.add(Counter::Calls);
        match call.kind {
            Kind::Factory => {
                self.reserve_place(thread);
                self.enter_buffer(thread, call)
            }
            Kind::Buffer | Kind::Event | Kind::Commit | Kind::CommitEncoder => {
                self.enter_buffer(thread, call)
            }
            Kind::BufferDealloc if self.ledger.find(call.object).is_none() => {
                Verdict::Dispatch(Entered::BARE)
            }
            Kind::Init => self.enter_init(thread, call),
            _ => match self.take(thread, call) {
                Some((record, entered)) if entered.role == Role::Outer => {
                    self.judge(thread, call, record, entered)
                }
                Some((record, entered)) => {
                    self.note_entry(thread, call, record, entered);
                    Verdict::Dispatch(entered)
                }
                None => refuse(thread, Refusal::Gone),
            },
        }
    }

    /// The record of the call's encoder, with its lock; `None` when the encoder went away during the wait.
    fn take(&self, thread: &Thread, call: &Call) -> Option<(&Record, Entered)> {
        loop {
            let Some(record) = self.ledger.find(call.object) else {
                if let Claimed::New(record) = self.ledger.claim(thread, call.object) {
                    thread.tally.add(Counter::Adopted);
                    self.note_implementation(record, call);
                    self.note_event(thread, call, record.sequence.born());
                    if let Some(entered) = self.place(thread, record) {
                        return Some((record, entered));
                    }
                }
                continue;
            };
            let generation = record.generation();
            let lock = record.lock();
            self.meets_another(thread, call, record, lock);
            let taken = self.lock(thread, lock);
            let is_it = record.address() == call.object && record.is_guarded_by(lock);
            let entered = |role| Some((record, Entered::new(record, lock, role)));
            match taken {
                Taken::GivenUp if Record::is_live(record.status()) || call.kind.deallocates() => {
                    return entered(Role::Unlocked);
                }
                Taken::GivenUp => return None,
                Taken::Nested if is_it => return entered(Role::Nested),
                Taken::Nested => {}
                Taken::AtOnce if is_it => return entered(Role::Outer),
                Taken::AfterWait if has_fault(Fault::NoSecondLook) => return entered(Role::Outer),
                Taken::AfterWait if record.generation() != generation => {
                    self.ledger.unlock(lock);
                    return None;
                }
                Taken::AfterWait if is_it => return entered(Role::Outer),
                Taken::AtOnce | Taken::AfterWait => self.ledger.unlock(lock),
            }
        }
    }

    /// Gives a new record, whose own lock the caller holds, the lock that is to guard it. `None`
    /// when the caller does not hold that one: then the record is to be looked for again.
    pub(crate) fn place(&self, thread: &Thread, record: &Record) -> Option<Entered> {
        let Some(lock) = self.shared_lock(thread) else {
            return Some(Entered::new(record, record, Role::Outer));
        };
        record.share_lock_of(lock);
        self.ledger.unlock(record);
        lock.is_held_by(thread).then(|| Entered::new(record, lock, Role::Nested))
    }

    /// The lock of an encoder that this thread makes or meets first: that of the command buffer in
    /// whose method it does so.
    pub(crate) fn shared_lock(&self, thread: &Thread) -> Option<&Record> {
        if self.settings.mode == Mode::Serialize {
            return Some(&self.only_lock);
        }
        let top = thread.top()?;
        // SAFETY: NULL or a record, which lives as long as the guard.
        let (record, lock) = unsafe { (top.record.as_ref()?, top.lock.as_ref()?) };
        let in_buffer = record.status() & BUFFER != 0 && lock.is_held_by(thread);
        in_buffer.then_some(lock)
    }

    /// Decides on an outermost call whose record is locked.
    fn judge(&self, thread: &Thread, call: &Call, record: &Record, entered: Entered) -> Verdict {
        let mut lost = false;
        if record.state() == State::Live && !self.is_sound(record, call.object, call.impl_offset) {
            record.set_state(State::Destroyed);
            lost = true;
        }
        let refusal = match (record.state(), call.kind) {
            (State::Live, _) | (_, Kind::Dealloc | Kind::BufferDealloc | Kind::Passive) => None,
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
            self.comes_after_end(thread, call, record);
            self.unlock(entered);
            return refuse(thread, refusal);
        }
        // SAFETY: an outermost call has a lock.
        self.follow(thread, call, record, unsafe { &*entered.lock });
        self.note_entry(thread, call, record, entered);
        Verdict::Dispatch(entered)
    }

    /// Lets go of the lock a call took.
    pub(crate) fn unlock(&self, entered: Entered) {
        // SAFETY: NULL or a record, which lives as long as the guard.
        if let Some(lock) = unsafe { entered.lock.as_ref() } {
            lock.sequence.set_aside(Site::default());
            self.ledger.unlock(lock);
        }
    }

    /// What an ending or a `dealloc` changes before it is dispatched, so that the calls nested in it find it.
    fn note_entry(&self, thread: &Thread, call: &Call, record: &Record, entered: Entered) {
        if entered.role != Role::Unlocked {
            record.deepen();
        }
        if call.kind.deallocates() {
            record.set_state(State::Leaving);
        } else if call.kind == Kind::Reinit {
            self.begin_sequence(thread, call, record);
        } else if call.kind.ends() && record.state() != State::Leaving {
            if record.status() & HELD == 0 {
                record.set(HELD);
                self.objects.retain(call.object);
            }
            record.set(TO_QUARANTINE);
            if record.state() == State::Live || call.kind == Kind::End {
                self.note_event(thread, call, record.sequence.ended());
            }
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
    pub fn leave_slow(&self, thread: &Thread, call: &Call, entered: Entered, result: usize) {
        // SAFETY: as in `leave`.
        if let Some(record) = unsafe { entered.record.as_ref() } {
            self.close(thread, call, record, entered, result);
        }
        if call.kind == Kind::Factory {
            self.drop_reserved_place(thread);
        }
    }

    fn close(
        &self,
        thread: &Thread,
        call: &Call,
        record: &Record,
        entered: Entered,
        result: usize,
    ) {
        if call.kind == Kind::Destroy && record.state() != State::Leaving {
            record.set_state(State::Destroyed);
        }
        if entered.role == Role::Unlocked {
            return;
        }
        if call.kind == Kind::Reinit && record.state() == State::Ended {
            self.revive(thread, call.object, record);
        }
        if call.kind == Kind::Factory && result != 0 {
            if self.objects.is_new_kind(result) {
                self.meet(thread, call, result, entered);
            }
            record.sequence.open(thread, call.caller, result);
        }
        let mut quarantined = None;
        if record.rise() {
            if call.kind == Kind::Init && record.state() != State::Leaving {
                if result == call.object {
                    thread.tally.add(Counter::Tracked);
                    self.hold(record, call);
                } else {
                    record.set_state(State::Leaving);
                }
            }
            quarantined = self.settle(thread, record);
        }
        if entered.role == Role::Outer {
            self.unlock(entered);
        } else if call.kind == Kind::CommitEncoder
            && thread.is_top_commit()
            && !has_fault(Fault::CommitsUnderLock)
        {
            self.submit(thread, entered);
        }
        if let Some(shard) = quarantined {
            self.relieve(thread, shard);
        }
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
