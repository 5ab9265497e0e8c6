//! Why dyld would not load the copy of the driver: the first reason it gave, kept for the report.

use core::cell::UnsafeCell;

use crate::sync::{AtomicBool, AtomicUsize, Ordering};

/// Longer reasons are cut.
const MAX_TEXT: usize = 512;

/// A text that is written once, by the first thread.
pub struct Refusal {
    text: UnsafeCell<[u8; MAX_TEXT]>,
    claimed: AtomicBool,
    length: AtomicUsize,
}
// SAFETY: written once, by the thread that claims it, before the length says that there is something to read.
unsafe impl Sync for Refusal {}

impl Refusal {
    /// None yet.
    pub const fn none() -> Refusal {
        Refusal {
            text: UnsafeCell::new([0; MAX_TEXT]),
            claimed: AtomicBool::new(false),
            length: AtomicUsize::new(0),
        }
    }

    /// Keeps `text`, unless another came first.
    pub fn note(&self, text: &[u8]) {
        if self.claimed.swap(true, Ordering::Relaxed) {
            return;
        }
        // SAFETY: claimed, so no other thread writes, and none reads while the length is 0.
        let place = unsafe { &mut *self.text.get() };
        let length = text.len().min(place.len());
        for (kept, byte) in place.iter_mut().zip(text) {
            *kept = *byte;
        }
        self.length.store(length, Ordering::Release);
    }

    /// What was kept, up to the last whole character.
    pub fn text(&self) -> Option<&str> {
        let length = self.length.load(Ordering::Acquire);
        // SAFETY: written before the length was, and not after.
        let text = unsafe { &*self.text.get() }.get(..length).filter(|text| !text.is_empty())?;
        match core::str::from_utf8(text) {
            Ok(text) => Some(text),
            Err(cut) => core::str::from_utf8(text.get(..cut.valid_up_to())?).ok(),
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::{MAX_TEXT, Refusal};

    #[test]
    fn the_first_reason_is_kept_and_cut_between_characters() {
        static FIRST: Refusal = Refusal::none();
        assert_eq!(FIRST.text(), None);
        FIRST.note("é".repeat(MAX_TEXT).as_bytes());
        FIRST.note(b"another");
        assert_eq!(FIRST.text().map(str::len), Some(MAX_TEXT));
        static ODD: Refusal = Refusal::none();
        ODD.note(format!("x{}", "é".repeat(MAX_TEXT)).as_bytes());
        assert_eq!(ODD.text().map(str::len), Some(MAX_TEXT - 1));
    }
}
