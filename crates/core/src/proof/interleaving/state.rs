//! One state of the model in 128 bits.
//!
//! Seven bits a destroyer (an index into the table of its places, and whether
//! the register it keeps the block in holds one), thirteen an encoder (its
//! `_impl`, and how often its block was destroyed, pushed and freed), five a
//! reader, six for the creator, four for the lock and four for the freelist's
//! other blocks.

/// Destroyers a state has room for.
pub(super) const MAX_DESTROYERS: usize = 5;
/// Readers a state has room for.
pub(super) const MAX_READERS: usize = 2;
/// Places a destroyer can be at.
pub(super) const MAX_PLACES: usize = 64;

/// A packed state.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) struct State(pub u128);

/// Some bits of it.
#[derive(Clone, Copy)]
pub(super) struct Field {
    shift: u32,
    bits: u32,
}

/// Where the fields of the encoders begin, those of the readers, and the rest.
const ENCODERS: u32 = 7 * MAX_DESTROYERS as u32;
const READERS: u32 = ENCODERS + 13 * MAX_DESTROYERS as u32;
const OTHERS: u32 = READERS + 5 * MAX_READERS as u32;

impl Field {
    const fn new(shift: u32, bits: u32) -> Field {
        Field { shift, bits }
    }

    /// A destroyer's place.
    pub(super) fn place(destroyer: usize) -> Field {
        Field::new(7 * destroyer as u32, 6)
    }
    /// 1 where the last load of `_impl` by a destroyer found a block.
    pub(super) fn has_block(destroyer: usize) -> Field {
        Field::new(7 * destroyer as u32 + 6, 1)
    }
    /// 1 where an encoder's `_impl` is null.
    pub(super) fn cleared(encoder: usize) -> Field {
        Field::new(ENCODERS + 13 * encoder as u32, 1)
    }
    /// How often the destructor began on an encoder's block.
    pub(super) fn destroyed(encoder: usize) -> Field {
        Field::new(ENCODERS + 13 * encoder as u32 + 1, 4)
    }
    /// How often an encoder's block was pushed into the freelist.
    pub(super) fn pushed(encoder: usize) -> Field {
        Field::new(ENCODERS + 13 * encoder as u32 + 5, 4)
    }
    /// How often an encoder's block was freed.
    pub(super) fn freed(encoder: usize) -> Field {
        Field::new(ENCODERS + 13 * encoder as u32 + 9, 4)
    }
    /// A [`Phase`] of a reader.
    pub(super) fn reader_phase(reader: usize) -> Field {
        Field::new(READERS + 5 * reader as u32, 2)
    }
    /// What a reader loaded: 0 for null, else the encoder's number plus one.
    pub(super) fn reader_block(reader: usize) -> Field {
        Field::new(READERS + 5 * reader as u32 + 2, 3)
    }
    /// A [`Creation`].
    pub(super) const CREATION: Field = Field::new(OTHERS + 4, 3);
    /// What the creator got: 0 for a block of no encoder here, else the number
    /// plus one.
    pub(super) const CREATOR_BLOCK: Field = Field::new(OTHERS + 7, 3);
    /// 0 where the lock is free, else a [`Thread`](super::Thread)'s number plus one.
    pub(super) const LOCK: Field = Field::new(OTHERS + 10, 4);
    /// Blocks in the freelist that belong to no encoder of the scene.
    pub(super) const OTHERS: Field = Field::new(OTHERS, 4);

    fn mask(self) -> u128 {
        ((1 << self.bits) - 1) << self.shift
    }

    /// The greatest number the field holds.
    fn max(self) -> u8 {
        (1 << self.bits) - 1
    }
}

/// How far a reader is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Not begun.
    Idle = 0,
    /// Holds the lock.
    Locked = 1,
    /// Works on what it loaded.
    Using = 2,
    /// Through.
    Done = 3,
}

/// How far the creator of an encoder is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Creation {
    /// Not begun.
    Idle = 0,
    /// Holds the lock.
    Locked = 1,
    /// Holds the lock, and has its block.
    Popped = 2,
    /// Has released the lock, and wipes its block.
    Wiping = 3,
    /// Through: the block is the encoder's.
    Done = 4,
}

impl State {
    pub(super) fn get(self, field: Field) -> u8 {
        ((self.0 & field.mask()) >> field.shift) as u8
    }

    pub(super) fn with(self, field: Field, value: u8) -> State {
        State((self.0 & !field.mask()) | (u128::from(value) << field.shift))
    }

    /// One more; a field that is full stays so.
    pub(super) fn count(self, field: Field) -> State {
        self.with(field, self.get(field).saturating_add(1).min(field.max()))
    }

    pub(super) fn is_set(self, field: Field) -> bool {
        self.get(field) != 0
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

    pub(super) fn creation(self) -> Creation {
        match self.get(Field::CREATION) {
            0 => Creation::Idle,
            1 => Creation::Locked,
            2 => Creation::Popped,
            3 => Creation::Wiping,
            _ => Creation::Done,
        }
    }

    pub(super) fn at_creation(self, creation: Creation) -> State {
        self.with(Field::CREATION, creation as u8)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_field_overlaps_another() {
        let mut fields = vec![Field::CREATION, Field::CREATOR_BLOCK, Field::LOCK, Field::OTHERS];
        for index in 0..MAX_DESTROYERS {
            fields.extend([Field::place(index), Field::has_block(index), Field::cleared(index)]);
            fields.extend([Field::destroyed(index), Field::pushed(index), Field::freed(index)]);
        }
        fields.extend(
            (0..MAX_READERS).flat_map(|r| [Field::reader_phase(r), Field::reader_block(r)]),
        );
        let mut taken = 0;
        for field in fields {
            assert_eq!(taken & field.mask(), 0);
            taken |= field.mask();
            let state = State(u128::MAX).with(field, 0);
            assert_eq!((state.get(field), state.0 | field.mask()), (0, u128::MAX));
        }
        const { assert!(MAX_PLACES <= 1 << 6) };
    }

    #[test]
    fn a_full_counter_stays_full() {
        let full = (0..20).fold(State(0), |state, _| state.count(Field::pushed(1)));
        assert_eq!((full.get(Field::pushed(1)), full.get(Field::freed(1))), (15, 0));
    }
}
