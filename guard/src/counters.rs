//! What the guard counts. Each thread has its own counters, so that counting shares no cache line; a report adds them up.

use crate::sync::{AtomicU64, Ordering};

macro_rules! counters {
    ($($name:ident, $text:literal, $what:literal;)*) => {
        /// One thing that is counted.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(usize)]
        #[allow(missing_docs)]
        pub enum Counter { $(#[doc = $what] $name,)* }

        /// Every counter with the name it has in the report and in `agx_guard_counter`, and what it means.
        pub const COUNTERS: &[(Counter, &str, &str)] = &[$((Counter::$name, $text, $what),)*];
    };
}

counters! {
    Calls, "calls", "calls to hooked methods";
    Tracked, "encoders_tracked", "encoders seen at their init";
    Adopted, "encoders_adopted", "encoders first seen in another method";
    Ended, "encoders_ended", "encoders that were ended";
    Gone, "encoders_deallocated", "encoders whose dealloc was seen";
    Reopened, "encoders_reopened", "ended encoders the driver handed out again";
    RefusedEnded, "refused_ended", "calls to an ended encoder, not dispatched";
    RefusedDoubleEnd, "refused_double_end", "second endings of an encoder, not dispatched";
    RefusedGone, "refused_gone", "calls whose encoder was deallocated while they waited, not dispatched";
    RefusedNullImpl, "refused_null_impl", "calls to an encoder whose _impl had become NULL, not dispatched";
    DriverOnEnded, "driver_calls_on_ended", "calls by the driver itself to an ended encoder, dispatched";
    Waits, "waits", "calls that had to wait for another thread";
    LongWaits, "long_waits", "waits longer than the warning limit";
    Circles, "deadlocks_broken", "waits given up because the threads waited for each other";
    Limits, "wait_limits", "waits given up at the limit the user set";
    ThrottleWaits, "throttle_waits", "encoders that had to wait for a place";
    ThrottleOverrides, "throttle_overrides", "encoders admitted above the limit after waiting too long";
    Quarantined, "quarantined", "ended encoders put into the quarantine";
    Released, "quarantine_released", "ended encoders let go from the quarantine";
    Unwound, "frames_unwound", "calls left by longjmp or an exception, closed afterwards";
    Overlaps, "overlaps", "observe mode: calls on an encoder another thread was inside of";
    RacesOverlap, "races_overlap", "calls to an encoder or command buffer that another thread was inside of";
    RacesAfterEnd, "races_use_after_end", "calls to an encoder that was ended";
    RacesAfterCommit, "races_use_after_commit", "calls to a command buffer that was committed";
    RacesOpenEncoder, "races_open_encoder", "calls to a command buffer while an encoder of another thread's was open on it";
    RacesTorn, "races_torn_sequence", "dispatches, draws and copies with state that another thread set or changed";
    HandedOver, "handed_over", "changes of thread within the calls to an encoder where they harm nothing";
    WouldRefuse, "would_refuse", "observe mode: calls that guard mode would have refused";
}

/// How many counters there are.
pub const COUNT: usize = COUNTERS.len();

/// One thread's counters.
pub struct Tally([AtomicU64; COUNT]);

impl Tally {
    /// All zero.
    pub fn new() -> Self {
        Tally(core::array::from_fn(|_| AtomicU64::new(0)))
    }

    /// Counts one. Only the owning thread counts, so no read-modify-write is needed.
    #[inline(always)]
    pub fn add(&self, counter: Counter) {
        if let Some(cell) = self.0.get(counter as usize) {
            cell.store(cell.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
        }
    }

    /// One counter's value, from any thread.
    pub fn get(&self, counter: Counter) -> u64 {
        self.0.get(counter as usize).map_or(0, |cell| cell.load(Ordering::Relaxed))
    }
}

impl Default for Tally {
    fn default() -> Self {
        Self::new()
    }
}
