//! What a thread does before it reaches the window.
//!
//! The interleavings depend on how often a function loads `self->_impl` and what
//! it does with what it found before it takes the pool's lock. This module reads
//! that off the whole function, by what the registers hold ([`Values`]): a load
//! of the field that the window clears, whether the value is compared with zero
//! and where null leads, the destructor as every access to the block and every
//! call that gets it, and the call that takes the lock the window releases.
//!
//! Each of these must stand on every way to the window; a function in which one
//! can be passed by is refused by name, because its threads differ in more than
//! the model knows.

use std::collections::BTreeSet;
use std::ops::Range;

use super::function::Function;
use super::jump_tables;
use super::site::{LandingPads, Roles, Surroundings};
use super::steps::{Event, Step};
use super::values::{Atom, Point, Value, Values};
use crate::address::VmAddr;
use crate::arm64::semantics::{Address, Atomic, Data, Extend, Operation, Register};
use crate::error::{Code, Error, Result};

/// What leads to the window.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Approach {
    /// The steps, up to the call that takes the lock.
    pub before: Vec<Step>,
    /// Steps under the lock and still before the window.
    pub locked: Vec<Step>,
    /// Where a thread enters the window that found null, if one does.
    pub null_entry: Option<VmAddr>,
}

/// Reads what leads to `window` off the function.
///
/// # Errors
/// `StepUnknown` where the function does not load the field before the window,
/// or a thread can pass one of the steps by; what [`Values`] cannot follow.
pub(super) fn read(
    function: Function<'_>,
    surroundings: &dyn Surroundings,
    window: Range<VmAddr>,
    roles: &Roles,
) -> Result<Approach> {
    if function.entry == window.start {
        // There is nothing to read: the thread comes with a block and takes the lock.
        let before = vec![Step { at: window.start, event: Event::Lock }];
        return Ok(Approach { before, locked: Vec::new(), null_entry: None });
    }
    let pads = match surroundings.landing_pads(function.range()) {
        LandingPads::Known(pads) => pads,
        LandingPads::Unknown(_) => Vec::new(),
    };
    let values = Values::of(function, surroundings, window.clone(), pads)?;
    let start = values.before(window.start).cloned();
    let start = start.ok_or_else(|| unknown("no path through the function reaches the window"))?;
    let sum = |a, b| start.get(a).plus(start.get(b));
    let (Some(field), Some(lock)) = (sum(roles.self_, roles.ivar), sum(roles.pool, roles.lock))
    else {
        return Err(unknown("cannot determine the addresses of self->_impl and of the lock"));
    };
    let mut scan = Scan { function, surroundings, window, values, field, lock };
    scan.approach()
}

struct Scan<'a> {
    function: Function<'a>,
    surroundings: &'a dyn Surroundings,
    window: Range<VmAddr>,
    values: Values<'a>,
    field: Value,
    lock: Value,
}

/// A load of the field, and the unknown it makes.
struct Load {
    at: VmAddr,
    exchange: bool,
    block: Atom,
}

impl Scan<'_> {
    fn approach(&mut self) -> Result<Approach> {
        let lock = self.lock_call()?;
        let loads = self.loads()?;
        let mut approach = Approach { before: Vec::new(), locked: Vec::new(), null_entry: None };
        for load in &loads {
            let event = self.tested(load, &mut approach.null_entry)?;
            let steps = if load.at < lock { &mut approach.before } else { &mut approach.locked };
            steps.push(Step { at: load.at, event });
            if let Some(at) = self.first_use(load, lock) {
                approach.before.push(Step { at, event: Event::Destroy });
            }
        }
        approach.locked.extend(self.clears()?);
        approach.locked.sort_by_key(|step| step.at);
        approach.before.push(Step { at: lock, event: Event::Lock });
        let required = approach.before.iter().chain(&approach.locked);
        for step in required.filter(|step| step.event != Event::Destroy) {
            if self.reachable_without(step.at)?.contains(&self.window.start) {
                return Err(unknown("a thread can reach the window without this step")
                    .with("address", step.at)
                    .with("step", step.event.name()));
            }
        }
        Ok(approach)
    }

    /// Every instruction of the function outside the window that control comes to.
    fn reached(&self) -> Vec<(VmAddr, Operation, &Point)> {
        let addresses = (0..self.function.words.len()).map(|n| self.function.entry.instruction(n));
        addresses
            .filter(|at| !self.window.contains(at))
            .filter_map(|at| Some((at, self.function.operation(at).ok()?, self.values.before(at)?)))
            .collect()
    }

    /// The call that takes the lock: the last one before the window that gets it.
    fn lock_call(&self) -> Result<VmAddr> {
        let first = Register::new(0);
        let gets_lock = |(at, operation, point): &(VmAddr, Operation, &Point)| {
            is_call(operation) && *at < self.window.start && point.get(first) == self.lock
        };
        let mut calls = self.reached().into_iter().filter(gets_lock).map(|(at, ..)| at);
        calls.next_back().ok_or_else(|| {
            unknown("no call before the window acquires the lock that the window releases")
        })
    }

    fn loads(&self) -> Result<Vec<Load>> {
        let mut loads = Vec::new();
        for (at, operation, point) in self.reached() {
            let register = match operation {
                Operation::Access { load: true, register, size, address, .. }
                    if size.bytes == 8 && place(point, address) == Some(self.field) =>
                {
                    general(register)
                }
                Operation::Atomic {
                    bytes: 8,
                    to,
                    operand: None,
                    base,
                    operation: Atomic::Swap,
                } if point.get(base) == self.field => to,
                _ => continue,
            };
            let register =
                register.ok_or_else(|| unknown("nothing loads self->_impl").with("address", at))?;
            let exchange = matches!(operation, Operation::Atomic { .. });
            loads.push(Load { at, exchange, block: Atom::Made(at, register) });
        }
        loads.retain(|load| load.at < self.window.start && self.leads_to_window(load.at));
        if loads.is_empty() {
            return Err(unknown("the function does not load self->_impl before the window"));
        }
        Ok(loads)
    }

    /// Stores of null to the field before the window.
    fn clears(&self) -> Result<Vec<Step>> {
        let mut clears = Vec::new();
        for (at, operation, point) in self.reached() {
            let Operation::Access { load: false, register, address, .. } = operation else {
                continue;
            };
            let stores_to_field = place(point, address) == Some(self.field);
            if at > self.window.start || !stores_to_field || !self.leads_to_window(at) {
                continue;
            }
            if register == Data::General(None) {
                clears.push(Step { at, event: Event::Clear });
            } else {
                let why = "something else than null is stored in self->_impl before the window";
                return Err(unknown(why).with("address", at));
            }
        }
        Ok(clears)
    }

    /// What the function does where the load finds null.
    fn tested(&mut self, load: &Load, null_entry: &mut Option<VmAddr>) -> Result<Event> {
        let block = Value::atom(load.block);
        let mut targets = BTreeSet::new();
        let branches: Vec<VmAddr> = self
            .reached()
            .into_iter()
            .filter(|(_, operation, point)| {
                is_conditional(operation) && point.is_zero(block).is_none()
            })
            .map(|(at, ..)| at)
            .collect();
        for at in branches {
            for to in self.successors(at)? {
                let way = self.values.on_the_way(at, to)?;
                if way.is_some_and(|point| point.is_zero(block) == Some(true)) {
                    targets.insert(to);
                }
            }
        }
        let mut targets = targets.into_iter();
        let event = match (targets.next(), targets.next()) {
            (None, _) if load.exchange => {
                return Err(unknown("the exchanged value is not tested").with("address", load.at));
            }
            (None, _) => return Ok(Event::Load),
            (Some(target), None) if self.window.contains(&target) => {
                if null_entry.is_some_and(|entry| entry != target) {
                    return Err(unknown("null enters the window in two places"));
                }
                *null_entry = Some(target);
                Event::LoadOrSkip
            }
            (Some(target), None) => {
                self.returns(target)?;
                Event::LoadOrReturn
            }
            (Some(_), Some(_)) => {
                let why = "a loaded self->_impl is tested twice, to different ends";
                return Err(unknown(why).with("address", load.at));
            }
        };
        Ok(if load.exchange { Event::TakeOrSkip } else { event })
    }

    /// Checks that a thread at `address` does nothing more that others can see.
    fn returns(&self, address: VmAddr) -> Result<()> {
        let reached = self.reachable(address, None)?;
        let touches = |at: &VmAddr| {
            self.window.contains(at) || self.loads().is_ok_and(|l| l.iter().any(|l| l.at == *at))
        };
        match reached.iter().find(|at| touches(at)) {
            Some(at) => {
                let why = "a thread that found null comes to the steps of one that did not";
                Err(unknown(why).with("address", at).with("null at", address))
            }
            None => Ok(()),
        }
    }

    /// The first instruction that works on the block a load found, before the lock
    /// or off the straight way.
    fn first_use(&self, load: &Load, lock: VmAddr) -> Option<VmAddr> {
        let of_block =
            |point: &Point, register| point.get(register).atoms().any(|atom| atom == load.block);
        let uses = |(at, operation, point): &(VmAddr, Operation, &Point)| {
            let under_lock = (lock..self.window.start).contains(at);
            let base = match operation {
                Operation::Access { address, .. } | Operation::AccessPair { address, .. } => {
                    Some(base(*address))
                }
                Operation::Atomic { base, .. } | Operation::CompareAndSwap { base, .. } => {
                    Some(*base)
                }
                _ => None,
            };
            let argument =
                || is_call(operation) && (0..8).any(|n| of_block(point, Register::new(n)));
            !under_lock && (base.is_some_and(|base| of_block(point, base)) || argument())
        };
        self.reached().into_iter().find(uses).map(|(at, ..)| at)
    }

    fn successors(&self, at: VmAddr) -> Result<Vec<VmAddr>> {
        let following = at.instruction(1);
        let targets = match self.function.operation(at)? {
            Operation::Return { .. } | Operation::Trap => Vec::new(),
            Operation::Branch { target } => vec![target],
            Operation::BranchIf { target, .. }
            | Operation::BranchOnZero { target, .. }
            | Operation::BranchOnBit { target, .. } => vec![target, following],
            Operation::BranchRegister { .. } => {
                jump_tables::targets(self.function, self.surroundings, at)?
            }
            _ => vec![following],
        };
        Ok(targets.into_iter().filter(|to| self.function.range().contains(to)).collect())
    }

    /// Whether a thread that executes `at` may still come to the window. Another
    /// window of the same function may lie on a way of its own.
    fn leads_to_window(&self, at: VmAddr) -> bool {
        self.reachable(at, None).is_ok_and(|reached| reached.contains(&self.window.start))
    }

    /// Where control comes from the entry if it never executes `avoided`.
    fn reachable_without(&self, avoided: VmAddr) -> Result<BTreeSet<VmAddr>> {
        self.reachable(self.function.entry, Some(avoided))
    }

    fn reachable(&self, from: VmAddr, avoided: Option<VmAddr>) -> Result<BTreeSet<VmAddr>> {
        let mut seen = BTreeSet::from([from]);
        let mut open = vec![from];
        while let Some(at) = open.pop().filter(|at| Some(*at) != avoided) {
            for to in self.successors(at)? {
                if Some(to) != avoided && seen.insert(to) {
                    open.push(to);
                }
            }
        }
        Ok(seen)
    }
}

/// The address of an access, where it is known.
fn place(point: &Point, address: Address) -> Option<Value> {
    match address {
        Address::Offset(base, by) | Address::Before(base, by) => {
            point.get(base).plus(Value::constant(by as u64))
        }
        Address::After(base, _) => Some(point.get(base)),
        Address::Indexed(base, Some(index), Extend { bits: 64, .. }, 0) => {
            point.get(base).plus(point.get(index))
        }
        Address::Indexed(..) | Address::Authenticated(..) => None,
    }
}

fn base(address: Address) -> Register {
    match address {
        Address::Offset(base, _)
        | Address::Before(base, _)
        | Address::After(base, _)
        | Address::Indexed(base, ..)
        | Address::Authenticated(_, base, ..) => base,
    }
}

fn general(register: Data) -> Option<Register> {
    match register {
        Data::General(register) => register,
        Data::Vector(_) => None,
    }
}

fn is_call(operation: &Operation) -> bool {
    matches!(operation, Operation::Call { .. } | Operation::CallRegister { .. })
}

fn is_conditional(operation: &Operation) -> bool {
    matches!(
        operation,
        Operation::BranchIf { .. } | Operation::BranchOnZero { .. } | Operation::BranchOnBit { .. }
    )
}

fn unknown(why: &str) -> Error {
    Error::new(Code::StepUnknown, why)
        .next("run `agxpatch inspect` on the file and report the window's disassembly")
}
