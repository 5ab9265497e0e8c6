//! Answers `MetalPluginName` for this one process.
//!
//! Metal asks the IO registry which bundle drives the GPU: `IORegistryEntryCreateCFProperty(service, "MetalPluginName", …)`.
//! The name it gets is put behind `/System/Library/Extensions/`, so a name that climbs out with `../` leads to a bundle
//! anywhere, on a macOS where Metal does just that. Where it looks the bundle up ([`super::lookup`]) the name is left alone. Every
//! other question, and every other driver, is answered by the system.
//!
//! A name that leads to a file dyld then refuses would leave Metal without any driver. So the copy is loaded before it is
//! named: where that fails the system's answer stands, and the report says what dyld said.

/// The property by which a GPU names its driver.
const KEY: &str = "MetalPluginName";

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
    let ours = key == KEY && original.is_some() && original == instead_of;
    match plugin.filter(|name| ours && !name.is_empty()) {
        None => Answer::NotOurs,
        Some(plugin) if loads(plugin) => Answer::Instead(plugin),
        Some(_) => Answer::Refused,
    }
}

#[cfg(all(feature = "shipped", target_os = "macos"))]
pub use mac::describe;

#[cfg(all(feature = "shipped", target_os = "macos"))]
mod mac {
    use core::ffi::c_void;
    use core::sync::atomic::{AtomicBool, Ordering};

    use super::Answer;
    use crate::core_foundation::{self as cf, MAX_TEXT, Object};
    use crate::driver;
    use crate::environment;
    use crate::image::{self, MAX_PATH};
    use crate::interpose::{answers, interpose, lookup};
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

    unsafe extern "C" {
        fn IORegistryEntryCreateCFProperty(
            entry: u32,
            key: Object,
            allocator: *const c_void,
            options: u32,
        ) -> Object;
    }

    fn replacement(key: Object, original: Object) -> Option<Object> {
        if lookup::is_there() {
            return None;
        }
        let plugin = environment::text(c"AGX_GUARD_PLUGIN")?;
        let instead_of = environment::text(c"AGX_GUARD_PLUGIN_FOR")?;
        let (mut one, mut two) = ([0; MAX_TEXT], [0; MAX_TEXT]);
        // SAFETY: both are Core Foundation objects or NULL, by the signature of the interposed function.
        let (key, original_text) =
            unsafe { (cf::text(key, &mut one)?, cf::text(original, &mut two)) };
        let answer =
            super::answer(key, original_text, Some(plugin), Some(instead_of), driver::is_loadable);
        if answer != Answer::NotOurs {
            ASKED.store(true, Ordering::Relaxed);
        }
        let Answer::Instead(answer) = answer else { return None };
        let string = cf::string(answer)?;
        // SAFETY: ours to release, for the caller never sees it.
        unsafe { cf::release(original) };
        Some(string)
    }

    unsafe extern "C" fn create_property(
        entry: u32,
        key: Object,
        allocator: *const c_void,
        options: u32,
    ) -> Object {
        // SAFETY: the arguments are passed on as they came; dyld does not interpose the interposing image's own calls.
        let original = unsafe { IORegistryEntryCreateCFProperty(entry, key, allocator, options) };
        if !answers() {
            return original;
        }
        let answer = match replacement(key, original) {
            Some(string) => {
                ANSWERED.store(true, Ordering::Relaxed);
                string
            }
            None => original,
        };
        load_early(key, answer);
        answer
    }

    /// Has the driver of this name hooked before Metal loads it, where Metal does not look its bundle up.
    fn load_early(key: Object, name: Object) {
        if lookup::is_there() {
            return;
        }
        let (mut one, mut two, mut buffer) = ([0; MAX_TEXT], [0; MAX_TEXT], [0; MAX_PATH]);
        // SAFETY: Core Foundation objects or NULL, by the signature of the interposed function.
        unsafe {
            if cf::text(key, &mut one) == Some(super::KEY)
                && let Some(name) = cf::text(name, &mut two)
            {
                image::of_plugin(name, &mut buffer).into_iter().for_each(driver::load_early);
            }
        }
    }

    type Property = unsafe extern "C" fn(u32, Object, *const c_void, u32) -> Object;

    interpose! {
        PROPERTY: Property = create_property for IORegistryEntryCreateCFProperty;
    }
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
