//! Encoders that the program let go of without ending them.
//!
//! Metal ends such a program with an assertion in the encoder's `dealloc`. Under the guard there is no `dealloc`, for the guard has a
//! reference to every live encoder; the encoder keeps its command buffer, and a queue that has 64 of those makes the next one wait
//! for ever. So they are counted, and said before it comes to that.

use crate::entry;
use crate::say::say;
use crate::sync::{AtomicBool, AtomicU64, Ordering};

/// Half of what a queue has room for by default.
const MAX_UNSAID: u64 = 32;

static COUNT: AtomicU64 = AtomicU64::new(0);
static IS_SAID: AtomicBool = AtomicBool::new(false);

/// How many there were at the last look.
pub fn count() -> u64 {
    COUNT.load(Ordering::Relaxed)
}

/// Counts them, and says once that there are many.
pub fn look() {
    let Some(guard) = entry::guard() else { return };
    let count = guard.abandoned(entry::current());
    COUNT.store(count, Ordering::Relaxed);
    if count >= MAX_UNSAID && !IS_SAID.swap(true, Ordering::Relaxed) {
        say(format_args!(
            "{count} encoders were let go of without endEncoding; each keeps its command buffer, and a queue that runs out of those \
             waits for ever"
        ));
    }
}
