//! The system's functions that this library answers for, in this one process.
//!
//! dyld has every image but this one call the replacements, from before the first initialiser on. Each of them passes its question on
//! until the library is ready ([`answer_from_now_on`]), and for ever in a process that authenticates pointers. What is answered, and to
//! whom, is decided by pure functions; the replacements exist only on a Mac.

#[cfg(any(test, all(feature = "shipped", target_os = "macos")))]
pub mod lookup;
#[cfg(any(test, all(feature = "shipped", target_os = "macos")))]
pub mod plugin;
#[cfg(all(feature = "shipped", target_os = "macos"))]
mod preferences;

#[cfg(all(feature = "shipped", target_os = "macos"))]
pub use mac::{answer_from_now_on, answers};

#[cfg(all(feature = "shipped", target_os = "macos"))]
mod mac {
    use crate::sync::{AtomicBool, Ordering};

    static ANSWERS: AtomicBool = AtomicBool::new(false);

    /// Begins to answer.
    pub fn answer_from_now_on() {
        ANSWERS.store(true, Ordering::Release);
    }

    /// Whether the library answers yet.
    pub fn answers() -> bool {
        ANSWERS.load(Ordering::Acquire)
    }

    /// An entry of dyld's table: a call of `original` becomes one of `replacement`.
    #[repr(C)]
    pub struct Interposed<F: Copy> {
        /// This library's function.
        pub replacement: F,
        /// The system's.
        pub original: F,
    }
}

/// Puts functions into dyld's table, each in front of the system's function of the same type.
#[cfg(all(feature = "shipped", target_os = "macos"))]
macro_rules! interpose {
    ($($name:ident: $type:ty = $replacement:ident for $original:ident;)+) => {$(
        #[used]
        #[unsafe(link_section = "__DATA,__interpose")]
        static $name: $crate::interpose::mac::Interposed<$type> =
            $crate::interpose::mac::Interposed { replacement: $replacement, original: $original };
    )+};
}
#[cfg(all(feature = "shipped", target_os = "macos"))]
use interpose;
