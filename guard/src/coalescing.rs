//! Coalescing of encoders, switched off for this one process by `AGX_GUARD_COALESCING=off`.
//!
//! A command buffer that coalesces reads the block of an encoder that has ended, as an instance variable and without a lock. The
//! driver asks in three places whether it may:
//!
//! | who | asks | when |
//! |---|---|---|
//! | its command buffer's `is…EncoderCoalescingDisabled` | the preferences of `com.apple.Metal` | once per process, before it reads the block |
//! | another version's command buffer, perhaps | the same preferences directly | once per process |
//! | its command buffer | its device's `disable…EncoderCoalescing` | each time; for compute after it has read the block |
//!
//! So the device's properties alone would not help. The methods are replaced when the driver's classes are known, and the readers of
//! preferences are interposed ([`crate::interpose`]); the report says which of them were asked.

/// The preferences, and the properties of the device that have the same names.
pub const SWITCHES: [&str; 3] =
    ["disableEncoderCoalescing", "disableComputeEncoderCoalescing", "disableBlitEncoderCoalescing"];

/// The methods of a command buffer that read those preferences.
const BUFFER_METHODS: [&str; 3] = [
    "isEncoderCoalescingDisabled",
    "isComputeEncoderCoalescingDisabled",
    "isBlitEncoderCoalescingDisabled",
];

/// Who asks whether coalescing is switched off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Question {
    /// A reader of preferences.
    Preference,
    /// A method of a command buffer.
    Buffer,
    /// A property of a device.
    Device,
}

/// Whether a class of the driver is one that is asked.
pub fn is_asked(class: &str) -> bool {
    class.starts_with("AGX")
        && (crate::selectors::has(class, "CommandBuffer") || class.ends_with("Device"))
}

/// What a method asks, if it is one of these and answers with a truth value.
pub fn question(selector: &str, encoding: &[u8]) -> Option<Question> {
    let is_truth_value = matches!(encoding.first(), Some(b'B' | b'c' | b'C'));
    if !is_truth_value {
        return None;
    }
    if BUFFER_METHODS.contains(&selector) {
        return Some(Question::Buffer);
    }
    SWITCHES.contains(&selector).then_some(Question::Device)
}

#[cfg(feature = "shipped")]
pub use process::{describe, is_off, note, switch_off, switch_off_in};

#[cfg(feature = "shipped")]
mod process {
    use core::ffi::c_void;

    use super::{Question, is_asked, question};
    use crate::json::Json;
    use crate::runtime::{Class, Method};
    use crate::sync::{AtomicBool, AtomicU64, Ordering};

    static OFF: AtomicBool = AtomicBool::new(false);
    /// How often each [`Question`] was asked.
    static ASKED: [AtomicU64; 3] = [const { AtomicU64::new(0) }; 3];

    /// Switches it off from now on.
    pub fn switch_off() {
        OFF.store(true, Ordering::Release);
    }

    /// Whether it is switched off.
    pub fn is_off() -> bool {
        OFF.load(Ordering::Acquire)
    }

    /// Notes that it was asked for.
    pub fn note(question: Question) {
        if let Some(count) = ASKED.get(question as usize) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Has the methods of a class that are asked for it answer yes, those it inherits included; how many. None unless it is off.
    pub fn switch_off_in(class: Class) -> usize {
        if !is_off() || !class.name().to_str().is_ok_and(is_asked) {
            return 0;
        }
        let mut count = 0;
        let mut each = |method: Method, replace: &dyn Fn(Method, usize)| {
            if let Some(question) = question(method.selector(), method.encoding()) {
                replace(method, answer_of(question));
                count += 1;
            }
        };
        class.each_method(|method| each(method, &|method, code| class.replace(method, code)));
        let mut above = class.superclass();
        while let Some(ancestor) = above {
            // A method that the class has of its own is not added a second time.
            ancestor.each_method(|method| {
                each(method, &|method, code| {
                    class.override_with(method, code);
                });
            });
            above = ancestor.superclass();
        }
        count
    }

    fn answer_of(question: Question) -> usize {
        match question {
            Question::Buffer => answer_buffer as *const () as usize,
            Question::Device | Question::Preference => answer_device as *const () as usize,
        }
    }

    extern "C" fn answer_buffer(_: *const c_void, _: *const c_void) -> u8 {
        note(Question::Buffer);
        1
    }

    extern "C" fn answer_device(_: *const c_void, _: *const c_void) -> u8 {
        note(Question::Device);
        1
    }

    /// Says in the report how often each was asked; nothing where coalescing is as the system has it.
    pub fn describe(json: &mut Json) {
        if !is_off() {
            return;
        }
        json.open("coalescing_off");
        let names = ["preferences_asked", "buffers_asked", "devices_asked"];
        for (name, count) in names.iter().zip(&ASKED) {
            json.number(name, count.load(Ordering::Relaxed));
        }
        json.close();
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::{Question, is_asked, question};

    #[test]
    fn only_what_the_driver_asks_about_coalescing_is_answered() {
        assert_eq!(question("isBlitEncoderCoalescingDisabled", b"B16@0:8"), Some(Question::Buffer));
        assert_eq!(question("disableEncoderCoalescing", b"c16@0:8"), Some(Question::Device));
        assert_eq!(question("disableEncoderCoalescing", b"@16@0:8"), None);
        assert_eq!(question("disableConsistentPerfState", b"B16@0:8"), None);
        assert!(is_asked("AGXG16XFamilyCommandBuffer") && is_asked("AGXG16XDevice"));
        assert!(is_asked("AGXG16XFamilyCommandBuffer_mtlnext"));
        assert!(!is_asked("MTLIOAccelDevice") && !is_asked("AGXG16XFamilyComputeContext"));
    }
}
