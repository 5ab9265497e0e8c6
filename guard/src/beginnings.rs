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
        let permit = self.throttle.is_on() && self.admit(thread);
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

    fn admit(&self, thread: &Thread) -> bool {
        let exempt = thread.open.load(Ordering::Relaxed) != 0 || thread.is_inside();
        match self.throttle.admit(exempt) {
            Admitted::AtOnce => {}
            Admitted::AfterWait => thread.tally.add(Counter::ThrottleWaits),
            Admitted::Above => thread.tally.add(Counter::ThrottleOverrides),
        }
        thread.open.fetch_add(1, Ordering::Relaxed);
        true
    }
}
