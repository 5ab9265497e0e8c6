//! Waiting for an encoder another thread is inside of, and giving up.
//!
//! A wait that is long is reported. It is given up in two cases: when the threads wait for each other in a circle, which would
//! last for ever, and at the limit the user may set. The call then goes on without the lock.

use crate::call::Objects;
use crate::calls::Guard;
use crate::counters::Counter;
use crate::ledger::Taken;
use crate::record::Record;
use crate::sync::Ordering;
use crate::thread::Thread;

/// How long a waiter sleeps before it looks for a circle, in milliseconds.
const SLICE: u64 = 50;
/// Longest chain of waiting threads that is followed.
const CHAIN: usize = 64;

impl<O: Objects, const BUCKETS: usize> Guard<O, BUCKETS> {
    /// Takes a record's lock; gives up on a circle of waiting threads, or at the limit the user set.
    pub(crate) fn lock(&self, thread: &Thread, record: &Record) -> Taken {
        if record.try_lock(thread) {
            return Taken::AtOnce;
        }
        let since = self.objects.now();
        let mut warned = false;
        thread.waits_since.store(since, Ordering::Relaxed);
        thread.waits_for.store(core::ptr::from_ref(record).cast_mut(), Ordering::SeqCst);
        let taken = self.ledger.lock(record, thread, SLICE, |record| {
            let waited = self.objects.now().saturating_sub(since);
            if waited >= self.settings.wait_warn_ms && !warned {
                warned = true;
                thread.tally.add(Counter::LongWaits);
                self.objects.long_wait(record, waited);
            }
            if in_circle(thread, record) {
                thread.tally.add(Counter::Circles);
                return false;
            }
            let limit = self.settings.wait_limit_ms;
            let over = limit != 0 && waited >= limit;
            if over {
                thread.tally.add(Counter::Limits);
            }
            !over
        });
        thread.waits_for.store(core::ptr::null_mut(), Ordering::SeqCst);
        if taken == Taken::AfterWait {
            thread.tally.add(Counter::Waits);
        }
        taken
    }
}

/// Whether the thread inside `record` waits, directly or through others, for `thread`. Looked at twice: a chain read while it
/// changes may close by chance, a real circle stays.
fn in_circle(thread: &Thread, record: &Record) -> bool {
    let closes = || {
        let mut next = record;
        for _ in 0..CHAIN {
            // SAFETY: an owner is 0 or a token; blocks are never given back.
            let Some(owner) = (unsafe { Thread::of_token(next.owner()) }) else { return false };
            if core::ptr::eq(owner, thread) {
                return true;
            }
            // SAFETY: a thread waits for records only, and records are never given back.
            let Some(wanted) = (unsafe { owner.waits_for.load(Ordering::SeqCst).as_ref() }) else {
                return false;
            };
            next = wanted;
        }
        false
    };
    closes() && closes()
}
