//! One encoder or command buffer, as the ledger knows it: its address, where it stands in its life, and who is inside it.
//!
//! Each record has a lock, and each record names the lock that guards it: its own, or that of its command buffer's record. A command
//! buffer and its encoders are guarded by one lock, because the driver goes both ways: `commit` ends the buffer's encoders, and
//! `endEncoding` writes to the buffer. Two locks would be taken in either order.
//!
//! A record's lock is changed by the thread that holds both the old and the new one. So a thread that took the lock a record named, and
//! finds that the record still names it and still stands for the same address, holds the lock of that object. How a lock is waited for
//! is the ledger's business.

use core::ptr;

use crate::sync::{AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Fault, Ordering, has_fault};
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
/// The end has been counted: the driver ends a coalesced encoder again from `commit`, which is not a second end.
pub const COUNTED: u32 = 0x2000;
/// The record stands for a command buffer.
pub const BUFFER: u32 = 0x1000;

const NAME_WORDS: usize = 4;
/// Longer names of threads are cut.
pub const MAX_NAME: usize = 8 * NAME_WORDS;

/// What a thread is called: written under the record's lock, read from anywhere.
pub struct ThreadName([AtomicU64; NAME_WORDS]);

impl ThreadName {
    fn none() -> ThreadName {
        ThreadName(core::array::from_fn(|_| AtomicU64::new(0)))
    }

    /// Notes a name that ends at its first NUL.
    pub fn set(&self, name: &[u8; MAX_NAME]) {
        for (word, bytes) in self.0.iter().zip(name.chunks_exact(8)) {
            let bytes = bytes.try_into().unwrap_or_default();
            word.store(u64::from_ne_bytes(bytes), Ordering::Relaxed);
        }
    }

    /// The name noted last.
    pub fn get(&self) -> [u8; MAX_NAME] {
        let mut name = [0; MAX_NAME];
        for (bytes, word) in name.chunks_exact_mut(8).zip(&self.0) {
            bytes.copy_from_slice(&word.load(Ordering::Relaxed).to_ne_bytes());
        }
        name
    }
}

/// One encoder. Fills a cache line of its own, so that two threads on two encoders share nothing.
#[repr(align(128))]
pub struct Record {
    /// The encoder's address; 0 when the record is free. Changes only under the record's lock.
    address: AtomicUsize,
    /// State and flags. Changes only under the record's lock.
    status: AtomicU32,
    /// Counts the objects this record has stood for. Changes only under the record's lock, before `address`.
    generation: AtomicU32,
    /// Who is inside: the address of a [`Thread`], or 0.
    pub(crate) owner: AtomicUsize,
    /// How many threads are about to wait, or wait, for the owner to leave.
    pub(crate) waiters: AtomicU32,
    /// Counts the times this object has been ended or reopened: tells a quarantine entry that is out of date.
    pub turn: AtomicU32,
    /// The thread whose throttle count this encoder is in.
    pub opener: AtomicPtr<Thread>,
    /// What the thread was called that ended this object last. A name and no pointer, for a thread's block is used again.
    pub ended_by: ThreadName,
    /// The record whose lock guards this one: itself, its command buffer's, or the one lock of `serialize`.
    lock: AtomicPtr<Record>,
    /// Calls in progress that settle this record when the outermost of them ends. Changes only under the record's lock.
    depth: AtomicU32,
    /// The record after this one in the chain of its bucket; set before it is published, and never changed.
    pub(crate) next: AtomicPtr<Record>,
}

impl Record {
    pub(crate) fn free_and_owned_by(thread: &Thread, next: *mut Record) -> Record {
        let record = Record::open();
        record.owner.store(thread.token(), Ordering::Relaxed);
        record.next.store(next, Ordering::Relaxed);
        record
    }

    /// A record that stands for nothing and whose lock is free.
    pub(crate) fn open() -> Record {
        Record {
            address: AtomicUsize::new(0),
            status: AtomicU32::new(State::Live as u32),
            generation: AtomicU32::new(0),
            owner: AtomicUsize::new(0),
            waiters: AtomicU32::new(0),
            turn: AtomicU32::new(0),
            opener: AtomicPtr::new(ptr::null_mut()),
            ended_by: ThreadName::none(),
            lock: AtomicPtr::new(ptr::null_mut()),
            depth: AtomicU32::new(0),
            next: AtomicPtr::new(ptr::null_mut()),
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

    /// The record whose lock guards this one. Believe it only while that lock is held: see [`Record::is_guarded_by`].
    #[inline(always)]
    pub fn lock(&self) -> &Record {
        // SAFETY: set before the record first stood for an object, and only such records are found; records are never given back.
        unsafe { &*self.lock.load(Ordering::Acquire) }
    }

    /// Whether `lock`, which the caller holds, guards this record now.
    #[inline(always)]
    pub fn is_guarded_by(&self, lock: &Record) -> bool {
        ptr::eq(self.lock.load(Ordering::Acquire), lock)
    }

    /// Has another record's lock guard this one. The caller holds both locks, or uses the record no more before it took the new one.
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

    /// Takes the record's own lock if it is free.
    #[inline(always)]
    pub fn try_lock(&self, thread: &Thread) -> bool {
        has_fault(Fault::LockForAll)
            || self
                .owner
                .compare_exchange(0, thread.token(), Ordering::Acquire, Ordering::Relaxed)
                .is_ok()
    }

    /// Whether `thread` is the one inside.
    pub fn is_held_by(&self, thread: &Thread) -> bool {
        self.owner.load(Ordering::Relaxed) == thread.token()
    }

    /// Whether anybody is inside.
    pub fn is_held(&self) -> bool {
        self.owner.load(Ordering::Relaxed) != 0
    }

    /// The token of the thread inside, 0 for none.
    pub fn owner(&self) -> usize {
        self.owner.load(Ordering::Acquire)
    }

    /// Begins the next object at `address`. The caller holds the lock that guards the record.
    pub(crate) fn begin(&self, address: usize) {
        self.generation.store(self.generation().wrapping_add(1), Ordering::Release);
        self.status.store(State::Live as u32, Ordering::Relaxed);
        self.opener.store(ptr::null_mut(), Ordering::Relaxed);
        self.ended_by.set(&[0; MAX_NAME]);
        self.turn.store(self.turn.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
        self.depth.store(0, Ordering::Relaxed);
        self.address.store(address, Ordering::Release);
    }

    /// Forgets the object: from here on its address means nothing. The caller holds the lock and keeps it.
    pub fn forget(&self) {
        self.generation.store(self.generation().wrapping_add(1), Ordering::Release);
        self.address.store(0, Ordering::Release);
    }
}
