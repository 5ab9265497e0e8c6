//! A function's instructions with the registers that are alive before each.
//!
//! What is dead is forgotten at every join, which is what keeps the number of
//! states small. Where the liveness of a place cannot be known (an indirect
//! branch, a piece that was outlined, code outside of functions), every register
//! counts as alive.

use std::ops::Range;

use crate::address::{VmAddr, Word};
use crate::macho::CallSite;

use super::decode::{ALL, FLAGS, Op, Operand, SP, bit, decode};
use super::image::Program;

/// The most instructions of a function that is analysed.
pub const MAX_WORDS: u64 = 60_000;

/// The registers a call passes arguments in, with the one for results by address.
const ARGUMENTS: u64 = 0x1ff;

/// The registers a call may change.
pub const SCRATCH: u64 = 0x4007_ffff | FLAGS;

/// The registers that a caller gets back unchanged, the stack pointer and the
/// two for results.
const RETURNED: u64 = 0xfff8_0003;

/// One function, decoded.
#[derive(Debug)]
pub struct Function {
    /// Its addresses.
    pub range: Range<u64>,
    /// Its instructions.
    pub ops: Vec<Op>,
    /// The entries of its exception table.
    pub sites: Vec<CallSite>,
    live: Vec<u64>,
    joins: Vec<bool>,
}

impl Function {
    /// Decodes the function at these addresses; `None` if it is too long.
    pub fn read(program: &Program<'_>, range: Range<u64>) -> Option<Function> {
        let count = (range.end - range.start) / Word::SIZE;
        if count > MAX_WORDS {
            return None;
        }
        let op = |at| program.word(at).map_or(Op::Unknown, |word| decode(word, VmAddr(at)));
        let ops: Vec<Op> = (0..count).map(|index| op(range.start + 4 * index)).collect();
        let sites = program.call_sites(&range);
        let mut function = Function { range, ops, sites, live: Vec::new(), joins: Vec::new() };
        function.find_joins(program);
        function.find_live(program);
        Some(function)
    }

    /// The instructions, each with its address.
    pub fn placed(&self) -> impl Iterator<Item = (u64, Op)> {
        self.range.clone().step_by(4).zip(self.ops.iter().copied())
    }

    /// The instruction at an address of the function.
    pub fn op(&self, at: u64) -> Op {
        self.ops.get(self.index(at)).copied().unwrap_or(Op::Unknown)
    }

    /// The registers that are alive before an instruction.
    pub fn live(&self, at: u64) -> u64 {
        self.live.get(self.index(at)).copied().unwrap_or(ALL)
    }

    /// Whether what a register holds before an instruction is needed by nothing that is
    /// reached from there, taken that the function keeps the calling convention, which a
    /// short one is not taken to keep elsewhere.
    pub fn is_unused(&self, at: u64, register: u8) -> bool {
        const REACH: usize = 64;
        let (wanted, mut open) = (bit(register), vec![at]);
        for _ in 0..REACH {
            let Some(at) = open.pop() else { return true };
            let op = self.op(at);
            let (mut writes, reads) = registers(op);
            if matches!(op, Op::CallRegister(_)) {
                writes = 0;
            }
            match op {
                _ if !self.contains(at) || reads & wanted != 0 => return false,
                _ if writes & wanted != 0 => {}
                Op::Trap => {}
                Op::Return(_) if RETURNED & wanted == 0 => {}
                Op::Call(_) | Op::CallRegister(_) if ARGUMENTS & wanted == 0 => {
                    let survives = SCRATCH & wanted == 0;
                    open.extend(
                        [Some(at + 4), self.pad(at)].into_iter().flatten().filter(|_| survives),
                    );
                }
                Op::Return(_) | Op::Call(_) | Op::Jump(_) | Op::Unknown => return false,
                Op::Branch(to) => open.push(to),
                Op::BranchIf { target, .. }
                | Op::BranchZero { target, .. }
                | Op::BranchBit { target, .. } => open.extend([target, at + 4]),
                _ => open.push(at + 4),
            }
        }
        false
    }

    /// Whether paths may meet at an address, so that states are compared there.
    pub fn is_join(&self, at: u64) -> bool {
        self.joins.get(self.index(at)).copied().unwrap_or(true)
    }

    /// Where the call at an address continues if it throws.
    pub fn pad(&self, at: u64) -> Option<u64> {
        let site = self.sites.iter().find(|site| site.calls.contains(&VmAddr(at)))?;
        site.pad.map(|pad| pad.0)
    }

    fn index(&self, at: u64) -> usize {
        (at.wrapping_sub(self.range.start) / Word::SIZE) as usize
    }

    fn contains(&self, at: u64) -> bool {
        self.range.contains(&at) && at.is_multiple_of(4)
    }

    fn find_joins(&mut self, program: &Program<'_>) {
        let mut joins = vec![false; self.ops.len()];
        let mut mark = |at: u64| {
            if self.contains(at) {
                joins[self.index(at)] = true;
            }
        };
        mark(self.range.start);
        for (index, op) in self.ops.iter().enumerate() {
            let at = self.range.start + 4 * index as u64;
            match *op {
                Op::Branch(target)
                | Op::BranchIf { target, .. }
                | Op::BranchZero { target, .. }
                | Op::BranchBit { target, .. } => mark(target),
                Op::Call(target) if program.stub(target).is_none() => mark(at + 4),
                _ => {}
            }
        }
        for site in &self.sites {
            site.pad.into_iter().for_each(|pad| mark(pad.0));
        }
        self.joins = joins;
    }

    /// Liveness, backwards until nothing changes.
    fn find_live(&mut self, program: &Program<'_>) {
        let fragment = program.is_fragment(self.range.start);
        let effects: Vec<Effect> =
            self.ops.iter().map(|op| effect(*op, program, fragment)).collect();
        let mut live = vec![0u64; self.ops.len() + 1];
        for pass in 0.. {
            let mut changed = false;
            for index in (0..self.ops.len()).rev() {
                let at = self.range.start + 4 * index as u64;
                let mut after = if effects[index].falls_through { live[index + 1] } else { 0 };
                if let Some(target) = effects[index].target {
                    after |= if self.contains(target) { live[self.index(target)] } else { ALL };
                }
                if let (Op::Call(_) | Op::CallRegister(_), Some(pad)) =
                    (self.ops[index], self.pad(at))
                {
                    after |= if self.contains(pad) { live[self.index(pad)] } else { ALL };
                }
                let before = effects[index].uses | (after & !effects[index].defines) | bit(SP);
                changed |= before != live[index];
                live[index] = before;
            }
            if !changed {
                break;
            }
            // A graph that does not settle soon is treated as if all were alive.
            if pass == 200 {
                live.fill(ALL);
                break;
            }
        }
        self.live = live;
    }
}

/// What an instruction does to registers, and where it goes.
struct Effect {
    defines: u64,
    uses: u64,
    target: Option<u64>,
    falls_through: bool,
}

fn operand(by: Operand) -> u64 {
    match by {
        Operand::Immediate(_) => 0,
        Operand::Shifted(register, _)
        | Operand::Extended(register, _)
        | Operand::Opaque(register) => bit(register),
    }
}

fn effect(op: Op, program: &Program<'_>, fragment: bool) -> Effect {
    let (defines, uses) = registers(op);
    let mut effect = Effect { defines, uses, target: None, falls_through: true };
    match op {
        Op::Trap | Op::Unknown => effect.falls_through = false,
        Op::BranchIf { target, .. }
        | Op::BranchZero { target, .. }
        | Op::BranchBit { target, .. } => effect.target = Some(target),
        Op::Branch(target) => {
            effect.falls_through = false;
            match program.stub(target) {
                Some(_) => effect.uses = ARGUMENTS | RETURNED,
                None if program.starts().binary_search(&target).is_ok()
                    && !program.is_fragment(target) =>
                {
                    effect.uses = ARGUMENTS | RETURNED;
                }
                None => effect.target = Some(target),
            }
        }
        Op::Call(target) if program.stub(target).is_some() || !program.is_fragment(target) => {
            (effect.uses, effect.defines) = (ARGUMENTS, SCRATCH);
        }
        Op::Call(_) => (effect.uses, effect.defines) = (ALL & !bit(30), bit(30)),
        Op::Jump(_) => (effect.uses, effect.falls_through) = (ALL, false),
        Op::Return(register) => {
            let kept = if fragment { ALL } else { RETURNED };
            (effect.uses, effect.falls_through) = (bit(register) | kept, false);
        }
        _ => {}
    }
    effect
}

/// The registers an instruction writes and those it reads.
pub(super) fn registers(op: Op) -> (u64, u64) {
    let flags = |set: bool| if set { FLAGS } else { 0 };
    match op {
        Op::Constant { to, .. } => (bit(to), 0),
        Op::Keep { to, .. } => (bit(to), bit(to)),
        Op::Add { to, from, by, flags: set, .. } | Op::Logic { to, from, by, flags: set, .. } => {
            (bit(to) | flags(set), bit(from) | operand(by))
        }
        Op::Extend { to, from } | Op::ShiftLeft { to, from, .. } => (bit(to), bit(from)),
        Op::Other { to, uses, .. } => (bit(to), uses),
        Op::Flags { uses } => (FLAGS, uses),
        Op::Select { to, yes, no, .. } => (bit(to), bit(yes) | bit(no) | FLAGS),
        Op::Compare { from, by, .. } => (FLAGS, bit(from) | operand(by) | FLAGS),
        Op::Load(access) | Op::Store(access) => {
            let data = match access.vector {
                true => 0,
                false => bit(access.registers.0) | access.registers.1.map_or(0, bit),
            };
            let base = access.place.base().map_or(0, bit);
            let index = match access.place {
                super::decode::Place::Indexed(_, by) => operand(by),
                _ => 0,
            };
            let back = if access.place.writes_back() { base } else { 0 };
            match op {
                Op::Load(_) => (data | back, base | index),
                _ => (back, data | base | index),
            }
        }
        Op::Swap { from, to, base, .. } => (bit(to), bit(from) | bit(base)),
        Op::Atomic { to, from, base, .. } => (bit(to), bit(from) | bit(to) | bit(base)),
        Op::StoreExclusive { status, from, base, .. } => (bit(status), bit(from) | bit(base)),
        Op::BranchIf { .. } => (0, FLAGS),
        Op::BranchZero { register, .. } | Op::BranchBit { register, .. } => (0, bit(register)),
        Op::CallRegister(register) => (SCRATCH, bit(register) | ARGUMENTS),
        Op::Vector { .. }
        | Op::Nop
        | Op::Trap
        | Op::Unknown
        | Op::Branch(_)
        | Op::Call(_)
        | Op::Jump(_) => (0, 0),
        Op::Return(_) => (0, 0),
    }
}
