//! What a register can hold: a sum of things named at the function's entry or on
//! its way, and a constant.
//!
//! Values are interned, so that a state is a list of small numbers and two equal
//! values are one number. The sum is a multiset: `base + index + 16` has two
//! atoms. Addresses of locks, of the cell and of stack slots are compared as such
//! sums, which is why two different spellings of one address are one address.

use std::rc::Rc;

use rustc_hash::FxHashMap;

/// An interned value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Value(u32);

/// Nothing is known.
pub const UNKNOWN: Value = Value(0);

/// The constant zero.
pub const NULL: Value = Value(1);

/// One summand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Atom {
    /// An argument register as the caller left it; the first is the object.
    Argument(u8),
    /// A callee-saved register as the caller left it.
    Saved(u8),
    /// The return address into the caller.
    Return,
    /// The stack pointer at the entry.
    Stack,
    /// The offset of an instance variable: what its cell holds.
    Offset(u64),
    /// The block: what the cell under examination held at the entry.
    Block,
    /// What stands at an address in memory.
    Load(Value),
    /// What the instruction at an address yielded.
    Fresh(u64, Tag),
}

/// What sort of value an instruction yielded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Tag {
    /// It fits in 32 bits.
    Narrow,
    /// A result of arithmetic or a load.
    Wide,
    /// A second result of the same instruction.
    Second,
    /// What a call returned.
    Result,
    /// What a loop counted up.
    Counted,
}

/// The deepest nesting of loads that is told apart.
const MAX_LOAD_DEPTH: u8 = 4;

/// The most summands.
const MAX_ATOMS: usize = 6;

#[derive(Debug)]
struct Linear {
    atoms: Rc<[Atom]>,
    constant: u64,
    depth: u8,
    /// The instructions whose results it is made of, however deep.
    made_at: Rc<[u64]>,
    has_load: bool,
}

/// All values of one analysis.
#[derive(Debug)]
pub struct Values {
    all: Vec<Linear>,
    by_content: FxHashMap<(Rc<[Atom]>, u64), Value>,
}

impl Values {
    /// With the unknown value and zero.
    pub fn new() -> Values {
        let none = || Linear {
            atoms: Rc::new([]),
            constant: 0,
            depth: 0,
            made_at: Rc::new([]),
            has_load: false,
        };
        let mut by_content = FxHashMap::default();
        by_content.insert((none().atoms, 0), NULL);
        Values { all: vec![none(), none()], by_content }
    }

    fn linear(&self, value: Value) -> &Linear {
        &self.all[value.0 as usize]
    }

    /// The summands; none for a constant and for the unknown value.
    pub fn atoms(&self, value: Value) -> &[Atom] {
        &self.linear(value).atoms
    }

    /// The constant of a sum.
    pub fn addend(&self, value: Value) -> u64 {
        self.linear(value).constant
    }

    /// The number it is, if it is one.
    pub fn constant_of(&self, value: Value) -> Option<u64> {
        let linear = self.linear(value);
        (value != UNKNOWN && linear.atoms.is_empty()).then_some(linear.constant)
    }

    /// The summand it is, if it is one and nothing is added.
    pub fn atom_of(&self, value: Value) -> Option<Atom> {
        let linear = self.linear(value);
        match *linear.atoms {
            [atom] if linear.constant == 0 => Some(atom),
            _ => None,
        }
    }

    /// Whether it is made of that atom, at the top level.
    pub fn has(&self, value: Value, atom: Atom) -> bool {
        self.atoms(value).contains(&atom)
    }

    /// Whether it is made of what the instruction at that address yielded.
    pub fn made_at(&self, value: Value, at: u64) -> bool {
        self.linear(value).made_at.contains(&at)
    }

    /// Whether it is made of anything that was loaded from memory.
    pub fn has_load(&self, value: Value) -> bool {
        self.linear(value).has_load
    }

    /// Whether it is known to fit in 32 bits, so that a 32-bit move keeps it.
    pub fn is_narrow(&self, value: Value) -> bool {
        match self.atom_of(value) {
            Some(Atom::Fresh(_, Tag::Narrow) | Atom::Offset(_)) => true,
            _ => self.constant_of(value).is_some_and(|number| number >> 32 == 0),
        }
    }

    /// The value of a number.
    pub fn constant(&mut self, constant: u64) -> Value {
        self.intern(Vec::new(), constant)
    }

    /// The value of one atom.
    pub fn atom(&mut self, atom: Atom) -> Value {
        self.intern(vec![atom], 0)
    }

    /// What is loaded from an address; `None` if loads nest too deep.
    pub fn load(&mut self, address: Value) -> Option<Value> {
        if address == UNKNOWN || self.linear(address).depth >= MAX_LOAD_DEPTH {
            return None;
        }
        Some(self.atom(Atom::Load(address)))
    }

    /// A value and a constant.
    pub fn plus(&mut self, value: Value, constant: u64) -> Value {
        if value == UNKNOWN || constant == 0 {
            return value;
        }
        let linear = self.linear(value);
        let (atoms, sum) = (linear.atoms.to_vec(), linear.constant.wrapping_add(constant));
        self.intern(atoms, sum)
    }

    /// The sum; `None` if it is not known or has too many summands.
    pub fn sum(&mut self, a: Value, b: Value) -> Option<Value> {
        if a == UNKNOWN || b == UNKNOWN {
            return None;
        }
        let (a, b) = (self.linear(a), self.linear(b));
        let mut atoms = a.atoms.to_vec();
        atoms.extend_from_slice(&b.atoms);
        atoms.sort_unstable();
        let constant = a.constant.wrapping_add(b.constant);
        (atoms.len() <= MAX_ATOMS).then(|| self.intern(atoms, constant))
    }

    /// The difference; `None` if it is not a sum.
    pub fn difference(&mut self, a: Value, b: Value) -> Option<Value> {
        if a == UNKNOWN || b == UNKNOWN {
            return None;
        }
        let (a, b) = (self.linear(a), self.linear(b));
        let mut atoms = a.atoms.to_vec();
        for atom in b.atoms.iter() {
            let at = atoms.iter().position(|found| found == atom)?;
            atoms.remove(at);
        }
        let constant = a.constant.wrapping_sub(b.constant);
        Some(self.intern(atoms, constant))
    }

    /// How far `to` lies after `from`, if only a constant lies between.
    pub fn distance(&self, from: Value, to: Value) -> Option<i64> {
        if from == UNKNOWN || to == UNKNOWN {
            return None;
        }
        let (from, to) = (self.linear(from), self.linear(to));
        (from.atoms == to.atoms).then(|| to.constant.wrapping_sub(from.constant) as i64)
    }

    fn intern(&mut self, atoms: Vec<Atom>, constant: u64) -> Value {
        let atoms: Rc<[Atom]> = atoms.into();
        if let Some(&known) = self.by_content.get(&(Rc::clone(&atoms), constant)) {
            return known;
        }
        let (mut depth, mut has_load, mut made_at) = (0, false, Vec::new());
        for atom in atoms.iter() {
            match *atom {
                Atom::Load(address) => {
                    let inner = self.linear(address);
                    depth = depth.max(inner.depth + 1);
                    has_load = true;
                    made_at.extend_from_slice(&inner.made_at);
                }
                Atom::Fresh(at, _) => made_at.push(at),
                _ => {}
            }
        }
        made_at.sort_unstable();
        made_at.dedup();
        let value = Value(self.all.len() as u32);
        let made_at = made_at.into();
        self.all.push(Linear { atoms: Rc::clone(&atoms), constant, depth, made_at, has_load });
        self.by_content.insert((atoms, constant), value);
        value
    }
}
