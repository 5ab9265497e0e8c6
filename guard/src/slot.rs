//! One slot for each thunk: the method it stands for. 16 bytes, read in every guarded call and written once.

use crate::call::{Call, Kind};
use crate::entry;
use crate::races::Part;
use crate::sync::{AtomicU32, AtomicUsize, Ordering};
use crate::thunk;

/// A hooked method. Written before its thunk is installed, and not changed after.
pub struct Slot {
    /// The method's own code.
    pub original: AtomicUsize,
    /// See [`Call::impl_offset`].
    pub impl_offset: AtomicU32,
    /// A [`Kind`] in the low five bits, a [`Part`] in two more, [`FAST`]; above them how many bytes
    /// the method returns through x8.
    pub nature: AtomicU32,
}

/// Added to the kind of a slot whose calls may take the fast path: an encoding method, in a mode that locks.
const FAST: u32 = 0x80;
const KIND: u32 = 0x1f;
const PART: u32 = 5;

/// Each kind at the place its number names, for the numbers that the low bits of a slot may hold.
const KINDS: [Kind; KIND as usize + 1] = {
    use Kind::*;
    let known = [
        Method,
        Init,
        End,
        DeferredEnd,
        Destroy,
        Dealloc,
        Factory,
        Passive,
        Reinit,
        Buffer,
        BufferDealloc,
        Commit,
        CommitEncoder,
        Event,
    ];
    // The last kind there is.
    assert!(known.len() == Event as usize + 1);
    let mut kinds = [Method; KIND as usize + 1];
    let mut at = 0;
    while at < known.len() {
        assert!(known[at] as usize == at);
        kinds[at] = known[at];
        at += 1;
    }
    kinds
};

impl Slot {
    /// Fills a slot, before its thunk is installed.
    pub fn fill(
        &self,
        original: usize,
        (kind, part): (Kind, Part),
        impl_offset: u32,
        returned_bytes: usize,
    ) {
        let fast = kind == Kind::Method && entry::has_fast_path();
        let nature = kind as u32
            | (part as u32) << PART
            | if fast { FAST } else { 0 }
            | (returned_bytes as u32) << 8;
        self.original.store(original, Ordering::Relaxed);
        self.impl_offset.store(impl_offset, Ordering::Relaxed);
        self.nature.store(nature, Ordering::Release);
    }

    /// Whether its calls may take the fast path.
    #[inline(always)]
    pub(crate) fn has_fast_path(&self) -> bool {
        self.nature.load(Ordering::Relaxed) & FAST != 0
    }

    /// A call to it.
    #[inline(always)]
    pub(crate) fn call(&self, object: usize, caller: usize, frame: usize, method: usize) -> Call {
        Call {
            object,
            kind: self.kind(),
            impl_offset: self.impl_offset.load(Ordering::Relaxed),
            caller,
            frame,
            method,
        }
    }

    #[inline(always)]
    fn kind(&self) -> Kind {
        KINDS[(self.nature.load(Ordering::Relaxed) & KIND) as usize]
    }

    /// What the method is in a sequence of encoding calls.
    pub(crate) fn part(&self) -> Part {
        match self.nature.load(Ordering::Relaxed) >> PART & 3 {
            1 => Part::Sets,
            2 => Part::Encodes,
            _ => Part::Other,
        }
    }

    /// Bytes the method returns through x8.
    pub(crate) fn returned_bytes(&self) -> usize {
        (self.nature.load(Ordering::Relaxed) >> 8) as usize
    }
}

/// All hooked methods.
pub static SLOTS: [Slot; thunk::SLOTS] = [const {
    Slot {
        original: AtomicUsize::new(0),
        impl_offset: AtomicU32::new(0),
        nature: AtomicU32::new(0),
    }
}; thunk::SLOTS];
