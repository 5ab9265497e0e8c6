//! How an encoder's life begins: with its `init…`, which may have to wait for a place, may fail,
//! and may begin a second life at an address whose last encoder was never seen to go.

use crate::call::{Call, Entered, Objects, Verdict};
use crate::calls::Guard;
use crate::counters::Counter;
use crate::ledger::{Claimed, Taken};
use crate::record::{BUFFER, HELD, IMPL_SEEN, PERMIT, Record};
use crate::settings::Mode;
use crate::sync::Ordering;
use crate::thread::{Role, Thread};
use crate::throttle::Admitted;

impl<O: Objects, const BUCKETS: usize> Guard<O, BUCKETS> {
    /// An `init…`: waits for a place, if there is a limit, and takes a record for the life that begins.
    pub(crate) fn enter_init(&self, thread: &Thread, call: &Call) -> Verdict {
        if let Some(record) = self.ledger.find(call.object)
            && record.lock().is_held_by(thread)
            && record.address() == call.object
            && record.is_entered()
        {
            record.deepen();
            return Verdict::Dispatch(Entered::new(record, record.lock(), Role::Nested));
        }
        let permit = self.throttle.is_on();
        if permit {
            self.admit(thread);
        }
        let Some((record, entered)) = self.begin(thread, call.object) else {
            if permit {
                self.leave_place(thread);
            }
            return Verdict::Dispatch(Entered::BARE);
        };
        if permit {
            record.set(PERMIT);
            record.opener.store(core::ptr::from_ref(thread).cast_mut(), Ordering::Relaxed);
        }
        self.begin_sequence(thread, call, record);
        record.deepen();
        Verdict::Dispatch(entered)
    }

    /// A record at the start of a life, with its lock. `None` where waiting for the lock of an
    /// address's last life was given up.
    fn begin(&self, thread: &Thread, object: usize) -> Option<(&Record, Entered)> {
        loop {
            let record = match self.ledger.claim(thread, object) {
                Claimed::New(record) => match self.place(thread, record) {
                    Some(entered) => return Some((record, entered)),
                    None => continue,
                },
                Claimed::Known(record) => record,
            };
            let lock = record.lock();
            let taken = self.lock(thread, lock);
            if taken == Taken::GivenUp {
                return None;
            }
            let nested = taken == Taken::Nested;
            if record.address() != object || !record.is_guarded_by(lock) {
                if !nested {
                    self.ledger.unlock(lock);
                }
                continue;
            }
            self.give_place_back(record);
            self.ledger.begin_again(record);
            let role = if nested { Role::Nested } else { Role::Outer };
            let shared = self.shared_lock(thread).filter(|shared| shared.is_held_by(thread));
            let Some(shared) = shared.filter(|shared| !core::ptr::eq(*shared, lock)) else {
                return Some((record, Entered::new(record, lock, role)));
            };
            record.share_lock_of(shared);
            if !nested {
                self.ledger.unlock(lock);
            }
            return Some((record, Entered::new(record, shared, Role::Nested)));
        }
    }

    /// A method of a command buffer: takes the buffer's lock, which is its encoders' too. Never refused.
    pub(crate) fn enter_buffer(&self, thread: &Thread, call: &Call) -> Verdict {
        let entered = loop {
            let known = self.ledger.find(call.object).map(Claimed::Known);
            let claim = || self.ledger.claim(thread, call.object);
            let record = match known.unwrap_or_else(claim) {
                Claimed::New(record) => {
                    record.become_buffer();
                    self.note_event(thread, call, record.sequence.born());
                    if self.settings.mode != Mode::Serialize {
                        break Entered::new(record, record, Role::Outer);
                    }
                    match self.place(thread, record) {
                        Some(entered) => break entered,
                        None => continue,
                    }
                }
                Claimed::Known(record) => record,
            };
            let lock = record.lock();
            self.meets_another(thread, call, record, lock);
            let role = match self.lock(thread, lock) {
                Taken::GivenUp => break Entered::new(record, lock, Role::Unlocked),
                Taken::Nested => Role::Nested,
                Taken::AtOnce | Taken::AfterWait => Role::Outer,
            };
            let entered = Entered::new(record, lock, role);
            if record.address() == call.object && record.is_guarded_by(lock) {
                if record.status() & BUFFER == 0 {
                    // The address of an encoder that was never seen to go.
                    self.give_place_back(record);
                    self.ledger.begin_again(record);
                    record.become_buffer();
                }
                break entered;
            }
            if role == Role::Outer {
                self.unlock(entered);
            }
        };
        if entered.role != Role::Unlocked {
            // SAFETY: a record of the ledger's, which lives as long as the guard.
            let record = unsafe { &*entered.record };
            if entered.role == Role::Outer {
                // SAFETY: as above.
                self.follow(thread, call, record, unsafe { &*entered.lock });
                self.note_buffer_call(thread, call, record);
            }
            record.deepen();
        }
        Verdict::Dispatch(entered)
    }

    /// Takes a record for an encoder whose `init…` was not seen, inside the factory that returned it.
    pub(crate) fn meet(&self, thread: &Thread, call: &Call, object: usize, factory: Entered) {
        // SAFETY: NULL or a record, which lives as long as the guard.
        let Some(lock) = (unsafe { factory.lock.as_ref() }) else { return };
        if let Claimed::New(record) = self.ledger.claim(thread, object) {
            record.set(HELD);
            self.objects.retain(object);
            record.share_lock_of(lock);
            self.begin_sequence(thread, call, record);
            self.ledger.unlock(record);
            thread.tally.add(Counter::Tracked);
        }
    }

    /// Takes the guard's reference to a new encoder and notes whether it has an `_impl`.
    pub(crate) fn hold(&self, record: &Record, call: &Call) {
        if record.status() & HELD == 0 {
            record.set(HELD);
            self.objects.retain(call.object);
        }
        self.note_implementation(record, call);
    }

    /// Notes whether the encoder has an `_impl`.
    pub(crate) fn note_implementation(&self, record: &Record, call: &Call) {
        if call.impl_offset != 0 && self.objects.implementation(call.object, call.impl_offset) != 0
        {
            record.set(IMPL_SEEN);
        }
    }

    /// Before a factory method: waits for the place of the encoder it is about to make. Inside the
    /// factory it would be too late, for a thread inside a guarded call is never made to wait.
    pub(crate) fn reserve_place(&self, thread: &Thread) {
        let waits = self.throttle.is_on() && !thread.is_inside() && thread.places() == 0;
        if waits {
            self.take_place(thread, false);
            thread.reserve_place();
        }
    }

    /// After a factory method: gives the place back if the factory made no encoder.
    pub(crate) fn drop_reserved_place(&self, thread: &Thread) {
        if !thread.is_inside() && thread.take_reserved_place() {
            self.throttle.leave();
        }
    }

    /// Has a new encoder of this thread occupy a place: the one reserved for it, or another.
    pub(crate) fn admit(&self, thread: &Thread) {
        if !thread.take_reserved_place() {
            self.take_place(thread, thread.places() != 0 || thread.is_inside());
        }
        thread.open.fetch_add(1, Ordering::Relaxed);
    }

    fn take_place(&self, thread: &Thread, exempt: bool) {
        match self.throttle.admit(exempt) {
            Admitted::AtOnce => {}
            Admitted::AfterWait => thread.tally.add(Counter::ThrottleWaits),
            Admitted::Above => thread.tally.add(Counter::ThrottleOverrides),
        }
    }
}
