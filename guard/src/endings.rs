//! What follows when an encoder has been ended: its state is settled, it goes into the quarantine, and in time it is let go, unless
//! the driver hands it out again.
//!
//! All of this happens at the end of an outermost call, or on the watchdog's thread; none of it on the way of an encoding call.

use crate::call::Objects;
use crate::calls::Guard;
use crate::counters::Counter;
use crate::quarantine::{Entry, Over};
use crate::record::{BUFFER, COUNTED, HELD, PERMIT, Record, State, TO_QUARANTINE};
use crate::sync::{Fault, Ordering, has_fault};
use crate::thread::Thread;

impl<O: Objects, const BUCKETS: usize> Guard<O, BUCKETS> {
    /// Lets go of quarantined encoders that are over age.
    pub fn sweep(&self, thread: &Thread) {
        let now = self.objects.now();
        for shard in 0..self.quarantine.shards() {
            self.empty(thread, shard, now);
        }
    }

    /// Lets go of what is over the bounds in one shard of the quarantine.
    fn empty(&self, thread: &Thread, shard: usize, now: u64) {
        while let Some((entry, over)) = self.quarantine.pop(shard, now) {
            if !self.let_go(thread, entry, over, now) {
                break;
            }
        }
    }

    /// Ends the outermost call: completes what the calls inside began. The caller holds the record's lock and lets it go after. Answers
    /// the shard of the quarantine the encoder went into.
    #[inline(always)]
    pub(crate) fn settle(&self, thread: &Thread, record: &Record) -> Option<usize> {
        if record.is_settled() { None } else { self.settle_change(thread, record) }
    }

    fn settle_change(&self, thread: &Thread, record: &Record) -> Option<usize> {
        match record.state() {
            State::Leaving => {
                self.give_place_back(record);
                if record.status() & BUFFER == 0 {
                    thread.tally.add(Counter::Gone);
                }
                record.forget();
                return None;
            }
            State::Ending => record.set_state(State::Ended),
            _ => {}
        }
        if record.clear(TO_QUARANTINE) == 0 {
            return None;
        }
        if record.clear(COUNTED) == 0 {
            thread.tally.add(Counter::Ended);
        }
        record.set(COUNTED);
        self.give_place_back(record);
        let turn = record.turn.load(Ordering::Relaxed).wrapping_add(1);
        record.turn.store(turn, Ordering::Relaxed);
        let entry = Entry {
            record,
            generation: record.generation(),
            turn,
            since: self.objects.now(),
            alone: false,
        };
        thread.tally.add(Counter::Quarantined);
        Some(self.quarantine.push(entry))
    }

    /// Has the quarantine's bounds kept, after an encoder went into `shard`. A release may deallocate, and so call the driver: it is
    /// never made inside another call.
    pub(crate) fn relieve(&self, thread: &Thread, shard: usize) {
        let is_inside = thread.is_inside();
        if !self.objects.sweeps_elsewhere() {
            if !is_inside {
                self.empty(thread, shard, self.objects.now());
            }
        } else if !is_inside && self.quarantine.is_far_over() {
            self.objects.give_way();
        }
    }

    /// Drops the guard's reference to a quarantined encoder, unless it is gone or live again, or has to stay longer. Holds no lock
    /// while it does, and waits for no thread: false when a thread, this one perhaps, is inside the encoder, which then stays.
    fn let_go(&self, thread: &Thread, entry: Entry, over: Over, now: u64) -> bool {
        // SAFETY: records are never given back while the guard lives.
        let Some(record) = (unsafe { entry.record.as_ref() }) else { return true };
        let lock = record.lock();
        let locked = lock.try_lock(thread);
        if !locked || !record.is_guarded_by(lock) {
            if locked {
                self.ledger.unlock(lock);
            }
            self.quarantine.push(Entry { since: now, alone: false, ..entry });
            return false;
        }
        let same_turn =
            has_fault(Fault::OldEntry) || record.turn.load(Ordering::Relaxed) == entry.turn;
        let current = record.generation() == entry.generation && same_turn;
        let object = record.address();
        let ours = current && object != 0 && record.status() & HELD != 0;
        let alone = ours && over == Over::Age && self.objects.is_held_once(object);
        let stays = ours && over == Over::Age && !(alone && entry.alone);
        if ours && !stays {
            record.clear(HELD);
        }
        self.ledger.unlock(lock);
        if stays {
            self.quarantine.push(Entry { since: now, alone, ..entry });
        } else if ours {
            thread.tally.add(Counter::Released);
            self.objects.release(object);
        }
        true
    }

    /// How many live encoders only the guard has a reference to. Those that a thread is inside of are not looked at.
    pub fn abandoned(&self, thread: &Thread) -> u64 {
        let mut count = 0;
        self.ledger.each_encoder(|record| {
            let lock = record.lock();
            if !Record::is_live(record.status()) || !lock.try_lock(thread) {
                return;
            }
            // The guard's own reference keeps the object alive while the lock is held.
            let ours = record.is_guarded_by(lock)
                && record.address() != 0
                && Record::is_live(record.status())
                && record.status() & HELD != 0;
            count += u64::from(ours && self.objects.is_held_once(record.address()));
            self.ledger.unlock(lock);
        });
        count
    }

    /// The driver began an ended encoder again: it is live. The caller holds the record's lock.
    pub(crate) fn revive(&self, thread: &Thread, object: usize, record: &Record) {
        record.set_state(State::Live);
        record.clear(COUNTED);
        record.turn.store(record.turn.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
        if record.status() & HELD == 0 {
            record.set(HELD);
            self.objects.retain(object);
        }
        if self.throttle.is_on() && record.status() & PERMIT == 0 {
            self.admit(thread);
            record.set(PERMIT);
            record.opener.store(core::ptr::from_ref(thread).cast_mut(), Ordering::Relaxed);
        }
        thread.tally.add(Counter::Reopened);
    }

    /// Leaves nothing held or awaited by any thread but this one: in a forked child, where it is the only one.
    pub fn only(&self, thread: &Thread) {
        self.ledger.only(thread);
        self.quarantine.reset_locks();
        self.throttle.only(thread.places());
    }

    /// Gives back the place of the throttle an encoder occupies, if it does.
    pub(crate) fn give_place_back(&self, record: &Record) {
        if record.clear(PERMIT) == 0 {
            return;
        }
        // SAFETY: a thread's block is never given back, only reused.
        if let Some(opener) = unsafe { record.opener.load(Ordering::Relaxed).as_ref() } {
            self.leave_place(opener);
        }
    }

    /// Gives back a place that `thread` took.
    pub(crate) fn leave_place(&self, thread: &Thread) {
        let fewer = |open: u32| Some(open.saturating_sub(1));
        let _ = thread.open.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fewer);
        self.throttle.leave();
    }
}
