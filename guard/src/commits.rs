//! How a commit lets go of its command buffer's lock.
//!
//! A commit ends the encoders that the buffer keeps, by `commitEncoder`, and then hands the buffer to the GPU. The first part is what
//! the lock is for: it goes through encoders that other threads may be inside of. The second part reads no encoder, and
//! must not run under the lock, for it waits for other threads in ways that no guard sees:
//!
//! - it calls handlers, and those use other command buffers, whose own commits may be in progress on threads that want this one;
//! - it waits while the queue is full, until another thread has let go of what it has, this buffer's ended encoders among it; and
//!   in mode `serialize` all that any thread does is under the one lock.
//!
//! So the guarded part of a commit ends when its `commitEncoder` returns. The thread then has no lock on account of the commit, and what
//! it calls from there on is as if it had called it first. No time-out is needed, and there is no order to take locks in. A second thread
//! that uses the buffer after its commit is not kept out; Metal asserts there, and the race detector names both.
//! `tla/guard_commit.tla` is this design, with the two that fail: a lock kept to the end, and one let go at once.
//!
//! Where a commit is made inside another guarded call under the same lock, that call keeps the lock. A driver whose commit sends no
//! `commitEncoder` has the lock kept to the end; a circle that comes of it is broken ([`crate::waits`]).

use crate::call::{Entered, Objects};
use crate::calls::Guard;
use crate::sequence::Site;
use crate::thread::Thread;

impl<O: Objects, const BUCKETS: usize> Guard<O, BUCKETS> {
    /// `commitEncoder` has returned, with the lock of `entered` held: where it was a commit that sent it, closes that commit.
    #[cold]
    #[inline(never)]
    pub(crate) fn submit(&self, thread: &Thread, entered: Entered) {
        // SAFETY: NULL or a record, which lives as long as the guard.
        let Some(lock) = (unsafe { entered.lock.as_ref() }) else { return };
        if !lock.is_held_by(thread) || !thread.only_commits_under(lock) {
            return;
        }
        // `commitWithDeadline:` may send `commit`: both are closed.
        while let Some(record) = thread.detach_call_under(lock) {
            // SAFETY: as above.
            if let Some(record) = unsafe { record.as_ref() }
                && record.rise()
            {
                // A command buffer never goes into the quarantine, so there is no shard to relieve.
                self.settle(thread, record);
            }
        }
        lock.sequence.set_aside(Site::default());
        self.ledger.unlock(lock);
    }
}
