//! From one pair of instructions to the next: which of the two versions goes on.

use super::calls::MAX_DEPTH;
use super::fact::Fact;
use super::{Broken, Key, Lockstep, Outcome, Piece};
use crate::address::VmAddr;
use crate::arm64::semantics::{
    Address, Data, Event, Footprint, Next, Operation, Places, Register, Term, decode,
};
use crate::proof::function::Function;
use crate::proof::obligation::Name;
use crate::proof::rewrite::Permission;
use crate::proof::rewrite::helpers;
use crate::proof::rewrite::origin::receivers_field;
use crate::proof::transfer::Executed;
use crate::proof::values::{Atom, Point, Value};

/// How many instructions one version may go on alone.
const MAX_ALONE: usize = 64;

/// Which version.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Old,
    New,
}

impl Lockstep<'_> {
    /// What follows a pair. Instructions that only one version has are passed first.
    pub(super) fn step(&mut self, mut key: Key, mut fact: Fact) -> Outcome<Vec<(Key, Fact)>> {
        for _ in 0..MAX_ALONE {
            fact.arrive(key.old, &mut self.known);
            key.forget_answers(&fact);
            let old = self.operation(Side::Old, key.old)?;
            let new = self.operation(Side::New, key.new)?;
            if self.without_effect(&mut key, &old, &new) {
                continue;
            }
            if self.is_pair(&key, &fact, &old, &new) {
                // The same words may clear two fields, where a register differs.
                let same = Footprint::of(&old).reads.common(fact.differ).is_empty();
                if same || !self.clear_alone(&mut key, &mut fact, &old, &new)? {
                    return self.pair(key, fact, &old, &new);
                }
                continue;
            }
            if let Some(kept) = self.half_cleared(&mut key, &fact, &old, &new) {
                return self.pair(key, fact, &kept, &new);
            }
            if !self.clear_alone(&mut key, &mut fact, &old, &new)?
                && !self.alone(&mut key, &mut fact, &old, &new)
            {
                let (old, new) = (key.old, key.new);
                let detail = format!("{new} does not do what {old} did");
                return Err(Broken::new(name_of(self.operation(Side::Old, old)?), new, detail));
            }
        }
        let detail = "one version goes on for too long without the other";
        Err(Broken::new(Name::SameExits, key.new, detail))
    }

    /// The code that an address belongs to.
    fn code(&self, side: Side, at: VmAddr) -> Function<'_> {
        let own = match side {
            Side::Old => self.before,
            Side::New => self.after,
        };
        let added = match side {
            Side::Old => &[],
            Side::New => self.rewrite.added,
        };
        let pieces = added.iter().chain(&self.helpers);
        let pieces = pieces.map(|piece| Function { entry: piece.at, words: &piece.words });
        pieces.into_iter().find(|piece| piece.range().contains(&at)).unwrap_or(own)
    }

    fn operation(&self, side: Side, at: VmAddr) -> Outcome<Operation> {
        let operation = self.code(side, at).word(at).and_then(|word| decode(word, at));
        operation.ok_or_else(|| {
            Broken::new(Name::FunctionUnderstood, at, format!("{at} is not understood"))
        })
    }

    pub(super) fn is_added(&self, at: VmAddr) -> bool {
        let pieces = self.rewrite.added.iter();
        pieces.map(|p| Function { entry: p.at, words: &p.words }).any(|p| p.range().contains(&at))
    }

    /// Whether a branch from `at` stays in the code it stands in, or leads to code of the
    /// rewrite's own.
    fn stays(&self, side: Side, at: VmAddr, target: VmAddr) -> bool {
        let added = self.is_added(target) && side == Side::New;
        let back = self.is_added(at) && self.after.range().contains(&target);
        added || back || self.code(side, at).range().contains(&target) && !self.is_added(at)
    }

    /// Passes `nop` and branches, in both versions if both have one.
    fn without_effect(&self, key: &mut Key, old: &Operation, new: &Operation) -> bool {
        let next = |side, at: VmAddr, operation: &Operation| match *operation {
            Operation::Nothing => Some(at.instruction(1)),
            Operation::Branch { target } if self.stays(side, at, target) => Some(target),
            _ => None,
        };
        let (a, b) = (next(Side::Old, key.old, old), next(Side::New, key.new, new));
        (key.old, key.new) = (a.unwrap_or(key.old), b.unwrap_or(key.new));
        a.is_some() || b.is_some()
    }

    /// Whether the two instructions are one and the same, but for where they are and
    /// where branches lead.
    fn is_pair(&self, key: &Key, fact: &Fact, old: &Operation, new: &Operation) -> bool {
        match (*old, *new) {
            (
                Operation::BranchIf { condition: a, .. },
                Operation::BranchIf { condition: b, .. },
            ) => a == b,
            (
                Operation::BranchOnZero { wide: a, register: b, zero: c, .. },
                Operation::BranchOnZero { wide: d, register: e, zero: f, .. },
            ) => (a, b, c) == (d, e, f),
            (
                Operation::BranchOnBit { register: a, bit: b, set: c, .. },
                Operation::BranchOnBit { register: d, bit: e, set: f, .. },
            ) => (a, b, c) == (d, e, f),
            // A call through code of the rewrite's own, which ends in a branch.
            (Operation::Call { target: a }, Operation::Branch { target: b }) => {
                a == b && self.is_added(key.new) && self.returns_to(fact).is_some()
            }
            (old, new) => old == new,
        }
    }

    /// Where the new version's link register leads, in code of the rewrite's own.
    pub(super) fn returns_to(&self, fact: &Fact) -> Option<VmAddr> {
        fact.own(Register::LR).and_then(|value| value.as_constant()).map(VmAddr)
    }

    /// The receiver's field that an instruction clears, if it does that and nothing else.
    fn cleared(&mut self, at: VmAddr, operation: &Operation, point: &Point) -> Option<Value> {
        let Operation::Access { load: false, register: Data::General(_), .. } = operation else {
            return None;
        };
        let Executed { state, .. } = self.transfer.execute(at, operation, point);
        let terms = &self.transfer.terms;
        let (mut start, event) = terms.last_event(state.history)?;
        let Event::Store { address, bytes: 8, value } = event else { return None };
        let null = point.value(terms, *value).and_then(|value| value.as_constant()) == Some(0);
        if let Some((earlier, Event::Barrier)) = terms.last_event(start) {
            start = earlier;
        }
        let alone = start == terms.beginning() && self.writes_nothing(&state);
        (null && alone).then(|| receivers_field(point, terms, *address)).flatten()
    }

    fn writes_nothing(&self, state: &crate::arm64::semantics::State) -> bool {
        let initial = &self.transfer.initial;
        Register::all().all(|register| state.get(register) == initial.get(register))
    }

    /// Passes a clear that only one version has here.
    fn clear_alone(
        &mut self,
        key: &mut Key,
        fact: &mut Fact,
        old: &Operation,
        new: &Operation,
    ) -> Outcome<bool> {
        let is_null = |fact: &Fact, field| {
            fact.point.loaded(field).and_then(|block| fact.point.is_zero(block)) == Some(true)
        };
        if let Some(field) = self.cleared(key.old, old, &fact.point)
            && (key.pending.contains(&field) || is_null(fact, field))
        {
            if !key.pending.remove(&field) {
                self.permissions.insert(Permission::SkipsNullClear);
            } else if matches!(old, Operation::Access { ordered: true, .. }) {
                self.permissions.insert(Permission::ClearsWithoutRelease);
            }
            fact.point.memory.clear();
            key.old = key.old.instruction(1);
            return Ok(true);
        }
        let point = fact.new_point();
        if let Some(field) = self.cleared(key.new, new, &point)
            && !key.pending.contains(&field)
        {
            if !is_null(fact, field) {
                if self.comes_soon(key.old, new) {
                    // It is none that was moved.
                    return Ok(false);
                }
                if key.late.contains(&field) {
                    self.cleared_late.insert(field, key.new);
                }
                if field.atoms().any(|atom| matches!(atom, Atom::Captured(_))) {
                    self.permissions.insert(Permission::TakesCapturesAsConstant);
                }
                key.pending.insert(field);
                key.cleared.insert(field);
                self.moved.insert(field);
                self.permissions.insert(Permission::ClearsEarlier);
            }
            key.new = key.new.instruction(1);
            return Ok(true);
        }
        Ok(false)
    }

    /// Where the old version stores two registers and the new one only one of them, because
    /// the other half is a clear that was made before: the store of that one.
    fn half_cleared(
        &mut self,
        key: &mut Key,
        fact: &Fact,
        old: &Operation,
        new: &Operation,
    ) -> Option<Operation> {
        let Operation::AccessPair { load: false, registers, size, address } = *old else {
            return None;
        };
        let Address::Offset(base, offset) = address else { return None };
        let half = |register, offset| Operation::Access {
            load: false,
            register,
            size,
            address: Address::Offset(base, offset),
            ordered: false,
        };
        let (first, second) = (half(registers.0, offset), half(registers.1, offset + 8));
        for (cleared, kept) in [(first, second), (second, first)] {
            if kept == *new
                && let Some(field) = self.cleared(key.old, &cleared, &fact.point)
                && key.pending.remove(&field)
            {
                return Some(kept);
            }
        }
        None
    }

    /// Whether the old version comes to an instruction after some that fill registers.
    fn comes_soon(&self, old: VmAddr, wanted: &Operation) -> bool {
        const SOON: usize = 6;
        let next = (1..=SOON).map(|index| self.operation(Side::Old, old.instruction(index)));
        let fills = |operation: &Operation| {
            operation == &Operation::Nothing || may_fill_registers(operation)
        };
        self.operation(Side::Old, old).is_ok_and(|operation| fills(&operation))
            && next
                .map_while(std::result::Result::ok)
                .find(|operation| operation == wanted || !fills(operation))
                .is_some_and(|operation| operation == *wanted)
    }

    /// Passes an instruction that only one version has and that only fills registers, or
    /// the call of code of the rewrite's own.
    fn alone(&mut self, key: &mut Key, fact: &mut Fact, old: &Operation, new: &Operation) -> bool {
        if let Operation::Call { target } = *new
            && self.is_added(target)
        {
            let back = Value::constant(key.new.instruction(1).0);
            fact.set_own(Register::LR, Some(back));
            key.new = target;
            return true;
        }
        let point = fact.new_point();
        if self.fills_registers(key.new, new, &point, Side::New) {
            self.fill_new(key.new, new, fact);
            key.new = key.new.instruction(1);
            return true;
        }
        if self.fills_registers(key.old, old, &fact.point.clone(), Side::Old) {
            self.fill_old(key.old, old, fact);
            key.old = key.old.instruction(1);
            return true;
        }
        self.enters_alone(key, fact, old)
    }

    /// Lets the old version go into a function of the image: where the new one is in a
    /// copy of it, or has no such call because the function only clears.
    fn enters_alone(&mut self, key: &mut Key, fact: &mut Fact, old: &Operation) -> bool {
        let copied = self.is_added(key.new);
        match *old {
            Operation::Branch { target } if self.helper(target, helpers::MAX_WORDS) => {
                let follows = copied || !key.pending.is_empty();
                key.old = if follows { target } else { key.old };
                follows
            }
            Operation::Call { target } if self.helper(target, helpers::MAX_WORDS) => {
                let back = key.old.instruction(1);
                let new_back = match (copied, self.returns_to(fact)) {
                    (true, Some(at)) => at,
                    (false, _) if !key.pending.is_empty() => {
                        return self.clears_in_call(key, fact, target);
                    }
                    _ => return false,
                };
                fact.point.set(Register::LR, Value::constant(back.0));
                fact.set_own(Register::LR, Some(Value::constant(new_back.0)));
                key.calls.push((back, new_back));
                key.old = target;
                key.calls.len() <= MAX_DEPTH
            }
            _ => false,
        }
    }

    /// Passes a call that only the old version makes, of a function that clears fields
    /// which the new version has cleared, fills registers that callers do not keep, and
    /// does nothing else.
    fn clears_in_call(&mut self, key: &mut Key, fact: &mut Fact, target: VmAddr) -> bool {
        const KEPT: Places = Places::new(0xfff8_0000, 0xff00);
        let back = key.old.instruction(1);
        let mut inside = fact.clone();
        let mut pending = key.pending.clone();
        inside.point.set(Register::LR, Value::constant(back.0));
        inside.set_own(Register::LR, fact.own(Register::LR));
        let mut at = target;
        for _ in 0..MAX_ALONE {
            inside.arrive(at, &mut self.known);
            let Ok(operation) = self.operation(Side::Old, at) else { return false };
            if let Some(field) = self.cleared(at, &operation, &inside.point) {
                if !pending.remove(&field) {
                    return false;
                }
                inside.point.memory.clear();
            } else if self.fills_registers(at, &operation, &inside.point.clone(), Side::Old) {
                if !Footprint::of(&operation).writes.common(KEPT).is_empty() {
                    return false;
                }
                self.fill_old(at, &operation, &mut inside);
            } else if matches!(operation, Operation::Return { register: Some(Register::LR), .. }) {
                (key.pending, key.old, *fact) = (pending, back, inside);
                return true;
            } else if operation != Operation::Nothing {
                return false;
            }
            at = at.instruction(1);
        }
        false
    }

    /// Whether an instruction has no effect but on general registers. Memory may be read
    /// by the new version where that cannot fault and gives what the old one would find.
    fn fills_registers(
        &mut self,
        at: VmAddr,
        operation: &Operation,
        point: &Point,
        side: Side,
    ) -> bool {
        if !may_fill_registers(operation) || Footprint::of(operation).writes.has(Register::SP) {
            return false;
        }
        let Executed { state, .. } = self.transfer.execute(at, operation, point);
        let terms = &self.transfer.terms;
        state.faults.iter().all(|&(address, bytes)| {
            let value = point.value(terms, address);
            let offset_of_field = bytes == 4 && value.is_some_and(|v| v.as_constant().is_some());
            let in_frame = value.and_then(super::fact::frame_offset).is_some();
            let captured = bytes == 8 && value.is_some_and(|value| point.is_captured(value));
            side == Side::Old || offset_of_field || in_frame || captured
        })
    }

    fn fill_new(&mut self, at: VmAddr, operation: &Operation, fact: &mut Fact) {
        let point = fact.new_point();
        let Executed { state, .. } = self.transfer.execute(at, operation, &point);
        for (register, term) in self.written(&state) {
            let terms = &self.transfer.terms;
            let value = match fact.loaded_slot(terms, term) {
                Some(slot) => slot.own.unwrap_or(slot.value),
                None => point.value(terms, term),
            };
            // What the new version loads or makes has no name in the old one.
            let value = value.filter(|value| !has_made_up_name(value));
            fact.set_own(register, value);
        }
    }

    fn fill_old(&mut self, at: VmAddr, operation: &Operation, fact: &mut Fact) {
        let before = fact.clone();
        let Executed { state, point, .. } = self.transfer.execute(at, operation, &before.point);
        fact.point = point;
        for (register, term) in self.written(&state) {
            self.name(at, register, &before, fact, term);
            fact.set_own(register, before.own(register));
        }
    }

    /// The registers that an instruction writes, and what.
    pub(super) fn written(&self, state: &crate::arm64::semantics::State) -> Vec<(Register, Term)> {
        let initial = &self.transfer.initial;
        Register::all()
            .filter(|&register| state.get(register) != initial.get(register))
            .map(|register| (register, state.get(register)))
            .collect()
    }

    /// Gives what the old version left in a register its name, and takes down where it
    /// comes from. What was put into the frame comes out of it again.
    pub(super) fn name(
        &mut self,
        at: VmAddr,
        register: Register,
        before: &Fact,
        fact: &mut Fact,
        term: Term,
    ) {
        let terms = &self.transfer.terms;
        if let Some(Some(value)) = before.loaded_slot(terms, term).map(|slot| slot.value) {
            fact.point.set(register, value);
            return;
        }
        let atom = Atom::Made(at, register);
        if fact.point.get(register) == Value::atom(atom) {
            self.known.made(atom, &before.point, terms, term);
        }
    }

    /// Whether a function of this image can be followed: one of at most so many words,
    /// each of which is understood.
    pub(super) fn helper(&mut self, target: VmAddr, longest: usize) -> bool {
        if let Some(known) = self.helpers.iter().find(|helper| helper.at == target) {
            return known.words.len() <= longest;
        }
        let Some(words) = helpers::function_at(self.rewrite, target) else { return false };
        let mut placed = words.iter().enumerate();
        let understood =
            placed.all(|(index, &word)| decode(word, target.instruction(index)).is_some());
        let follow = understood && words.len() <= longest && target != self.rewrite.entry;
        if follow {
            self.helpers.push(Piece { at: target, words });
        }
        follow
    }

    /// Whether control goes on by a term: the two targets of a branch.
    pub(super) fn targets(&self, old: Next, new: Next) -> Option<(VmAddr, VmAddr)> {
        let target = |next| match next {
            Next::Either(_, target) | Next::Go(target) => {
                self.transfer.terms.as_constant(target).map(VmAddr)
            }
            _ => None,
        };
        Some((target(old)?, target(new)?))
    }
}

/// Whether an instruction only writes general registers, as one that makes an address.
fn may_fill_registers(operation: &Operation) -> bool {
    matches!(
        operation,
        Operation::Address { .. }
            | Operation::MoveWide { .. }
            | Operation::AddSubtract { flags: false, .. }
            | Operation::Logical { flags: false, .. }
            | Operation::Access { load: true, register: Data::General(_), ordered: false, .. }
            | Operation::LoadLiteral { to: Data::General(_), .. }
    )
}

/// Whether a value is an unknown of the new version alone.
fn has_made_up_name(value: &Value) -> bool {
    value.atoms().any(|atom| matches!(atom, Atom::Joined(VmAddr(u64::MAX), _)))
}

/// The obligation that an instruction without its like fails.
fn name_of(operation: Operation) -> Name {
    match operation {
        Operation::Call { .. } | Operation::CallRegister { .. } => Name::SameCalls,
        Operation::Access { load: false, .. } | Operation::AccessPair { load: false, .. } => {
            Name::SameStores
        }
        Operation::Access { .. } | Operation::AccessPair { .. } => Name::SameLoads,
        _ => Name::SameExits,
    }
}
