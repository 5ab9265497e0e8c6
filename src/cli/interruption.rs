//! Ctrl-C during a run of trials.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::launch;
use agxpatch_core::error::{Code, Error, Result};

/// An interrupted run ends its child and reports what it has; then the program ends
/// by the same signal, so that a shell's loop around it ends too. A second signal ends it
/// at once. What was ignored from the start, as `nohup` has it, is not an interrupt.
pub struct Interruption {
    /// Whether there was one.
    pub stop: Arc<AtomicBool>,
    /// The signal's number, 0 before there is one.
    signal: Arc<AtomicUsize>,
}

impl Interruption {
    /// Begins to watch.
    ///
    /// # Errors
    /// `Bug` where the system does not let this process handle signals.
    pub fn begin() -> Result<Interruption> {
        use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
        use signal_hook::flag;
        let (stop, signal) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        for each in [SIGHUP, SIGINT, SIGTERM].into_iter().filter(|each| !launch::is_ignored(*each))
        {
            let number = usize::try_from(each).unwrap_or_default();
            flag::register_conditional_default(each, Arc::clone(&stop))
                .and_then(|_| flag::register_usize(each, Arc::clone(&signal), number))
                .and_then(|_| flag::register(each, Arc::clone(&stop)))
                .map_err(|error| {
                    Error::new(Code::Bug, "interrupts cannot be handled").with("reason", error)
                })?;
        }
        Ok(Interruption { stop, signal })
    }

    /// Ends the program as by the signal that interrupted the run, if one did.
    pub fn end_program(&self) {
        let signal = i32::try_from(self.signal.load(Ordering::Relaxed)).unwrap_or_default();
        if signal != 0 {
            // What cannot be written now is lost either way.
            drop(std::io::stdout().flush());
            drop(signal_hook::low_level::emulate_default_handler(signal));
        }
    }
}
