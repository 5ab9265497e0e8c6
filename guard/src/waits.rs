//! Waiting for an encoder another thread is inside of, and giving up.
//!
//! A wait that is long is reported. It is given up in two cases: when the threads wait for each other in a circle, which would
//! last for ever, and at the limit the user may set. The call then goes on without the lock.
//!
//! Each thread says what it waits for before it looks for a circle, so the thread that closes one sees it at once. The looks that
//! follow, one a slice, are for what changes without a new wait.

use crate::call::Objects;
use crate::calls::Guard;
use crate::counters::Counter;
use crate::ledger::Taken;
use crate::record::Record;
use crate::sync::{Ordering, announce};
use crate::thread::Thread;

/// How long a waiter sleeps before it looks again, in milliseconds.
const SLICE: u64 = 50;
/// Longest chain of waiting threads that is followed.
const MAX_CHAIN: usize = 64;

impl<O: Objects, const BUCKETS: usize> Guard<O, BUCKETS> {
    /// Takes a record's lock; gives up on a circle of waiting threads, or at the limit the user set.
    pub(crate) fn lock(&self, thread: &Thread, record: &Record) -> Taken {
        if record.try_lock(thread) {
            return Taken::AtOnce;
        }
        if record.is_held_by(thread) {
            return Taken::Nested;
        }
        let since = self.objects.now();
        let mut warned = false;
        thread.waits_since.store(since, Ordering::Relaxed);
        thread.waits_for.store(core::ptr::from_ref(record).cast_mut(), Ordering::SeqCst);
        let closes_circle = || {
            let closes = is_in_circle(thread, record);
            if closes {
                thread.tally.add(Counter::Circles);
            }
            closes
        };
        let go_on = |_: &Record| {
            let waited = self.objects.now().saturating_sub(since);
            if waited >= self.settings.wait_warn_ms && !warned {
                warned = true;
                thread.tally.add(Counter::LongWaits);
                self.objects.long_wait(record, waited);
            }
            if closes_circle() {
                return false;
            }
            let limit = self.settings.wait_limit_ms;
            let over = limit != 0 && waited >= limit;
            if over {
                thread.tally.add(Counter::Limits);
            }
            !over
        };
        announce();
        let taken = match closes_circle() {
            true => Taken::GivenUp,
            false => self.ledger.lock(record, thread, SLICE, go_on),
        };
        thread.waits_for.store(core::ptr::null_mut(), Ordering::SeqCst);
        if taken == Taken::AfterWait {
            thread.tally.add(Counter::Waits);
        }
        taken
    }
}

/// Whether the thread inside `record` waits, directly or through others, for `thread`.
///
/// A chain that is read while it changes may close by chance, and a real circle stays. The last thread of a closed chain waits for
/// `thread` itself, so it stays where it is, with all that it is inside of; each look more makes certain of one thread before it.
fn is_in_circle(thread: &Thread, record: &Record) -> bool {
    let Some(length) = length_of_circle(thread, record) else { return false };
    (1..length).all(|_| length_of_circle(thread, record).is_some())
}

/// How many threads besides `thread` wait in the chain that begins at `record`, if it leads back to `thread`.
fn length_of_circle(thread: &Thread, record: &Record) -> Option<usize> {
    let mut next = record;
    for length in 0..MAX_CHAIN {
        // SAFETY: an owner is 0 or a token; blocks are never given back.
        let owner = unsafe { Thread::of_token(next.owner()) }?;
        if core::ptr::eq(owner, thread) {
            return Some(length);
        }
        // SAFETY: a thread waits for records only, and records are never given back.
        next = unsafe { owner.waits_for.load(Ordering::SeqCst).as_ref() }?;
    }
    None
}
