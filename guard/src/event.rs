//! Who did something to an encoder or command buffer, and from where: what the race detector keeps of a creation, an end and a commit.
//!
//! Words that are written under the record's lock and may be read without it, for a report: a torn reading names a wrong thread and
//! does no other harm. They are never waited for, so loom need not know of them.

use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

const TEXT_WORDS: usize = 4;
/// Longer names of threads and queues are cut.
pub const MAX_NAME: usize = 8 * TEXT_WORDS;
/// Return addresses that are kept of an event, the innermost first.
pub const MAX_FRAMES: usize = 7;
const WORDS: usize = 1 + 2 * TEXT_WORDS + MAX_FRAMES;

/// A thread, as people know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Who {
    /// The system's number for it; 0 when it is not known.
    pub id: u64,
    /// Its name, up to the first NUL.
    pub name: [u8; MAX_NAME],
    /// The label of the dispatch queue it works for, up to the first NUL.
    pub queue: [u8; MAX_NAME],
}

impl Who {
    /// A thread nothing is known of.
    pub const UNKNOWN: Who = Who { id: 0, name: [0; MAX_NAME], queue: [0; MAX_NAME] };
}

/// A thread and its innermost callers at some moment.
pub struct Event([AtomicU64; WORDS]);

impl Default for Event {
    fn default() -> Event {
        Event::none()
    }
}

impl Event {
    /// Nothing has happened.
    pub const fn none() -> Event {
        Event([const { AtomicU64::new(0) }; WORDS])
    }

    /// Notes what happens now. Return addresses that are missing are 0.
    pub fn note(&self, who: &Who, frames: &[usize; MAX_FRAMES]) {
        let [id, words @ ..] = &self.0;
        id.store(who.id, Relaxed);
        let texts = who.name.chunks_exact(8).chain(who.queue.chunks_exact(8));
        let texts = texts.map(|bytes| u64::from_ne_bytes(bytes.try_into().unwrap_or_default()));
        let values = texts.chain(frames.iter().map(|frame| *frame as u64));
        words.iter().zip(values).for_each(|(word, value)| word.store(value, Relaxed));
    }

    /// Takes over what another event says.
    pub fn copy(&self, other: &Event) {
        self.0.iter().zip(&other.0).for_each(|(to, from)| to.store(from.load(Relaxed), Relaxed));
    }

    /// Whether nothing has happened: what happens has a thread, or at least a caller.
    pub fn is_none(&self) -> bool {
        let [id, words @ ..] = &self.0;
        let caller = words.get(2 * TEXT_WORDS).map_or(0, |word| word.load(Relaxed));
        id.load(Relaxed) == 0 && caller == 0
    }

    /// Who it was.
    pub fn who(&self) -> Who {
        let mut who = Who::UNKNOWN;
        let [id, words @ ..] = &self.0;
        who.id = id.load(Relaxed);
        let places = who.name.chunks_exact_mut(8).chain(who.queue.chunks_exact_mut(8));
        for (bytes, word) in places.zip(words) {
            bytes.copy_from_slice(&word.load(Relaxed).to_ne_bytes());
        }
        who
    }

    /// The return addresses, the innermost first, 0 for none.
    pub fn frames(&self) -> [usize; MAX_FRAMES] {
        let mut frames = [0; MAX_FRAMES];
        for (frame, word) in frames.iter_mut().zip(self.0.iter().skip(1 + 2 * TEXT_WORDS)) {
            *frame = word.load(Relaxed) as usize;
        }
        frames
    }
}
