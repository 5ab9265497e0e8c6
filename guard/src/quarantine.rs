//! Keeps ended encoders for a bounded while.
//!
//! A thread that has fetched an encoder's class and is about to jump cannot be stopped by a lock inside the method. If the
//! encoder is still an object when it arrives, the guard can refuse the call; if its memory is gone, nothing can. So each ended
//! encoder keeps the guard's reference until more than `limit` newer ones have ended, or `age` milliseconds have passed.
//!
//! The clock runs from when the guard alone holds the encoder. Another holder may still send it messages, and drop it
//! while another thread's message is under way. So an entry that comes of age is looked at: it goes only if it was found held by
//! no one else one age before as well. When there are too many, the oldest goes at once.
//!
//! An entry carries the generation and the turn its record had. An encoder the driver handed out again since, or one that is
//! gone, has another: the entry is then out of date and lets go of nothing.

use alloc::collections::VecDeque;
use core::cell::UnsafeCell;

use crate::record::Record;
use crate::sync::{AtomicU64, Lock, Ordering};

/// An ended encoder.
#[derive(Clone, Copy)]
pub struct Entry {
    /// Its record, which outlives the entry.
    pub record: *const Record,
    /// [`Record::generation`] when it was put here.
    pub generation: u32,
    /// `Record::turn` when it was put here.
    pub turn: u32,
    /// When, in milliseconds.
    pub since: u64,
    /// No one else held it then.
    pub alone: bool,
}

/// Why an encoder was taken out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Over {
    /// There are too many.
    Count,
    /// It has been here for so long.
    Age,
}

/// Threads that end encoders at the same time mostly meet in different shards.
const SHARDS: usize = 8;
/// How many more than twice the limit may be kept before threads that end encoders give way.
const MAX_BEHIND: u64 = 1024;

#[derive(Default)]
struct Shard {
    lock: Lock,
    entries: UnsafeCell<VecDeque<Entry>>,
}

// SAFETY: the entries are reached under the shard's lock only.
unsafe impl Sync for Shard {}
// SAFETY: an entry's record pointer may be used from any thread: records are never given back.
unsafe impl Send for Shard {}

/// The quarantine.
pub struct Quarantine {
    shards: [Shard; SHARDS],
    /// Most entries in one shard.
    per_shard: usize,
    /// How many shards are in use: one, when the limit is too small to be divided.
    used: usize,
    age: u64,
    kept: AtomicU64,
}

impl Quarantine {
    /// Keeps at most `limit` encoders, none longer than `age` milliseconds at the next look.
    pub fn new(limit: usize, age: u64) -> Self {
        let used = if limit >= SHARDS * 8 { SHARDS } else { 1 };
        Quarantine {
            shards: core::array::from_fn(|_| Shard::default()),
            per_shard: limit / used,
            used,
            age,
            kept: AtomicU64::new(0),
        }
    }

    /// Puts an encoder in; in which shard.
    pub fn push(&self, entry: Entry) -> usize {
        let index = (entry.record as usize / size_of::<Record>()) % self.used;
        let shard = self.shard(index);
        // SAFETY: inside the shard's lock.
        shard.lock.with(|| unsafe { (*shard.entries.get()).push_back(entry) });
        self.kept.fetch_add(1, Ordering::Relaxed);
        index
    }

    /// How many shards there are.
    pub fn shards(&self) -> usize {
        self.used
    }

    /// Takes every shard's lock, for a fork.
    pub fn lock_all(&self) {
        self.shards.iter().for_each(|shard| shard.lock.lock());
    }

    /// Lets every shard's lock go.
    pub fn unlock_all(&self) {
        self.shards.iter().for_each(|shard| shard.lock.unlock());
    }

    /// Opens every shard, in a forked child.
    pub fn reset_locks(&self) {
        self.shards.iter().for_each(|shard| shard.lock.reset());
    }

    /// Whether more are kept than may be, as far as one look tells.
    pub fn is_over(&self) -> bool {
        self.kept() > (self.per_shard * self.used) as u64
    }

    /// Whether so many more are kept that the thread that lets them go has fallen behind.
    pub fn is_far_over(&self) -> bool {
        self.kept() > 2 * (self.per_shard * self.used) as u64 + MAX_BEHIND
    }

    /// How many encoders are kept now.
    pub fn kept(&self) -> u64 {
        self.kept.load(Ordering::Relaxed)
    }

    /// Takes out one encoder of a shard that is over the bounds at `now`.
    pub fn pop(&self, index: usize, now: u64) -> Option<(Entry, Over)> {
        let shard = self.shard(index);
        let popped = shard.lock.with(|| {
            // SAFETY: inside the shard's lock.
            let entries = unsafe { &mut *shard.entries.get() };
            let oldest = entries.front()?;
            let over = if entries.len() > self.per_shard {
                Over::Count
            } else if now.saturating_sub(oldest.since) > self.age {
                Over::Age
            } else {
                return None;
            };
            entries.pop_front().map(|entry| (entry, over))
        });
        if popped.is_some() {
            self.kept.fetch_sub(1, Ordering::Relaxed);
        }
        popped
    }

    fn shard(&self, index: usize) -> &Shard {
        self.shards.get(index).unwrap_or(&self.shards[0])
    }
}
