//! Answers Metal's lookup of the driver's bundle for this one process.
//!
//! Metal asks libsystem_sandbox which bundle a driver's name stands for: `gpu_bundle_find_trusted(name, path, length)` tries
//! `/Library/GPUBundles` and `/System/Library/Extensions`, and takes no bundle that a process could have written. A copy in the user's
//! Library is such a bundle, under whatever name, and a driver that is refused leaves Metal without any. So it is this function that
//! is answered, with the path of the copy and 0, for the name of the driver that was copied; the name itself is left alone.
//!
//! Here too the driver that Metal is about to load is loaded and hooked, whichever it is ([`crate::driver`]).
//!
//! Not every macOS has the function. The reference to it is weak: dyld binds it to nothing where it is missing, and ignores the entry
//! of its table. There the name is answered instead ([`super::plugin`]).

/// Whether a lookup is for the driver that was copied.
pub fn is_ours(name: &str, instead_of: Option<&str>) -> bool {
    !name.is_empty() && Some(name) == instead_of
}

#[cfg(all(feature = "shipped", target_os = "macos"))]
pub use mac::{describe, is_there};

#[cfg(all(feature = "shipped", target_os = "macos"))]
mod mac {
    use core::ffi::{CStr, c_char, c_int};
    use core::sync::atomic::{AtomicBool, Ordering};

    use crate::driver;
    use crate::environment;
    use crate::image::{self, MAX_PATH};
    use crate::interpose::{answers, interpose};
    use crate::json::Json;

    static ASKED: AtomicBool = AtomicBool::new(false);
    static ANSWERED: AtomicBool = AtomicBool::new(false);

    unsafe extern "C" {
        fn gpu_bundle_find_trusted(name: *const c_char, path: *mut u8, length: usize) -> c_int;
    }
    core::arch::global_asm!(".weak_reference _gpu_bundle_find_trusted");

    /// Says in the report whether there is a lookup, whether it was asked for the driver that was copied, and whether the copy was
    /// answered. Returns the latter.
    pub fn describe(json: &mut Json) -> bool {
        let answered = ANSWERED.load(Ordering::Relaxed);
        json.flag("lookup_there", is_there());
        json.flag("lookup_asked", ASKED.load(Ordering::Relaxed));
        json.flag("lookup_answered", answered);
        answered
    }

    /// Whether this macOS has the function.
    pub fn is_there() -> bool {
        // SAFETY: the table's entry is as wide as an address. It is read as one, for Rust's functions are never at address 0.
        unsafe { core::ptr::read_volatile((&raw const LOOKUP.original).cast::<usize>()) != 0 }
    }

    unsafe extern "C" fn find_trusted(name: *const c_char, path: *mut u8, length: usize) -> c_int {
        let mut buffer = [0; MAX_PATH];
        // SAFETY: by the function's signature, `name` is NULL or a NUL-terminated string.
        let text = unsafe { (!name.is_null()).then(|| CStr::from_ptr(name)) };
        if answers()
            && let Some(bundle) = text.and_then(|name| copy_instead_of(name, &mut buffer))
            // SAFETY: `path` has room for `length` bytes.
            && unsafe { write(bundle, path, length) }
        {
            ANSWERED.store(true, Ordering::Relaxed);
            load_early(bundle);
            return 0;
        }
        // SAFETY: the arguments are passed on as they came.
        let answer = unsafe { gpu_bundle_find_trusted(name, path, length) };
        if answer == 0 && answers() && !path.is_null() && length > 0 {
            // SAFETY: an answer of 0 comes with a NUL-terminated path.
            load_early(unsafe { CStr::from_ptr(path.cast()) });
        }
        answer
    }

    /// Has the driver in a bundle hooked before Metal loads it.
    fn load_early(bundle: &CStr) {
        let mut buffer = [0; MAX_PATH];
        let image = bundle.to_str().ok().and_then(|path| image::of_bundle(path, &mut buffer));
        image.into_iter().for_each(driver::load_early);
    }

    /// The path of the copy, if the name is that of the driver it was made from and the copy can be taken.
    fn copy_instead_of<'a>(name: &CStr, buffer: &'a mut [u8; MAX_PATH]) -> Option<&'a CStr> {
        let plugin = environment::text(c"AGX_GUARD_PLUGIN").filter(|plugin| !plugin.is_empty())?;
        let instead_of = environment::text(c"AGX_GUARD_PLUGIN_FOR");
        if !super::is_ours(name.to_str().ok()?, instead_of) {
            return None;
        }
        ASKED.store(true, Ordering::Relaxed);
        if !driver::is_loadable(plugin) {
            return None;
        }
        image::bundle_of_plugin(plugin, buffer)
    }

    /// Writes the path and its NUL; whether there was room.
    ///
    /// # Safety
    /// `place` is NULL or has room for `length` bytes.
    unsafe fn write(path: &CStr, place: *mut u8, length: usize) -> bool {
        let bytes = path.to_bytes_with_nul();
        if place.is_null() || bytes.len() > length {
            return false;
        }
        // SAFETY: by the caller's word; the two do not overlap.
        unsafe { core::ptr::copy_nonoverlapping(bytes.as_ptr(), place, bytes.len()) };
        true
    }

    type Lookup = unsafe extern "C" fn(*const c_char, *mut u8, usize) -> c_int;

    interpose! {
        LOOKUP: Lookup = find_trusted for gpu_bundle_find_trusted;
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::is_ours;

    #[test]
    fn only_the_lookup_of_the_copied_driver_is_answered() {
        assert!(is_ours("AGXMetalG16X", Some("AGXMetalG16X")));
        assert!(!is_ours("AGXMetalG13X", Some("AGXMetalG16X")));
        assert!(!is_ours("AGXMetalG16X", None) && !is_ours("", Some("")));
    }
}
