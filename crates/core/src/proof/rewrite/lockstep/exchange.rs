//! A load of a field in the old version, where the new one exchanges the field with null.
//!
//! To one thread that is the load and an earlier clear: the register holds the same, and
//! the clear is pending until the old version makes it. To several threads it is more,
//! which the interleavings say.
//!
//! An exchange in the old version that only clears the field goes like any late clear. It
//! leaves a register with another value than the new version has there.

use super::fact::Fact;
use super::{Key, Lockstep};
use crate::arm64::semantics::{Atomic, Data, Operation};
use crate::proof::rewrite::Permission;
use crate::proof::rewrite::origin::{is_receivers, receivers_field};
use crate::proof::values::{Atom, Value};

impl Lockstep<'_> {
    /// Passes such a pair.
    pub(super) fn taken(
        &mut self,
        key: &mut Key,
        fact: &mut Fact,
        old: &Operation,
        new: &Operation,
    ) -> bool {
        let (
            Operation::Access {
                load: true, register: Data::General(Some(to)), ordered: false, ..
            },
            Operation::Atomic { bytes: 8, to: taken, operand: None, base, operation },
        ) = (old, new)
        else {
            return false;
        };
        let executed = self.transfer.execute(key.old, old, &fact.point);
        let [(address, 8)] = executed.state.faults[..] else { return false };
        let Some(field) = receivers_field(&fact.point, &self.transfer.terms, address) else {
            return false;
        };
        let same = *taken == Some(*to)
            && *operation == Atomic::Swap
            && fact.new_point().get(*base) == field;
        let apart = |&other: &Value| self.apart(fact, other, address, 8);
        // The load's own base stays as it is: a load that writes back is none.
        let written = self.written(&executed.state);
        let alone = written.iter().all(|(register, _)| register == to);
        if !same || !alone || !key.pending.iter().all(apart) {
            return false;
        }
        // What is loaded now is another block than one that was given back before.
        for fields in [&mut key.given, &mut key.late, &mut key.away] {
            fields.remove(&field);
        }
        let before = fact.clone();
        fact.point = executed.point;
        for (register, term) in written {
            self.name(key.old, register, &before, fact, term);
            fact.set_same(register);
        }
        fact.compare(old, &before);
        fact.held.remove(&field);
        key.pending.insert(field);
        key.cleared.insert(field);
        self.moved.insert(field);
        self.permissions.extend([Permission::ClearsEarlier, Permission::TakesByExchange]);
        (key.old, key.new) = (key.old.instruction(1), key.new.instruction(1));
        true
    }

    /// Passes an exchange with null that only the old version has, of a field that the new
    /// one has cleared.
    pub(super) fn exchanged_late(
        &mut self,
        key: &mut Key,
        fact: &mut Fact,
        old: &Operation,
    ) -> bool {
        let Operation::Atomic { bytes: 8, to, operand: None, base, operation: Atomic::Swap } = *old
        else {
            return false;
        };
        let field = fact.point.get(base);
        if !is_receivers(&field) || !key.pending.remove(&field) {
            return false;
        }
        if let Some(to) = to {
            // The new version still has there what it had.
            let kept = fact.own(to);
            let found = Atom::Made(key.old, to);
            self.known.left_by_call(found, false);
            fact.point.set(to, Value::atom(found));
            fact.set_own(to, kept);
        }
        self.permissions.insert(Permission::ClearsWithoutRelease);
        fact.point.memory.clear();
        fact.held.remove(&field);
        key.old = key.old.instruction(1);
        true
    }
}
