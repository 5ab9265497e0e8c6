//! Where the block is kept, and which instructions come behind the call.

use std::collections::BTreeSet;

use crate::finder::decode::{Op, SP, bit};
use crate::finder::function::{Function, registers};
use crate::finder::rewrite::Refusal;

/// The registers that survive calls.
const SURVIVING: std::ops::RangeInclusive<u8> = 19..=28;

/// Those that need not, and that neither pass arguments nor serve linkers.
const SCRATCH: std::ops::RangeInclusive<u8> = 9..=15;

/// The registers for the block.
pub(super) struct Spare {
    /// It survives calls, the function saves it in its frame, and nothing needs it between
    /// the calls and the loads of the field behind them.
    pub register: u8,
    /// The instruction that overwrites it on the way to the loads, and the register that has
    /// the block from there on.
    pub moves: Option<(u64, u8)>,
}

impl Spare {
    /// The first that serves, one that the block can stay in before others.
    pub(super) fn of(
        function: &Function,
        order: &Order,
        calls: &BTreeSet<u64>,
        reads: &[(u64, u8)],
    ) -> Option<Spare> {
        let between = order.before_any(function, reads);
        let free = SURVIVING.rev().filter(|register| is_free(function, calls, *register));
        let mut found = None;
        for register in free {
            let names = |at: &&u64| names(function.op(**at), register);
            let named: Vec<u64> = between.iter().filter(names).copied().collect();
            match named[..] {
                [] => return Some(Spare { register, moves: None }),
                [at] => {
                    let moves = moves(function, at, register, reads);
                    let spare = moves.map(|to| Spare { register, moves: Some((at, to)) });
                    found = found.or(spare);
                }
                _ => {}
            }
        }
        found
    }
}

fn names(op: Op, register: u8) -> bool {
    let (written, read) = registers(op);
    (written | read) & bit(register) != 0
}

/// Whether a register is saved in the frame, and what it holds is needed by nothing behind
/// the calls.
fn is_free(function: &Function, calls: &BTreeSet<u64>, register: u8) -> bool {
    let in_frame = |op: Op| match op {
        Op::Load(access) | Op::Store(access) => access.place.base() == Some(SP),
        _ => false,
    };
    let mut named = function.ops.iter().copied().filter(|op| names(*op, register));
    let saved = matches!(named.next(), Some(op @ Op::Store(_)) if in_frame(op));
    let unused = |at: &u64| function.is_unused(at + 4, register);
    saved && (named.all(in_frame) || calls.iter().all(unused))
}

/// The register for the block from the instruction on that overwrites the one it is in:
/// nothing needs it or changes it on the way to the loads.
fn moves(function: &Function, at: u64, register: u8, reads: &[(u64, u8)]) -> Option<u8> {
    let op = function.op(at);
    let (_, read) = registers(op);
    let moved = matches!(op, Op::Logic { .. } | Op::Add { .. } | Op::Extend { .. });
    if !moved || read & bit(register) != 0 {
        return None;
    }
    let order = Order::of(function, &BTreeSet::from([at])).ok()?;
    let behind = reads.iter().all(|(read, _)| order.is_behind(*read) == Ok(true));
    let between = order.before_any(function, reads);
    let calls = |at: &u64| matches!(function.op(*at), Op::Call(_) | Op::CallRegister(_));
    let kept = |register: &u8| !between.iter().any(|at| names(function.op(*at), *register));
    let mut free = SCRATCH.filter(|register| function.is_unused(at, *register));
    if behind && !between.iter().any(calls) { free.find(kept) } else { None }
}

/// Whether control goes on to the next instruction, and where else.
fn next(op: Op) -> (bool, Option<u64>) {
    match op {
        Op::Return(_) | Op::Trap | Op::Unknown | Op::Jump(_) => (false, None),
        Op::Branch(target) => (false, Some(target)),
        Op::BranchIf { target, .. }
        | Op::BranchZero { target, .. }
        | Op::BranchBit { target, .. } => (true, Some(target)),
        _ => (true, None),
    }
}

/// Which instructions come behind some calls.
pub(super) struct Order {
    start: u64,
    /// Whether control comes there without one of the calls, and through one.
    ways: Vec<(bool, bool)>,
}

impl Order {
    pub(super) fn of(function: &Function, calls: &BTreeSet<u64>) -> Result<Order, Refusal> {
        let range = function.range.clone();
        let mut ways = vec![(false, false); function.ops.len()];
        let pads = function.sites.iter().filter_map(|site| Some((site.pad?.0, true)));
        let mut open: Vec<(u64, bool)> = pads.chain([(range.start, false)]).collect();
        while let Some((at, behind)) = open.pop() {
            if !range.contains(&at) {
                continue;
            }
            let way = &mut ways[((at - range.start) / 4) as usize];
            let known = if behind { &mut way.1 } else { &mut way.0 };
            if std::mem::replace(known, true) {
                continue;
            }
            let op = function.op(at);
            if matches!(op, Op::Jump(_)) {
                return Err(Refusal::IndirectBranch);
            }
            let (falls, target) = next(op);
            let falls = falls.then_some((at + 4, behind || calls.contains(&at)));
            open.extend(falls.into_iter().chain(target.map(|target| (target, behind))));
        }
        Ok(Order { start: range.start, ways })
    }

    /// The instructions behind a call from which control comes to one of some places.
    fn before_any(&self, function: &Function, places: &[(u64, u8)]) -> Vec<u64> {
        let mut reaching: BTreeSet<u64> = places.iter().map(|(at, _)| *at).collect();
        let behind = |at: &u64| matches!(self.is_behind(*at), Err(_) | Ok(true));
        loop {
            let known = reaching.len();
            for (at, op) in function.placed().filter(|(at, _)| behind(at)) {
                let (falls, target) = next(op);
                let falls = falls && reaching.contains(&(at + 4));
                if falls || target.is_some_and(|target| reaching.contains(&target)) {
                    reaching.insert(at);
                }
            }
            if reaching.len() == known {
                break;
            }
        }
        places.iter().for_each(|(at, _)| {
            reaching.remove(at);
        });
        reaching.into_iter().collect()
    }

    /// Whether control comes to an instruction only through a call.
    pub(super) fn is_behind(&self, at: u64) -> Result<bool, Refusal> {
        match self.ways.get(((at - self.start) / 4) as usize) {
            Some((true, true)) => Err(Refusal::NoMaterial),
            Some((_, behind)) => Ok(*behind),
            None => Ok(false),
        }
    }
}
