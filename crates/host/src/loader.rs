//! Questions that only functions of libSystem answer: what the dyld shared cache holds,
//! and which driver bundle Metal would take.
//!
//! `gpu_bundle_find_trusted` is not in every macOS and not in any header, so both
//! functions are looked up by name and may be missing.

use std::path::{Path, PathBuf};

/// Whether the shared cache has an image of this path; none where there is no cache.
#[cfg(target_os = "macos")]
#[allow(unsafe_code, reason = "dyld's answer is only to be had by this call")]
pub(super) fn shared_cache_contains(path: &Path) -> Option<bool> {
    use std::os::unix::ffi::OsStrExt;
    unsafe extern "C" {
        fn _dyld_shared_cache_contains_path(path: *const std::ffi::c_char) -> bool;
    }
    let path = std::ffi::CString::new(path.as_os_str().as_bytes()).ok()?;
    // SAFETY: the function reads the C string, which outlives the call, and keeps nothing.
    Some(unsafe { _dyld_shared_cache_contains_path(path.as_ptr()) })
}

/// The bundle Metal would take, or none of it; nothing where the function is missing.
#[cfg(target_os = "macos")]
#[allow(unsafe_code, reason = "libsystem_sandbox's answer is only to be had by this call")]
pub(super) fn trusted_gpu_bundle(name: &str) -> Option<Option<PathBuf>> {
    use std::ffi::{CStr, CString, c_char, c_int, c_void};
    unsafe extern "C" {
        fn dlsym(handle: *mut c_void, symbol: *const c_char) -> *mut c_void;
    }
    type FindTrusted = unsafe extern "C" fn(*const c_char, *mut c_char, usize) -> c_int;
    // `RTLD_DEFAULT` of macOS: look in every image.
    const DEFAULT: *mut c_void = -2_isize as *mut c_void;
    let name = CString::new(name).ok()?;
    // SAFETY: both arguments are as dlsym wants them.
    let found = unsafe { dlsym(DEFAULT, c"gpu_bundle_find_trusted".as_ptr()) };
    if found.is_null() {
        return None;
    }
    // SAFETY: the symbol is a function of this type (macOS 26.4, read in libsystem_sandbox).
    let find = unsafe { std::mem::transmute::<*mut c_void, FindTrusted>(found) };
    let mut path = [0_u8; 1024];
    // SAFETY: the function reads the name and writes at most the length given to `path`,
    // whose last byte stays 0.
    let failed = unsafe { find(name.as_ptr(), path.as_mut_ptr().cast(), path.len() - 1) };
    let path = CStr::from_bytes_until_nul(&path).ok().and_then(|path| path.to_str().ok());
    Some(path.filter(|path| failed == 0 && !path.is_empty()).map(PathBuf::from))
}

/// Elsewhere there is nothing to ask.
#[cfg(not(target_os = "macos"))]
pub(super) fn shared_cache_contains(_: &Path) -> Option<bool> {
    None
}

/// Elsewhere there is nothing to ask.
#[cfg(not(target_os = "macos"))]
pub(super) fn trusted_gpu_bundle(_: &str) -> Option<Option<PathBuf>> {
    None
}
