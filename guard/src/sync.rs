//! The atomics the core is written with: `core`'s in a process, loom's under the model checker.

#[cfg(not(loom))]
pub use core::sync::atomic::{
    AtomicBool, AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence,
};
#[cfg(loom)]
pub use loom::sync::atomic::{
    AtomicBool, AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence,
};

/// Lets another thread run; called between tries of a short spin.
pub fn relax() {
    #[cfg(loom)]
    loom::thread::yield_now();
    #[cfg(not(loom))]
    // SAFETY: sched_yield takes nothing and touches no memory of ours.
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

/// A lock for sections of a few instructions, held across no call out of this crate.
pub struct Spin(AtomicBool);

impl Spin {
    /// An open lock.
    #[cfg(not(loom))]
    pub const fn new() -> Self {
        Spin(AtomicBool::new(false))
    }

    /// An open lock.
    #[cfg(loom)]
    pub fn new() -> Self {
        Spin(AtomicBool::new(false))
    }

    /// Runs `section` alone.
    pub fn with<R>(&self, section: impl FnOnce() -> R) -> R {
        while self.0.compare_exchange(false, true, Ordering::Acquire, Ordering::Relaxed).is_err() {
            relax();
        }
        let result = section();
        self.0.store(false, Ordering::Release);
        result
    }
}

impl Default for Spin {
    fn default() -> Self {
        Self::new()
    }
}
