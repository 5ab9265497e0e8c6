//! One encoder or command buffer, as the ledger knows it: its address, where it stands in its life,
//! and who is inside it.
//!
//! Each record has a lock, and each record names the lock that guards it: its own, or that of its
//! command buffer's record. A command buffer and its encoders are guarded by one lock, because the
//! driver goes both ways: `commit` ends the buffer's encoders, and `endEncoding` writes to the
//! buffer. Two locks would be taken in either order.
//!
//! A record's lock is changed by the thread that holds both the old and the new one. So a thread
//! that took the lock a record named, and finds that the record still names it and still stands for
//! the same address, holds the lock of that object. How a lock is waited for is the ledger's
//! business.

use core::ptr;

use crate::event::Event;
use crate::sequence::{Rare, Sequence};
use crate::sync::{AtomicPtr, AtomicU32, AtomicUsize, Fault, Ordering, has_fault};
use crate::thread::Thread;

/// Where an encoder stands in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum State {
    /// May be encoded to.
    Live = 0,
    /// A thread is inside `endEncoding`, `deferredEndEncoding` or `destroyImpl`.
    Ending = 1,
    /// `endEncoding` is done; the driver may still hold its `_impl`, to coalesce the next encoder with it.
    Ended = 2,
    /// `destroyImpl` has run: `_impl` is back in the pool.
    Destroyed = 3,
    /// A thread is inside `dealloc`.
    Leaving = 4,
}

impl State {
    fn of(status: u32) -> State {
        match status & STATE {
            0 => State::Live,
            1 => State::Ending,
            2 => State::Ended,
            3 => State::Destroyed,
            _ => State::Leaving,
        }
    }
}

const STATE: u32 = 0xff;
/// The guard holds one reference to the object.
pub const HELD: u32 = 0x100;
/// `_impl` has been seen to be set, so a NULL there later means it is gone.
pub const IMPL_SEEN: u32 = 0x200;
/// The encoder occupies a place of the throttle.
pub const PERMIT: u32 = 0x400;
/// An ending has happened since the encoder was last put into the quarantine.
pub const TO_QUARANTINE: u32 = 0x800;
/// The end has been counted: the driver ends a coalesced encoder again from `commit`, which is not
/// a second end.
pub const COUNTED: u32 = 0x2000;
/// The record stands for a command buffer.
pub const BUFFER: u32 = 0x1000;
/// The command buffer was committed.
pub const COMMITTED: u32 = 0x4000;

/// Set in a lock's word beside the token of the thread that had it last: the lock is free, and that
/// thread may take it on the fast path.
const FREE: usize = 1;

/// One encoder or command buffer. Fills a cache line of its own, so that two threads on two
/// encoders share nothing.
#[repr(C, align(128))]
pub struct Record {
    /// Who is inside: the address of a [`Thread`]. When free: 0, or [`FREE`] with the thread whose
    /// sequence of calls it is. The first field, for an atomic instruction takes an address and no
    /// offset.
    pub(crate) owner: AtomicUsize,
    /// The encoder's address; 0 when the record is free. Changes only under the record's lock.
    address: AtomicUsize,
    /// State and flags. Changes only under the record's lock.
    status: AtomicU32,
    /// Counts the objects this record has stood for. Changes only under the record's lock, before `address`.
    generation: AtomicU32,
    /// How many threads are about to wait, or wait, for the owner to leave.
    pub(crate) waiters: AtomicU32,
    /// Counts the times this object has been ended or reopened: tells a quarantine entry that is out of date.
    pub turn: AtomicU32,
    /// The thread whose throttle count this encoder is in.
    pub opener: AtomicPtr<Thread>,
    /// The record whose lock guards this one: itself, its command buffer's, or the one lock of `serialize`.
    lock: AtomicPtr<Record>,
    /// Calls in progress that settle this record when the outermost of them ends. Changes only
    /// under the record's lock.
    depth: AtomicU32,
    /// The record after this one in the chain of its bucket; set before it is published, and never changed.
    pub(crate) next: AtomicPtr<Record>,
    /// The calls this record's own lock orders, and who made and ended the object.
    pub sequence: Sequence,
}

impl Record {
    pub(crate) fn free_and_owned_by(
        thread: &Thread,
        next: *mut Record,
        rare: &'static Rare,
    ) -> Record {
        let record = Record::open(rare);
        record.owner.store(thread.token(), Ordering::Relaxed);
        record.next.store(next, Ordering::Relaxed);
        record
    }

    /// A record that stands for nothing and whose lock is free.
    pub(crate) fn open(rare: &'static Rare) -> Record {
        Record {
            address: AtomicUsize::new(0),
            status: AtomicU32::new(State::Live as u32),
            generation: AtomicU32::new(0),
            owner: AtomicUsize::new(0),
            waiters: AtomicU32::new(0),
            turn: AtomicU32::new(0),
            opener: AtomicPtr::new(ptr::null_mut()),
            lock: AtomicPtr::new(ptr::null_mut()),
            depth: AtomicU32::new(0),
            next: AtomicPtr::new(ptr::null_mut()),
            sequence: Sequence::new(rare),
        }
    }

    /// The encoder or command buffer this record stands for, 0 for none.
    #[inline(always)]
    pub fn address(&self) -> usize {
        self.address.load(Ordering::Acquire)
    }

    /// See the field.
    pub fn generation(&self) -> u32 {
        self.generation.load(Ordering::Acquire)
    }

    /// State and flags as one word.
    #[inline(always)]
    pub fn status(&self) -> u32 {
        self.status.load(Ordering::Relaxed)
    }

    /// The state part of the status.
    pub fn state(&self) -> State {
        State::of(self.status())
    }

    /// Whether the state is [`State::Live`], from a status word.
    #[inline(always)]
    pub fn is_live(status: u32) -> bool {
        status & STATE == State::Live as u32
    }

    /// Whether the calls inside left nothing to complete: live, and not ended.
    #[inline(always)]
    pub(crate) fn is_settled(&self) -> bool {
        self.status() & (STATE | TO_QUARANTINE) == State::Live as u32
    }

    /// Changes the state and keeps the flags. The caller holds the lock.
    pub fn set_state(&self, state: State) {
        self.status.store((self.status() & !STATE) | state as u32, Ordering::Relaxed);
    }

    /// Sets flags. The caller holds the lock.
    pub fn set(&self, flags: u32) {
        self.status.store(self.status() | flags, Ordering::Relaxed);
    }

    /// Clears flags and says which of them were set. The caller holds the lock.
    pub fn clear(&self, flags: u32) -> u32 {
        let status = self.status();
        self.status.store(status & !flags, Ordering::Relaxed);
        status & flags
    }

    /// The record whose lock guards this one. Believe it only while that lock is held: see
    /// [`Record::is_guarded_by`].
    #[inline(always)]
    pub fn lock(&self) -> &Record {
        // SAFETY: set before the record first stood for an object, and only such records are found;
        // records are never given back.
        unsafe { &*self.lock.load(Ordering::Acquire) }
    }

    /// Whether `lock`, which the caller holds, guards this record now.
    #[inline(always)]
    pub fn is_guarded_by(&self, lock: &Record) -> bool {
        ptr::eq(self.lock.load(Ordering::Acquire), lock)
    }

    /// Has another record's lock guard this one. The caller holds both locks, or uses the record no
    /// more before it took the new one.
    pub fn share_lock_of(&self, other: &Record) {
        self.lock.store(ptr::from_ref(other).cast_mut(), Ordering::Release);
    }

    /// Notes one more call in progress.
    pub fn deepen(&self) {
        self.depth.store(self.depth.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    }

    /// Notes the end of a call; whether it was the outermost.
    pub fn rise(&self) -> bool {
        let depth = self.depth.load(Ordering::Relaxed).saturating_sub(1);
        self.depth.store(depth, Ordering::Relaxed);
        depth == 0
    }

    /// Whether a call is in progress that settles this record.
    pub fn is_entered(&self) -> bool {
        self.depth.load(Ordering::Relaxed) != 0
    }

    /// Forgets the calls in progress: their threads are gone.
    pub fn forget_calls(&self) {
        self.depth.store(0, Ordering::Relaxed);
    }

    /// Takes the record's own lock if it is free. Releases too: who reads the token follows it to
    /// the thread's block.
    pub fn try_lock(&self, thread: &Thread) -> bool {
        let free = self.owner.load(Ordering::Relaxed);
        has_fault(Fault::LockForAll)
            || (is_free(free)
                && self
                    .owner
                    .compare_exchange(free, thread.token(), Ordering::AcqRel, Ordering::Relaxed)
                    .is_ok())
    }

    /// Takes the record's own lock if it is free and the sequence of calls is this thread's: then
    /// there is no more to ask than whether the encoder is live.
    #[inline(always)]
    pub fn try_lock_again(&self, thread: &Thread) -> bool {
        has_fault(Fault::LockForAll)
            || self
                .owner
                .compare_exchange(
                    thread.token() | FREE,
                    thread.token(),
                    Ordering::Acquire,
                    Ordering::Relaxed,
                )
                .is_ok()
    }

    /// Takes the record's own lock if it is free, as a thread that announced itself as waiting.
    pub(crate) fn try_lock_waiting(&self, thread: &Thread) -> bool {
        let mut word = self.owner.load(Ordering::SeqCst);
        while is_free(word) {
            match self.owner.compare_exchange(
                word,
                thread.token(),
                Ordering::SeqCst,
                Ordering::SeqCst,
            ) {
                Ok(_) => return true,
                Err(now) => word = now,
            }
        }
        false
    }

    /// Lets the record's own lock go, for this thread to take it again on the fast path.
    #[inline(always)]
    pub(crate) fn free_for(&self, thread: &Thread) {
        self.owner.store(thread.token() | FREE, Ordering::SeqCst);
    }

    /// Lets the record's own lock go, for any thread.
    pub(crate) fn free(&self) {
        let owner = self.owner.load(Ordering::Relaxed);
        let word = if self.sequence.belongs_to(owner) { owner | FREE } else { 0 };
        self.owner.store(word, Ordering::SeqCst);
    }

    /// Whether `thread` is the one inside.
    pub fn is_held_by(&self, thread: &Thread) -> bool {
        self.owner.load(Ordering::Relaxed) == thread.token()
    }

    /// Whether a thread is inside.
    pub fn is_held(&self) -> bool {
        !is_free(self.owner.load(Ordering::Relaxed))
    }

    /// The token of the thread inside, 0 for none.
    pub fn owner(&self) -> usize {
        let word = self.owner.load(Ordering::Acquire);
        if is_free(word) { 0 } else { word }
    }

    /// Begins the next object at `address`. The caller holds the lock that guards the record.
    pub(crate) fn begin(&self, address: usize) {
        self.generation.store(self.generation().wrapping_add(1), Ordering::Release);
        self.status.store(State::Live as u32, Ordering::Relaxed);
        self.opener.store(ptr::null_mut(), Ordering::Relaxed);
        // Whose begin it is notes that it was born; that it ended is noted of few records that begin again.
        if !self.sequence.ended().is_none() {
            self.sequence.ended().copy(&Event::none());
        }
        self.turn.store(self.turn.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
        self.depth.store(0, Ordering::Relaxed);
        self.address.store(address, Ordering::Release);
    }

    /// The object is a command buffer, in which no encoder has been made.
    pub(crate) fn become_buffer(&self) {
        self.set(BUFFER);
        self.sequence.forget_opened();
    }

    /// Forgets the object: from here on its address means nothing. The caller holds the lock and keeps it.
    pub fn forget(&self) {
        self.generation.store(self.generation().wrapping_add(1), Ordering::Release);
        self.address.store(0, Ordering::Release);
    }
}

fn is_free(word: usize) -> bool {
    word == 0 || word & FREE != 0
}
