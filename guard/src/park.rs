//! Where a thread waits when an encoder, or a permit, is another's.
//!
//! A parking place is shared by many locks: it is only a mutex and a condition. A waiter announces itself in a counter of
//! the lock first and looks at the lock again while it holds the place's mutex; who unlocks looks at the counter after it
//! let go. One of the two always sees the other, so no wake-up is lost, and an unlock without a waiter costs one load.

#[cfg(not(loom))]
use core::cell::UnsafeCell;

#[cfg(not(loom))]
use crate::sys;

/// Longest wait in milliseconds: a day. The system refuses times that are absurdly far away.
#[cfg(not(loom))]
const MAX_WAIT: u64 = 86_400_000;

/// A mutex and a condition.
#[cfg(not(loom))]
#[derive(Default)]
pub struct Place {
    mutex: UnsafeCell<sys::Mutex>,
    condition: UnsafeCell<sys::Condition>,
}

// SAFETY: both fields are pthread objects, made to be used from many threads through a shared address.
#[cfg(not(loom))]
unsafe impl Sync for Place {}
// SAFETY: an unlocked pthread object may be moved; a `Place` is moved only before its first use.
#[cfg(not(loom))]
unsafe impl Send for Place {}

#[cfg(not(loom))]
impl Place {
    /// An empty place.
    pub const fn new() -> Self {
        Place {
            mutex: UnsafeCell::new(sys::Mutex::new()),
            condition: UnsafeCell::new(sys::Condition::new()),
        }
    }

    /// Waits until `ready` holds or `limit` milliseconds have passed; true when it held.
    pub fn wait(&self, limit: u64, mut ready: impl FnMut() -> bool) -> bool {
        let until = sys::now() + limit.min(MAX_WAIT);
        // SAFETY: the objects are valid for as long as `self`, the mutex is held around the wait and let go once.
        unsafe {
            sys::pthread_mutex_lock(self.mutex.get());
            let mut held = ready();
            while !held && sys::wait_until(self.condition.get(), self.mutex.get(), until) {
                held = ready();
            }
            let held = held || ready();
            sys::pthread_mutex_unlock(self.mutex.get());
            held
        }
    }

    /// As new: in a forked child, where the thread that held the mutex or waited is gone.
    pub fn reset(&self) {
        // SAFETY: no other thread is left that could use them.
        unsafe {
            self.mutex.get().write(sys::Mutex::new());
            self.condition.get().write(sys::Condition::new());
        }
    }

    /// Wakes all who wait here; each looks for itself whether it was meant.
    #[cold]
    pub fn wake(&self) {
        // SAFETY: as in `wait`.
        unsafe {
            sys::pthread_mutex_lock(self.mutex.get());
            sys::pthread_cond_broadcast(self.condition.get());
            sys::pthread_mutex_unlock(self.mutex.get());
        }
    }
}

/// A mutex and a condition.
#[cfg(loom)]
#[derive(Default)]
pub struct Place {
    mutex: loom::sync::Mutex<()>,
    condition: loom::sync::Condvar,
}

#[cfg(loom)]
impl Place {
    /// Waits until `ready` holds. The model has no time: a wait that is never ended is a deadlock, and loom says so.
    pub fn wait(&self, _limit: u64, mut ready: impl FnMut() -> bool) -> bool {
        let mut held = self.mutex.lock().unwrap();
        while !ready() {
            held = self.condition.wait(held).unwrap();
        }
        true
    }

    /// The model has no forks.
    pub fn reset(&self) {}

    /// Wakes all who wait here.
    pub fn wake(&self) {
        let _held = self.mutex.lock().unwrap();
        self.condition.notify_all();
    }
}
