//! One instruction that both versions execute.

use super::fact::{Fact, Slot};
use super::{Broken, Key, Lockstep, Outcome};
use crate::address::VmAddr;
use crate::arm64::semantics::{
    Event, Footprint, Next, Operation, Places, Register, State, Term, Test,
};
use crate::proof::function::Function;
use crate::proof::obligation::Name;
use crate::proof::rewrite::origin::{is_apart, is_receivers, receivers_field};
use crate::proof::rewrite::{Permission, helpers};
use crate::proof::tables;
use crate::proof::transfer::{Executed, Transfer};
use crate::proof::values::{Atom, Value};

/// How deep functions of the same image are followed.
const MAX_DEPTH: usize = 4;

/// The words of a function that is followed although no clear is pending.
const MAX_SHORT: usize = 64;

/// Bytes of a lock.
const LOCK_BYTES: u8 = 4;

/// The registers a function may get arguments in.
const ARGUMENTS: Places = Places::new(0x1ff, 0xff);
/// The registers that hold something at a return: results, what a callee keeps, the
/// return address and the stack pointer.
const RETURNED: Places = Places::new(0xfff8_0003, 0xff0f);

/// What a call is for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    Lock,
    Unlock,
    Free,
    Ends,
    Throws,
    Other(Option<VmAddr>),
}

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
                Ok(vec![(following(&key), fact)])
            }
            Next::Trap => Ok(Vec::new()),
            Next::Either(test, _) => {
                self.same(&before, reads, Name::WindowDecided, &key)?;
                let (to_old, to_new) =
                    self.targets(executed.next, other.next).ok_or_else(|| {
                        Broken::new(Name::SameExits, key.old, "the target of a branch is not known")
                    })?;
                let taken = Key { old: to_old, new: to_new, ..key.clone() };
                let ways = [(taken, true), (following(&key), false)];
                Ok(self.ways(&before, &executed, test, ways))
            }
            Next::Call(target) => {
                self.same(&before, reads.without(ARGUMENTS), Name::SameCalls, &key)?;
                let role = self.role(&before, target);
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
    fn same(&self, fact: &Fact, places: Places, name: Name, key: &Key) -> Outcome<()> {
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
        ways: [(Key, bool); 2],
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
        ways.into_iter().filter(|(_, taken)| possible(*taken)).map(way).collect()
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
        if let Operation::Bounded { reads, writes, memory } = *operation {
            return self.bounded(key, fact, before, (reads, writes, memory));
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
        let mut set = |place: Places, made_of: Places| {
            fact.differ = match made_of.common(before.differ).is_empty() {
                true => fact.differ.without(place),
                false => fact.differ.union(place),
            };
        };
        for number in (0..32).filter(|&n| state.vector(n) != initial.vector(n)) {
            let (low, high) = state.vector(number);
            let made_of = terms.places_in(low).union(terms.places_in(high));
            set(Places::vector(number), made_of);
        }
        if state.flags != initial.flags {
            set(Places::FLAGS, terms.places_in_flags(state.flags));
        }
    }

    fn bounded(
        &self,
        key: &Key,
        fact: &mut Fact,
        before: &Fact,
        (reads, writes, memory): (Places, Places, bool),
    ) -> Outcome<()> {
        if !reads.common(before.differ).is_empty() {
            fact.differ = fact.differ.union(writes);
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
                for fields in [&mut key.cleared, &mut key.given, &mut key.late] {
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

    fn apart(&self, fact: &Fact, field: Value, address: Term, bytes: u8) -> bool {
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
        let stored = before.point.value(terms, value);
        if stored.and_then(super::fact::frame_offset).is_some() {
            fact.escaped = true;
        }
        if fact.escaped {
            fact.forget_locals();
        }
        let field = receivers_field(&before.point, &self.transfer.terms, address);
        let null = stored.and_then(|value| value.as_constant()) == Some(0);
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
        key.given.extend(fields.filter(|field| !key.cleared.contains(field)).collect::<Vec<_>>());
    }

    /// What a call leads to.
    fn role(&self, fact: &Fact, target: Term) -> Role {
        let stubs = self.rewrite.stubs;
        let value = fact.point.value(&self.transfer.terms, target);
        let place = match value.and_then(|value| value.as_constant()) {
            Some(target) => Some(VmAddr(target)),
            // A pointer from a cell, which names the function.
            None => value.and_then(|value| value.as_atom()).and_then(|atom| {
                let places = self.known.places(atom);
                let [place] = Vec::from_iter(places)[..] else { return None };
                place.as_constant().map(VmAddr)
            }),
        };
        match place {
            Some(place) if stubs.lock.contains(&place) => Role::Lock,
            Some(place) if stubs.unlock.contains(&place) => Role::Unlock,
            Some(place) if stubs.free.contains(&place) => Role::Free,
            Some(place) if stubs.ends.contains(&place) => Role::Ends,
            Some(place) if stubs.throws.contains(&place) => Role::Throws,
            place => Role::Other(place),
        }
    }

    fn call(
        &mut self,
        key: &Key,
        mut fact: Fact,
        role: Role,
        back: (VmAddr, VmAddr),
    ) -> Outcome<Vec<(Key, Fact)>> {
        let mut key = key.clone();
        if let Role::Other(Some(target)) = role
            && self.follows(&key, target)
        {
            let pad = self.pads(&key)?.map(|(old, new)| {
                let mut thrown = fact.clone();
                self.after_call(&key, &mut thrown, back);
                (Key { old, new, ..key.clone() }, thrown)
            });
            let inside = Self::follow(key, fact, target, back);
            return Ok(pad.into_iter().chain([inside]).collect());
        }
        let arguments = match role {
            Role::Lock | Role::Unlock | Role::Free => Places::general(Register::new(0)),
            Role::Ends => Places::NONE,
            Role::Throws | Role::Other(_) => ARGUMENTS,
        };
        self.same(&fact, arguments, Name::SameCalls, &key)?;
        if role == Role::Ends {
            return Ok(Vec::new());
        }
        if let Role::Other(target) = role {
            if !key.pending.is_empty() {
                let detail =
                    format!("the clear passes the call at {}, which may touch the field", key.old);
                return Err(Broken::new(Name::SameCalls, key.old, detail));
            }
            // What it does with the lock is not looked at.
            if target.is_some_and(|target| self.is_of_image(target)) {
                key.late.extend(key.given.difference(&key.cleared).copied().collect::<Vec<_>>());
            }
        }
        if role == Role::Throws && !key.pending.is_empty() {
            let detail = format!("{} leaves with a field cleared that was not", key.old);
            return Err(Broken::new(Name::ClearKept, key.old, detail));
        }
        if matches!(role, Role::Lock | Role::Unlock) {
            self.pass_lock(&mut key, &fact, role)?;
        }
        let pads = match role {
            Role::Throws | Role::Other(_) => self.pads(&key)?,
            _ => None,
        };
        self.after_call(&key, &mut fact, back);
        let next = Key { old: back.0, new: back.1, ..key.clone() };
        let pad = pads.map(|(old, new)| (Key { old, new, ..key }, fact.clone()));
        let next = (role != Role::Throws).then_some((next, fact));
        Ok(pad.into_iter().chain(next).collect())
    }

    /// A lock is taken or dropped: it is not the pending field.
    fn pass_lock(&mut self, key: &mut Key, fact: &Fact, role: Role) -> Outcome<()> {
        let lock = self.transfer.initial.get(Register::new(0));
        if !key.pending.is_empty() {
            if !key.pending.iter().all(|&field| self.apart(fact, field, lock, LOCK_BYTES)) {
                let detail = "the lock may be the field that is cleared before";
                return Err(Broken::new(Name::LockApartFromField, key.old, detail));
            }
            if role == Role::Lock {
                self.permissions.insert(Permission::ClearsBeforeLock);
            }
        }
        if role == Role::Unlock {
            key.late.extend(key.given.difference(&key.cleared).copied().collect::<Vec<_>>());
        }
        Ok(())
    }

    /// Whether to follow a function that is called. A short one is, for it may be a piece
    /// of this one that the compiler put elsewhere and that keeps no calling convention;
    /// while a clear is pending, a longer one as well.
    fn follows(&mut self, key: &Key, target: VmAddr) -> bool {
        let longest = if !key.pending.is_empty() { helpers::MAX_WORDS } else { MAX_SHORT };
        key.calls.len() < MAX_DEPTH && self.helper(target, longest)
    }

    /// Goes into a function of the same image.
    fn follow(mut key: Key, mut fact: Fact, target: VmAddr, back: (VmAddr, VmAddr)) -> (Key, Fact) {
        fact.point.set(Register::LR, Value::constant(back.0.0));
        match back.0 == back.1 {
            true => fact.set_same(Register::LR),
            false => fact.set_own(Register::LR, Some(Value::constant(back.1.0))),
        }
        key.calls.push(back);
        (Key { old: target, new: target, ..key }, fact)
    }

    fn is_of_image(&self, target: VmAddr) -> bool {
        let (origin, bytes) = self.rewrite.surroundings.text();
        (origin..origin.plus(bytes.len() as u64)).contains(&target)
    }

    /// Where a call continues if it throws.
    fn pads(&self, key: &Key) -> Outcome<Option<(VmAddr, VmAddr)>> {
        let Some([old, new]) = self.rewrite.call_sites else {
            let detail = "where exceptions continue is not known";
            return Err(Broken::new(Name::SameExits, key.old, detail));
        };
        let pad = |sites: &[crate::macho::CallSite], at: VmAddr| {
            sites.iter().find(|site| site.calls.contains(&at)).map(|site| site.pad)
        };
        match (pad(old, key.old), pad(new, key.new)) {
            (Some(Some(old)), Some(Some(new))) => Ok(Some((old, new))),
            (old, new) if old == new => Ok(None),
            _ => {
                let detail = format!("an exception from {} continues elsewhere", key.old);
                Err(Broken::new(Name::SameExits, key.new, detail))
            }
        }
    }

    /// What a call leaves in registers and in the frame.
    fn after_call(&mut self, key: &Key, fact: &mut Fact, back: (VmAddr, VmAddr)) {
        let arguments = (0..8).map(|number| fact.point.get(Register::new(number)));
        let handed = arguments.filter_map(super::fact::frame_offset).next().is_some();
        fact.escaped |= handed;
        if fact.escaped {
            fact.forget_locals();
        }
        Transfer::called(key.old, &mut fact.point);
        for number in (0..=18).chain([30]) {
            let register = Register::new(number);
            fact.set_same(register);
            self.known.left_by_call(Atom::Made(key.old, register), number == 0);
        }
        fact.differ = fact.differ.without(Places::new(0, 0xffff_00ff).with_flags());
        if back.0 != back.1 {
            fact.set_own(Register::LR, None);
        }
    }

    /// A branch to another function, or through a table or a register.
    fn go(&mut self, mut key: Key, fact: Fact, target: Term) -> Outcome<Vec<(Key, Fact)>> {
        let own = self.before.range().contains(&key.old);
        let constant = self.transfer.terms.as_constant(target).map(VmAddr);
        if constant.is_none() && own && key.old == key.new {
            let function = |words| Function { words, ..self.before };
            let of = |words| tables::targets(function(words), self.rewrite.surroundings, key.old);
            if let (Ok(old), Ok(new)) = (of(self.before.words), of(self.after.words))
                && old == new
            {
                let way = |at| (Key { old: at, new: at, ..key.clone() }, fact.clone());
                return Ok(old.into_iter().map(way).collect());
            }
        }
        let reads = self.transfer.terms.places_in(target);
        self.same(&fact, reads, Name::SameCalls, &key)?;
        let role = self.role(&fact, target);
        if let Some(target) = constant
            && self.helper(target, helpers::MAX_WORDS)
        {
            return Ok(vec![(Key { old: target, new: target, ..key }, fact)]);
        }
        if let Some(back) = key.calls.last().copied() {
            // It returns to where the function that is followed was called.
            self.is_back(&key, &fact, back)?;
            key.calls.pop();
            return self.call(&key, fact, role, back);
        }
        self.same(&fact, ARGUMENTS, Name::SameCalls, &key)?;
        self.leave(&key, &fact)?;
        Ok(Vec::new())
    }

    fn go_back(
        &mut self,
        mut key: Key,
        fact: Fact,
        operation: &Operation,
    ) -> Outcome<Vec<(Key, Fact)>> {
        let link = matches!(operation, Operation::Return { register: Some(Register::LR), .. });
        let Some(back) = key.calls.pop() else {
            self.leave(&key, &fact)?;
            return match link {
                true => Ok(Vec::new()),
                false => Err(Broken::new(Name::SameExits, key.old, "a return by another register")),
            };
        };
        self.is_back(&key, &fact, back)?;
        Ok(vec![(Key { old: back.0, new: back.1, ..key }, fact)])
    }

    fn is_back(&self, key: &Key, fact: &Fact, back: (VmAddr, VmAddr)) -> Outcome<()> {
        let old = fact.point.get(Register::LR).as_constant().map(VmAddr);
        let new = self.returns_to(fact);
        match (old, new) == (Some(back.0), Some(back.1)) {
            true => Ok(()),
            false => {
                let detail = "where a function returns to is not known";
                Err(Broken::new(Name::SameExits, key.old, detail))
            }
        }
    }

    /// The function is left.
    fn leave(&self, key: &Key, fact: &Fact) -> Outcome<()> {
        self.same(fact, RETURNED, Name::SameExits, key)?;
        if !key.pending.is_empty() {
            let detail = format!("{} leaves with a field cleared that was not", key.old);
            return Err(Broken::new(Name::ClearKept, key.old, detail));
        }
        match fact.point.get(Register::SP) == Value::atom(Atom::Argument(Register::SP)) {
            true => Ok(()),
            false => Err(Broken::new(Name::SameStack, key.old, "the frame is not given back")),
        }
    }
}
