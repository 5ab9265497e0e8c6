//! One instruction that both versions execute.

use super::calls::ARGUMENTS;
use super::fact::{Fact, Slot};
use super::{Broken, Key, Lockstep, Outcome};
use crate::arm64::semantics::{
    Event, Footprint, Next, Node, Operation, Register, RegisterSet, State, Term, Test,
};
use crate::proof::obligation::Name;
use crate::proof::rewrite::origin::{is_apart, is_receivers, receivers_field};
use crate::proof::transfer::Executed;
use crate::proof::values::{Atom, Value};

impl Lockstep<'_> {
    /// Executes the pair; what follows it.
    pub(super) fn pair(
        &mut self,
        key: Key,
        mut fact: Fact,
        old: &Operation,
        new: &Operation,
    ) -> Outcome<Vec<(Key, Fact)>> {
        let before = fact.clone();
        let executed = self.transfer.execute(key.old, old, &before.point);
        let other = self.transfer.execute(key.new, new, &before.point);
        let reads = Footprint::of(old).reads;
        let following = |key: &Key| Key {
            old: key.old.instruction(1),
            new: key.new.instruction(1),
            ..key.clone()
        };
        match executed.next {
            Next::Fall => {
                let mut key = key;
                self.effects(&mut key, &mut fact, &before, old, &executed)?;
                fact.compare(old, &before);
                let Some(selected) = self.selected(&key, &before, old) else {
                    return Ok(vec![(following(&key), fact)]);
                };
                let way = |(key, to, value)| {
                    let mut fact = fact.clone();
                    fact.point.set(to, value);
                    (following(&key), fact)
                };
                Ok(selected.into_iter().map(way).collect())
            }
            Next::Trap => Ok(Vec::new()),
            Next::Either(test, _) => {
                self.same(&before, reads, Name::WindowDecided, &key)?;
                let (to_old, to_new) =
                    self.targets(executed.next, other.next).ok_or_else(|| {
                        Broken::new(Name::SameExits, key.old, "the target of a branch is not known")
                    })?;
                let ways = self.told_apart(&key, &before, old).into_iter();
                let way = |(key, taken)| match taken {
                    true => (Key { old: to_old, new: to_new, ..key }, true),
                    false => (following(&key), false),
                };
                Ok(self.ways(&before, &executed, test, ways.map(way)))
            }
            Next::Call(target) => {
                self.same(&before, reads.without(ARGUMENTS), Name::SameCalls, &key)?;
                let role = self.role(&before, target);
                if self.is_added(key.new) && !matches!(new, Operation::Branch { .. }) {
                    let detail =
                        "code in padding has no entry in the unwind tables and makes a call";
                    return Err(Broken::new(Name::SameExits, key.new, detail));
                }
                let back = match new {
                    Operation::Branch { .. } => self.returns_to(&before),
                    _ => Some(key.new.instruction(1)),
                };
                let back = back.unwrap_or(key.new);
                self.call(&key, fact, role, (key.old.instruction(1), back))
            }
            Next::Return(_) => self.go_back(key, fact, old),
            Next::Go(target) => self.go(key, fact, target),
        }
    }

    /// Registers that hold the same in both versions, or an obligation fails.
    pub(super) fn same(
        &self,
        fact: &Fact,
        places: RegisterSet,
        name: Name,
        key: &Key,
    ) -> Outcome<()> {
        let differ = places.common(fact.differ);
        match differ.is_empty() {
            true => Ok(()),
            false => {
                let detail = format!("{} uses {differ}, which the rewrite changes", key.new);
                Err(Broken::new(name, key.new, detail))
            }
        }
    }

    fn ways(
        &self,
        before: &Fact,
        executed: &Executed,
        test: Test,
        ways: impl Iterator<Item = (Key, bool)>,
    ) -> Vec<(Key, Fact)> {
        let possible = |taken: bool| match test {
            Test::Zero(term, zero) => {
                let value = before.point.value(&self.transfer.terms, term);
                value.and_then(|value| before.point.is_zero(value)) != Some(zero != taken)
            }
            Test::Flags(_) => true,
        };
        let way = |(key, taken): (Key, bool)| {
            let point = self.transfer.on_branch(&before.point, &executed.point, test, taken);
            (key, Fact { point, ..before.clone() })
        };
        ways.filter(|(_, taken)| possible(*taken)).map(way).collect()
    }

    /// What an instruction that goes on does to registers and memory.
    fn effects(
        &mut self,
        key: &mut Key,
        fact: &mut Fact,
        before: &Fact,
        operation: &Operation,
        executed: &Executed,
    ) -> Outcome<()> {
        let state = &executed.state;
        self.loads(key, before, state)?;
        fact.point = executed.point.clone();
        self.stores(key, fact, before, state)?;
        if let Operation::Unmodelled { reads, writes, memory } = *operation {
            return Self::bounded(key, fact, before, (reads, writes, memory));
        }
        let signs = matches!(operation, Operation::Sign { .. } | Operation::Authenticate { .. });
        for (register, term) in self.written(state) {
            if signs {
                // A signed pointer counts as the pointer.
                fact.point.set(register, before.point.get(register));
                continue;
            }
            let places = self.transfer.terms.places_in(term);
            let slot = before.loaded_slot(&self.transfer.terms, term);
            let own = before.new_point().value(&self.transfer.terms, term);
            self.name(key.old, register, before, fact, term);
            match slot.and_then(|slot| slot.own) {
                Some(own) => fact.set_own(register, own),
                None if places.common(before.differ).is_empty() => fact.set_same(register),
                None => fact.set_own(register, own),
            }
            self.field_found(fact, before, (register, term));
        }
        self.written_elsewhere(fact, before, state);
        if fact.differ.has(Register::SP)
            || super::fact::frame_offset(fact.point.get(Register::SP)).is_none()
        {
            return Err(Broken::new(Name::SameStack, key.old, "the stack pointer is not known"));
        }
        Ok(())
    }

    /// Vector registers and flags.
    fn written_elsewhere(&self, fact: &mut Fact, before: &Fact, state: &State) {
        let (terms, initial) = (&self.transfer.terms, &self.transfer.initial);
        let (mut differ, mut unpromised) = (fact.differ, fact.unpromised);
        let mut set = |place: RegisterSet, made_of: RegisterSet| {
            differ = match made_of.common(before.differ).is_empty() {
                true => differ.without(place),
                false => differ.union(place),
            };
            unpromised = unpromised.without(place);
        };
        for number in (0..32).filter(|&n| state.vector(n) != initial.vector(n)) {
            let (low, high) = state.vector(number);
            fact.zeroed &= !(1 << number);
            if before.is_null(terms, low) && before.is_null(terms, high) {
                fact.zeroed |= 1 << number;
            }
            let made_of = terms.places_in(low).union(terms.places_in(high));
            set(RegisterSet::vector(number), made_of);
        }
        if state.flags != initial.flags {
            set(RegisterSet::FLAGS, terms.places_in_flags(state.flags));
        }
        (fact.differ, fact.unpromised) = (differ, unpromised);
    }

    fn bounded(
        key: &mut Key,
        fact: &mut Fact,
        before: &Fact,
        (reads, writes, memory): (RegisterSet, RegisterSet, bool),
    ) -> Outcome<()> {
        if !reads.common(before.differ).is_empty() {
            fact.differ = fact.differ.union(writes);
        }
        fact.unpromised = fact.unpromised.without(writes);
        if (0..32).any(|number| writes.has_vector(number)) {
            fact.zeroed = 0;
        }
        if memory {
            key.null.clear();
            fact.held.clear();
        }
        if memory && (!key.pending.is_empty() || !reads.common(before.differ).is_empty()) {
            let detail = format!("what {} does to memory is not worked out", key.old);
            return Err(Broken::new(Name::SameStores, key.old, detail));
        }
        Ok(())
    }

    /// What is loaded is the same in both versions.
    fn loads(&self, key: &mut Key, before: &Fact, state: &State) -> Outcome<()> {
        for &(address, bytes) in &state.faults {
            if let Some(field) = receivers_field(&before.point, &self.transfer.terms, address)
                && !key.pending.contains(&field)
            {
                // What is loaded now is another block.
                for fields in [&mut key.cleared, &mut key.given, &mut key.late, &mut key.away] {
                    fields.remove(&field);
                }
            }
            let places = self.transfer.terms.places_in(address);
            if bytes > 0 {
                self.same(before, places, Name::SameLoads, key)?;
            }
            let apart = |&field: &Value| self.apart(before, field, address, bytes);
            if bytes > 0 && !key.pending.iter().all(apart) {
                let detail = format!("{} may read the field that is cleared before", key.old);
                return Err(Broken::new(Name::SameLoads, key.old, detail));
            }
        }
        Ok(())
    }

    /// The receiver's field that a term loads, if it is one.
    pub(super) fn loaded_field(&self, fact: &Fact, term: Term) -> Option<Value> {
        let Node::Memory(_, address, 8) = self.transfer.terms.node(term) else { return None };
        receivers_field(&fact.point, &self.transfer.terms, address)
    }

    pub(super) fn apart(&self, fact: &Fact, field: Value, address: Term, bytes: u8) -> bool {
        is_apart(&self.known, &fact.point, &self.transfer.terms, field, address, bytes)
    }

    fn stores(
        &mut self,
        key: &mut Key,
        fact: &mut Fact,
        before: &Fact,
        state: &State,
    ) -> Outcome<()> {
        let mut events = Vec::new();
        let mut history = state.history;
        while let Some((earlier, event)) = self.transfer.terms.last_event(history) {
            events.push(event.clone());
            history = earlier;
        }
        for event in events.into_iter().rev() {
            if let Event::Store { address, bytes, value } = event {
                self.store(key, fact, before, (address, bytes, value))?;
            }
        }
        Ok(())
    }

    fn store(
        &mut self,
        key: &mut Key,
        fact: &mut Fact,
        before: &Fact,
        (address, bytes, value): (Term, u8, Term),
    ) -> Outcome<()> {
        let terms = &self.transfer.terms;
        self.same(before, terms.places_in(address), Name::SameStores, key)?;
        let differs = !terms.places_in(value).common(before.differ).is_empty();
        if let Some(offset) = before.offset(terms, address) {
            fact.forget_frame(offset, bytes.into());
            let own = differs.then(|| before.new_point().value(terms, value));
            if bytes == 8 {
                let value = before.point.value(terms, value);
                fact.frame.insert(offset, Slot { value, own });
            } else if differs {
                return self.same(before, terms.places_in(value), Name::SameStores, key);
            }
            return Ok(());
        }
        self.same(before, terms.places_in(value), Name::SameStores, key)?;
        self.keep_held(fact, before, address, bytes);
        let stored = before.point.value(terms, value);
        if stored.and_then(super::fact::frame_offset).is_some() {
            fact.escape();
        }
        fact.forget_locals();
        let field = receivers_field(&before.point, &self.transfer.terms, address);
        let null = before.is_null(&self.transfer.terms, value);
        let place = before.point.value(&self.transfer.terms, address);
        let block = Atom::Argument(Register::new(0));
        if self.rewrite.captures && place.is_some_and(|p| p.atoms().eq([block])) {
            let detail = format!("{} stores into the block", key.old);
            return Err(Broken::new(Name::SameStores, key.old, detail));
        }
        match field {
            Some(field) if null && bytes == 8 => self.clear_both(key, field)?,
            Some(_) => {}
            None => self.give(key, stored),
        }
        key.null.retain(|&field| self.apart(before, field, address, bytes));
        match key.pending.iter().all(|&field| self.apart(before, field, address, bytes)) {
            true => Ok(()),
            false => {
                let detail = format!("{} may write the field that is cleared before", key.old);
                Err(Broken::new(Name::SameStores, key.old, detail))
            }
        }
    }

    /// Both versions clear a field.
    fn clear_both(&mut self, key: &mut Key, field: Value) -> Outcome<()> {
        if key.pending.contains(&field) {
            let detail = format!("{} clears the field again, later than it was", key.new);
            return Err(Broken::new(Name::ClearKept, key.new, detail));
        }
        if key.late.contains(&field) {
            self.cleared_late.insert(field, key.new);
        }
        key.cleared.insert(field);
        Ok(())
    }

    /// A value is stored where other threads may find it.
    fn give(&self, key: &mut Key, stored: Option<Value>) {
        let Some(atom) = stored.and_then(|value| value.as_atom()) else { return };
        let fields = self.known.places(atom).into_iter().filter(is_receivers);
        key.away.extend(self.known.only_place(atom));
        key.given.extend(fields.filter(|field| !key.cleared.contains(field)).collect::<Vec<_>>());
    }
}
