//! Answers `MetalPluginName` for this one process.
//!
//! Metal asks the IO registry which bundle drives the GPU: `IORegistryEntryCreateCFProperty(service, "MetalPluginName", …)`.
//! The name it gets is put behind `/System/Library/Extensions/`, so a name that climbs out with `../` leads to a bundle
//! anywhere. The library interposes that one function; every other question, and every other driver, is answered by the
//! system. The decision is pure; the function itself exists only on a Mac.
//!
//! A name that leads to a file dyld then refuses would leave Metal without any driver. So the copy is loaded before it is
//! named: where that fails the system's answer stands, and the report says what dyld said.

/// What becomes of a question to the registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer<'a> {
    /// It is not about the driver that was copied: the system's answer stands.
    NotOurs,
    /// It is, but the copy cannot be loaded: the system's answer stands.
    Refused,
    /// This instead of the system's.
    Instead(&'a str),
}

/// What to answer instead of `original`, the registry's own answer to the question for property `key`; `loads` tells whether
/// the plug-in's image can be loaded.
///
/// Only the driver that the copy was made from is replaced: on another GPU, or after the user moved to another Mac, the system's
/// answer stands.
pub fn answer<'a>(
    key: &str,
    original: Option<&str>,
    plugin: Option<&'a str>,
    instead_of: Option<&str>,
    loads: impl FnOnce(&str) -> bool,
) -> Answer<'a> {
    let ours = key == "MetalPluginName" && original.is_some() && original == instead_of;
    match plugin.filter(|name| ours && !name.is_empty()) {
        None => Answer::NotOurs,
        Some(plugin) if loads(plugin) => Answer::Instead(plugin),
        Some(_) => Answer::Refused,
    }
}

#[cfg(all(feature = "shipped", target_os = "macos"))]
pub use mac::{answer_from_now_on, describe};

#[cfg(all(feature = "shipped", target_os = "macos"))]
mod mac {
    use core::ffi::{CStr, c_char, c_void};
    use core::sync::atomic::{AtomicBool, Ordering};

    use super::Answer;
    use crate::driver;
    use crate::environment;
    use crate::json::Json;

    /// Says in the report whether the plug-in's name was asked for, and whether the copy was answered. Returns the latter.
    pub fn describe(json: &mut Json) -> bool {
        let answered = ANSWERED.load(Ordering::Relaxed);
        json.flag("plugin_name_asked", ASKED.load(Ordering::Relaxed));
        json.flag("plugin_name_answered", answered);
        answered
    }

    static ASKED: AtomicBool = AtomicBool::new(false);
    static ANSWERED: AtomicBool = AtomicBool::new(false);
    static ANSWERS: AtomicBool = AtomicBool::new(false);

    /// Begins to answer. Until then, and for ever in a process that authenticates pointers, the function passes everything on: what
    /// `dlsym` answers there is signed and cannot be called from here.
    pub fn answer_from_now_on() {
        ANSWERS.store(true, Ordering::Release);
    }

    unsafe extern "C" {
        fn IORegistryEntryCreateCFProperty(
            entry: u32,
            key: *const c_void,
            allocator: *const c_void,
            options: u32,
        ) -> *const c_void;
        fn dlsym(handle: *const c_void, name: *const c_char) -> *const c_void;
    }

    /// RTLD_DEFAULT. Core Foundation is in the process whenever the registry is asked; linking it would load it always.
    const ANYWHERE: *const c_void = -2isize as *const c_void;
    /// kCFStringEncodingUTF8.
    const UTF8: u32 = 0x0800_0100;
    const LONGEST: usize = 512;

    type GetCString = unsafe extern "C" fn(*const c_void, *mut u8, isize, u32) -> u8;
    type CreateWithBytes =
        unsafe extern "C" fn(*const c_void, *const u8, isize, u32, u8) -> *const c_void;
    type Type = unsafe extern "C" fn(*const c_void) -> usize;
    type StringType = unsafe extern "C" fn() -> usize;
    type Release = unsafe extern "C" fn(*const c_void);

    /// A Core Foundation function by name.
    ///
    /// # Safety
    /// `F` is the type of the function so named.
    unsafe fn function<F: Copy>(name: &CStr) -> Option<F> {
        // SAFETY: `name` is NUL-terminated; a non-NULL answer is the address of the function, as wide as `F`.
        unsafe {
            let address = dlsym(ANYWHERE, name.as_ptr());
            (!address.is_null()).then(|| core::mem::transmute_copy(&address))
        }
    }

    /// The text of a CFString, if it is one and fits.
    ///
    /// # Safety
    /// `object` is NULL or a Core Foundation object.
    unsafe fn text(object: *const c_void, buffer: &mut [u8; LONGEST]) -> Option<&str> {
        // SAFETY: the types are those of CFBase.h and CFString.h; the buffer's length is passed with it.
        unsafe {
            let type_of: Type = function(c"CFGetTypeID")?;
            let string: StringType = function(c"CFStringGetTypeID")?;
            let get: GetCString = function(c"CFStringGetCString")?;
            if object.is_null()
                || type_of(object) != string()
                || get(object, buffer.as_mut_ptr(), LONGEST as isize, UTF8) == 0
            {
                return None;
            }
        }
        CStr::from_bytes_until_nul(buffer).ok()?.to_str().ok()
    }

    fn replacement(key: *const c_void, original: *const c_void) -> Option<*const c_void> {
        let plugin = environment::text(c"AGX_GUARD_PLUGIN")?;
        let instead_of = environment::text(c"AGX_GUARD_PLUGIN_FOR")?;
        let (mut one, mut two) = ([0; LONGEST], [0; LONGEST]);
        // SAFETY: both are Core Foundation objects or NULL, by the signature of the interposed function.
        let (key, original_text) = unsafe { (text(key, &mut one)?, text(original, &mut two)) };
        let answer =
            super::answer(key, original_text, Some(plugin), Some(instead_of), driver::is_loadable);
        if answer != Answer::NotOurs {
            ASKED.store(true, Ordering::Relaxed);
        }
        let Answer::Instead(answer) = answer else { return None };
        // SAFETY: the types are those of CFString.h and CFBase.h; `original` is ours to release, for the caller never sees it.
        unsafe {
            let create: CreateWithBytes = function(c"CFStringCreateWithBytes")?;
            let release: Release = function(c"CFRelease")?;
            let string = create(core::ptr::null(), answer.as_ptr(), answer.len() as isize, UTF8, 0);
            if string.is_null() {
                return None;
            }
            release(original);
            Some(string)
        }
    }

    unsafe extern "C" fn create_property(
        entry: u32,
        key: *const c_void,
        allocator: *const c_void,
        options: u32,
    ) -> *const c_void {
        // SAFETY: the arguments are passed on as they came; dyld does not interpose the interposing image's own calls.
        let original = unsafe { IORegistryEntryCreateCFProperty(entry, key, allocator, options) };
        if !ANSWERS.load(Ordering::Acquire) {
            return original;
        }
        match replacement(key, original) {
            Some(string) => {
                ANSWERED.store(true, Ordering::Relaxed);
                string
            }
            None => original,
        }
    }

    type Property = unsafe extern "C" fn(u32, *const c_void, *const c_void, u32) -> *const c_void;

    #[repr(C)]
    struct Interposed {
        replacement: Property,
        original: Property,
    }

    #[used]
    #[unsafe(link_section = "__DATA,__interpose")]
    static INTERPOSED: Interposed =
        Interposed { replacement: create_property, original: IORegistryEntryCreateCFProperty };
}

#[cfg(test)]
mod tests {
    use super::{Answer, answer};

    const PLUGIN: Option<&str> = Some("../../../Users/me/Library/agxpatch/AGXMetalG16X");
    const G16X: Option<&str> = Some("AGXMetalG16X");

    #[test]
    fn only_the_plug_in_name_of_the_copied_driver_is_answered_and_nothing_is_loaded_for_another() {
        let not_ours = [
            ("MetalPluginClassName", Some("AGXG16XDevice"), PLUGIN, G16X),
            ("MetalPluginName", Some("AGXMetalG13X"), PLUGIN, G16X),
            ("MetalPluginName", None, PLUGIN, None),
            ("MetalPluginName", G16X, None, G16X),
            ("MetalPluginName", G16X, Some(""), G16X),
            ("MetalPluginName", G16X, PLUGIN, None),
        ];
        for (key, original, plugin, instead_of) in not_ours {
            let loads = |_: &str| panic!("nothing was to be loaded");
            assert_eq!(answer(key, original, plugin, instead_of, loads), Answer::NotOurs, "{key}");
        }
        let loads = |plugin: &str| Some(plugin) == PLUGIN;
        let said = answer("MetalPluginName", G16X, PLUGIN, G16X, loads);
        assert_eq!(Some(said), PLUGIN.map(Answer::Instead));
    }

    #[test]
    fn a_copy_that_cannot_be_loaded_leaves_the_systems_answer() {
        assert_eq!(answer("MetalPluginName", G16X, PLUGIN, G16X, |_| false), Answer::Refused);
    }
}
