//! A field that the new version loads again.
//!
//! What a field of the receiver was found to hold stays true until something is done that
//! might touch it. Taking a lock is not such a thing, for one thread. So a load of the
//! field in the new version gives what the old version has in the register, and a branch
//! that asks whether it is null is decided. To several threads the load gives more, which
//! the interleavings say.

use super::fact::{Fact, Found};
use super::{Key, Lockstep};
use crate::arm64::semantics::{Data, Node, Operation, Register, Term};
use crate::proof::rewrite::Permission;
use crate::proof::rewrite::origin::receivers_field;

impl Lockstep<'_> {
    /// Takes down what a load of both versions found in a field of the receiver and left in
    /// a register.
    pub(super) fn field_found(&self, fact: &mut Fact, before: &Fact, loaded: (Register, Term)) {
        let (register, term) = loaded;
        let Some(field) = self.loaded_field(before, term) else { return };
        let terms = &self.transfer.terms;
        let first = matches!(terms.node(term), Node::Memory(history, ..)
            if history == terms.beginning());
        let undisturbed = first && fact.same_in_both(register);
        fact.held.insert(field, Found { value: fact.point.get(register), undisturbed });
    }

    /// Forgets the fields that something done to an address may overlap.
    pub(super) fn keep_held(&self, fact: &mut Fact, before: &Fact, address: Term, bytes: u8) {
        let mut held = std::mem::take(&mut fact.held);
        held.retain(|field, _| self.apart(before, *field, address, bytes));
        fact.held = held;
    }

    /// Executes a load that only the new version has, of a field whose content the old
    /// version has in the same register.
    pub(super) fn reads_again(&mut self, key: &Key, fact: &mut Fact, new: &Operation) -> bool {
        let Operation::Access { load: true, register: Data::General(Some(to)), .. } = *new else {
            return false;
        };
        let point = fact.new_point();
        let executed = self.transfer.execute(key.new, new, &point);
        let [(address, 8)] = executed.state.faults[..] else { return false };
        let alone = self.written(&executed.state).iter().all(|(register, _)| *register == to);
        let field = receivers_field(&point, &self.transfer.terms, address);
        let Some(field) = field.filter(|field| alone && !key.pending.contains(field)) else {
            return false;
        };
        let same = |found: &&Found| found.undisturbed && found.value == fact.point.get(to);
        if fact.held.get(&field).filter(same).is_none() {
            return false;
        }
        fact.set_same(to);
        self.permissions.insert(Permission::ReadsAgain);
        true
    }

    /// Whether a branch that only the new version has is never taken: it asks for null
    /// where there is none.
    pub(super) fn is_not_taken(&self, key: &Key, fact: &Fact, new: &Operation) -> bool {
        let Operation::BranchOnZero { wide: true, register: Some(register), zero, .. } = *new
        else {
            return false;
        };
        let value = fact.own(register);
        let known = value.and_then(|value| fact.point.is_zero(value));
        self.is_added(key.new) && zero && known == Some(false)
    }
}
