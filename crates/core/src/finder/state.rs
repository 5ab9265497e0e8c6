//! One point of one path: what is known there.

use super::decode::{FLAGS, ZR, bit};
use super::value::{Atom, NULL, UNKNOWN, Value, Values};

/// What the cell under examination holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cell {
    /// The block it held at the entry.
    Block,
    /// Null, because a test said so.
    Null,
    /// Null, because it was stored.
    Cleared,
    /// Something else that was stored.
    Other,
}

/// What the flags are the result of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Flags {
    /// Something that is not known.
    Unknown,
    /// A comparison: the two values, and whether all 64 bits count.
    Compare(Value, Value, bool),
    /// A test of common bits.
    Test(Value, Value, bool),
    /// These four bits: negative, zero, carry, overflow.
    Known(u8),
}

/// A question about two values that code asked by a comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Question {
    /// The first value.
    pub a: Value,
    /// The second value.
    pub b: Value,
    /// Whether all 64 bits count.
    pub wide: bool,
    /// Which question.
    pub kind: Kind,
}

/// The kinds of questions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// `a == b`
    Equal,
    /// `a >= b`, unsigned.
    AtLeast,
    /// `a >= b`, signed.
    NotLess,
    /// Whether `a - b` is negative.
    Negative,
    /// Whether `a` and `b` have no bit in common.
    Apart,
    /// Whether a bit of `a` is set.
    Bit(u8),
}

/// A block that was given back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Given {
    /// The store that gave it back.
    pub at: u64,
    /// Whether one of several locks that were held there was dropped since, the cell
    /// still holding the block. Which of them guards the pool is not known.
    pub loosened: bool,
}

/// A stack slot: offset from the stack pointer at the entry, size, content.
pub type Slot = (i64, u8, Value);

/// The state before one instruction.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct State {
    /// The address of the instruction.
    pub at: u64,
    /// The general registers and the stack pointer.
    pub registers: [Value; 32],
    /// The stack slots that are tracked, in order.
    pub slots: Vec<Slot>,
    /// The flags.
    pub flags: Flags,
    /// What comparisons have said, in the order of time.
    pub facts: Vec<(Question, bool)>,
    /// What the cell holds.
    pub cell: Cell,
    /// Whether a test said that the block is not null.
    pub nonnull: bool,
    /// The locks that are held, by address.
    pub held: Vec<Value>,
    /// Whether any lock was taken.
    pub locked: bool,
    /// Whether the cell was read under a lock, or emptied in one step with its
    /// reading.
    pub reread: bool,
    /// The block, if it was given back.
    pub given: Option<Given>,
    /// Of the locks that were held there, those that were not dropped since.
    pub around: Vec<Value>,
    /// The vector registers that are zero, a bit each.
    pub zeroed: u32,
    /// The store and the unlock, if the lock was dropped while the cell still
    /// held the block.
    pub armed: Option<(u64, u64)>,
    /// The call that dropped a lock without the block being given back, and the call
    /// that freed the block then, while the cell still held it.
    pub dropped: Option<u64>,
    pub freed: Option<u64>,
    /// How often the cell was cleared, up to two.
    pub clears: u8,
    /// Whether it came through a place that is marked, for a rewrite of the code.
    pub marked: bool,
    /// What other threads have seen of the path, where that is told.
    pub story: u32,
    /// How many calls deep.
    pub depth: u8,
    /// The function that the outermost call is of; zero outside of calls.
    pub through: u64,
    /// That call, or the branch in its place; zero outside of calls.
    pub site: u64,
}

/// The most facts that are kept.
const MAX_FACTS: usize = 8;

impl State {
    /// At the entry of a function.
    pub fn entry(at: u64, values: &mut Values) -> State {
        let mut registers = [UNKNOWN; 32];
        for (number, register) in registers.iter_mut().enumerate() {
            let number = number as u8;
            *register = values.atom(match number {
                0..=8 => Atom::Argument(number),
                9..=18 => continue,
                30 => Atom::Return,
                31 => Atom::Stack,
                _ => Atom::Saved(number),
            });
        }
        State {
            at,
            registers,
            slots: Vec::new(),
            flags: Flags::Unknown,
            facts: Vec::new(),
            cell: Cell::Block,
            nonnull: false,
            held: Vec::new(),
            locked: false,
            reread: false,
            given: None,
            around: Vec::new(),
            zeroed: 0,
            armed: None,
            dropped: None,
            freed: None,
            clears: 0,
            marked: false,
            story: 0,
            depth: 0,
            through: 0,
            site: 0,
        }
    }

    /// Where in the function under examination an instruction is executed: at its own
    /// address, or at the call that leads to it.
    pub fn site_of(&self, at: u64) -> u64 {
        if self.site == 0 { at } else { self.site }
    }

    /// A register's value.
    pub fn get(&self, register: u8) -> Value {
        if register == ZR { NULL } else { self.registers[usize::from(register & 31)] }
    }

    /// Sets a register; the zero register stays zero.
    pub fn set(&mut self, register: u8, value: Value) {
        if register != ZR {
            self.registers[usize::from(register & 31)] = value;
        }
    }

    /// Sets a vector register, by its number in a word or as the decoder has it.
    pub fn set_vector(&mut self, register: u8, zero: bool) {
        let bit = 1 << register.min(31);
        self.zeroed = if zero { self.zeroed | bit } else { self.zeroed & !bit };
    }

    /// Whether a vector register is zero.
    pub fn is_zeroed(&self, register: u8) -> bool {
        self.zeroed >> register.min(31) & 1 == 1
    }

    /// Replaces values everywhere.
    pub fn replace(&mut self, mut new: impl FnMut(Value) -> Value) {
        self.registers.iter_mut().for_each(|value| *value = new(*value));
        self.slots.iter_mut().for_each(|slot| slot.2 = new(slot.2));
        if let Flags::Compare(a, b, _) | Flags::Test(a, b, _) = &mut self.flags {
            (*a, *b) = (new(*a), new(*b));
        }
    }

    /// Remembers an answer.
    pub fn remember(&mut self, question: Question, answer: bool) {
        if self.facts.len() == MAX_FACTS {
            self.facts.remove(0);
        }
        self.facts.push((question, answer));
    }

    /// The answer that was given before, if it was.
    pub fn recall(&self, question: Question) -> Option<bool> {
        self.facts.iter().find(|(asked, _)| *asked == question).map(|(_, answer)| *answer)
    }

    /// Forgets what is dead, and what only the dead could say something about.
    pub fn forget(&mut self, live: u64, values: &Values) {
        for register in 0..31 {
            if live & bit(register) == 0 {
                self.registers[usize::from(register)] = UNKNOWN;
            }
        }
        if live & FLAGS == 0 {
            self.flags = Flags::Unknown;
        }
        if let [Atom::Stack] = values.atoms(self.registers[31]) {
            let top = values.addend(self.registers[31]) as i64;
            self.slots.retain(|slot| slot.0 >= top);
        }
        let State { registers, slots, facts, flags, .. } = self;
        let compared = match *flags {
            Flags::Compare(a, b, _) | Flags::Test(a, b, _) => [a, b],
            _ => [NULL; 2],
        };
        let named = |value: Value| {
            values.atoms(value).iter().all(|atom| {
                registers.iter().chain(&compared).any(|held| values.has(*held, *atom))
                    || slots.iter().any(|slot| values.has(slot.2, *atom))
            })
        };
        facts.retain(|(question, _)| named(question.a) && named(question.b));
    }

    /// The value of a tracked slot.
    pub fn slot(&self, at: i64, size: u8) -> Option<Value> {
        self.slots.iter().find(|slot| (slot.0, slot.1) == (at, size)).map(|slot| slot.2)
    }

    /// Forgets every slot that shares a byte with a range.
    pub fn drop_slots(&mut self, from: i64, to: i64) {
        self.slots.retain(|slot| slot.0 >= to || slot.0 + i64::from(slot.1) <= from);
    }

    /// Puts a value into a slot, whose bytes were dropped before.
    pub fn put_slot(&mut self, slot: Slot) {
        let place = self.slots.partition_point(|known| (known.0, known.1) < (slot.0, slot.1));
        self.slots.insert(place, slot);
    }
}
