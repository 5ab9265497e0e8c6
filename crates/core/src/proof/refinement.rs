//! Whether the rewritten window does what the old one did, for all inputs.
//!
//! Every path of the old window is held against every path of the new one that
//! some input takes both of. On such a pair, what others can see must be the
//! same, in the same order, but for two permitted differences: the clear of
//! `self->_impl` may come before the unlock and the free that it followed, and a
//! `free(NULL)` may be left out. What no caller can rely on may be anything: a
//! register the old code leaves unspecified, as calls leave the caller-saved
//! ones, may hold any value in the new one.
//!
//! Not compared are the addresses calls return to, which are where the calls
//! stand, and time.

use super::failed_obligations::FailedObligations;
use super::obligation::Name;
use super::paths::{Act, Exit, Seen, Trace};
use super::site::{Defect, Roles, Site};
use crate::address::VmAddr;
use crate::arm64::semantics::{Event, Flags, Node, Register, RegisterSet, Term, Terms, Test};

/// What comparing the paths leaves to be looked at.
pub(super) struct Compared {
    /// Where control goes on with registers that hold another value, and which.
    pub differing: Vec<(VmAddr, RegisterSet)>,
    /// How many pairs of paths some input takes.
    pub pairs: usize,
}

/// Compares all paths; what does not hold goes to `findings`.
pub(super) fn compare(
    terms: &mut Terms,
    site: &Site<'_>,
    old: &[Trace],
    new: &[Trace],
    findings: &mut FailedObligations,
) -> Compared {
    let mut compared = Compared { differing: Vec::new(), pairs: 0 };
    old.iter().chain(new).for_each(|trace| decided(terms, trace, findings));
    for old in old {
        for new in new {
            let Some(facts) = old.facts.joined(terms, &new.facts) else { continue };
            compared.pairs += 1;
            let mut view = |trace: &Trace| -> Vec<Seen> {
                trace.events.iter().map(|seen| resolved(terms, &facts, seen, &site.roles)).collect()
            };
            let (old_events, new_events) = (view(old), view(new));
            let pair = Pair { site, old: &old_events, new: &new_events };
            pair.push(findings);
            pair.clear(findings);
            pair.unlock(findings);
            pair.free(findings);
            pair.rest(findings);
            loads(old, new, findings);
            if let Some(differing) = exits(terms, site, (old, new), &facts, findings) {
                compared.differing.push(differing);
            }
        }
    }
    compared
}

/// No decision may rest on what nothing is promised about.
pub(super) fn decided(terms: &Terms, trace: &Trace, findings: &mut FailedObligations) {
    for &(at, test) in &trace.tests {
        let specified = match test {
            Test::Zero(term, _) => terms.is_specified(term),
            Test::Flags(condition) => terms.flags_are_specified(condition.flags),
        };
        if !specified {
            let detail = format!("the branch at {at} rests on what a call leaves unspecified");
            findings.fail(Name::WindowDecided, at, detail);
        }
    }
}

/// The event with everything the facts decide put in.
pub(super) fn decided_by(
    terms: &mut Terms,
    facts: &super::path_condition::PathCondition,
    seen: &Seen,
) -> Seen {
    let mut seen = seen.clone();
    match &mut seen.event {
        Event::Store { value, .. } => *value = facts.resolve(terms, *value),
        Event::Call { arguments, .. } => {
            for argument in arguments.iter_mut() {
                *argument = facts.resolve(terms, *argument);
            }
        }
        Event::Barrier => {}
    }
    if let (Act::Free { .. }, Event::Call { arguments, .. }) = (seen.act, &seen.event) {
        let null = arguments.first().and_then(|&term| terms.as_constant(term)) == Some(0);
        seen.act = Act::Free { null };
    }
    seen
}

/// The same, with a store that turns out to clear the field called that.
fn resolved(
    terms: &mut Terms,
    facts: &super::path_condition::PathCondition,
    seen: &Seen,
    roles: &Roles,
) -> Seen {
    let mut seen = decided_by(terms, facts, seen);
    if let (Act::Store, Event::Store { value, address, bytes: 8 }) = (seen.act, &seen.event)
        && terms.as_constant(*value) == Some(0)
    {
        let (self_, ivar) = (terms.register(roles.self_), terms.register(roles.ivar));
        if terms.add(self_, ivar) == *address {
            seen.act = Act::Clear;
        }
    }
    seen
}

/// What one input makes the old and the new code do.
struct Pair<'a> {
    site: &'a Site<'a>,
    old: &'a [Seen],
    new: &'a [Seen],
}

impl Pair<'_> {
    fn of(events: &[Seen], act: impl Fn(Act) -> bool) -> Vec<&Seen> {
        events.iter().filter(|seen| act(seen.act)).collect()
    }

    /// The place to name for something that is missing: where the new code ends.
    fn end(&self) -> VmAddr {
        self.new.last().map_or(self.site.window_start, |seen| seen.at)
    }

    fn push(&self, findings: &mut FailedObligations) {
        let (old, new) = (Self::of(self.old, is(Act::Push)), Self::of(self.new, is(Act::Push)));
        if old != new {
            let at = new.first().or(old.first()).map_or(self.end(), |seen| seen.at);
            let detail = match (old.first(), new.first()) {
                (Some(old), None) => format!("the push at {} is gone", old.at),
                (Some(old), Some(new)) if old.at != new.at => {
                    format!("the push stood at {} and stands at {}", old.at, new.at)
                }
                (Some(_), Some(_)) => format!("the push at {at} stores or goes elsewhere"),
                _ => format!("{at} pushes on a path that did not push"),
            };
            findings.fail(Name::PushKept, at, detail);
        }
        let unlock = self.new.iter().position(|seen| seen.act == Act::Unlock);
        let push = self.new.iter().rposition(|seen| seen.act == Act::Push);
        if let (Some(unlock), Some(push)) = (unlock, push)
            && unlock < push
        {
            let at = self.new.get(push).map_or(self.end(), |seen| seen.at);
            findings.fail(Name::PushKept, at, format!("the push at {at} comes after the unlock"));
        }
    }

    fn clear(&self, findings: &mut FailedObligations) {
        let (old, new) = (Self::of(self.old, is(Act::Clear)), Self::of(self.new, is(Act::Clear)));
        if old.len() != new.len() {
            let at = new.last().map_or(self.end(), |seen| seen.at);
            let detail = format!("a path clears {} times and not {}", new.len(), old.len());
            findings.fail(Name::ClearKept, at, detail);
        }
        let clear = self.new.iter().position(|seen| seen.act == Act::Clear);
        let unlock = self.new.iter().position(|seen| seen.act == Act::Unlock);
        if let Some(unlock) = unlock.filter(|&unlock| clear.is_none_or(|clear| clear > unlock))
            && !old.is_empty()
        {
            let at = self.new.get(unlock).map_or(self.end(), |seen| seen.at);
            let detail = format!("the unlock at {at} comes with _impl still set");
            findings.fail(Name::ClearBeforeUnlock, at, detail);
        }
    }

    fn unlock(&self, findings: &mut FailedObligations) {
        let (old, new) = (Self::of(self.old, is(Act::Unlock)), Self::of(self.new, is(Act::Unlock)));
        if !same_events(&old, &new) {
            let at = new.last().map_or(self.end(), |seen| seen.at);
            let detail = if old.len() == new.len() {
                format!("the unlock at {at} gets another argument")
            } else {
                format!("a path unlocks {} times and not {}", new.len(), old.len())
            };
            findings.fail(Name::UnlockKept, at, detail);
        }
    }

    fn free(&self, findings: &mut FailedObligations) {
        let blocks = |events| Self::of(events, is(Act::Free { null: false }));
        let (old, new) = (blocks(self.old), blocks(self.new));
        let missing = unmatched(&old, &new);
        let added = unmatched(&new, &old);
        if let Some(lost) = missing.first() {
            let detail = format!("the block freed at {} is freed nowhere: it leaks", lost.at);
            let defect = added.is_empty().then_some(Defect::FreeLostWhenFull);
            findings.fail_by(Name::FreeKept, lost.at, detail, defect);
        }
        if let Some(more) = added.first() {
            let detail = format!("{} frees what was not freed", more.at);
            findings.fail(Name::FreeNotAdded, more.at, detail);
        }
        let nulls = |events| Self::of(events, is(Act::Free { null: true })).len();
        if nulls(self.new) > nulls(self.old) {
            let at = self.end();
            findings.fail(Name::FreeNotAdded, at, "free(NULL) is called where it was not".into());
        }
    }

    /// Other calls and stores, and the order of everything.
    fn rest(&self, findings: &mut FailedObligations) {
        let calls = |events| Self::of(events, is(Act::Call));
        let (old, new) = (calls(self.old), calls(self.new));
        if !same_events(&old, &new) {
            let at = new.first().or(old.first()).map_or(self.end(), |seen| seen.at);
            findings.fail(Name::SameCalls, at, format!("the call at {at} is not the same"));
        }
        let stores = |events| Self::of(events, |act| matches!(act, Act::Store | Act::Barrier));
        let (old, new) = (stores(self.old), stores(self.new));
        if !same_events(&old, &new) {
            let at = new.first().or(old.first()).map_or(self.end(), |seen| seen.at);
            findings.fail(Name::SameStores, at, format!("the store at {at} is not the same"));
        }
        self.order(findings);
    }

    /// The order of what is on both sides, the clear and `free(NULL)` apart, and
    /// what the clear passes when it moves.
    fn order(&self, findings: &mut FailedObligations) {
        let ordered = |events, others: &[Seen]| -> Vec<Seen> {
            let kept: &[Seen] = events;
            let there = |seen: &Seen| others.iter().any(|other| other.event == seen.event);
            let moves = |seen: &&Seen| matches!(seen.act, Act::Clear | Act::Free { null: true });
            kept.iter().filter(|seen| !moves(seen) && there(seen)).cloned().collect()
        };
        let (old, new) = (ordered(self.old, self.new), ordered(self.new, self.old));
        let differ = old.iter().zip(&new).find(|(old, new)| old.event != new.event);
        if let Some((_, new)) = differ {
            let name = match new.event {
                Event::Call { .. } => Name::SameCalls,
                _ => Name::SameStores,
            };
            findings.fail(name, new.at, format!("{} comes out of its order", new.at));
        }
        let Some((at, from, to)) = self.moved() else { return };
        let passed = old.get(from.min(to)..from.max(to)).unwrap_or_default();
        let harmless = |seen: &Seen| matches!(seen.act, Act::Unlock | Act::Free { .. });
        if let Some(passed) = passed.iter().find(|seen| !harmless(seen)) {
            let detail = format!("the clear at {at} passes what {} does", passed.at);
            findings.fail(Name::SameStores, at, detail);
        }
    }

    /// Where the clear stands in the new code, and before how many other events
    /// it stood and stands.
    fn moved(&self) -> Option<(VmAddr, usize, usize)> {
        let place = |events: &[Seen]| {
            let at = events.iter().position(|seen| seen.act == Act::Clear)?;
            let before = events.iter().take(at);
            let null = Act::Free { null: true };
            Some((events.get(at)?.at, before.filter(|seen| seen.act != null).count()))
        };
        let ((_, from), (at, to)) = (place(self.old)?, place(self.new)?);
        Some((at, from, to))
    }
}

/// No read where there was none: it might fault.
pub(super) fn loads(old: &Trace, new: &Trace, findings: &mut FailedObligations) {
    let mut calls = 0;
    let mut places: Vec<(Term, u8, usize)> =
        old.faults.iter().map(|fault| (fault.address, fault.bytes, fault.calls)).collect();
    for seen in &old.events {
        match &seen.event {
            Event::Store { address, bytes, .. } => places.push((*address, *bytes, calls)),
            Event::Call { .. } => calls += 1,
            Event::Barrier => {}
        }
    }
    for fault in &new.faults {
        let same = |&(address, bytes, calls): &(Term, u8, usize)| {
            address == fault.address
                && calls == fault.calls
                && (bytes == fault.bytes || fault.bytes > 0 && bytes > fault.bytes)
        };
        if !places.iter().any(same) {
            let detail = format!("{} reads what was not read there and may fault", fault.at);
            findings.fail(Name::SameLoads, fault.at, detail);
        }
    }
}

fn is(wanted: Act) -> impl Fn(Act) -> bool {
    move |act| act == wanted
}

fn same_events(old: &[&Seen], new: &[&Seen]) -> bool {
    old.len() == new.len() && old.iter().zip(new).all(|(old, new)| old.event == new.event)
}

/// Those of `these` that have no counterpart in `others`, each of which counts
/// once.
pub(super) fn unmatched<'a>(these: &[&'a Seen], others: &[&Seen]) -> Vec<&'a Seen> {
    let mut others: Vec<&Event> = others.iter().map(|seen| &seen.event).collect();
    let mut left = Vec::new();
    for seen in these {
        match others.iter().position(|other| **other == seen.event) {
            Some(index) => drop(others.swap_remove(index)),
            None => left.push(*seen),
        }
    }
    left
}

/// Compares where two paths leave and in which state. Returns where control goes
/// on and the registers that may only differ if they are dead.
fn exits(
    terms: &mut Terms,
    site: &Site<'_>,
    (old, new): (&Trace, &Trace),
    facts: &super::path_condition::PathCondition,
    findings: &mut FailedObligations,
) -> Option<(VmAddr, RegisterSet)> {
    let same = match (old.path.exit, new.path.exit) {
        (Exit::Return(_), Exit::Return(_)) => true,
        (old, new) => old == new,
    };
    if !same {
        let at = new.path.steps.last().map_or(site.window_start, |step| step.at);
        let detail = format!("a path left by {} and leaves by {}", old.path.exit, new.path.exit);
        findings.fail(Name::SameExits, at, detail);
        return None;
    }
    let mut equal = |old: Term, new: Term| same_value(terms, facts, old, new);
    let mut differing = RegisterSet::NONE;
    for register in Register::all().filter(|&r| !equal(old.state.get(r), new.state.get(r))) {
        let at = new.path.steps.last().map_or(site.window_start, |step| step.at);
        let detail = format!("{register} holds another value when a path leaves at {at}");
        if register == Register::SP {
            findings.fail(Name::SameStack, at, detail);
        } else if register.is_callee_saved() && register != site.roles.impl_ {
            findings.fail(Name::SameCalleeSaved, at, detail);
        } else {
            differing = differing.union(RegisterSet::general(register));
        }
    }
    for number in 0..32 {
        let (old, new) = (old.state.vector(number), new.state.vector(number));
        if !(equal(old.0, new.0) && equal(old.1, new.1)) {
            differing = differing.union(RegisterSet::vector(number));
        }
    }
    if !same_flags(terms, old.state.flags, new.state.flags) {
        differing = differing.union(RegisterSet::FLAGS);
    }
    match new.path.exit {
        Exit::To(to) if !differing.is_empty() => Some((to, differing)),
        Exit::Return(at) if !differing.is_empty() => Some((at, differing)),
        _ => None,
    }
}

/// Whether two values are the same on a path. A value that nothing is promised about may
/// be any.
pub(super) fn same_value(
    terms: &mut Terms,
    facts: &super::path_condition::PathCondition,
    old: Term,
    new: Term,
) -> bool {
    matches!(terms.node(old), Node::Unspecified(_))
        || facts.resolve(terms, old) == facts.resolve(terms, new)
}

pub(super) fn same_flags(terms: &Terms, old: Flags, new: Flags) -> bool {
    use crate::arm64::semantics::FlagsNode;
    old == new || matches!(terms.flags_node(old), FlagsNode::Unspecified(_))
}
