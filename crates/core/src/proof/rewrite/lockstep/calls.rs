//! Calls, returns and branches to other functions, which both versions make.

use super::fact::Fact;
use super::{Broken, Key, Lockstep, Outcome};
use crate::address::{VmAddr, Word};
use crate::arm64::semantics::{Operation, Register, RegisterSet, Term};
use crate::proof::function::Function;
use crate::proof::jump_tables;
use crate::proof::obligation::Name;
use crate::proof::rewrite::origin::is_receivers;
use crate::proof::rewrite::{Permission, helpers};
use crate::proof::transfer::Transfer;
use crate::proof::values::{Atom, Value};

/// How deep functions of the same image are followed.
pub(super) const MAX_DEPTH: usize = 4;

/// The words of a function that is followed although no clear is pending.
const MAX_SHORT: usize = 64;

/// Bytes of a lock.
const LOCK_BYTES: u8 = 4;

/// The most bytes that are copied and told apart from a field.
const MOST_COPIED: u64 = 255;

/// The registers a function may get arguments in.
pub(super) const ARGUMENTS: RegisterSet = RegisterSet::new(0x1ff, 0xff);
/// The registers that hold something at a return: results, what a callee keeps, the
/// return address and the stack pointer.
const RETURNED: RegisterSet = RegisterSet::new(0xfff8_0003, 0xff0f);

/// What a call is for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    Lock,
    LockWithOptions,
    Unlock,
    Free,
    FreeSized,
    Ends,
    Throws,
    Inert,
    Other(Option<VmAddr>),
}

impl Lockstep<'_> {
    /// What a call leads to.
    pub(super) fn role(&self, fact: &Fact, target: Term) -> Role {
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
            Some(place) if stubs.lock_with_options.contains(&place) => Role::LockWithOptions,
            Some(place) if stubs.unlock.contains(&place) => Role::Unlock,
            Some(place) if stubs.free.contains(&place) => Role::Free,
            Some(place) if stubs.free_sized.contains(&place) => Role::FreeSized,
            Some(place) if stubs.ends.contains(&place) => Role::Ends,
            Some(place) if stubs.throws.contains(&place) => Role::Throws,
            Some(place) if stubs.inert.contains(&place) => Role::Inert,
            place => Role::Other(place),
        }
    }

    pub(super) fn call(
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
            let pad = self.pads(&key, back)?.map(|(old, new)| {
                let mut thrown = fact.clone();
                thrown.held.clear();
                self.after_call(&key, &mut thrown, back);
                (Key { old, new, ..key.clone() }, thrown)
            });
            let inside = Self::follow(key, fact, target, back);
            return Ok(pad.into_iter().chain([inside]).collect());
        }
        let arguments = match role {
            Role::Lock | Role::Unlock | Role::Free => RegisterSet::general(Register::new(0)),
            Role::FreeSized | Role::LockWithOptions => RegisterSet::new(3, 0),
            Role::Ends => RegisterSet::NONE,
            Role::Throws | Role::Inert | Role::Other(_) => ARGUMENTS,
        };
        // What a function leaves without a promise cannot be an argument.
        self.same(&fact, arguments.without(fact.unpromised), Name::SameCalls, &key)?;
        let role = if role == Role::LockWithOptions { Role::Lock } else { role };
        if role == Role::Ends {
            return Ok(Vec::new());
        }
        match role {
            Role::Other(target) => self.pass_other(&mut key, &mut fact, target)?,
            Role::Throws => {
                fact.held.clear();
                if !key.pending.is_empty() {
                    let detail = format!("{} leaves with a field cleared that was not", key.old);
                    return Err(Broken::new(Name::ClearKept, key.old, detail));
                }
            }
            Role::Lock | Role::Unlock => self.pass_lock(&mut key, &fact, role)?,
            Role::Free | Role::FreeSized => self.free(&mut key, &fact),
            Role::Inert | Role::Ends | Role::LockWithOptions => {}
        }
        // A lock that could be taken has an address.
        let lock = fact.point.get(Register::new(0));
        let pads = match role {
            Role::Throws | Role::Inert | Role::Other(_) => self.pads(&key, back)?,
            _ => None,
        };
        match role {
            Role::Lock => {
                let argument = self.transfer.initial.get(Register::new(0));
                let before = fact.clone();
                self.keep_held(&mut fact, &before, argument, LOCK_BYTES);
            }
            _ => fact.disturb(),
        }
        self.after_call(&key, &mut fact, back);
        if role == Role::Lock {
            fact.point.zero.insert(lock, false);
        }
        let next = Key { old: back.0, new: back.1, ..key.clone() };
        let pad = pads.map(|(old, new)| (Key { old, new, ..key }, fact.clone()));
        let next = (role != Role::Throws).then_some((next, fact));
        Ok(pad.into_iter().chain(next).collect())
    }

    /// A function is called that is not seen.
    fn pass_other(
        &mut self,
        key: &mut Key,
        fact: &mut Fact,
        target: Option<VmAddr>,
    ) -> Outcome<()> {
        key.null.clear();
        fact.held.clear();
        let known = self.filled_by_both(key, fact, target) || self.copied_apart(key, fact, target);
        if !known && !self.is_away(key, fact, target) {
            let detail =
                format!("the clear passes the call at {}, which may touch the field", key.old);
            return Err(Broken::new(Name::SameCalls, key.old, detail));
        }
        // What it does with the lock is not looked at.
        if target.is_some_and(|target| self.is_of_image(target)) {
            key.late.extend(key.given.difference(&key.cleared).copied().collect::<Vec<_>>());
        }
        Ok(())
    }

    /// Whether a function may be called that is not seen while clears are pending: it does
    /// not get the receiver, and the blocks are the receiver's no more, given away and the
    /// lock dropped. Who looks at the field then finds NULL, not a block of another object.
    fn is_away(&mut self, key: &Key, fact: &Fact, target: Option<VmAddr>) -> bool {
        if key.pending.is_empty() {
            return true;
        }
        let mut arguments = (0..8).map(|number| fact.point.get(Register::new(number)));
        let gone = key.unlocked
            && key.pending.is_subset(&key.away)
            && !arguments.any(|value| is_receivers(&value))
            && !target.is_some_and(|target| self.is_of_image(target));
        if gone {
            self.permissions.insert(Permission::ClearsBeforeCalls);
        }
        gone
    }

    /// Whether a function copies memory that no pending field is in, neither where it reads
    /// nor where it writes.
    fn copied_apart(&self, key: &Key, fact: &Fact, target: Option<VmAddr>) -> bool {
        let [to, from, count] = [0, 1, 2].map(Register::new);
        let copies = target.is_some_and(|target| self.rewrite.stubs.copies.contains(&target));
        let few = fact.point.get(count).as_constant().is_some_and(|bytes| bytes <= MOST_COPIED);
        let places = [to, from].map(|register| self.transfer.initial.get(register));
        let apart = |field: &Value| {
            places.iter().all(|place| self.apart(fact, *field, *place, MOST_COPIED as u8))
        };
        copies && few && key.pending.iter().all(apart)
    }

    /// A lock is taken or dropped: it is not the pending field.
    fn pass_lock(&mut self, key: &mut Key, fact: &Fact, role: Role) -> Outcome<()> {
        let lock = self.transfer.initial.get(Register::new(0));
        if !key.pending.is_empty() {
            let may_be = |field: &&Value| !self.apart(fact, **field, lock, LOCK_BYTES);
            let close: Vec<Value> = key.pending.iter().filter(may_be).copied().collect();
            let lock = fact.point.get(Register::new(0));
            if close.iter().any(|field| !self.are_of_two_arguments(*field, lock)) {
                let detail = "the lock may be the field that is cleared before";
                return Err(Broken::new(Name::LockApartFromField, key.old, detail));
            }
            if !close.is_empty() {
                self.permissions.insert(Permission::TakesLockApart);
            }
            if role == Role::Lock {
                self.permissions.insert(Permission::ClearsBeforeLock);
            }
        }
        if role == Role::Unlock {
            key.late.extend(key.given.difference(&key.cleared).copied().collect::<Vec<_>>());
            key.unlocked = true;
        }
        Ok(())
    }

    /// Whether two addresses are in what two arguments of the function point to.
    fn are_of_two_arguments(&self, field: Value, lock: Value) -> bool {
        let arguments = (self.known.argument(field), self.known.argument(lock));
        matches!(arguments, (Some(one), Some(other)) if one != other)
    }

    /// A block is freed. The allocator may hand it out again at once.
    fn free(&self, key: &mut Key, fact: &Fact) {
        let block = fact.point.get(Register::new(0));
        let Some(atom) = block.as_atom().filter(|_| fact.point.is_zero(block) != Some(true)) else {
            return;
        };
        key.away.extend(self.known.only_place(atom));
        if key.unlocked {
            let fields = self.known.places(atom).into_iter().filter(is_receivers);
            key.late
                .extend(fields.filter(|field| !key.cleared.contains(field)).collect::<Vec<_>>());
        }
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

    /// Where a call continues if it throws. The unwinder goes by where it would return to,
    /// which for a branch in code of the rewrite's own is behind the call that led there.
    fn pads(&self, key: &Key, back: (VmAddr, VmAddr)) -> Outcome<Option<(VmAddr, VmAddr)>> {
        let Some(call_sites) = self.rewrite.call_sites else {
            let detail = "where exceptions continue is not known";
            return Err(Broken::new(Name::SameExits, key.old, detail));
        };
        let [old, new] = [back.0, back.1].map(|back| VmAddr(back.0.wrapping_sub(Word::SIZE)));
        let rules = |at: VmAddr| {
            let steps = self.unwind_steps.as_ref();
            steps.map(|steps| steps.iter().filter(|step| **step <= at).count())
        };
        if rules(old).is_none() || rules(old) != rules(new) {
            let detail = format!("the call at {} is unwound by other rules", key.old);
            return Err(Broken::new(Name::SameExits, key.new, detail));
        }
        let pad = |sites: &[crate::macho::CallSite], at: VmAddr| {
            sites.iter().find(|site| site.calls.contains(&at)).map(|site| site.pad)
        };
        match (pad(call_sites[0], old), pad(call_sites[1], new)) {
            (Some(Some(old)), Some(Some(new))) => Ok(Some((old, new))),
            (old, new) if old == new => Ok(None),
            _ => {
                let detail = format!("an exception from {} continues elsewhere", key.old);
                Err(Broken::new(Name::SameExits, key.new, detail))
            }
        }
    }

    /// What a call leaves in registers and in the frame.
    pub(super) fn after_call(&mut self, key: &Key, fact: &mut Fact, back: (VmAddr, VmAddr)) {
        let arguments = (0..8).map(|number| fact.point.get(Register::new(number)));
        let handed = arguments.filter_map(super::fact::frame_offset).next().is_some();
        if handed {
            fact.escape();
        }
        fact.forget_locals();
        Transfer::called(key.old, &mut fact.point);
        fact.compared = None;
        fact.zeroed = 0;
        for number in (0..=18).chain([30]) {
            let register = Register::new(number);
            fact.set_same(register);
            self.known.left_by_call(Atom::Made(key.old, register), number == 0);
        }
        fact.differ = fact.differ.without(RegisterSet::new(0, 0xffff_00ff).with_flags());
        if back.0 != back.1 {
            fact.set_own(Register::LR, None);
        }
    }

    /// A branch to another function, or through a table or a register.
    pub(super) fn go(
        &mut self,
        mut key: Key,
        fact: Fact,
        target: Term,
    ) -> Outcome<Vec<(Key, Fact)>> {
        let own = self.before.range().contains(&key.old);
        let constant = self.transfer.terms.as_constant(target).map(VmAddr);
        if constant.is_none() && own && key.old == key.new {
            let function = |words| Function { words, ..self.before };
            let of =
                |words| jump_tables::targets(function(words), self.rewrite.surroundings, key.old);
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
        self.same(&fact, ARGUMENTS.without(fact.unpromised), Name::SameCalls, &key)?;
        self.leave(&key, &fact)?;
        Ok(Vec::new())
    }

    pub(super) fn go_back(
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

    pub(super) fn is_back(&self, key: &Key, fact: &Fact, back: (VmAddr, VmAddr)) -> Outcome<()> {
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
    pub(super) fn leave(&self, key: &Key, fact: &Fact) -> Outcome<()> {
        let counted_on = RETURNED.without(fact.unpromised);
        self.same(fact, counted_on, Name::SameExits, key)?;
        // Where the old version found null in the field, it is null in both.
        if !key.pending.iter().all(|field| fact.finds_null(*field)) {
            let detail = format!("{} leaves with a field cleared that was not", key.old);
            return Err(Broken::new(Name::ClearKept, key.old, detail));
        }
        match fact.point.get(Register::SP) == Value::atom(Atom::Argument(Register::SP)) {
            true => Ok(()),
            false => Err(Broken::new(Name::SameStack, key.old, "the frame is not given back")),
        }
    }
}
