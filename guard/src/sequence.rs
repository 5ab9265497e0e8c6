//! The calls that one lock orders, and who made and ended the object, as the race detector follows
//! them: whose they are, and which came last.
//!
//! A command buffer has one open encoder at a time, so the calls under its lock are one sequence.
//! On the fast path a thread leaves its call site here and nothing else is asked, for the lock's
//! word itself says that the thread before was the same one: see
//! [`crate::record::Record::try_lock_again`]. Every change of thread comes through the slow path,
//! and is judged in [`crate::races`].
//!
//! All words change under the lock alone, and loom need not know of them; a reader without the lock
//! may see a call site that is one call old.

use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use crate::event::Event;
use crate::thread::Thread;

/// A call, for a report: which thread made it, where it returns to, and an opaque word for the method.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Site {
    /// The token of the thread; 0 for no call.
    pub thread: usize,
    /// Where the call returns to.
    pub caller: usize,
    /// The method.
    pub method: usize,
}

#[derive(Default)]
struct Place {
    thread: AtomicUsize,
    caller: AtomicUsize,
    method: AtomicUsize,
}

impl Place {
    fn get(&self) -> Site {
        Site {
            thread: self.thread.load(Relaxed),
            caller: self.caller.load(Relaxed),
            method: self.method.load(Relaxed),
        }
    }

    fn set(&self, site: Site) {
        self.thread.store(site.thread, Relaxed);
        self.caller.store(site.caller, Relaxed);
        self.method.store(site.method, Relaxed);
    }
}

/// See the module.
pub struct Sequence {
    last: Place,
    rare: &'static Rare,
}

/// What the fast path does not touch, apart from what it does.
#[derive(Default)]
pub struct Rare {
    /// A call that belongs to no sequence, such as `commit`, while it is in progress.
    aside: Place,
    /// A call that set state which another thread then changed, until something is encoded with it.
    torn: Place,
    /// Of a command buffer: the last factory call, with the encoder it returned in the place of the method.
    open: Place,
    born: Event,
    ended: Event,
}

impl Sequence {
    /// No calls yet.
    pub fn new(rare: &'static Rare) -> Sequence {
        Sequence { last: Place::default(), rare }
    }

    /// Notes a call of the thread whose sequence it is.
    #[inline(always)]
    pub fn note_again(&self, caller: usize, method: usize) {
        self.last.caller.store(caller, Relaxed);
        self.last.method.store(method, Relaxed);
    }

    /// Notes a call.
    pub fn note(&self, site: Site) {
        self.last.set(site);
    }

    /// Begins the sequence of a new encoder, which is this thread's.
    pub fn begin(&self, thread: &Thread) {
        self.last.set(Site { thread: thread.token(), caller: 0, method: 0 });
        self.rare.torn.set(Site::default());
    }

    /// The last call.
    pub fn last(&self) -> Site {
        self.last.get()
    }

    /// Notes the call that belongs to no sequence, or its end.
    pub fn set_aside(&self, site: Site) {
        self.rare.aside.set(site);
    }

    /// Notes, or forgets, the call whose state another thread changed.
    pub fn set_torn(&self, site: Site) {
        self.rare.torn.set(site);
    }

    /// The call whose state another thread changed.
    pub fn torn(&self) -> Site {
        self.rare.torn.get()
    }

    /// The call in progress of the thread with this token, as far as it is known.
    pub fn in_progress(&self, thread: usize) -> Site {
        let known =
            [self.rare.aside.get(), self.last.get()].into_iter().find(|site| site.thread == thread);
        known.unwrap_or(Site { thread, caller: 0, method: 0 })
    }

    /// Notes the encoder that a command buffer's factory returned.
    pub fn open(&self, thread: &Thread, caller: usize, encoder: usize) {
        self.rare.open.set(Site { thread: thread.token(), caller, method: encoder });
    }

    /// Whether the last factory call of a command buffer was another thread's.
    #[inline(always)]
    pub fn is_opened_by_another(&self, thread: &Thread) -> bool {
        let opener = self.rare.open.thread.load(Relaxed);
        opener != 0 && opener != thread.token()
    }

    /// The last factory call of a command buffer: its thread, where it returned to, and the encoder.
    pub fn opened(&self) -> (Site, usize) {
        let site = self.rare.open.get();
        (Site { method: 0, ..site }, site.method)
    }

    /// Forgets it, for the record stands for another object now.
    pub fn forget_opened(&self) {
        self.rare.open.thread.store(0, Relaxed);
    }

    /// The creation of the record's object, or where it was first met. Names and no pointer to a
    /// thread, for a thread's block is used again.
    pub fn born(&self) -> &Event {
        &self.rare.born
    }

    /// Its end, or its commit.
    pub fn ended(&self) -> &Event {
        &self.rare.ended
    }

    /// Whether the next call of the thread with this token needs no judgement.
    pub fn belongs_to(&self, thread: usize) -> bool {
        self.last.thread.load(Relaxed) == thread && self.rare.torn.thread.load(Relaxed) == 0
    }
}
