//! What happened on the paths: locks, gifts, clears, and what was not understood.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::address::VmAddr;

use super::value::Value;

/// Why a function is not understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reason {
    /// The address of a lock is not known.
    LockUnknown,
    /// A lock is dropped that is not held.
    LockNotHeld,
    /// A lock is taken that is held already.
    LockTakenTwice,
    /// The function returns with a lock held, so taking it is conditional.
    LockKept,
    /// The lock's address comes from a loop that made another one since.
    LockInLoop,
    /// Two locks are held where the block is given back, and the cell is cleared while
    /// only one of them is held any more.
    TwoLocks,
    /// A function that is not seen gets the block under the lock.
    BlockPassed,
    /// The block is stored into shared memory where no lock is held.
    BlockStoredUnlocked,
    /// The block is stored into another field of the object under a lock.
    BlockKept,
    /// A value of unknown origin is stored under a lock.
    UnknownStored,
    /// Part of the cell is written, or more than the cell in one store.
    PartialAccess,
    /// An atomic operation on the cell.
    AtomicAccess,
    /// Null is stored under a lock at an address that is not known.
    NullStoredSomewhere,
    /// A function that is not seen gets the cell's address.
    CellPassed,
    /// The block is given back and never cleared.
    NeverCleared,
    /// A function of this image that takes locks and gets the object or the block is
    /// too long or too odd to be followed.
    CallNotFollowed,
    /// A call whose target is not known.
    CallUnresolved,
    /// A branch whose target is not known.
    BranchUnresolved,
    /// A jump table leads out of the function.
    TableOutside,
    /// The return address is not known.
    ReturnUnknown,
    /// The stack pointer is not known.
    StackLost,
    /// An instruction whose meaning is not known.
    Instruction,
    /// The path runs past the function's end.
    RunsOn,
    /// The function is too long.
    TooLong,
    /// Calls nest too deep.
    TooDeep,
    /// There are more paths than the analysis follows.
    TooManyPaths,
}

impl Reason {
    /// In a sentence.
    pub fn sentence(self) -> &'static str {
        match self {
            Reason::LockUnknown => "the address of the lock is not known",
            Reason::LockNotHeld => "a lock is dropped that is not held",
            Reason::LockTakenTwice => "a lock is taken that is held already",
            Reason::LockKept => "the function returns with a lock held",
            Reason::LockInLoop => "a loop changes the address of a lock that is held",
            Reason::TwoLocks => {
                "the cell is cleared between two unlocks, and which lock guards the pool is not known"
            }
            Reason::BlockPassed => "a function of unknown effect gets the block under the lock",
            Reason::BlockStoredUnlocked => "the block is stored where no lock is held",
            Reason::BlockKept => "the block is stored in another field of the object",
            Reason::UnknownStored => "a value of unknown origin is stored under the lock",
            Reason::PartialAccess => "one access covers more or less than the cell",
            Reason::AtomicAccess => "an atomic operation changes the cell",
            Reason::NullStoredSomewhere => "null is stored at an unknown address under the lock",
            Reason::CellPassed => "a function of unknown effect gets the address of the cell",
            Reason::NeverCleared => "the block is given back and the cell is never cleared",
            Reason::CallNotFollowed => {
                "a function that gets the object or the block is not followed"
            }
            Reason::CallUnresolved => "the target of a call is not known",
            Reason::BranchUnresolved => "the target of an indirect branch is not known",
            Reason::TableOutside => "a jump table leads out of the function",
            Reason::ReturnUnknown => "the return address is not known",
            Reason::StackLost => "the stack pointer is not known",
            Reason::Instruction => "the meaning of an instruction is not known",
            Reason::RunsOn => "a path runs past the end of the function",
            Reason::TooLong => "the function is too long",
            Reason::TooDeep => "the calls nest too deep",
            Reason::TooManyPaths => "the function has more paths than are followed",
        }
    }

    /// Whether it leaves a late clear that was seen on another path as it is.
    /// Other reasons mean that the path itself may be misread.
    pub fn spares_late_clears(self) -> bool {
        matches!(
            self,
            Reason::BlockPassed
                | Reason::BlockStoredUnlocked
                | Reason::BlockKept
                | Reason::UnknownStored
                | Reason::NullStoredSomewhere
                | Reason::NeverCleared
                | Reason::CallNotFollowed
                | Reason::CallUnresolved
                | Reason::TooManyPaths
        )
    }
}

/// Who may hand out the block again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum GivenTo {
    /// The pool, once the lock is dropped.
    Pool,
    /// The allocator, at once: the lock was dropped before, as where the pool is full.
    Allocator,
}

/// A path on which the cell is cleared late.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Witness {
    /// Who got the block.
    pub given_to: GivenTo,
    /// The store or the call that gives the block back.
    pub given: VmAddr,
    /// The call that drops the lock.
    pub unlocked: VmAddr,
    /// The store that clears the cell.
    pub cleared: VmAddr,
    /// The beginnings of the pieces of code that the path runs through, in order.
    pub path: Vec<VmAddr>,
}

/// Memory that is filled with zeroes, the cell in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Filled {
    /// How many bytes of it lie before the cell.
    pub before: u64,
    /// How many bytes it has.
    pub bytes: u64,
}

/// What all paths together have shown about one cell.
#[derive(Clone, Debug, Default)]
pub struct Notes {
    /// The stores that give the block back.
    pub gives: BTreeSet<u64>,
    /// The stores that clear the cell late, each with the shortest path.
    pub late: BTreeMap<u64, Witness>,
    /// The stores that clear the cell after the lock was dropped and the block freed, as
    /// where a pool is full.
    pub late_freed: BTreeMap<u64, Witness>,
    /// The calls that drop the lock under which the block was given back, while the cell
    /// still holds it.
    pub armed: BTreeSet<u64>,
    /// The calls that free the block while the cell still holds it.
    pub frees: BTreeSet<u64>,
    /// The calls that free the block, each with the stores that clear the cell behind it.
    pub cleared_behind: BTreeMap<u64, BTreeSet<u64>>,
    /// For each of all these instructions where the function executes it: at its own
    /// address, or at the calls that lead to it.
    pub sites: BTreeMap<u64, BTreeSet<u64>>,
    /// Of a store of two registers that covers the cell, which half does.
    pub halves: BTreeMap<u64, u8>,
    /// Of a store or a call that fills more than the cell with zeroes: what it fills;
    /// none if that differs from path to path.
    pub filled: BTreeMap<u64, Option<Filled>>,
    /// Whether on some path the cell is cleared after the block was freed, the lock
    /// taken there or not.
    pub freed_while_set: bool,
    /// The stores that clear the cell in time, or before the block is given back.
    pub in_time: BTreeSet<u64>,
    /// The calls that take a lock, by its address.
    pub locks: BTreeMap<Value, BTreeSet<u64>>,
    /// The calls that drop it.
    pub unlocks: BTreeMap<Value, BTreeSet<u64>>,
    /// The locks under which the block is given back.
    pub given_under: BTreeSet<Value>,
    /// Where what is not understood, and why.
    pub refusals: BTreeSet<(u64, Reason)>,
    /// The stores under a lock of values that were computed, of which it is not known
    /// whether the block went into them.
    pub computed: BTreeSet<u64>,
    /// Without a cell: what numbers were computed from that were stored under a lock, as the
    /// place of a block in an array; where it was loaded, and the store.
    pub computed_from: BTreeMap<Value, u64>,
    /// The calls of functions that may take locks and are not followed, which get the
    /// object, and those which get the block.
    pub object_passed: BTreeSet<u64>,
    pub block_passed: BTreeSet<u64>,
    /// Whether a block was given back that was read before the lock was taken.
    pub read_early: bool,
    /// Whether the block was used before a lock was taken.
    pub used_early: bool,
    /// Loads of the cell after it was cleared.
    pub reloads: BTreeSet<u64>,
    /// The states the function ends in: whether the cell is null then, whether the
    /// block was given back, and how often the cell was cleared.
    pub ends: BTreeSet<(bool, bool, u8)>,
    /// Without a cell: addresses that null was stored to, with the store.
    pub nulls: BTreeMap<Value, u64>,
    /// Without a cell: the addresses of what was stored under a lock.
    pub stored: BTreeSet<Value>,
    /// Without a cell: the addresses of what was stored or passed under a lock.
    pub moved: BTreeSet<Value>,
}

impl Notes {
    /// The places in the function where these instructions are executed.
    pub fn sites_of<'a>(&self, all: impl IntoIterator<Item = &'a u64>) -> BTreeSet<u64> {
        all.into_iter().filter_map(|at| self.sites.get(at)).flatten().copied().collect()
    }

    /// The stores that clear the cell late, in a function that gives blocks back to a
    /// pool: after the lock was dropped under which the block went there, or after the
    /// block that found no room was freed.
    pub fn all_late(&self) -> BTreeMap<u64, Witness> {
        let mut all = match self.gives.is_empty() {
            true => BTreeMap::new(),
            false => self.late_freed.clone(),
        };
        all.extend(self.late.iter().map(|(at, witness)| (*at, witness.clone())));
        all
    }

    /// The calls that free the block before one of these clears it.
    pub fn frees_before(&self, late: &BTreeMap<u64, Witness>) -> BTreeSet<u64> {
        let behind =
            |(_, clears): &(&u64, &BTreeSet<u64>)| clears.iter().any(|at| late.contains_key(at));
        self.cleared_behind.iter().filter(behind).map(|(free, _)| *free).collect()
    }

    /// Whether there is any.
    pub fn is_late(&self) -> bool {
        !self.late.is_empty() || !self.late_freed.is_empty() && !self.gives.is_empty()
    }
}
