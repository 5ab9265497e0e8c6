//! What one version executes and the other does not: an earlier or a later clear, half of
//! a store, instructions that fill registers, and calls of code of the rewrite's own.

use super::calls::MAX_DEPTH;
use super::fact::Fact;
use super::step::{MAX_ALONE, Side};
use super::{Key, Lockstep, Outcome};
use crate::address::VmAddr;
use crate::arm64::semantics::{Address, Data, Event, Footprint, Operation, Register, RegisterSet};
use crate::proof::rewrite::Permission;
use crate::proof::rewrite::helpers;
use crate::proof::rewrite::origin::receivers_field;
use crate::proof::transfer::Executed;
use crate::proof::values::{Atom, Point, Value};

impl Lockstep<'_> {
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

    pub(super) fn writes_nothing(&self, state: &crate::arm64::semantics::State) -> bool {
        let initial = &self.transfer.initial;
        Register::all().all(|register| state.get(register) == initial.get(register))
    }

    /// Passes a clear that only one version has here.
    pub(super) fn clear_alone(
        &mut self,
        key: &mut Key,
        fact: &mut Fact,
        old: &Operation,
        new: &Operation,
    ) -> Outcome<bool> {
        if let Some(field) = self.cleared(key.old, old, &fact.point)
            && (key.pending.contains(&field) || key.null.contains(&field) || fact.finds_null(field))
        {
            if !key.pending.remove(&field) {
                self.permissions.insert(Permission::SkipsNullClear);
            } else if matches!(old, Operation::Access { ordered: true, .. }) {
                self.permissions.insert(Permission::ClearsWithoutRelease);
            }
            fact.point.memory.clear();
            fact.held.remove(&field);
            key.old = key.old.instruction(1);
            return Ok(true);
        }
        if self.exchanged_late(key, fact, old) {
            return Ok(true);
        }
        let point = fact.new_point();
        if let Some(field) = self.cleared(key.new, new, &point)
            && !key.pending.contains(&field)
        {
            if !fact.finds_null(field) {
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
            } else {
                key.null.insert(field);
            }
            key.new = key.new.instruction(1);
            return Ok(true);
        }
        Ok(false)
    }

    /// Where the old version stores two registers and the new one only one of them, because
    /// the other half is a clear that was made before: the store of that one.
    pub(super) fn half_cleared(
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
    pub(super) fn alone(
        &mut self,
        key: &mut Key,
        fact: &mut Fact,
        old: &Operation,
        new: &Operation,
    ) -> bool {
        if let Operation::Call { target } = *new
            && self.is_added(target)
        {
            let back = Value::constant(key.new.instruction(1).0);
            fact.set_own(Register::LR, Some(back));
            key.new = target;
            return true;
        }
        if self.reads_again(key, fact, new) || self.is_not_taken(key, fact, new) {
            key.new = key.new.instruction(1);
            return true;
        }
        if self.reads_kept(key, fact, old) {
            self.fill_old(key.old, old, fact);
            key.old = key.old.instruction(1);
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

    /// Whether the old version loads a field that the new one has cleared and whose block
    /// it has in the same register already. The two then agree as soon as they can.
    fn reads_kept(&mut self, key: &Key, fact: &Fact, old: &Operation) -> bool {
        if !matches!(old, Operation::Access { load: true, register: Data::General(_), .. }) {
            return false;
        }
        let Executed { state, .. } = self.transfer.execute(key.old, old, &fact.point);
        let [(to, term)] = self.written(&state)[..] else { return false };
        let field = self.loaded_field(fact, term).filter(|field| key.pending.contains(field));
        field.is_some_and(|field| fact.held.get(&field).map(|found| found.value) == fact.own(to))
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
        const KEPT: RegisterSet = RegisterSet::new(0xfff8_0000, 0xff00);
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
                inside.held.remove(&field);
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
            // What is in the field was loaded before, and the new version may have kept it.
            let held = self.loaded_field(&before, term).and_then(|field| before.held.get(&field));
            match held {
                Some(held) if before.own(register) == Some(held.value) => {
                    fact.point.set(register, held.value);
                    fact.set_same(register);
                    self.permissions.insert(Permission::ReadsOnce);
                }
                _ => fact.set_own(register, before.own(register)),
            }
        }
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
