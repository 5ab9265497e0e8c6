//! The observe mode: the same calls, counted, with nothing changed.
//!
//! No call waits, none is refused, no reference is taken. A record's lock is only tried: a thread
//! that fails to get it has met another thread inside the same encoder, which is what the mode is
//! there to count.

use crate::call::{Call, Entered, Kind, Objects, Verdict};
use crate::calls::Guard;
use crate::counters::Counter;
use crate::ledger::Claimed;
use crate::record::{BUFFER, Record, State};
use crate::thread::{Role, Thread};

impl<O: Objects, const BUCKETS: usize> Guard<O, BUCKETS> {
    /// Counts a call. Always dispatches.
    pub fn observe_entry(&self, thread: &Thread, call: &Call) -> Verdict {
        thread.tally.add(Counter::Calls);
        if call.kind == Kind::Init {
            self.note_thread(thread, call);
            return Verdict::Dispatch(Entered::BARE);
        }
        let Some(record) = self.observed(thread, call) else {
            return Verdict::Dispatch(Entered::BARE);
        };
        let lock = record.lock();
        let mut role = Role::Nested;
        if lock.try_lock(thread) {
            role = Role::Outer;
            self.observe_outermost(thread, call, record, lock);
        } else if self.meets_another(thread, call, record, lock) {
            thread.tally.add(Counter::Overlaps);
        }
        if matches!(call.kind, Kind::Dealloc | Kind::BufferDealloc) {
            record.set_state(State::Leaving);
        }
        Verdict::Dispatch(Entered::new(record, lock, role))
    }

    fn observe_outermost(&self, thread: &Thread, call: &Call, record: &Record, lock: &Record) {
        if record.status() & BUFFER != 0 {
            self.follow(thread, call, record, lock);
            return self.note_buffer_call(thread, call, record);
        }
        if would_refuse(call, record) {
            thread.tally.add(Counter::WouldRefuse);
            self.comes_after_end(thread, call, record);
        } else {
            self.follow(thread, call, record, lock);
        }
        if call.kind == Kind::End && record.state() == State::Live {
            self.note_event(thread, call, record.sequence.ended());
        }
    }

    /// The record of the call's object: a command buffer's is made at its first call, an encoder's
    /// at its `init…`.
    fn observed(&self, thread: &Thread, call: &Call) -> Option<&Record> {
        let known = self.ledger.find(call.object);
        if known.is_some()
            || !matches!(
                call.kind,
                Kind::Factory | Kind::Buffer | Kind::Event | Kind::Commit | Kind::CommitEncoder
            )
        {
            return known;
        }
        match self.ledger.claim(thread, call.object) {
            Claimed::Known(record) => Some(record),
            Claimed::New(record) => {
                record.become_buffer();
                self.note_event(thread, call, record.sequence.born());
                self.ledger.unlock(record);
                Some(record)
            }
        }
    }

    /// Notes what the call did to the encoder's state.
    #[allow(
        clippy::not_unsafe_ptr_arg_deref,
        reason = "a record `enter` handed out lives as long as the guard"
    )]
    pub fn observe_exit(&self, thread: &Thread, call: &Call, entered: Entered, result: usize) {
        if call.kind == Kind::Init && result != 0 {
            if let Claimed::New(record) = self.ledger.claim(thread, result) {
                record.sequence.born().copy(&thread.latest);
                if let Some(lock) = self.shared_lock(thread) {
                    record.share_lock_of(lock);
                }
                record.lock().sequence.begin(thread);
                self.ledger.unlock(record);
                thread.tally.add(Counter::Tracked);
            }
            return;
        }
        // SAFETY: records are never given back while the guard lives.
        let Some(record) = (unsafe { entered.record.as_ref() }) else { return };
        match call.kind {
            Kind::End if record.state() == State::Live => {
                record.set_state(State::Ended);
                thread.tally.add(Counter::Ended);
            }
            Kind::Destroy if record.state() != State::Leaving => record.set_state(State::Destroyed),
            Kind::Reinit if record.state() == State::Ended => {
                record.set_state(State::Live);
                self.begin_sequence(thread, call, record);
            }
            Kind::Factory if result != 0 => record.sequence.open(thread, call.caller, result),
            Kind::Dealloc | Kind::BufferDealloc => {
                record.forget();
                thread.tally.add(Counter::Gone);
            }
            _ => {}
        }
        if entered.role == Role::Outer {
            self.unlock(entered);
        }
    }
}

fn would_refuse(call: &Call, record: &Record) -> bool {
    match record.state() {
        State::Ended => matches!(call.kind, Kind::Method | Kind::End),
        State::Destroyed => !matches!(call.kind, Kind::Dealloc | Kind::Passive),
        _ => false,
    }
}
