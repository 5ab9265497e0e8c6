//! The two versions compared path by path, through the part that differs.

mod compare;

use std::collections::BTreeSet;

use super::region::Region;
use super::{COMPARED, Permission, Piece, Refinement, Rewrite, frame, helpers, origin};
use crate::address::{VmAddr, Word};
use crate::arm64::semantics::{
    Callee, Event, Operation, Register, RegisterSet, State, Term, Terms, Test,
};
use crate::check::Status;
use crate::error::Result;
use crate::proof::failed_obligations::FailedObligations;
use crate::proof::function::Function;
use crate::proof::obligation::{Name, Obligation};
use crate::proof::path_condition::PathCondition;
use crate::proof::paths::{self, Act, Ground, Trace};
use crate::proof::site::LandingPads;
use crate::proof::values::{Point, Values};

/// Compares the paths through the part that differs, pair by pair. Control also enters
/// at `entries`, from elsewhere.
pub(super) fn refine(
    rewrite: &Rewrite<'_>,
    before: Function<'_>,
    after: Function<'_>,
    entries: &BTreeSet<VmAddr>,
    not_read: Obligation,
) -> Result<Refinement> {
    let read = before.operations().chain(after.operations()).collect::<Result<Vec<_>>>()?.len();
    let detail = format!("{read} words read, {} before and after", before.words.len());
    let understood = Obligation::new(Name::FunctionUnderstood, Status::Pass, detail);

    let region = Region::of(before, after, rewrite.surroundings)?;
    let pads = match rewrite.surroundings.landing_pads(after.range()) {
        LandingPads::Known(pads) => pads,
        LandingPads::Unknown(_) => Vec::new(),
    };
    let others: BTreeSet<VmAddr> = entries.iter().copied().chain(pads).collect();
    let nowhere = rewrite.entry..rewrite.entry;
    let unknown = others.iter().copied();
    let mut values = Values::of(before, rewrite.surroundings, nowhere, unknown)?;
    let starts = starts(rewrite, &region, &others, &mut values)?;

    let mut comparison =
        Comparison { rewrite, before, after, region: &region, values: &values, helpers: &[] };
    let mut outcome = comparison.all(&starts, Mode::Strict)?;
    if !outcome.findings.is_empty() {
        outcome = comparison.all(&starts, Mode::Permitted)?;
    }
    let helpers = helpers::called(rewrite, &region);
    if !outcome.findings.is_empty() && !helpers.is_empty() {
        comparison.helpers = &helpers;
        // A helper that cannot be followed leaves what was found without.
        if let Ok(followed) = comparison.all(&starts, Mode::Permitted)
            && followed.findings.is_empty()
        {
            outcome = followed;
        }
    }
    let mut obligations = vec![understood, not_read];
    obligations.extend(outcome.obligations(starts.len()));
    obligations.push(crate::proof::clobbered_dead(
        after,
        rewrite.surroundings,
        &outcome.differing,
    )?);
    Ok(Refinement { obligations, permissions: outcome.permissions })
}

/// Where control comes into the region, and what is known there.
fn starts(
    rewrite: &Rewrite<'_>,
    region: &Region,
    others: &BTreeSet<VmAddr>,
    values: &mut Values<'_>,
) -> Result<Vec<(VmAddr, Point)>> {
    let mut starts = Vec::new();
    if region.inside.contains(&rewrite.entry) {
        starts.push((rewrite.entry, Point::at_entry()));
    }
    for &other in others.intersection(&region.inside) {
        starts.push((other, Point::unknown(other)));
    }
    for &(from, to) in &region.entries {
        // Where no way leads, nothing is ever executed.
        if values.before(from).is_some() {
            let point = values.on_the_way(from, to)?;
            starts.push((to, point.unwrap_or_else(|| Point::unknown(to))));
        }
    }
    Ok(starts)
}

/// What is permitted in a comparison.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Strict,
    Permitted,
}

/// The two versions, and all that the comparison needs to know.
struct Comparison<'a> {
    rewrite: &'a Rewrite<'a>,
    before: Function<'a>,
    after: Function<'a>,
    region: &'a Region,
    values: &'a Values<'a>,
    /// Functions that are called in the region and followed like a part of it.
    helpers: &'a [Piece],
}

/// What came out of comparing all paths.
struct Outcome {
    findings: FailedObligations,
    permissions: BTreeSet<Permission>,
    /// Where control goes on with registers that hold another value, and which.
    differing: Vec<(VmAddr, RegisterSet)>,
    pairs: usize,
    /// How many new paths clear a field.
    clearing: usize,
}

impl Comparison<'_> {
    fn all(&mut self, starts: &[(VmAddr, Point)], mode: Mode) -> Result<Outcome> {
        let mut outcome = Outcome {
            findings: FailedObligations::default(),
            permissions: BTreeSet::new(),
            differing: Vec::new(),
            pairs: 0,
            clearing: 0,
        };
        for (start, point) in starts {
            let mut terms = Terms::new();
            let (state, facts) = point.state(&mut terms);
            let frame = state.get(Register::SP);
            let mut traces = |function, added| -> Result<Vec<Trace>> {
                let code = Version { comparison: self, function, added, point, mode, frame };
                paths::walk(&mut terms, &code, *start, state.clone(), facts.clone())
            };
            let old = traces(self.before, &[])?;
            let new = traces(self.after, self.rewrite.added)?;
            let pair =
                compare::Start { comparison: self, point, start: *start, state: &state, mode };
            pair.compare(&mut terms, &old, &new, &mut outcome);
        }
        Ok(outcome)
    }
}

impl Outcome {
    fn obligations(&self, starts: usize) -> Vec<Obligation> {
        let detail = format!("on all {} pairs of paths from {starts} entries", self.pairs);
        let names = COMPARED.iter().copied().chain([Name::LockApartFromField]);
        let mut all: Vec<Obligation> =
            names.map(|name| self.findings.obligation(name, &detail)).collect();
        let name = Name::ClearBeforeUnlock;
        all.push(match self.clearing {
            0 => Obligation::new(name, Status::Skipped, "the rewritten part clears no field"),
            paths => self.findings.obligation(name, format!("on all {paths} paths that clear")),
        });
        all.sort_by_key(|obligation| obligation.name);
        all
    }
}

/// One version of the code, seen from one entry.
struct Version<'a> {
    comparison: &'a Comparison<'a>,
    function: Function<'a>,
    added: &'a [Piece],
    point: &'a Point,
    mode: Mode,
    /// The stack pointer at the entry.
    frame: Term,
}

impl Version<'_> {
    fn piece(&self, at: VmAddr) -> Option<Function<'_>> {
        let pieces = self
            .added
            .iter()
            .chain(self.comparison.helpers)
            .map(|piece| Function { entry: piece.at, words: &piece.words });
        pieces.into_iter().find(|piece| piece.range().contains(&at))
    }
}

impl Ground for Version<'_> {
    fn operation(&self, at: VmAddr) -> Result<Operation> {
        self.piece(at).unwrap_or(self.function).operation(at)
    }

    fn word(&self, at: VmAddr) -> Word {
        self.piece(at).unwrap_or(self.function).word(at).unwrap_or_default()
    }

    fn contains(&self, at: VmAddr) -> bool {
        self.comparison.region.inside.contains(&at) || self.is_added(at)
    }

    fn is_in_function(&self, at: VmAddr) -> bool {
        self.function.range().contains(&at)
    }

    fn is_added(&self, at: VmAddr) -> bool {
        self.piece(at).is_some()
    }

    fn loaded(&self, terms: &Terms, value: Term) -> Option<Term> {
        frame::stored(terms, self.frame, value)
    }

    fn callee(&self, terms: &Terms, target: Term) -> Callee {
        let stubs = self.comparison.rewrite.stubs;
        match terms.as_constant(target).map(VmAddr) {
            Some(at) if stubs.unlock.contains(&at) || stubs.free.contains(&at) => {
                Callee { arguments: Some(1), returns: false }
            }
            Some(at) if stubs.free_sized.contains(&at) => {
                Callee { arguments: Some(2), returns: false }
            }
            _ => Callee::UNKNOWN,
        }
    }

    fn act(&self, terms: &mut Terms, event: &Event, trace: &Trace) -> Act {
        let stubs = self.comparison.rewrite.stubs;
        match event {
            Event::Barrier => Act::Barrier,
            Event::Store { address, bytes: 8, value } => {
                let value = trace.facts.resolve(terms, *value);
                let is_null = terms.as_constant(value) == Some(0);
                match origin::receivers_field(self.point, terms, *address) {
                    Some(_) if is_null => Act::Clear,
                    _ => Act::Store,
                }
            }
            Event::Store { .. } => Act::Store,
            Event::Call { target, arguments } => match terms.as_constant(*target).map(VmAddr) {
                Some(at) if stubs.unlock.contains(&at) => Act::Unlock,
                Some(at) if stubs.free.contains(&at) || stubs.free_sized.contains(&at) => {
                    paths::free(terms, arguments, trace)
                }
                _ => Act::Call,
            },
        }
    }

    fn is_apart(&self, act: Act) -> bool {
        self.mode == Mode::Permitted && act == Act::Clear
    }
}

impl Point {
    /// A symbolic state in which the registers hold what is known of them: one
    /// term for one value, numbers where they are numbers, and what is known to be
    /// zero or not as facts.
    fn state(&self, terms: &mut Terms) -> (State, PathCondition) {
        let mut state = State::initial(terms);
        let mut facts = PathCondition::default();
        for register in Register::all() {
            let value = self.get(register);
            let term = match value.as_constant() {
                Some(number) => terms.constant(number),
                None => {
                    let same = Register::all().find(|&other| self.get(other) == value);
                    terms.register(same.unwrap_or(register))
                }
            };
            state.set(register, term);
            if let Some(zero) = self.is_zero(value) {
                facts.assume(terms, Test::Zero(term, zero));
            }
        }
        (state, facts)
    }
}
