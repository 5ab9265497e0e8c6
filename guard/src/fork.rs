//! A process that forks while threads are inside encoders.
//!
//! The child has one thread, the one that forked; what the others held would be held for ever. So the quarantine's and the hooks'
//! locks are taken around the fork, for what they protect must be whole, and in the child every encoder another thread was inside
//! of is open again. The child writes no report: it is not the process that was asked about. It has no watchdog either; its
//! quarantine is looked after whenever an encoder ends.

use crate::entry;
use crate::findings;
use crate::hooks;
use crate::report;
use crate::sys;

/// Asks to be told of forks.
pub fn prepare() {
    // SAFETY: the functions have the signature asked for.
    unsafe { sys::pthread_atfork(before, in_parent, in_child) };
}

extern "C" fn before() {
    hooks::lock();
    if let Some(guard) = entry::guard() {
        guard.quarantine.lock_all();
    }
}

extern "C" fn in_parent() {
    if let Some(guard) = entry::guard() {
        guard.quarantine.unlock_all();
    }
    hooks::unlock();
}

extern "C" fn in_child() {
    report::write_nowhere();
    findings::forget();
    hooks::reset_lock();
    if let Some(guard) = entry::guard() {
        guard.only(entry::current());
    }
}
