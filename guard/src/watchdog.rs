//! The thread that looks after the library while nobody calls it: quarantined encoders that are over age are let go, for nobody
//! else may end an encoder for a long time; and a report is written that a signal asked for.
//!
//! It never waits for an encoder: one that somebody is inside of is left for the next look.

use core::ffi::c_void;

use crate::entry;
use crate::report;
use crate::sync::{AtomicBool, Ordering};
use crate::sys;

/// Milliseconds between two looks.
const PERIOD: i64 = 100;

static WATCHING: AtomicBool = AtomicBool::new(false);
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

/// Has the thread write a report at its next look. May be called from a signal handler.
pub fn ask_for_report() {
    REPORT_ASKED.store(true, Ordering::Relaxed);
}

unsafe extern "C" fn watch(_: *mut c_void) -> *mut c_void {
    let period =
        sys::Timespec { seconds: 0, nanoseconds: (PERIOD * 1_000_000) as core::ffi::c_long };
    loop {
        // SAFETY: a valid time to read; no rest is asked for.
        unsafe { sys::nanosleep(&period, core::ptr::null_mut()) };
        if REPORT_ASKED.swap(false, Ordering::Relaxed) {
            report::write();
        }
        if let Some(guard) = entry::guard() {
            guard.sweep(entry::current());
        }
        #[cfg(target_os = "macos")]
        crate::driver::retry();
    }
}
