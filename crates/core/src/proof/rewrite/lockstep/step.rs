//! From one pair of instructions to the next: which of the two versions goes on.

use super::fact::Fact;
use super::fill::After;
use super::{Broken, Key, Lockstep, Outcome, Piece};
use crate::address::VmAddr;
use crate::arm64::semantics::{Footprint, Next, Operation, Register, Term, decode};
use crate::proof::function::Function;
use crate::proof::obligation::Name;
use crate::proof::rewrite::helpers;
use crate::proof::values::{Atom, Value};

/// How many instructions one version may go on alone.
pub(super) const MAX_ALONE: usize = 64;

/// Which version.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
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
            if self.taken(&mut key, &mut fact, &old, &new)
                || self.returns_alone(&mut key, &fact, &new)
            {
                continue;
            }
            if let Some(next) = self.narrowed(&mut key, &mut fact, &old)? {
                match next {
                    After::Here => continue,
                    After::Left => return Ok(Vec::new()),
                }
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
                // The old version's field is null from here on.
                fact.held.clear();
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

    pub(super) fn operation(&self, side: Side, at: VmAddr) -> Outcome<Operation> {
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
    pub(super) fn stays(&self, side: Side, at: VmAddr, target: VmAddr) -> bool {
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
