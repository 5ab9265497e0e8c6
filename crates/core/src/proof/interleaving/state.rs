//! One state of the model in 64 bits.
//!
//! Five bits a destroyer (an index into the table of its places), six a reader,
//! six for the creator, four for the lock and four for the freelist's other
//! blocks. What happened to a block, and whether `_impl` is cleared, follows
//! from where its destroyer is, and is not stored.

/// Destroyers a state has room for.
pub(super) const DESTROYERS: usize = 5;
/// Readers a state has room for.
pub(super) const READERS: usize = 2;
/// Places a destroyer can be at.
pub(super) const PLACES: usize = 32;

/// A packed state.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) struct State(pub u64);

/// Some bits of it.
#[derive(Clone, Copy)]
pub(super) struct Field {
    shift: u32,
    bits: u32,
}

impl Field {
    pub(super) fn destroyer(index: usize) -> Field {
        Field { shift: 5 * index as u32, bits: 5 }
    }
    /// A [`Phase`] of a reader.
    pub(super) fn reader_phase(index: usize) -> Field {
        Field { shift: 25 + 6 * index as u32, bits: 2 }
    }
    /// What a reader loaded: 0 for null, else the encoder's number plus one.
    pub(super) fn reader_block(index: usize) -> Field {
        Field { shift: 27 + 6 * index as u32, bits: 4 }
    }
    /// A [`Phase`] of the creator.
    pub(super) const CREATOR_PHASE: Field = Field { shift: 37, bits: 2 };
    /// What the creator got: 0 for a block of nobody's, else the number plus one.
    pub(super) const CREATOR_BLOCK: Field = Field { shift: 39, bits: 4 };
    /// 0 where the lock is free, else a [`Thread`](super::Thread)'s number plus one.
    pub(super) const LOCK: Field = Field { shift: 43, bits: 4 };
    /// Blocks in the freelist that belong to no encoder of the scene.
    pub(super) const OTHERS: Field = Field { shift: 47, bits: 4 };

    fn mask(self) -> u64 {
        ((1 << self.bits) - 1) << self.shift
    }
}

/// How far a reader or a creator is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Not begun.
    Idle = 0,
    /// Holds the lock.
    Locked = 1,
    /// A reader works on what it loaded; a creator has its block.
    Using = 2,
    /// Through.
    Done = 3,
}

impl State {
    pub(super) fn get(self, field: Field) -> u8 {
        ((self.0 & field.mask()) >> field.shift) as u8
    }

    pub(super) fn with(self, field: Field, value: u8) -> State {
        State((self.0 & !field.mask()) | (u64::from(value) << field.shift))
    }

    pub(super) fn phase(self, field: Field) -> Phase {
        match self.get(field) {
            0 => Phase::Idle,
            1 => Phase::Locked,
            2 => Phase::Using,
            _ => Phase::Done,
        }
    }

    pub(super) fn at_phase(self, field: Field, phase: Phase) -> State {
        self.with(field, phase as u8)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_field_overlaps_another() {
        let mut fields =
            vec![Field::CREATOR_PHASE, Field::CREATOR_BLOCK, Field::LOCK, Field::OTHERS];
        fields.extend((0..DESTROYERS).map(Field::destroyer));
        fields.extend((0..READERS).flat_map(|r| [Field::reader_phase(r), Field::reader_block(r)]));
        let mut taken = 0;
        for field in fields {
            assert_eq!(taken & field.mask(), 0);
            taken |= field.mask();
            let state = State(u64::MAX).with(field, 0);
            assert_eq!((state.get(field), state.0 | field.mask()), (0, u64::MAX));
        }
        const { assert!(PLACES <= 1 << 5) };
    }
}
