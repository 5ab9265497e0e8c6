//! Room for records, taken from the allocator many at a time.
//!
//! A record has a cache line of its own, and what is rarely used of it lies elsewhere. An allocator takes some 550 instructions for each
//! of the two: they are odd sizes, and one is aligned. So a thread takes room for a few dozen at once and hands it out without a lock. It
//! is never given back, for a record lives as long as the guard; a thread's stock goes with its block to the next thread.

use alloc::boxed::Box;
use core::cell::UnsafeCell;
use core::mem::MaybeUninit;
use core::ptr;

use crate::record::Record;
use crate::sequence::Rare;

/// Under loom one: its atomics are known from when they are made.
const COUNT: usize = if cfg!(loom) { 1 } else { 32 };

struct Room {
    records: [MaybeUninit<Record>; COUNT],
    rares: [MaybeUninit<Rare>; COUNT],
}

/// One thread's room for records that are yet to be made.
pub struct Stock(UnsafeCell<Left>);

struct Left {
    room: *mut Room,
    used: usize,
}

impl Stock {
    /// No room, until the first record.
    pub fn new() -> Stock {
        Stock(UnsafeCell::new(Left { room: ptr::null_mut(), used: COUNT }))
    }

    /// Makes a record, given what is rarely used of it.
    ///
    /// # Safety
    /// Called by one thread at a time.
    pub unsafe fn make(&self, record: impl FnOnce(&'static Rare) -> Record) -> &'static Record {
        // SAFETY: by the caller's word no other reference is there; each place is handed out once, within its array, and never given
        // back.
        unsafe {
            let left = &mut *self.0.get();
            if left.used == COUNT {
                *left = Left { room: Box::into_raw(Box::<Room>::new_uninit()).cast(), used: 0 };
            }
            let rare = (&raw mut (*left.room).rares).cast::<Rare>().add(left.used);
            let place = (&raw mut (*left.room).records).cast::<Record>().add(left.used);
            left.used += 1;
            rare.write(Rare::default());
            place.write(record(&*rare));
            &*place
        }
    }
}

impl Default for Stock {
    fn default() -> Self {
        Self::new()
    }
}
