//! The paths of the old and of the new code from one entry, pair by pair.
//!
//! On a pair that some input takes both of, what others can see has to be the same
//! in the same order. In the permitted mode clears of the receiver's fields and
//! `free(NULL)` are taken out of that order and looked at for themselves: a clear
//! may stand earlier, and then every event and load that it passes must be one
//! that it cannot disturb.

use super::{Comparison, Mode, Outcome};
use crate::address::VmAddr;
use crate::arm64::semantics::{Event, History, Node, Register, RegisterSet, State, Term, Terms};
use crate::proof::failed_obligations::FailedObligations;
use crate::proof::obligation::Name;
use crate::proof::path_condition::PathCondition;
use crate::proof::paths::{Act, Exit, Fault, Seen, Trace};
use crate::proof::refinement;
use crate::proof::rewrite::Permission;
use crate::proof::rewrite::origin::{is_apart, is_from_field, receivers_field};
use crate::proof::site::Defect;
use crate::proof::values::{Atom, Point, Value};

/// How many bytes of a lock are told apart from a field; no field overlaps a longer one.
const LOCK_BYTES: u8 = 4;

/// One entry of the region.
pub(super) struct Start<'a> {
    pub comparison: &'a Comparison<'a>,
    pub point: &'a Point,
    pub start: VmAddr,
    /// The state that both versions begin in.
    pub state: &'a State,
    pub mode: Mode,
}

/// A path as it is compared.
struct View<'a> {
    trace: &'a Trace,
    /// What has to be the same, in order.
    fixed: Vec<Seen>,
    clears: Vec<Clear>,
    /// Calls of `free` with NULL.
    null_frees: usize,
}

/// A store of NULL to a field of the receiver.
#[derive(Clone, Copy)]
struct Clear {
    at: VmAddr,
    field: Value,
    /// How many of the fixed events come before it.
    place: usize,
    /// How many stores and calls come before it, other clears apart.
    after: usize,
}

impl Start<'_> {
    /// Compares all pairs; what does not hold goes to the findings.
    pub(super) fn compare(
        &self,
        terms: &mut Terms,
        old: &[Trace],
        new: &[Trace],
        outcome: &mut Outcome,
    ) {
        for trace in old.iter().chain(new) {
            refinement::decided(terms, trace, &mut outcome.findings);
        }
        for old in old {
            for new in new {
                let Some(facts) = old.facts.joined(terms, &new.facts) else { continue };
                outcome.pairs += 1;
                let (old, new) = (self.view(terms, &facts, old), self.view(terms, &facts, new));
                let pair = Pair { start: self, terms, facts: &facts, old: &old, new: &new };
                pair.check(outcome);
                let findings = &mut outcome.findings;
                let differing = exits(terms, self.start, (old.trace, new.trace), &facts, findings);
                outcome.differing.extend(differing);
            }
        }
    }

    fn view<'t>(&self, terms: &mut Terms, facts: &PathCondition, trace: &'t Trace) -> View<'t> {
        let mut view = View { trace, fixed: Vec::new(), clears: Vec::new(), null_frees: 0 };
        let mut after = 0;
        for seen in &trace.events {
            let seen = refinement::decided_by(terms, facts, seen);
            let field = match seen.event {
                Event::Store { address, .. } => receivers_field(self.point, terms, address),
                _ => None,
            };
            match (self.mode, seen.act, field) {
                (Mode::Permitted, Act::Clear, Some(field)) => {
                    let place = view.fixed.len();
                    view.clears.push(Clear { at: seen.at, field, place, after });
                    continue;
                }
                (Mode::Permitted, Act::Free { null: true }, _) => view.null_frees += 1,
                _ => view.fixed.push(seen),
            }
            after += 1;
        }
        view
    }
}

/// What one input makes the old and the new code do.
struct Pair<'a> {
    start: &'a Start<'a>,
    terms: &'a Terms,
    /// What holds on the pair.
    facts: &'a PathCondition,
    old: &'a View<'a>,
    new: &'a View<'a>,
}

impl Pair<'_> {
    fn check(&self, outcome: &mut Outcome) {
        self.fixed(&mut outcome.findings);
        self.frees(outcome);
        self.loads(&mut outcome.findings);
        let mut fields: Vec<Value> = self.new.clears.iter().map(|clear| clear.field).collect();
        outcome.clearing += usize::from(!fields.is_empty());
        fields.extend(self.old.clears.iter().map(|clear| clear.field));
        fields.sort();
        fields.dedup();
        for field in fields {
            self.clear(field, outcome);
            self.reads_after_clear(field, &mut outcome.findings);
        }
        self.before_unlock(&mut outcome.findings);
    }

    /// The events that may not move.
    fn fixed(&self, findings: &mut FailedObligations) {
        let without = |these: &[Seen], others: &[Seen]| -> Vec<Seen> {
            let lost = refinement::unmatched(&frees(these), &frees(others));
            let lost: Vec<VmAddr> = lost.iter().map(|seen| seen.at).collect();
            these.iter().filter(|seen| !lost.contains(&seen.at)).cloned().collect()
        };
        let old = without(&self.old.fixed, &self.new.fixed);
        let new = without(&self.new.fixed, &self.old.fixed);
        let differ = (0..old.len().max(new.len()))
            .map(|index| (old.get(index), new.get(index)))
            .find(|(old, new)| old.map(|seen| &seen.event) != new.map(|seen| &seen.event));
        let Some((old, new)) = differ else { return };
        let (name, what) = match old.or(new).map(|seen| seen.act) {
            Some(Act::Unlock) => (Name::UnlockKept, "unlock"),
            Some(Act::Free { .. } | Act::Call) => (Name::SameCalls, "call"),
            _ => (Name::SameStores, "store"),
        };
        let detail = match (old, new) {
            (Some(old), None) => format!("the {what} at {} is not made any more", old.at),
            (None, Some(new)) => format!("{} makes a {what} that was not made", new.at),
            (Some(old), Some(new)) => format!(
                "where {} made a {what}, {} does something else; only a clear of the receiver's \
                 field may move, over unlock and free",
                old.at, new.at
            ),
            (None, None) => return,
        };
        let at = new.or(old).map_or(self.start.start, |seen| seen.at);
        findings.fail(name, at, detail);
    }

    fn frees(&self, outcome: &mut Outcome) {
        let (old, new) = (frees(&self.old.fixed), frees(&self.new.fixed));
        let (lost, added) = (refinement::unmatched(&old, &new), refinement::unmatched(&new, &old));
        if let Some(lost) = lost.first() {
            let detail = format!("what {} freed is freed nowhere: it leaks", lost.at);
            let defect = added.is_empty().then_some(Defect::FreeLostWhenFull);
            outcome.findings.fail_by(Name::FreeKept, lost.at, detail, defect);
        }
        if let Some(more) = added.first() {
            let detail = format!("{} frees what was not freed", more.at);
            outcome.findings.fail(Name::FreeNotAdded, more.at, detail);
        }
        if self.new.null_frees > self.old.null_frees {
            let detail = "free(NULL) is called where it was not".into();
            outcome.findings.fail(Name::FreeNotAdded, self.start.start, detail);
        } else if self.new.null_frees < self.old.null_frees {
            outcome.permissions.insert(Permission::SkipsNullFree);
        }
    }

    /// No load where there was none, but for the offset of a field that is cleared.
    fn loads(&self, findings: &mut FailedObligations) {
        let is_offset = |fault: &Fault| {
            let cell = self.terms.as_constant(fault.address).map(|at| Atom::Cell(VmAddr(at)));
            let mut clears = self.new.clears.iter();
            fault.bytes == 4
                && cell.is_some_and(|cell| {
                    clears.any(|clear| clear.field.atoms().any(|atom| atom == cell))
                })
        };
        let mut new = self.new.trace.clone();
        new.faults.retain(|fault| !is_offset(fault));
        refinement::loads(self.old.trace, &new, findings);
    }

    /// Where a field is cleared, once and for all that follows.
    fn clear(&self, field: Value, outcome: &mut Outcome) {
        let of = |view: &View<'_>| -> Vec<Clear> {
            view.clears.iter().copied().filter(|clear| clear.field == field).collect()
        };
        let (old, new) = (of(self.old), of(self.new));
        let mut fail = |at, detail: String| outcome.findings.fail(Name::ClearKept, at, detail);
        match (old.first(), new.first()) {
            (Some(old), None) if self.clears_null(old) => {
                outcome.permissions.insert(Permission::SkipsNullClear);
            }
            (None, Some(new)) if self.clears_null(new) => {}
            (Some(old), None) => {
                fail(old.at, format!("the field that {} cleared is not cleared", old.at));
            }
            (None, Some(new)) => {
                fail(new.at, format!("{} clears a field that was not cleared", new.at));
            }
            (Some(old), Some(new)) if new.place > old.place => {
                fail(new.at, format!("the clear at {} was earlier, at {}", new.at, old.at));
            }
            (Some(old), Some(new)) if new.place < old.place => {
                outcome.permissions.insert(Permission::ClearsEarlier);
                self.passed(*old, *new, outcome);
            }
            _ => {}
        }
        let last = |clears: &[Clear]| clears.last().map(|clear| clear.place);
        if new.len() > 1 && last(&new) > last(&old) {
            let at = new.last().map_or(self.start.start, |clear| clear.at);
            let detail = format!("{at} clears the field again, later than it was cleared");
            outcome.findings.fail(Name::ClearKept, at, detail);
        }
    }

    /// Whether the field that is cleared was loaded and is NULL, and nothing was
    /// stored or called since: before the entry or behind it.
    fn clears_null(&self, clear: &Clear) -> bool {
        let point = self.start.point;
        let at_entry = point.loaded(clear.field).is_some_and(|loaded| {
            let holds = |register: &Register| point.get(*register) == loaded;
            let term = Register::all().find(holds).map(|register| self.start.state.get(register));
            let zero = term.and_then(|term| self.facts.is_zero(self.terms, term));
            zero.or(point.is_zero(loaded)) == Some(true)
        });
        let behind = |term: Term| match self.terms.node(term) {
            Node::Memory(history, address, 8) => {
                self.events_in(history) == clear.after
                    && receivers_field(point, self.terms, address) == Some(clear.field)
            }
            _ => false,
        };
        clear.after == 0 && at_entry || self.facts.zeros().any(behind)
    }

    fn events_in(&self, mut history: History) -> usize {
        let mut count = 0;
        while let Some((before, _)) = self.terms.last_event(history) {
            history = before;
            count += 1;
        }
        count
    }

    /// What a clear passes when it comes earlier.
    fn passed(&self, old: Clear, new: Clear, outcome: &mut Outcome) {
        let passed = self.old.fixed.get(new.place..old.place).unwrap_or_default();
        for seen in passed {
            let locks = self.locks(seen);
            if locks {
                outcome.permissions.insert(Permission::ClearsBeforeLock);
            }
            let (name, place) = match (seen.act, &seen.event) {
                (_, Event::Call { arguments, .. }) if locks => {
                    (Name::LockApartFromField, arguments.first().map(|lock| (lock, LOCK_BYTES)))
                }
                (Act::Unlock, Event::Call { arguments, .. }) => {
                    (Name::LockApartFromField, arguments.first().map(|lock| (lock, LOCK_BYTES)))
                }
                (Act::Free { .. } | Act::Barrier, _) => continue,
                (_, Event::Store { address, bytes, .. }) => {
                    (Name::SameStores, Some((address, *bytes)))
                }
                _ => (Name::SameCalls, None),
            };
            let values = self.start.comparison.values;
            let apart = place.is_some_and(|(&place, bytes)| {
                is_apart(values, self.start.point, self.terms, new.field, place, bytes)
            });
            if !apart {
                let detail = format!(
                    "the clear at {} passes what {} does, which may touch the field",
                    new.at, seen.at
                );
                outcome.findings.fail(name, new.at, detail);
            }
        }
    }

    /// Whether an event takes a lock in a helper.
    fn locks(&self, seen: &Seen) -> bool {
        let comparison = self.start.comparison;
        let Event::Call { target, .. } = seen.event else { return false };
        let target = self.terms.as_constant(target).map(VmAddr);
        target.is_some_and(|target| comparison.rewrite.stubs.lock.contains(&target))
            && !comparison.before.range().contains(&seen.at)
    }

    /// After a clear the field is not read, in either version: what is read is
    /// compared as if the clear had not been.
    fn reads_after_clear(&self, field: Value, findings: &mut FailedObligations) {
        for view in [self.old, self.new] {
            // What is executed several times counts as read at the last of them.
            let steps = &view.trace.path.steps;
            let first = |at: VmAddr| steps.iter().position(|step| step.at == at);
            let last = |at: VmAddr| steps.iter().rposition(|step| step.at == at);
            let Some(clear) = view.clears.iter().find(|clear| clear.field == field) else {
                continue;
            };
            let values = self.start.comparison.values;
            for fault in &view.trace.faults {
                let (point, address) = (self.start.point, fault.address);
                let apart = || is_apart(values, point, self.terms, field, address, fault.bytes);
                if fault.bytes > 0 && last(fault.at) > first(clear.at) && !apart() {
                    let detail = format!("{} may read the field that is cleared before", fault.at);
                    findings.fail(Name::SameLoads, fault.at, detail);
                }
            }
        }
    }

    /// What the rewrite is for: the lock under which the block is given back, or
    /// that is dropped before it is freed, is not dropped with the field still set.
    fn before_unlock(&self, findings: &mut FailedObligations) {
        for (index, clear) in self.new.clears.iter().enumerate() {
            let is_first = !self.new.clears[..index].iter().any(|one| one.field == clear.field);
            if !is_first || self.clears_null(clear) {
                continue;
            }
            if let Some(unlock) = self.unlock_of(clear.field)
                && unlock < clear.place
                && let Some(seen) = self.new.fixed.get(unlock)
            {
                let detail = format!("the unlock at {} comes with a field still set", seen.at);
                findings.fail(Name::ClearBeforeUnlock, seen.at, detail);
            }
        }
    }

    /// The unlock by which the block of a field is given to other threads, among
    /// the fixed events: the first after it was stored elsewhere, else the last
    /// before it is freed, else the first.
    fn unlock_of(&self, field: Value) -> Option<usize> {
        let (point, values) = (self.start.point, self.start.comparison.values);
        let from_field = |term| is_from_field(values, point, self.terms, field, term);
        let events = &self.new.fixed;
        let is_unlock = |seen: &Seen| seen.act == Act::Unlock;
        let push = events.iter().position(|seen| match seen.event {
            Event::Store { value, .. } => from_field(value),
            _ => false,
        });
        if let Some(push) = push {
            let after = events.iter().skip(push).position(is_unlock);
            return after.map(|after| push + after);
        }
        let free = events.iter().position(|seen| match (&seen.act, &seen.event) {
            (Act::Free { .. }, Event::Call { arguments, .. }) => {
                arguments.first().is_some_and(|&block| from_field(block))
            }
            _ => false,
        });
        match free {
            Some(free) => events[..free].iter().rposition(is_unlock),
            None => events.iter().position(is_unlock),
        }
    }
}

fn frees(events: &[Seen]) -> Vec<&Seen> {
    events.iter().filter(|seen| matches!(seen.act, Act::Free { .. })).collect()
}

/// Compares where two paths leave and in which state. Returns where control goes
/// on and the registers that may only differ if they are dead.
fn exits(
    terms: &mut Terms,
    start: VmAddr,
    (old, new): (&Trace, &Trace),
    facts: &PathCondition,
    findings: &mut FailedObligations,
) -> Option<(VmAddr, RegisterSet)> {
    let at = new.path.steps.last().map_or(start, |step| step.at);
    let same = match (old.path.exit, new.path.exit) {
        (Exit::Return(_), Exit::Return(_)) | (Exit::Trap(_), Exit::Trap(_)) => true,
        (old, new) => old == new,
    };
    if !same {
        let detail = format!("a path left by {} and leaves by {}", old.path.exit, new.path.exit);
        findings.fail(Name::SameExits, at, detail);
        return None;
    }
    let mut equal = |old: Term, new: Term| refinement::same_value(terms, facts, old, new);
    let mut differing = RegisterSet::NONE;
    for register in Register::all() {
        if equal(old.state.get(register), new.state.get(register)) {
            continue;
        }
        if register == Register::SP {
            let detail = format!("sp holds another value when a path leaves at {at}");
            findings.fail(Name::SameStack, at, detail);
        }
        differing = differing.union(RegisterSet::general(register));
    }
    for number in 0..32 {
        let (old, new) = (old.state.vector(number), new.state.vector(number));
        if !(equal(old.0, new.0) && equal(old.1, new.1)) {
            differing = differing.union(RegisterSet::vector(number));
        }
    }
    if !refinement::same_flags(terms, old.state.flags, new.state.flags) {
        differing = differing.union(RegisterSet::FLAGS);
    }
    match new.path.exit {
        Exit::To(to) if !differing.is_empty() => Some((to, differing)),
        Exit::Return(at) if !differing.is_empty() => Some((at, differing)),
        _ => None,
    }
}
