//! What is known of the driver's pools and of the life of an encoder's block.
//!
//! One description, as data: the synthetic driver is written from it, and the
//! model of the interleavings and every other stand-in for the driver can be held
//! against it, so that they cannot drift apart.
//!
//! The published part is the window of `destroyImpl` in build 329.2. The rest
//! comes from three other builds of the same C++ template, whose order of
//! operations, offsets and names are known; a number of 329.2 that was inferred
//! from them says so.

/// A freelist in the C++ device: a fixed array of blocks under a lock of its own.
/// The fields are offsets from the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Freelist {
    /// Size of a block in bytes: 8 bytes.
    pub size: u32,
    /// How many blocks the list holds: 4 bytes.
    pub count: u32,
    /// An `os_unfair_lock`: 4 bytes.
    pub lock: u32,
    /// The blocks: 8 bytes each.
    pub slots: u32,
    /// How many blocks the list can hold.
    pub capacity: u32,
}

impl Freelist {
    /// The freelist whose first field stands at `size`.
    pub const fn at(size: u32, capacity: u32) -> Freelist {
        Freelist { size, count: size + 8, lock: size + 12, slots: size + 16, capacity }
    }

    /// The offset behind the freelist, where the next one begins.
    pub const fn end(&self) -> u32 {
        self.slots + 8 * self.capacity
    }

    /// The same freelist in a device whose fields before it take `bytes` more.
    pub const fn moved(&self, bytes: u32) -> Freelist {
        Freelist::at(self.size + bytes, self.capacity)
    }
}

/// The pool of the compute encoders' blocks in build 329.2. Published: the slots
/// at 0x1a68 and the capacity. Inferred: the fields before the slots, which stand
/// in this order at the same distances in every build known.
pub const COMPUTE_POOL: Freelist = Freelist::at(0x1a58, 8);
/// The pool that the destructor of a compute block gives one of its parts to. It
/// follows the compute pool (inferred).
pub const PART_POOL: Freelist = Freelist::at(COMPUTE_POOL.end(), 16);
/// The pool of the render encoders' blocks (inferred: there is room for one list
/// of eight between the two that are known).
pub const RENDER_POOL: Freelist = Freelist::at(PART_POOL.end(), 8);
/// The pool of the command buffers' own blocks. It precedes the compute pool
/// (inferred).
pub const COMMAND_BUFFER_POOL: Freelist = Freelist::at(0x1a08, 8);

/// Where the Objective-C device keeps the pointer to the C++ device.
pub const DEVICE_FIELD: u32 = 808;
/// The same in the drivers of macOS 26.
pub const DEVICE_FIELD_26: u32 = 848;
/// The least size of a compute block: what `init` asks for in a sibling build.
pub const LEAST_BLOCK_SIZE: u32 = 17_376;

/// What `destroyImpl` does, in order. Nothing but the phases from
/// [`Lock`](DestroyPhase::Lock) to [`Unlock`](DestroyPhase::Unlock) runs under
/// the pool's lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DestroyPhase {
    /// Loads `_impl` and returns where it is NULL.
    FirstTest,
    /// Destroys the block in place while `_impl` still points to it.
    Destructor,
    /// Loads `_impl` again. Where it is NULL now, goes on to [`Clear`](Self::Clear).
    SecondTest,
    /// Takes the pool's lock.
    Lock,
    /// Stores the block in the freelist, if the list has room.
    Push,
    /// Drops the lock.
    Unlock,
    /// Frees the block, if the freelist has no room.
    Free,
    /// Stores NULL in `_impl`. Three ways lead here: after the push, after the
    /// free, and from the second test.
    Clear,
}

impl DestroyPhase {
    /// As the driver has them. That [`Clear`](Self::Clear) comes after
    /// [`Unlock`](Self::Unlock) is the defect.
    pub const ORDER: [DestroyPhase; 8] = [
        DestroyPhase::FirstTest,
        DestroyPhase::Destructor,
        DestroyPhase::SecondTest,
        DestroyPhase::Lock,
        DestroyPhase::Push,
        DestroyPhase::Unlock,
        DestroyPhase::Free,
        DestroyPhase::Clear,
    ];

    /// As the default rewrite has them: cleared under the lock, and not at all where
    /// the second test finds NULL.
    pub const REWRITTEN: [DestroyPhase; 8] = [
        DestroyPhase::FirstTest,
        DestroyPhase::Destructor,
        DestroyPhase::SecondTest,
        DestroyPhase::Lock,
        DestroyPhase::Push,
        DestroyPhase::Clear,
        DestroyPhase::Unlock,
        DestroyPhase::Free,
    ];
}

/// What `initWithCommandBuffer:config:` does, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InitPhase {
    /// Takes the pool's lock.
    Lock,
    /// Takes the last block off the freelist, which may be NULL.
    Pop,
    /// Drops the lock.
    Unlock,
    /// Wipes the block, or allocates one where none was popped.
    WipeOrAllocate,
    /// Stores the block in `_impl` and fills in its fields.
    Publish,
}

impl InitPhase {
    /// As the driver has them. The block is wiped without the lock.
    pub const ORDER: [InitPhase; 5] = [
        InitPhase::Lock,
        InitPhase::Pop,
        InitPhase::Unlock,
        InitPhase::WipeOrAllocate,
        InitPhase::Publish,
    ];
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_compute_pools_slots_are_where_they_are_published() {
        assert_eq!((COMPUTE_POOL.slots, COMPUTE_POOL.lock), (0x1a68, 0x1a64));
    }

    #[test]
    fn the_pools_do_not_overlap() {
        let pools = [COMMAND_BUFFER_POOL, COMPUTE_POOL, PART_POOL, RENDER_POOL];
        assert!(pools.is_sorted_by(|before, after| before.end() <= after.size));
    }
}
