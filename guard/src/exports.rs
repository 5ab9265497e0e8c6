//! The functions the library offers to the program it is inserted into, in C: see `macos/exports.txt`.

use core::ffi::{CStr, c_char, c_int};

use crate::abandoned;
use crate::counters::COUNTERS;
use crate::entry;
use crate::hooks;
use crate::report;

/// The value of a counter by its name in the report; `UINT64_MAX` for a name that is not one.
///
/// # Safety
/// `name` is a NUL-terminated string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn agx_guard_counter(name: *const c_char) -> u64 {
    // SAFETY: by the caller's word.
    let name = unsafe { CStr::from_ptr(name) };
    name.to_str().ok().and_then(entry::total_named).unwrap_or(u64::MAX)
}

/// How many counters there are.
#[unsafe(no_mangle)]
pub extern "C" fn agx_guard_counter_count() -> c_int {
    COUNTERS.len() as c_int
}

/// The value of a counter by its place, from 0; `UINT64_MAX` beyond the last.
#[unsafe(no_mangle)]
pub extern "C" fn agx_guard_counter_at(index: c_int) -> u64 {
    let known = usize::try_from(index).ok().and_then(|index| COUNTERS.get(index));
    known.map_or(u64::MAX, |(counter, _, _)| entry::total(*counter))
}

/// How many methods are hooked: 0 while the driver is not loaded.
#[unsafe(no_mangle)]
pub extern "C" fn agx_guard_hooked_methods() -> c_int {
    hooks::methods() as c_int
}

/// How many encoders are known now.
#[unsafe(no_mangle)]
pub extern "C" fn agx_guard_known_encoders() -> u64 {
    entry::guard().map_or(0, |guard| guard.ledger.census().iter().sum())
}

/// Whether the guard is in force in this process.
#[unsafe(no_mangle)]
pub extern "C" fn agx_guard_is_active() -> c_int {
    c_int::from(entry::guard().is_some() && hooks::methods() > 0)
}

/// Does now what the guard's own thread does from time to time: lets go of every quarantined encoder that is over age, and counts
/// the encoders that were let go of without an end.
#[unsafe(no_mangle)]
pub extern "C" fn agx_guard_sweep() {
    if let Some(guard) = entry::guard() {
        guard.sweep(entry::current());
        abandoned::look();
    }
}

/// Writes the report as a buffer of the caller's; how many bytes, 0 when it does not fit.
///
/// # Safety
/// `buffer` has room for `size` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn agx_guard_report(buffer: *mut u8, size: usize) -> usize {
    // SAFETY: by the caller's word.
    report::compose(unsafe { core::slice::from_raw_parts_mut(buffer, size) }).unwrap_or(0)
}

/// Has a function answer for the label of the current dispatch queue, which Linux does not have.
#[cfg(target_os = "linux")]
#[unsafe(no_mangle)]
pub extern "C" fn agx_guard_label_queues(label: extern "C" fn() -> *const c_char) {
    crate::sys::QUEUE_LABEL.store(label as usize, crate::sync::Ordering::Relaxed);
}

/// Notes code as the driver's own, as `driver` does for the driver's images on a Mac.
#[cfg(target_os = "linux")]
#[unsafe(no_mangle)]
pub extern "C" fn agx_guard_trust(start: usize, end: usize) {
    crate::driver_code::trust(start, end);
}
