//! A fill of memory with zeroes in the old version, which in the new one leaves out the
//! fields that it cleared before.
//!
//! The old version fills by one instruction or by a function of the system; the new one
//! by stores that come at the same place and cover the rest, byte for byte. Nothing comes
//! between, so that memory is the same again when the last of them is made.

use super::calls::Role;
use super::fact::Fact;
use super::step::{MAX_ALONE, Side};
use super::{Broken, Key, Lockstep, Outcome};
use crate::address::VmAddr;
use crate::arm64::semantics::{
    Event, Half, Next, Node, Operation, Register, RegisterSet, Term, Terms,
};
use crate::proof::lock_apart;
use crate::proof::obligation::Name;
use crate::proof::rewrite::origin::is_receivers;
use crate::proof::rewrite::{Fills, Permission};
use crate::proof::values::Value;

/// The most bytes that are filled at once and told apart.
const MAX_BYTES: u64 = 512;

/// The bytes of a field.
const FIELD_BYTES: u64 = 8;

/// Where the two versions stand after a fill.
pub(super) enum After {
    /// Where the key says.
    Here,
    /// They have left the function.
    Left,
}

/// Memory that is filled with zeroes.
#[derive(Clone, Copy)]
struct Fill {
    from: Value,
    bytes: u64,
    /// The function that fills it, if it is not an instruction.
    by: Option<Fills>,
}

impl Fill {
    /// Whether all of a field lies in it.
    fn covers(&self, field: &Value) -> bool {
        let distance = field.constant.wrapping_sub(self.from.constant);
        field.is_offset_of(self.from)
            && distance.checked_add(FIELD_BYTES).is_some_and(|end| end <= self.bytes)
    }

    /// Which of its bytes a store is to, if all are its.
    fn part(&self, place: Value, bytes: u64) -> Option<std::ops::Range<usize>> {
        let from = place.constant.wrapping_sub(self.from.constant);
        let inside = from < self.bytes && bytes <= self.bytes - from;
        (place.is_offset_of(self.from) && inside).then(|| from as usize..(from + bytes) as usize)
    }
}

impl Fact {
    /// Whether a term is zero: a number, or half of a vector register that is.
    pub(super) fn is_null(&self, terms: &Terms, term: Term) -> bool {
        match terms.node(term) {
            Node::Vector(number, Half::Low | Half::High) => self.zeroed >> number & 1 == 1,
            _ => self.point.value(terms, term).and_then(|value| value.as_constant()) == Some(0),
        }
    }
}

impl Lockstep<'_> {
    /// Passes a fill of the old version and the stores of the new one that take its place.
    pub(super) fn narrowed(
        &mut self,
        key: &mut Key,
        fact: &mut Fact,
        old: &Operation,
    ) -> Outcome<Option<After>> {
        if key.pending.is_empty() {
            return Ok(None);
        }
        let Some(fill) = self.filled(key.old, old, fact) else { return Ok(None) };
        let left_out: Vec<Value> =
            key.pending.iter().copied().filter(|field| fill.covers(field)).collect();
        let apart = |field: &Value| {
            lock_apart::apart(&self.known, Some(*field), Some(fill.from), fill.bytes).is_ok()
        };
        let clear = key.pending.iter().all(|field| fill.covers(field) || apart(field));
        if left_out.is_empty() || !clear {
            return Ok(None);
        }
        let mut owed = vec![true; fill.bytes as usize];
        for range in left_out.iter().filter_map(|field| fill.part(*field, FIELD_BYTES)) {
            owed[range].fill(false);
        }
        let Some(new) = self.rest_cleared(key.new, fact, &fill, owed) else { return Ok(None) };
        key.new = new;
        key.pending.retain(|field| !left_out.contains(field));
        self.cleared_by(key, &fill);
        self.permissions.insert(Permission::NarrowsFill);
        fact.point.memory.clear();
        fact.held.clear();
        self.after_fill(key, fact, old, &fill).map(Some)
    }

    /// What an instruction fills with zeroes, in an object of the receiver's, if it does
    /// nothing else.
    fn filled(&mut self, at: VmAddr, operation: &Operation, fact: &Fact) -> Option<Fill> {
        let fill = match *operation {
            Operation::Call { target } | Operation::Branch { target } => {
                self.filled_by(target, fact)?
            }
            Operation::CallRegister { authenticate: None, .. } => {
                let executed = self.transfer.execute(at, operation, &fact.point);
                let Next::Call(target) = executed.next else { return None };
                let Role::Other(Some(target)) = self.role(fact, target) else { return None };
                self.filled_by(target, fact)?
            }
            Operation::Access { load: false, .. } | Operation::AccessPair { load: false, .. } => {
                let stored = self.stored_zeroes(at, operation, fact);
                let (from, bytes) = stored.filter(|(_, bytes)| *bytes > FIELD_BYTES)?;
                Fill { from, bytes, by: None }
            }
            _ => return None,
        };
        (is_receivers(&fill.from) && (1..=MAX_BYTES).contains(&fill.bytes)).then_some(fill)
    }

    /// What a function fills with zeroes.
    fn filled_by(&self, target: VmAddr, fact: &Fact) -> Option<Fill> {
        let by = *self.rewrite.stubs.fills.get(&target)?;
        let get = |number: u8| fact.point.get(Register::new(number.into()));
        let byte = by.byte.map_or(Some(0), |register| get(register).as_constant())?;
        let bytes = get(by.count).as_constant()?;
        (byte & 0xff == 0).then_some(Fill { from: get(0), bytes, by: Some(by) })
    }

    /// Where an instruction stores zeroes, and how many, if it stores nothing else, leaves
    /// the registers and orders nothing.
    fn stored_zeroes(
        &mut self,
        at: VmAddr,
        operation: &Operation,
        fact: &Fact,
    ) -> Option<(Value, u64)> {
        let state = self.transfer.execute(at, operation, &fact.point).state;
        if !self.writes_nothing(&state) {
            return None;
        }
        let terms = &self.transfer.terms;
        let (mut history, mut stored): (_, Option<(Value, u64)>) = (state.history, None);
        while let Some((before, event)) = terms.last_event(history) {
            let Event::Store { address, bytes, value } = *event else { return None };
            let place = fact.point.value(terms, address)?;
            let bytes = u64::from(bytes);
            let joins = |(next, _): (Value, u64)| {
                place.is_offset_of(next) && place.constant.wrapping_add(bytes) == next.constant
            };
            if !fact.is_null(terms, value) || !stored.is_none_or(joins) {
                return None;
            }
            stored = Some((place, bytes + stored.map_or(0, |(_, more)| more)));
            history = before;
        }
        stored
    }

    /// Where the new version stands when it has stored zeroes to all bytes that are owed,
    /// and done nothing else.
    fn rest_cleared(
        &mut self,
        from: VmAddr,
        fact: &Fact,
        fill: &Fill,
        mut owed: Vec<bool>,
    ) -> Option<VmAddr> {
        let own =
            Fact { point: fact.new_point(), zeroed: self.zeroed_in_new(fact), ..fact.clone() };
        let mut at = from;
        for _ in 0..MAX_ALONE {
            if !owed.contains(&true) {
                return Some(at);
            }
            let operation = self.operation(Side::New, at).ok()?;
            at = match operation {
                Operation::Nothing => at.instruction(1),
                Operation::Branch { target } if self.stays(Side::New, at, target) => target,
                Operation::Access { load: false, .. }
                | Operation::AccessPair { load: false, .. } => {
                    let (place, bytes) = self.stored_zeroes(at, &operation, &own)?;
                    let part = owed.get_mut(fill.part(place, bytes)?)?;
                    if part.contains(&false) {
                        return None;
                    }
                    part.fill(false);
                    at.instruction(1)
                }
                _ => return None,
            };
        }
        None
    }

    /// The vector registers that are zero in the new version.
    fn zeroed_in_new(&self, fact: &Fact) -> u32 {
        let same = |number: &u8| !fact.differ.has_vector(*number);
        let bits = (0..32).filter(same).map(|number| 1 << number);
        fact.zeroed & bits.fold(0, |all: u32, bit| all | bit)
    }

    /// Takes down what both versions have cleared.
    fn cleared_by(&mut self, key: &mut Key, fill: &Fill) {
        key.null.clear();
        for field in key.late.iter().filter(|field| fill.covers(field)) {
            self.cleared_late.insert(*field, key.new);
        }
        let given = key.given.iter().filter(|field| fill.covers(field));
        key.cleared.extend(given.copied().collect::<Vec<_>>());
    }

    /// Whether both versions call a function that fills memory which no pending field is
    /// in.
    pub(super) fn filled_by_both(
        &mut self,
        key: &mut Key,
        fact: &Fact,
        target: Option<VmAddr>,
    ) -> bool {
        let Some(fill) = target.and_then(|target| self.filled_by(target, fact)) else {
            return false;
        };
        let apart = |field: &Value| {
            lock_apart::apart(&self.known, Some(*field), Some(fill.from), fill.bytes).is_ok()
        };
        let all = key.pending.iter().all(apart);
        if all {
            self.cleared_by(key, &fill);
        }
        all
    }

    /// Control goes on behind the fill of the old version.
    fn after_fill(
        &mut self,
        key: &mut Key,
        fact: &mut Fact,
        old: &Operation,
        fill: &Fill,
    ) -> Outcome<After> {
        let Some(by) = fill.by else {
            key.old = key.old.instruction(1);
            return Ok(After::Here);
        };
        let back = (key.old.instruction(1), key.new);
        if !matches!(old, Operation::Branch { .. }) {
            self.after_called_fill(key, fact, by, back);
            key.old = back.0;
            return Ok(After::Here);
        }
        // A branch in the place of a call and a return. What such a function leaves in
        // registers is its first argument, or nothing that a caller may count on.
        let returns = self.operation(Side::New, key.new)?;
        if !matches!(
            returns,
            Operation::Return { register: Some(Register::LR), authenticate: None }
        ) {
            let detail = format!("{} does not return as the fill did", key.new);
            return Err(Broken::new(Name::SameExits, key.new, detail));
        }
        match key.calls.last().copied() {
            Some(back) => {
                self.is_back(key, fact, back)?;
                key.calls.pop();
                (key.old, key.new) = back;
                Ok(After::Here)
            }
            None => self.leave(key, fact).map(|()| After::Left),
        }
    }

    /// The old version comes back from a call that the new one has not made.
    fn after_called_fill(&mut self, key: &Key, fact: &mut Fact, by: Fills, back: (VmAddr, VmAddr)) {
        const CHANGED: RegisterSet = RegisterSet::new(0x7_ffff, 0xffff_00ff);
        let (link, first) = (fact.own(Register::LR), fact.point.get(Register::new(0)));
        let same = fact.same_in_both(Register::new(0));
        self.after_call(key, fact, (back.0, back.0));
        for number in 0..=18 {
            fact.set_own(Register::new(number), None);
        }
        if by.returns && same {
            fact.point.set(Register::new(0), first);
            fact.set_same(Register::new(0));
        }
        fact.set_own(Register::LR, link);
        fact.differ = fact.differ.union(CHANGED.with_flags());
        fact.unpromised = fact.differ.common(CHANGED.with_flags());
    }

    /// Lets the new version come back from code of the rewrite's own.
    pub(super) fn returns_alone(&self, key: &mut Key, fact: &Fact, new: &Operation) -> bool {
        let plain = Operation::Return { register: Some(Register::LR), authenticate: None };
        if *new != plain || !self.is_added(key.new) || fact.same_in_both(Register::LR) {
            return false;
        }
        // Where the old version is in the function that this code is a copy of, both come
        // back together.
        let together = key.calls.last().map(|(_, new)| *new);
        match self.returns_to(fact).filter(|back| together != Some(*back)) {
            Some(back) => {
                key.new = back;
                true
            }
            None => false,
        }
    }
}
