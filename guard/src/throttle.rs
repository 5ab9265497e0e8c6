//! At most so many encoders open at once, in the whole process.
//!
//! A thread that has an encoder open already, or is inside a guarded call, is never made to wait: it may be the one the
//! others wait for. No thread waits for ever: after `patience` an encoder is admitted above the limit, and that is counted.

use crate::park::Place;
use crate::sync::{AtomicU32, Ordering, announce};

/// The gate.
pub struct Throttle {
    limit: u32,
    patience: u64,
    open: AtomicU32,
    waiters: AtomicU32,
    place: Place,
}

/// How an encoder got in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admitted {
    /// There was room, or there is no limit.
    AtOnce,
    /// It waited for room.
    AfterWait,
    /// There was no room and it was not made to wait any longer.
    Above,
}

impl Throttle {
    /// `limit` 0 means no limit; `patience` in milliseconds.
    pub fn new(limit: u32, patience: u64) -> Self {
        Throttle {
            limit,
            patience,
            open: AtomicU32::new(0),
            waiters: AtomicU32::new(0),
            place: Place::default(),
        }
    }

    /// Whether there is a limit at all.
    pub fn is_on(&self) -> bool {
        self.limit != 0
    }

    /// How many encoders are open now.
    pub fn open(&self) -> u32 {
        self.open.load(Ordering::Relaxed)
    }

    /// Takes a place, waiting for one unless `exempt`.
    pub fn admit(&self, exempt: bool) -> Admitted {
        if exempt || self.try_admit() {
            if exempt {
                self.open.fetch_add(1, Ordering::SeqCst);
            }
            return Admitted::AtOnce;
        }
        self.waiters.fetch_add(1, Ordering::SeqCst);
        announce();
        let admitted = self.place.wait(self.patience, || self.try_admit());
        self.waiters.fetch_sub(1, Ordering::SeqCst);
        if admitted {
            return Admitted::AfterWait;
        }
        self.open.fetch_add(1, Ordering::SeqCst);
        Admitted::Above
    }

    /// Gives a place back.
    pub fn leave(&self) {
        self.open.fetch_sub(1, Ordering::SeqCst);
        announce();
        if self.waiters.load(Ordering::SeqCst) != 0 {
            self.place.wake();
        }
    }

    /// Keeps only the places of `mine` encoders: in a forked child, where the others' threads are gone.
    pub fn only(&self, mine: u32) {
        self.open.store(mine, Ordering::Relaxed);
        self.waiters.store(0, Ordering::Relaxed);
        self.place.reset();
    }

    fn try_admit(&self) -> bool {
        let mut open = self.open.load(Ordering::SeqCst);
        while open < self.limit {
            match self.open.compare_exchange(open, open + 1, Ordering::SeqCst, Ordering::SeqCst) {
                Ok(_) => return true,
                Err(now) => open = now,
            }
        }
        false
    }
}
