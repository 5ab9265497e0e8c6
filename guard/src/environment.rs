//! The variables the library heeds, copied once, at load: a program may change its environment later, while other threads read it.

use alloc::ffi::CString;
use core::ffi::{CStr, c_char};

use crate::sync::{AtomicPtr, Ordering};
use crate::sys;

/// Every variable that is read anywhere in the library.
const NAMES: [&CStr; 16] = [
    c"AGX_GUARD",
    c"AGX_GUARD_QUARANTINE",
    c"AGX_GUARD_QUARANTINE_MS",
    c"AGX_GUARD_WAIT_WARN_MS",
    c"AGX_GUARD_WAIT_LIMIT_MS",
    c"AGX_GUARD_THROTTLE_MS",
    c"AGX_GUARD_REPORT",
    c"AGX_GUARD_REPORTS",
    c"AGX_GUARD_ON_REFUSAL",
    c"AGX_GUARD_QUIET",
    c"AGX_GUARD_COALESCING",
    c"AGX_GUARD_PLUGIN",
    c"AGX_GUARD_PLUGIN_FOR",
    c"AGX_GUARD_PATCHED",
    c"AGX_GUARD_ORIGINAL",
    c"DYLD_LIBRARY_PATH",
];

static COPIES: [AtomicPtr<c_char>; NAMES.len()] =
    [const { AtomicPtr::new(core::ptr::null_mut()) }; NAMES.len()];

/// Copies the variables. The copies are never given back.
pub fn remember() {
    for (name, copy) in NAMES.iter().zip(&COPIES) {
        // SAFETY: the name is NUL-terminated; getenv answers NULL or a NUL-terminated string.
        let value = unsafe {
            let value = sys::getenv(name.as_ptr());
            (!value.is_null()).then(|| CString::from(CStr::from_ptr(value)))
        };
        copy.store(value.map_or(core::ptr::null_mut(), CString::into_raw), Ordering::Release);
    }
}

/// A variable's value at load.
pub fn value(name: &CStr) -> Option<&'static CStr> {
    let place = NAMES.iter().position(|known| *known == name)?;
    let copy = COPIES.get(place)?.load(Ordering::Acquire);
    // SAFETY: NULL or a copy that is never given back.
    (!copy.is_null()).then(|| unsafe { CStr::from_ptr(copy) })
}

/// The same as text; `None` for what is not UTF-8.
#[cfg(target_os = "macos")]
pub fn text(name: &CStr) -> Option<&'static str> {
    value(name)?.to_str().ok()
}
