//! Which encoders exist, by address, and how the lock of one is come by.
//!
//! The table is keyed by the encoder's address. A record never leaves the chain of its bucket and is never given back to the
//! allocator; when its encoder is gone it is free for the next address of the same bucket. So a lookup walks a chain that only
//! ever grows at its head, takes no lock, and cannot meet freed memory; what it found is believed only once the record's own
//! lock is held and the address is still the one asked for.
//!
//! An address says nothing after its object is gone: the record is freed by `dealloc`, and a new `init` starts a new
//! *generation*. A thread that waited for a record compares generations, and so knows that its encoder went away.
//!
//! This module holds the mechanism; which calls go through is decided in [`crate::calls`].

use core::ptr;

use crate::park::Place;
use crate::record::{BUFFER, Record};
use crate::sync::{AtomicPtr, Fault, Lock, Ordering, announce, has_fault};
use crate::thread::Thread;

struct Bucket {
    head: AtomicPtr<Record>,
    /// Held while a record of this bucket is handed out, so that one address never gets two.
    handing_out: Lock,
}

/// One under loom, which needs each run of a model to take the same steps: a record's place depends on its address.
const PLACES: usize = if cfg!(loom) { 1 } else { 32 };

/// How the lock of a record was come by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// No thread had it.
    AtOnce,
    /// This thread is inside already.
    Nested,
    /// A thread was inside and has left.
    AfterWait,
    /// Not taken: waiting on was given up (a circle of threads, or the limit the user set).
    GivenUp,
}

/// The table. `BUCKETS` is a power of two.
#[repr(C)]
pub struct Ledger<const BUCKETS: usize> {
    buckets: [Bucket; BUCKETS],
    places: [Place; PLACES],
}

impl<const BUCKETS: usize> Ledger<BUCKETS> {
    /// An empty table.
    #[cfg(not(loom))]
    pub const fn new() -> Self {
        Ledger {
            buckets: [const {
                Bucket { head: AtomicPtr::new(ptr::null_mut()), handing_out: Lock::new() }
            }; BUCKETS],
            places: [const { Place::new() }; PLACES],
        }
    }

    /// An empty table.
    #[cfg(loom)]
    pub fn new() -> Self {
        Ledger {
            buckets: core::array::from_fn(|_| Bucket {
                head: AtomicPtr::new(ptr::null_mut()),
                handing_out: Lock::new(),
            }),
            places: core::array::from_fn(|_| Place::default()),
        }
    }

    /// Objects are aligned to 16 bytes and often lie a power of two apart: the bits above are folded in. Two instructions.
    #[inline(always)]
    fn bucket(&self, address: usize) -> &Bucket {
        let index = ((address ^ (address >> 12)) >> 4) & (BUCKETS - 1);
        // SAFETY: the mask keeps the index below BUCKETS, which is a power of two.
        unsafe { self.buckets.get_unchecked(index) }
    }

    /// The record that says it stands for `address`. Believe it only under its lock.
    #[inline(always)]
    pub fn find(&self, address: usize) -> Option<&Record> {
        let mut next = self.bucket(address).head.load(Ordering::Acquire);
        // SAFETY: a record, once in a chain, lives as long as the ledger, and `next` is set before it is published.
        while let Some(record) = unsafe { next.as_ref() } {
            if record.address() == address {
                return Some(record);
            }
            next = record.next.load(Ordering::Relaxed);
        }
        None
    }

    /// A record for `address`, locked by `thread`: the one there is, for the caller to look at again, or a new one, begun.
    pub fn claim(&self, thread: &Thread, address: usize) -> Claimed<'_> {
        let bucket = self.bucket(address);
        bucket.handing_out.with(|| {
            if let Some(record) = self.find(address) {
                return Claimed::Known(record);
            }
            let record = self
                .free_record(bucket, thread)
                .unwrap_or_else(|| Self::add_record(bucket, thread));
            record.share_lock_of(record);
            record.begin(address);
            Claimed::New(record)
        })
    }

    /// Starts a new object in a record that stands for the same address already, and keeps its lock, which the caller holds.
    pub fn begin_again(&self, record: &Record) {
        record.begin(record.address());
    }

    fn free_record(&self, bucket: &Bucket, thread: &Thread) -> Option<&Record> {
        let mut next = bucket.head.load(Ordering::Acquire);
        // SAFETY: as in `find`.
        while let Some(record) = unsafe { next.as_ref() } {
            if record.address() == 0 && record.try_lock(thread) {
                if record.address() == 0 {
                    return Some(record);
                }
                self.unlock(record);
            }
            next = record.next.load(Ordering::Relaxed);
        }
        None
    }

    fn add_record<'a>(bucket: &Bucket, thread: &Thread) -> &'a Record {
        let head = bucket.head.load(Ordering::Relaxed);
        // SAFETY: the stock is the calling thread's own.
        let added =
            unsafe { thread.stock.make(|rare| Record::free_and_owned_by(thread, head, rare)) };
        added.share_lock_of(added);
        bucket.head.store(ptr::from_ref(added).cast_mut(), Ordering::Release);
        added
    }

    /// Takes the record's own lock, waiting in slices of `slice` milliseconds; between two slices `go_on` says whether to wait on.
    pub fn lock(
        &self,
        record: &Record,
        thread: &Thread,
        slice: u64,
        mut go_on: impl FnMut(&Record) -> bool,
    ) -> Taken {
        if record.try_lock(thread) {
            return Taken::AtOnce;
        }
        if record.is_held_by(thread) {
            return Taken::Nested;
        }
        record.waiters.fetch_add(1, Ordering::SeqCst);
        announce();
        let place = self.place(record);
        let taken = loop {
            if place.wait(slice, || record.try_lock_waiting(thread)) {
                break Taken::AfterWait;
            }
            if !go_on(record) {
                break Taken::GivenUp;
            }
        };
        record.waiters.fetch_sub(1, Ordering::SeqCst);
        taken
    }

    /// Lets the record's own lock go and wakes who waits for it.
    pub fn unlock(&self, record: &Record) {
        if Self::let_go(record, Record::free) {
            self.wake(record);
        }
    }

    /// Lets go of the record's own lock, which `thread` took with [`Record::try_lock_again`]; true when a thread may wait for it, which
    /// the caller has to [`Ledger::wake`].
    #[inline(always)]
    pub fn unlock_fast(&self, record: &Record, thread: &Thread) -> bool {
        Self::let_go(record, |record| record.free_for(thread))
    }

    #[inline(always)]
    fn let_go(record: &Record, free: impl FnOnce(&Record)) -> bool {
        let none_waits = has_fault(Fault::EarlyLook) && record.waiters.load(Ordering::SeqCst) == 0;
        free(record);
        announce();
        !none_waits && record.waiters.load(Ordering::SeqCst) != 0
    }

    /// Wakes who waits for the record.
    #[cold]
    pub fn wake(&self, record: &Record) {
        self.place(record).wake();
    }

    /// Lets go of every lock but those `thread` has: in a forked child, where it is the only thread.
    pub fn only(&self, thread: &Thread) {
        for bucket in &self.buckets {
            bucket.handing_out.reset();
            let mut next = bucket.head.load(Ordering::Relaxed);
            // SAFETY: as in `find`.
            while let Some(record) = unsafe { next.as_ref() } {
                record.waiters.store(0, Ordering::Relaxed);
                if !record.lock().is_held_by(thread) {
                    record.forget_calls();
                }
                if !record.is_held_by(thread) {
                    record.owner.store(0, Ordering::Relaxed);
                }
                next = record.next.load(Ordering::Relaxed);
            }
        }
        self.places.iter().for_each(Place::reset);
    }

    fn place(&self, record: &Record) -> &Place {
        let index = (ptr::from_ref(record) as usize / size_of::<Record>()) % PLACES;
        self.places.get(index).unwrap_or(&self.places[0])
    }

    /// How many encoders are in each state now: live, ending, ended, destroyed, leaving. A moving picture, for reports.
    pub fn census(&self) -> [u64; 5] {
        let mut counts = [0; 5];
        self.each_encoder(|record| {
            if let Some(count) = counts.get_mut(record.state() as usize) {
                *count += 1;
            }
        });
        counts
    }

    /// Calls `visit` with the record of each encoder that is known now; none of them is locked.
    pub fn each_encoder(&self, mut visit: impl FnMut(&Record)) {
        for bucket in &self.buckets {
            let mut next = bucket.head.load(Ordering::Acquire);
            // SAFETY: as in `find`.
            while let Some(record) = unsafe { next.as_ref() } {
                if record.address() != 0 && record.status() & BUFFER == 0 {
                    visit(record);
                }
                next = record.next.load(Ordering::Relaxed);
            }
        }
    }
}

/// What [`Ledger::claim`] found.
pub enum Claimed<'a> {
    /// There is a record for this address. Not locked.
    Known(&'a Record),
    /// A record, locked by the caller, at the start of an object's life.
    New(&'a Record),
}

impl<const BUCKETS: usize> Default for Ledger<BUCKETS> {
    fn default() -> Self {
        Self::new()
    }
}
