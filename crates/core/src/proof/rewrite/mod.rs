//! Any rewrite of one function, judged without a signature.
//!
//! Given are the function before and after, and code of the rewrite's own in
//! padding. Nothing says where the encoder, the block or the lock are: what
//! registers hold is derived from the whole function ([`Values`]), and what calls
//! are for from the names of the stubs. The two versions are compared from every
//! way into the part that differs ([`region`]) to every way out.
//!
//! First it is tried whether they do the same: the same stores, calls, loads and
//! exits. That is a strict refinement, and needs no permission. Else these
//! differences are permitted, each stated over what was derived:
//!
//! * a store of NULL to a field of the receiver comes earlier, over unlocks, frees
//!   and stores to other objects, and over the lock where a helper takes it;
//! * `free(NULL)` is left out;
//! * a store of NULL is left out where the field was just loaded and is NULL.
//!
//! Whatever else differs fails an obligation that names it.

mod compare;
mod frame;
mod helpers;
mod lockstep;
mod of_images;
mod origin;
mod region;
mod unwinding;

use std::collections::BTreeSet;

use serde::Serialize;

use super::code_as_data;
use super::failed_obligations::FailedObligations;
use super::function::Function;
use super::incoming_branches;
use super::obligation::{Name, Obligation};
use super::paths::{self, Act, Ground, Trace};
use super::site::{LandingPads, Surroundings};
use super::values::{Point, Values};
use crate::address::{VmAddr, Word};
use crate::arm64::semantics::{
    Callee, Event, Operation, Register, RegisterSet, State, Term, Terms, Test,
};
use crate::check::Status;
use crate::error::{Code, Error, Result};
use crate::macho::{CallSite, Image};
use region::Region;

pub use of_images::{ByRefinement, refine_every_change, refine_images};
pub(in crate::proof) use of_images::{added, extent};
pub(in crate::proof) use origin::Origins;

/// A function before and after.
#[derive(Clone, Copy)]
pub struct Rewrite<'a> {
    /// The address of the first instruction.
    pub entry: VmAddr,
    /// The whole function as it was.
    pub before: &'a [Word],
    /// The whole function as rewritten; as many words.
    pub after: &'a [Word],
    /// Code of the rewrite's own, in padding.
    pub added: &'a [Piece],
    /// Code that stood in padding before, which an earlier rewrite put there.
    pub standing: &'a [Piece],
    /// What calls are for.
    pub stubs: &'a Stubs,
    /// The rest of the image.
    pub surroundings: &'a dyn Surroundings,
    /// The exception table before and after, where it is known.
    pub call_sites: Option<[&'a [CallSite]; 2]>,
    /// Whether the function is the code of a block, whose first argument holds what the
    /// block captured. That does not change while the block runs.
    pub captures: bool,
}

/// Words outside the function.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Piece {
    /// Where the first of them is.
    pub at: VmAddr,
    /// The words.
    pub words: Vec<Word>,
}

/// Where the functions are called that take a lock or give a lock or memory back: the
/// addresses of stubs, and of the cells through which code calls that does without.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stubs {
    /// Stubs of the functions that take a lock.
    pub lock: BTreeSet<VmAddr>,
    /// Stubs of the functions that release a lock.
    pub unlock: BTreeSet<VmAddr>,
    /// Stubs of `free` and of the deletes that take nothing but a pointer.
    pub free: BTreeSet<VmAddr>,
    /// Stubs of the deletes that take a size as well.
    pub free_sized: BTreeSet<VmAddr>,
    /// Stubs of functions that end the program.
    pub ends: BTreeSet<VmAddr>,
    /// Stubs of functions that throw.
    pub throws: BTreeSet<VmAddr>,
    /// Stubs of functions of the system that use nothing but their arguments.
    pub inert: BTreeSet<VmAddr>,
}

/// Functions that take the lock that is their argument, and do nothing else.
const LOCKS: [&str; 6] = [
    "_os_unfair_lock_lock",
    "_pthread_mutex_lock",
    "_pthread_rwlock_wrlock",
    "_OSSpinLockLock",
    "__ZNSt3__15mutex4lockEv",
    "__ZNSt3__115recursive_mutex4lockEv",
];
/// Functions that release the lock that is their argument, and do nothing else.
const UNLOCKS: [&str; 6] = [
    "_os_unfair_lock_unlock",
    "_pthread_mutex_unlock",
    "_pthread_rwlock_unlock",
    "_OSSpinLockUnlock",
    "__ZNSt3__15mutex6unlockEv",
    "__ZNSt3__115recursive_mutex6unlockEv",
];
/// Functions that give back the memory their argument points to, or do nothing for NULL.
const FREES: [&str; 3] = ["_free", "__ZdlPv", "__ZdaPv"];
/// The same, with a size as the second argument.
const FREES_SIZED: [&str; 2] = ["__ZdlPvm", "__ZdaPvm"];
/// Functions that end the program.
const ENDS: [&str; 6] = [
    "_abort",
    "_exit",
    "___stack_chk_fail",
    "___assert_rtn",
    "__ZSt9terminatev",
    "_objc_terminate",
];
/// Functions that throw and do not return.
const THROWS: [&str; 4] =
    ["__Unwind_Resume", "___cxa_throw", "___cxa_rethrow", "_objc_exception_throw"];
/// Functions of the system that neither keep nor change an object of the program: they
/// look at a lock, at the clock, or at what is to be logged.
const INERT: [&str; 9] = [
    "_os_unfair_lock_assert_owner",
    "_os_unfair_lock_assert_not_owner",
    "___cxa_begin_catch",
    "__os_log_impl",
    "__os_log_debug_impl",
    "__os_log_error_impl",
    "__os_log_fault_impl",
    "_os_log_type_enabled",
    "_mach_absolute_time",
];

impl Stubs {
    /// The stubs of an image, by name.
    pub fn of(image: &Image<'_>) -> Result<Stubs> {
        let mut stubs = Stubs::default();
        for stub in image.stubs()?.into_iter().chain(image.pointers()?) {
            let of_kind = match stub.name {
                name if UNLOCKS.contains(&name) => &mut stubs.unlock,
                name if LOCKS.contains(&name) => &mut stubs.lock,
                name if ENDS.contains(&name) => &mut stubs.ends,
                name if THROWS.contains(&name) => &mut stubs.throws,
                name if INERT.contains(&name) => &mut stubs.inert,
                name if FREES.contains(&name) => &mut stubs.free,
                name if FREES_SIZED.contains(&name) => &mut stubs.free_sized,
                _ => continue,
            };
            of_kind.insert(stub.address);
        }
        Ok(stubs)
    }
}

/// A difference that is permitted and was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Permission {
    /// A field of the receiver is cleared earlier.
    ClearsEarlier,
    /// A field of the receiver is cleared before the lock is taken.
    ClearsBeforeLock,
    /// `free(NULL)` is left out.
    SkipsNullFree,
    /// A clear is left out where the field is NULL.
    SkipsNullClear,
    /// What a block captured is taken not to change while the block runs.
    TakesCapturesAsConstant,
    /// Functions that are called after the block was given away, and that do not get the
    /// receiver, find its field NULL already.
    ClearsBeforeCalls,
    /// What a field of the receiver held is kept and not read again: it is taken not to
    /// change but for the clear.
    ReadsOnce,
    /// A clear that was a release store comes earlier as a plain one: the lock orders it.
    ClearsWithoutRelease,
    /// A field of the receiver is exchanged with NULL where it was loaded.
    TakesByExchange,
    /// A field of the receiver is loaded once more, where it still holds what the register
    /// has.
    ReadsAgain,
}

impl Permission {
    /// Its name in reports.
    pub fn as_str(self) -> &'static str {
        match self {
            Permission::ClearsEarlier => "clears-earlier",
            Permission::ClearsBeforeLock => "clears-before-lock",
            Permission::SkipsNullFree => "skips-null-free",
            Permission::SkipsNullClear => "skips-null-clear",
            Permission::TakesCapturesAsConstant => "takes-captures-as-constant",
            Permission::ClearsBeforeCalls => "clears-before-calls",
            Permission::ReadsOnce => "reads-once",
            Permission::ClearsWithoutRelease => "clears-without-release",
            Permission::TakesByExchange => "takes-by-exchange",
            Permission::ReadsAgain => "reads-again",
        }
    }
}

/// What comparing the two versions gave.
#[derive(Clone, Debug, Serialize)]
pub struct Refinement {
    /// Every obligation.
    pub obligations: Vec<Obligation>,
    /// The differences that are permitted; none for a strict refinement.
    pub permissions: BTreeSet<Permission>,
}

impl Refinement {
    /// Whether every obligation that was looked at holds.
    pub fn holds(&self) -> bool {
        self.obligations.iter().all(|obligation| obligation.status != Status::Fail)
    }
}

/// Holds the new code against the old.
///
/// # Errors
/// `NotUnderstood`, `UnresolvedBranch` or `LoopInWindow` where a version cannot be
/// judged; each names the address.
pub fn refine(rewrite: &Rewrite<'_>) -> Result<Refinement> {
    let before = Function { entry: rewrite.entry, words: rewrite.before };
    let after = Function { entry: rewrite.entry, words: rewrite.after };
    if before.words.len() != after.words.len() {
        return Err(Error::new(Code::NotUnderstood, "the two versions differ in length")
            .with("function", rewrite.entry));
    }
    let elsewhere = incoming_branches::from_elsewhere(rewrite.surroundings, after.range());
    let entries: BTreeSet<VmAddr> = elsewhere.into_iter().map(|entry| entry.to).collect();
    let not_read = not_read(rewrite, after);
    let compared = by_paths(rewrite, before, after, &entries, not_read.clone());
    let changed = changed(rewrite, after);
    let by_paths = compared.as_ref().is_ok_and(Refinement::holds);
    if by_paths && unwinding::is_uniform(rewrite, &changed) {
        return compared;
    }
    let mut found = lockstep::refine(rewrite, before, after, &entries);
    found.obligations.push(not_read);
    found.obligations.sort_by_key(|obligation| obligation.name);
    // Of two refusals that of the paths says more.
    match found.holds() {
        false if !by_paths => compared.or(Ok(found)),
        _ => Ok(found),
    }
}

/// The obligations that either proof decides, by the names that both give them.
const COMPARED: [Name; 10] = [
    Name::WindowDecided,
    Name::UnlockKept,
    Name::ClearKept,
    Name::FreeKept,
    Name::FreeNotAdded,
    Name::SameCalls,
    Name::SameStores,
    Name::SameLoads,
    Name::SameExits,
    Name::SameStack,
];

/// Compares the paths through the part that differs, pair by pair. Control also enters
/// at `entries`, from elsewhere.
fn by_paths(
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
    obligations.push(super::clobbered_dead(after, rewrite.surroundings, &outcome.differing)?);
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

fn not_read(rewrite: &Rewrite<'_>, after: Function<'_>) -> Obligation {
    let changed: Vec<VmAddr> = changed(rewrite, after).into_iter().collect();
    code_as_data::obligation(rewrite.surroundings, after, &changed)
}

fn changed(rewrite: &Rewrite<'_>, after: Function<'_>) -> BTreeSet<VmAddr> {
    region::changed(Function { words: rewrite.before, ..after }, after)
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
        let mut all: Vec<Obligation> =
            COMPARED.iter().map(|&name| self.findings.obligation(name, &detail)).collect();
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
                Some(at) if stubs.free.contains(&at) => paths::free(terms, arguments, trace),
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
    fn state(&self, terms: &mut Terms) -> (State, super::path_condition::PathCondition) {
        let mut state = State::initial(terms);
        let mut facts = super::path_condition::PathCondition::default();
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
