//! What one input may cost.
//!
//! A parser of hostile input that neither panics nor hangs can still take a machine
//! away by the memory it asks for. So each run is measured: its processor time, which
//! a loaded machine does not change, and the most memory that was in use during it.

use std::alloc::System;
use std::time::Duration;

use cap::Cap;
use rustix::time::{ClockId, clock_gettime};

/// Counts what is allocated. Whatever is linked with this crate allocates by it.
#[global_allocator]
static ALLOCATED: Cap<System> = Cap::new(System, usize::MAX);

/// Memory that a run may use beyond the size of its input.
const MAX_MEMORY: usize = 32 << 20;

/// What may not be exceeded.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Processor time of one run, if it is limited. A build without optimisation has
    /// no fair limit.
    pub time: Option<Duration>,
}

impl Limits {
    /// Runs `work` on an input of this size.
    ///
    /// # Panics
    ///
    /// If it took more time or memory than it may.
    pub fn enforce(self, input: usize, work: impl FnOnce()) {
        let (memory, peak, began) = (ALLOCATED.allocated(), ALLOCATED.max_allocated(), used());
        work();
        let time = used().saturating_sub(began);
        let limit = self.time.unwrap_or(Duration::MAX);
        assert!(time <= limit, "{time:?} for an input of {input} bytes");
        // The greatest use is kept for the whole process: it belongs to this run only if
        // it grew.
        let now = ALLOCATED.max_allocated();
        let used = now.saturating_sub(memory);
        assert!(now == peak || used <= input + MAX_MEMORY, "{used} bytes for one of {input}");
    }
}

/// Processor time of all threads of this process.
fn used() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}
