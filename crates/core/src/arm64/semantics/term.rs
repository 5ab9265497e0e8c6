//! Values as terms over the state a run of code starts from.
//!
//! Terms are kept once each (hash consing), so two values are known to be equal
//! for all inputs when they are the same [`Term`], within one [`Terms`]. The
//! converse does not hold: two terms that differ may still be equal, and a proof
//! that compares them refuses in that case. Simplification is there to make
//! equal things the same term where compilers write them differently.

mod function;
mod simplify;

use rustc_hash::FxHashMap;

pub use function::{Binary, Key, Unary};

use super::Register;
use super::flags::{Condition, Flags, FlagsNode};

/// A 64-bit value. A 32-bit one is kept with its upper half zero.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Term(u32);

/// What memory looks like after some stores and calls.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct History(u32);

/// One half of a vector register.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Half {
    /// Bits 0 to 63.
    Low,
    /// Bits 64 to 127.
    High,
}

/// What a term is made of.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Node {
    /// A number.
    Constant(u64),
    /// What a register held at the start.
    Register(Register),
    /// What half a vector register held at the start.
    Vector(u8, Half),
    /// So many bytes of memory, zero-extended.
    Memory(History, Term, u8),
    /// What a call that returns a value leaves in a register.
    Returned(History, Register),
    /// The same, of half a vector register.
    ReturnedVector(History, u8, Half),
    /// A value nothing is promised about, such as a caller-saved register after
    /// a call. Every one is different.
    Unspecified(u32),
    /// One value or the other.
    Select(Condition, Term, Term),
    /// An operation on one value.
    Unary(Unary, Term),
    /// An operation on two.
    Binary(Binary, Term, Term),
}

/// Something code does that others can see.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Event {
    /// Writes the lowest `bytes` bytes of `value`.
    Store {
        /// Where.
        address: Term,
        /// How many, 1 to 8.
        bytes: u8,
        /// What; the bits above are zero.
        value: Term,
    },
    /// Calls a function.
    Call {
        /// Its address; a constant for a direct call.
        target: Term,
        /// The values it may read, as many as it is known to take, else all
        /// argument registers.
        arguments: Vec<Term>,
    },
    /// Orders memory accesses: a barrier, or the acquire or release of an access.
    Barrier,
}

/// The store of terms, flags and histories. Everything that is to be compared
/// lives in one.
#[derive(Default)]
pub struct Terms {
    nodes: Vec<Node>,
    ids: FxHashMap<Node, Term>,
    flags: Vec<FlagsNode>,
    flag_ids: FxHashMap<FlagsNode, Flags>,
    /// What calls leave in registers nothing is promised about.
    leftovers: FxHashMap<(History, u8), Term>,
    histories: Vec<(History, Event)>,
    history_ids: FxHashMap<(History, Event), History>,
    unspecified: u32,
}

const LOW_32: u64 = 0xffff_ffff;

impl Terms {
    /// An empty store.
    pub fn new() -> Terms {
        Terms::default()
    }

    /// What a term is made of.
    pub fn node(&self, term: Term) -> Node {
        self.nodes.get(term.0 as usize).copied().unwrap_or(Node::Constant(0))
    }

    /// What flags are made of.
    pub fn flags_node(&self, flags: Flags) -> FlagsNode {
        self.flags.get(flags.index()).copied().unwrap_or(FlagsNode::Initial)
    }

    /// The number a term is, if it is one.
    pub fn as_constant(&self, term: Term) -> Option<u64> {
        match self.node(term) {
            Node::Constant(value) => Some(value),
            _ => None,
        }
    }

    /// Memory as it is at the start.
    pub fn beginning(&self) -> History {
        History(0)
    }

    /// What happened last, and the memory before it; none at the beginning.
    pub fn last_event(&self, history: History) -> Option<(History, &Event)> {
        let index = (history.0 as usize).checked_sub(1)?;
        self.histories.get(index).map(|(before, event)| (*before, event))
    }

    /// Memory after one more event.
    pub fn after(&mut self, history: History, event: Event) -> History {
        let key = (history, event);
        if let Some(&known) = self.history_ids.get(&key) {
            return known;
        }
        self.histories.push(key.clone());
        let id = History(self.histories.len() as u32);
        self.history_ids.insert(key, id);
        id
    }

    pub(super) fn intern_flags(&mut self, node: FlagsNode) -> Flags {
        if let Some(&known) = self.flag_ids.get(&node) {
            return known;
        }
        let id = Flags::at(self.flags.len());
        self.flags.push(node);
        self.flag_ids.insert(node, id);
        id
    }

    fn intern(&mut self, node: Node) -> Term {
        if let Some(&known) = self.ids.get(&node) {
            return known;
        }
        let id = Term(self.nodes.len() as u32);
        self.nodes.push(node);
        self.ids.insert(node, id);
        id
    }

    /// A number.
    pub fn constant(&mut self, value: u64) -> Term {
        self.intern(Node::Constant(value))
    }

    /// What `register` held at the start.
    pub fn register(&mut self, register: Register) -> Term {
        self.intern(Node::Register(register))
    }

    /// What half of vector register `number` held at the start.
    pub fn vector(&mut self, number: u8, half: Half) -> Term {
        self.intern(Node::Vector(number, half))
    }

    /// What a call leaves in a register it returns a value in.
    pub fn returned(&mut self, history: History, register: Register) -> Term {
        self.intern(Node::Returned(history, register))
    }

    /// What a call leaves in half a vector register it returns a value in.
    pub fn returned_vector(&mut self, history: History, number: u8, half: Half) -> Term {
        self.intern(Node::ReturnedVector(history, number, half))
    }

    /// A value nothing is promised about, unlike any other.
    pub fn unspecified(&mut self) -> Term {
        self.unspecified += 1;
        self.intern(Node::Unspecified(self.unspecified))
    }

    /// What a call leaves in the place of that number, about which nothing is
    /// promised. Two runs with the same history may be taken to find the same
    /// there, for whatever it is, each of them may find it.
    pub fn leftover(&mut self, history: History, place: u8) -> Term {
        if let Some(&known) = self.leftovers.get(&(history, place)) {
            return known;
        }
        let fresh = self.unspecified();
        self.leftovers.insert((history, place), fresh);
        fresh
    }

    /// `bytes` bytes at `address`, zero-extended.
    pub fn memory(&mut self, history: History, address: Term, bytes: u8) -> Term {
        self.intern(Node::Memory(history, address, bytes))
    }

    /// `then` where the condition holds, else `otherwise`.
    pub fn select(&mut self, condition: Condition, then: Term, otherwise: Term) -> Term {
        match condition.decided(self) {
            _ if then == otherwise => then,
            Some(true) => then,
            Some(false) => otherwise,
            None => self.intern(Node::Select(condition, then, otherwise)),
        }
    }

    /// Sum, modulo 2^64.
    pub fn add(&mut self, left: Term, right: Term) -> Term {
        self.binary(Binary::Add, left, right)
    }

    /// The value plus a number.
    pub fn offset(&mut self, term: Term, by: u64) -> Term {
        let by = self.constant(by);
        self.add(term, by)
    }

    /// Bitwise and with a number.
    pub fn mask(&mut self, term: Term, mask: u64) -> Term {
        let mask = self.constant(mask);
        self.binary(Binary::And, term, mask)
    }

    /// The value as a register of that width holds it: all of it, or the lower
    /// half with zeros above.
    pub fn of_width(&mut self, wide: bool, term: Term) -> Term {
        if wide { term } else { self.mask(term, LOW_32) }
    }

    /// The lowest `bytes` bytes.
    pub fn bytes(&mut self, term: Term, bytes: u8) -> Term {
        if bytes >= 8 { term } else { self.mask(term, (1 << (8 * bytes)) - 1) }
    }

    /// Every bit inverted.
    pub fn invert(&mut self, term: Term) -> Term {
        let ones = self.constant(u64::MAX);
        self.binary(Binary::Xor, term, ones)
    }
}
