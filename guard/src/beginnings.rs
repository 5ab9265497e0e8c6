//! How an encoder's life begins: with its `init…`, which may have to wait for a place, may fail, and may begin a second life at an
//! address whose last encoder was never seen to go.

use crate::calls::{Call, Guard, Objects, Verdict};
use crate::counters::Counter;
use crate::ledger::{Claimed, Taken};
use crate::record::{HELD, IMPL_SEEN, PERMIT, Record};
use crate::sync::Ordering;
use crate::thread::{Role, Thread};
use crate::throttle::Admitted;

impl<O: Objects, const BUCKETS: usize> Guard<O, BUCKETS> {
    /// An `init…`: waits for a place, if there is a limit, and takes a record for the life that begins.
    pub(crate) fn enter_init(&self, thread: &Thread, call: &Call) -> Verdict {
        if let Some(record) = self.ledger.find(call.object)
            && record.is_held_by(thread)
            && record.address() == call.object
        {
            return Verdict::Dispatch(record, Role::Nested);
        }
        let permit = self.throttle.is_on();
        if permit {
            self.admit(thread);
        }
        let record = loop {
            match self.ledger.claim(thread, call.object) {
                Claimed::New(record) => break record,
                Claimed::Known(record) => {
                    if self.lock(thread, record) == Taken::GivenUp {
                        if permit {
                            self.leave_place(thread);
                        }
                        return Verdict::Dispatch(core::ptr::null(), Role::Bare);
                    }
                    if record.address() == call.object {
                        self.give_place_back(record);
                        self.ledger.begin_again(record);
                        break record;
                    }
                    self.ledger.unlock(record);
                }
            }
        };
        if permit {
            record.set(PERMIT);
            record.opener.store(core::ptr::from_ref(thread).cast_mut(), Ordering::Relaxed);
        }
        Verdict::Dispatch(record, Role::Outer)
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

    /// Before a factory method: waits for the place of the encoder it is about to make. Inside the factory it would be too late,
    /// for a thread inside a guarded call is never made to wait.
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
