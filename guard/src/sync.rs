//! The atomics the core is written with: `core`'s in a process, loom's under the model checker.

#[cfg(not(loom))]
pub use core::sync::atomic::{
    AtomicBool, AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence,
};
#[cfg(loom)]
pub use loom::sync::atomic::{
    AtomicBool, AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence,
};

/// Lets another thread run; called between two tries for a [`Lock`].
#[cfg(not(all(target_os = "macos", not(loom))))]
fn relax() {
    #[cfg(loom)]
    loom::thread::yield_now();
    #[cfg(not(loom))]
    // SAFETY: sched_yield takes nothing and touches none of this library's memory.
    unsafe {
        crate::sys::sched_yield();
    }
}

/// Stands between announcing something and looking at what others announced, both sequentially consistent, which is all the
/// hardware needs. Loom knows sequential consistency of fences only, so under loom it is one.
#[inline(always)]
pub fn announce() {
    #[cfg(loom)]
    fence(Ordering::SeqCst);
}

/// Faults that the tests put into the ledger, to see that the model checker finds them. Never there outside the model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A record's lock is given to everybody.
    LockForAll,
    /// Who unlocks looks for waiters before it lets go.
    EarlyLook,
    /// A thread that waited does not look whether its encoder is still the same.
    NoSecondLook,
    /// A quarantine entry is believed although the encoder was handed out again.
    OldEntry,
    /// A commit keeps its buffer's lock while it submits and calls handlers.
    CommitsUnderLock,
}

/// Whether a fault is put in.
#[cfg(not(loom))]
#[inline(always)]
pub const fn has_fault(_: Fault) -> bool {
    false
}

#[cfg(loom)]
std::thread_local! {
    static FAULT: core::cell::Cell<Option<Fault>> = const { core::cell::Cell::new(None) };
}

/// Whether a fault is put in.
#[cfg(loom)]
pub fn has_fault(fault: Fault) -> bool {
    FAULT.get() == Some(fault)
}

/// Puts a fault in, for the models this test runs.
#[cfg(loom)]
pub fn put_in(fault: Option<Fault>) {
    FAULT.set(fault);
}

/// A lock for short sections. On a Mac it is the system's unfair lock, for threads of different priority meet here, and one that
/// spins keeps the one it waits for from running; elsewhere, in the tests, it yields.
pub struct Lock(AtomicU32);

impl Lock {
    /// An open lock.
    #[cfg(not(loom))]
    pub const fn new() -> Self {
        Lock(AtomicU32::new(0))
    }

    /// An open lock.
    #[cfg(loom)]
    pub fn new() -> Self {
        Lock(AtomicU32::new(0))
    }

    /// Runs `section` alone.
    pub fn with<R>(&self, section: impl FnOnce() -> R) -> R {
        self.lock();
        let result = section();
        self.unlock();
        result
    }

    /// Takes the lock, for [`Lock::unlock`] to let go.
    #[cfg(not(all(target_os = "macos", not(loom))))]
    pub fn lock(&self) {
        while self.0.compare_exchange(0, 1, Ordering::Acquire, Ordering::Relaxed).is_err() {
            relax();
        }
    }

    /// Lets the lock go.
    #[cfg(not(all(target_os = "macos", not(loom))))]
    pub fn unlock(&self) {
        self.0.store(0, Ordering::Release);
    }

    /// Takes the lock, for [`Lock::unlock`] to let go.
    #[cfg(all(target_os = "macos", not(loom)))]
    pub fn lock(&self) {
        // SAFETY: an os_unfair_lock is 32 bits, all zero when it is open.
        unsafe { crate::sys::os_unfair_lock_lock(self.0.as_ptr()) }
    }

    /// Lets the lock go.
    #[cfg(all(target_os = "macos", not(loom)))]
    pub fn unlock(&self) {
        // SAFETY: as above; the calling thread has it.
        unsafe { crate::sys::os_unfair_lock_unlock(self.0.as_ptr()) }
    }

    /// Opens the lock of any holder: in a forked child, where no other thread is left.
    pub fn reset(&self) {
        self.0.store(0, Ordering::Relaxed);
    }
}

impl Default for Lock {
    fn default() -> Self {
        Self::new()
    }
}
