//! What the registers hold at each instruction of a function, where every way
//! to it agrees.
//!
//! A forward analysis over the whole function. A value is a sum of a number and
//! of at most three unknowns, each with a name that says where it came from: an
//! argument of the function, the offset of an instance variable, what one
//! instruction made, or what a register held when control came to an address by
//! ways that disagree. Two values with the same names are equal. A name stands
//! for the last execution of its instruction only: when control comes there
//! again, everything that still mentions it is renamed after that place.
//!
//! Beside the registers two kinds of facts are kept: what a load found in memory,
//! until the next store or call, and which values a branch has shown to be zero.
//! The window is not looked into, for it differs before and after the rewrite:
//! nothing is known where control leaves it.

use std::collections::BTreeMap;
use std::ops::Range;

use super::function::Function;
use super::jump_tables;
use super::site::Surroundings;
use super::transfer::{Executed, Transfer};
use crate::address::VmAddr;
use crate::arm64::semantics::{
    Address, Binary, Next, Node, Operation, Register, Size, State, Term, Terms, Unary, execute,
};
use crate::error::Result;

/// An unknown with a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Atom {
    /// What the register held when the function was entered.
    Argument(Register),
    /// The four bytes at a constant address. Such a load is how compiled code
    /// gets the offset of an instance variable, which does not change.
    Cell(VmAddr),
    /// The eight bytes at this distance from the first argument, in the code of a block:
    /// what the block captured.
    Captured(u64),
    /// What the instruction at this address left in the register.
    Made(VmAddr, Register),
    /// What the register held when control came to this address.
    Joined(VmAddr, Register),
}

impl Atom {
    /// Whether the atom is named after an instruction.
    fn is_named_after(self, address: VmAddr) -> bool {
        matches!(self, Atom::Made(at, _) | Atom::Joined(at, _) if at == address)
    }
}

/// How many unknowns a sum may have.
const MAX_ATOMS: usize = 3;

/// A sum of unknowns and a number, modulo 2^64.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Value {
    /// Sorted, the missing ones first.
    atoms: [Option<Atom>; MAX_ATOMS],
    /// The number.
    pub constant: u64,
}

impl Value {
    pub(super) const fn constant(constant: u64) -> Value {
        Value { atoms: [None; MAX_ATOMS], constant }
    }

    pub(super) const fn atom(atom: Atom) -> Value {
        Value { atoms: [None, None, Some(atom)], constant: 0 }
    }

    /// The unknowns of the sum.
    pub(super) fn atoms(&self) -> impl Iterator<Item = Atom> + '_ {
        self.atoms.iter().copied().flatten()
    }

    /// The one unknown the value is, if it is that and nothing more.
    pub(super) fn as_atom(&self) -> Option<Atom> {
        let mut atoms = self.atoms();
        match (atoms.next(), atoms.next()) {
            (Some(atom), None) if self.constant == 0 => Some(atom),
            _ => None,
        }
    }

    /// Whether the two differ by a known number.
    pub(super) fn is_offset_of(&self, other: Value) -> bool {
        self.atoms == other.atoms
    }

    /// The number the value is, if it is one.
    pub(super) fn as_constant(&self) -> Option<u64> {
        self.atoms().next().is_none().then_some(self.constant)
    }

    /// The sum, if it has not too many unknowns.
    pub(super) fn plus(self, other: Value) -> Option<Value> {
        let mut all: Vec<Atom> = self.atoms().chain(other.atoms()).collect();
        all.sort();
        let missing = MAX_ATOMS.checked_sub(all.len())?;
        let mut atoms = [None; MAX_ATOMS];
        for (place, atom) in atoms.iter_mut().skip(missing).zip(all) {
            *place = Some(atom);
        }
        Some(Value { atoms, constant: self.constant.wrapping_add(other.constant) })
    }

    pub(super) fn is_named_after(&self, address: VmAddr) -> bool {
        self.atoms().any(|atom| atom.is_named_after(address))
    }
}

/// What is known where control comes to an instruction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Point {
    registers: [Value; Register::COUNT],
    /// The value whose being zero the flag Z tells.
    pub(super) tested: Option<Value>,
    /// Eight bytes of memory: where, and what. Forgotten with a store or call.
    pub(super) memory: Vec<(Value, Value)>,
    /// Values known to be zero (`true`) or not.
    pub(super) zero: BTreeMap<Value, bool>,
    /// Whether the first argument is a block.
    captures: bool,
}

impl Point {
    /// The same, where the first argument is a block.
    pub(super) fn capturing(self, captures: bool) -> Point {
        Point { captures, ..self }
    }

    /// Whether an address is in a block, which the first argument is.
    pub(super) fn is_captured(&self, address: Value) -> bool {
        self.captures && address.atoms().eq([Atom::Argument(Register::new(0))])
    }

    /// The registers hold the function's arguments.
    pub(super) fn at_entry() -> Point {
        Point::named(Atom::Argument)
    }

    /// Nothing is known at `at`.
    pub(super) fn unknown(at: VmAddr) -> Point {
        Point::named(|register| Atom::Joined(at, register))
    }

    fn named(name: impl Fn(Register) -> Atom) -> Point {
        let registers = std::array::from_fn(|n| Value::atom(name(Register::new(n as u32))));
        Point {
            registers,
            tested: None,
            memory: Vec::new(),
            zero: BTreeMap::new(),
            captures: false,
        }
    }

    /// What a register holds.
    pub(super) fn get(&self, register: Register) -> Value {
        self.registers[register.index()]
    }

    pub(super) fn set(&mut self, register: Register, value: Value) {
        self.registers[register.index()] = value;
    }

    /// The eight bytes at `address`, if they were loaded and nothing was stored
    /// or called since.
    pub(super) fn loaded(&self, address: Value) -> Option<Value> {
        self.memory.iter().find(|(at, _)| *at == address).map(|&(_, value)| value)
    }

    /// Whether a value is zero, where that is known.
    pub(super) fn is_zero(&self, value: Value) -> Option<bool> {
        match value.as_constant() {
            Some(number) => Some(number == 0),
            None => self.zero.get(&value).copied(),
        }
    }

    /// The value of a term over the registers at this point.
    pub(super) fn value(&self, terms: &Terms, term: Term) -> Option<Value> {
        match terms.node(term) {
            Node::Constant(number) => Some(Value::constant(number)),
            Node::Register(register) => Some(self.get(register)),
            Node::Binary(Binary::Add, left, right) => {
                self.value(terms, left)?.plus(self.value(terms, right)?)
            }
            Node::Unary(Unary::SignExtend(32), inner) => {
                let cell = self.value(terms, inner)?;
                matches!(cell.as_atom(), Some(Atom::Cell(_))).then_some(cell)
            }
            Node::Memory(_, address, 4) => {
                let address = self.value(terms, address)?.as_constant()?;
                Some(Value::atom(Atom::Cell(VmAddr(address))))
            }
            Node::Memory(_, address, 8) => match self.value(terms, address)? {
                place if self.is_captured(place) => {
                    Some(Value::atom(Atom::Captured(place.constant)))
                }
                place => self.loaded(place),
            },
            _ => None,
        }
    }

    /// Control comes to `at`: what is still named after it is renamed.
    pub(super) fn arrive(&mut self, at: VmAddr) {
        for (number, value) in self.registers.iter_mut().enumerate() {
            if value.is_named_after(at) {
                *value = Value::atom(Atom::Joined(at, Register::new(number as u32)));
            }
        }
        self.tested = self.tested.filter(|value| !value.is_named_after(at));
        self.memory.retain(|(place, value)| !place.is_named_after(at) && !value.is_named_after(at));
        self.zero.retain(|value, _| !value.is_named_after(at));
    }

    /// Keeps what `other`, another way to `at`, agrees with. Whether anything was
    /// lost.
    pub(super) fn join(&mut self, at: VmAddr, other: &Point) -> bool {
        let before = self.clone();
        for (number, value) in self.registers.iter_mut().enumerate() {
            if *value != other.registers[number] {
                *value = Value::atom(Atom::Joined(at, Register::new(number as u32)));
            }
        }
        if self.tested != other.tested {
            self.tested = None;
        }
        self.memory.retain(|known| other.memory.contains(known));
        self.zero.retain(|value, zero| other.zero.get(value) == Some(zero));
        *self != before
    }
}

/// The values at every instruction that can be reached.
pub(super) struct Values<'a> {
    function: Function<'a>,
    surroundings: &'a dyn Surroundings,
    window: Range<VmAddr>,
    transfer: Transfer,
    points: BTreeMap<VmAddr, Point>,
}

impl<'a> Values<'a> {
    /// Follows the values through `function`. Control also comes in at `others`,
    /// with nothing known.
    pub(super) fn of(
        function: Function<'a>,
        surroundings: &'a dyn Surroundings,
        window: Range<VmAddr>,
        others: impl IntoIterator<Item = VmAddr>,
    ) -> Result<Values<'a>> {
        let (transfer, points) = (Transfer::new(), BTreeMap::new());
        let mut values = Values { function, surroundings, window, transfer, points };
        let mut open = Vec::new();
        values.flow(function.entry, Point::at_entry(), &mut open);
        for other in others {
            values.flow(other, Point::unknown(other), &mut open);
        }
        while let Some(at) = open.pop() {
            for (to, point) in values.step(at)? {
                values.flow(to, point, &mut open);
            }
        }
        Ok(values)
    }

    /// What is known before the instruction at `at`; nothing where no way leads.
    pub(super) fn before(&self, at: VmAddr) -> Option<&Point> {
        self.points.get(&at)
    }

    /// What is known where the branch at `from` has been taken to `to`.
    pub(super) fn on_the_way(&mut self, from: VmAddr, to: VmAddr) -> Result<Option<Point>> {
        if self.points.contains_key(&from) {
            let mut ways = self.step(from)?.into_iter().filter(|(target, _)| *target == to);
            // A branch to the next instruction is both its outcomes.
            if let (Some((_, point)), None) = (ways.next(), ways.next()) {
                return Ok(Some(point));
            }
        }
        Ok(None)
    }

    /// Where the instruction at `at` loads the eight bytes from that it leaves in
    /// `register`.
    pub(super) fn loaded_from(&self, at: VmAddr, register: Register) -> Result<Option<Value>> {
        let mut terms = Terms::new();
        let mut state = State::initial(&mut terms);
        execute(&mut terms, &mut state, &self.function.operation(at)?);
        let Some(point) = self.points.get(&at) else { return Ok(None) };
        Ok(match terms.node(state.get(register)) {
            Node::Memory(_, place, 8) => point.value(&terms, place),
            _ => None,
        })
    }

    /// Whether an unknown is a pointer that was loaded whole or that a call
    /// returned, so that it points to an object of its own. What is loaded from
    /// the function's frame may be anything that was put there.
    pub(super) fn is_object(&self, atom: Atom) -> bool {
        let Atom::Made(at, register) = atom else { return false };
        let in_frame = |base: Register| {
            let base = self.points.get(&at).map(|point| point.get(base));
            base.is_none_or(|base| base.atoms().any(|atom| atom == Atom::Argument(Register::SP)))
        };
        let loads = |size: Size, address: Address| {
            let (Address::Offset(base, _)
            | Address::Before(base, _)
            | Address::After(base, _)
            | Address::Indexed(base, ..)
            | Address::Authenticated(_, base, ..)) = address;
            size.bytes == 8 && !in_frame(base)
        };
        match self.function.operation(at) {
            Ok(Operation::Call { .. } | Operation::CallRegister { .. }) => {
                register == Register::new(0)
            }
            Ok(
                Operation::Access { load: true, size, address, .. }
                | Operation::AccessPair { load: true, size, address, .. },
            ) => loads(size, address),
            _ => false,
        }
    }

    /// Whether an unknown is not a pointer: it was loaded with fewer bytes than a
    /// pointer has, or is one of two numbers.
    pub(super) fn is_index(&self, atom: Atom) -> bool {
        let Atom::Made(at, _) = atom else { return false };
        let number = |field: Option<Register>| match (field, self.points.get(&at)) {
            (Some(register), Some(point)) => point.get(register).as_constant().is_some(),
            (None, _) => true,
            _ => false,
        };
        match self.function.operation(at) {
            Ok(Operation::Access { load: true, size, .. }) => size.bytes < 8,
            Ok(Operation::Select { then, otherwise, .. }) => number(then) && number(otherwise),
            _ => false,
        }
    }

    fn flow(&mut self, to: VmAddr, mut point: Point, open: &mut Vec<VmAddr>) {
        if !self.function.range().contains(&to) {
            return;
        }
        point.arrive(to);
        let changed = match self.points.get_mut(&to) {
            Some(known) => known.join(to, &point),
            None => {
                self.points.insert(to, point);
                true
            }
        };
        if changed && !open.contains(&to) {
            open.push(to);
        }
    }

    /// Executes the instruction at `at`: where control goes on, and with what.
    fn step(&mut self, at: VmAddr) -> Result<Vec<(VmAddr, Point)>> {
        let operation = self.function.operation(at)?;
        let before = match self.points.get(&at) {
            Some(point) if !self.window.contains(&at) => point.clone(),
            _ => Point::unknown(at),
        };
        let Executed { next, mut point, .. } = self.transfer.execute(at, &operation, &before);
        let following = at.instruction(1);
        let constant = |transfer: &Transfer, target| transfer.terms.as_constant(target).map(VmAddr);
        Ok(match next {
            Next::Fall => vec![(following, point)],
            Next::Call(_) => {
                Transfer::called(at, &mut point);
                vec![(following, point)]
            }
            Next::Either(test, target) => {
                let way = |taken| self.transfer.on_branch(&before, &point, test, taken);
                let taken = constant(&self.transfer, target).map(|target| (target, way(true)));
                taken.into_iter().chain([(following, way(false))]).collect()
            }
            Next::Go(target) => match constant(&self.transfer, target) {
                Some(target) => vec![(target, point)],
                None => jump_tables::targets(self.function, self.surroundings, at)?
                    .into_iter()
                    .map(|target| (target, point.clone()))
                    .collect(),
            },
            Next::Return(_) | Next::Trap => Vec::new(),
        })
    }
}
