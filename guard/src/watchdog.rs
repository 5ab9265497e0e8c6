//! The guard's own thread. It alone lets go of quarantined encoders, under an autorelease pool: a release may deallocate, and what the
//! driver does then has no place inside a program's `endEncoding`. It also writes a report that a signal asked for.
//!
//! It never waits for an encoder: one that a thread is inside of is left for the next look.

use core::ffi::c_void;

use crate::abandoned;
use crate::entry;
use crate::park::Place;
use crate::report;
use crate::runtime;
use crate::sync::{AtomicBool, Ordering};
use crate::sys;

/// Milliseconds between two looks.
const PERIOD: u64 = 100;
/// Looks between two counts of the encoders that were let go of.
const LOOKS: u64 = 10;

static WATCHING: AtomicBool = AtomicBool::new(false);
static SWEEP_ASKED: AtomicBool = AtomicBool::new(false);
static WAKE: Place = Place::new();
static REPORT_ASKED: AtomicBool = AtomicBool::new(false);

/// Starts the thread, once.
pub fn start() {
    if WATCHING.swap(true, Ordering::Relaxed) {
        return;
    }
    let mut thread = 0;
    // SAFETY: the function has the signature and takes no argument; the thread is never joined.
    unsafe {
        if sys::pthread_create(&mut thread, core::ptr::null(), watch, core::ptr::null_mut()) == 0 {
            sys::pthread_detach(thread);
        }
    }
}

/// Has the thread look at the quarantine soon: an encoder was put into it. One that holds no more than it may costs a load.
pub fn ask_for_sweep() {
    let Some(guard) = entry::guard() else { return };
    if guard.quarantine.is_over() && !SWEEP_ASKED.swap(true, Ordering::Relaxed) {
        WAKE.wake();
    }
}

/// Has the thread write a report at its next look. May be called from a signal handler.
pub fn ask_for_report() {
    REPORT_ASKED.store(true, Ordering::Relaxed);
}

unsafe extern "C" fn watch(_: *mut c_void) -> *mut c_void {
    for look in 1u64.. {
        WAKE.wait(PERIOD, || SWEEP_ASKED.swap(false, Ordering::Relaxed));
        if REPORT_ASKED.swap(false, Ordering::Relaxed) {
            report::write();
        }
        report::answer();
        if let Some(guard) = entry::guard() {
            runtime::with_autorelease_pool(|| guard.sweep(entry::current()));
        }
        if look.is_multiple_of(LOOKS) {
            abandoned::look();
        }
        #[cfg(target_os = "macos")]
        crate::driver::retry();
    }
    core::ptr::null_mut()
}
