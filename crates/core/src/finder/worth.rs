//! Which functions of this image are followed where they are called.
//!
//! Those that take or drop a lock are, themselves or in what they call, and short ones. A
//! long function that has nothing to do with locks is passed over.

use super::decode::Op;
use super::explore::Explorer;
use super::meaning::{Meaning, meaning};

/// Whether to follow a function of this image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Worth {
    /// It takes or drops a lock, itself or in a function it calls.
    Followed,
    /// It is short.
    Short,
    /// It is long and has nothing to do with locks.
    Passed,
    /// It is long, and whether something it calls takes a lock is not known, or it was
    /// tried and not understood.
    PassedUnknown,
}

/// The instructions a function may have to be followed although it takes no lock.
const MAX_SHORT: usize = 64;

/// The instructions a function may have to be followed for a lock that is taken by a
/// function it calls.
const MAX_MIDDLING: usize = 240;

/// How deep functions are followed because they are short.
pub(super) const MAX_SHORT_DEPTH: u8 = 3;

/// How many functions are looked at to find out.
const MAX_EXAMINED: usize = 64;

impl Explorer<'_, '_> {
    /// Whether to follow a function: by what it calls, directly and further on.
    pub(super) fn worth(&mut self, target: u64) -> Worth {
        if let Some(worth) = self.worth.get(&target) {
            return *worth;
        }
        let worth = self.find_worth(target);
        self.worth.insert(target, worth);
        worth
    }

    fn find_worth(&mut self, target: u64) -> Worth {
        let Some(function) = self.function_at(target) else { return Worth::Followed };
        let (locks, mut open, mut unresolved) = self.calls_of(target);
        if locks {
            return Worth::Followed;
        }
        let middling = function.ops.len() <= MAX_MIDDLING;
        if middling && open.clone().into_iter().any(|callee| self.calls_of(callee).0) {
            return Worth::Followed;
        }
        if function.ops.len() <= MAX_SHORT {
            return Worth::Short;
        }
        let mut known = open.clone();
        while let Some(at) = open.pop() {
            let (locks, calls, more) = self.calls_of(at);
            unresolved |= more | locks;
            for callee in
                calls.into_iter().filter(|callee| !known.contains(callee)).collect::<Vec<_>>()
            {
                known.push(callee);
                open.push(callee);
            }
            if unresolved || known.len() > MAX_EXAMINED {
                return Worth::PassedUnknown;
            }
        }
        if unresolved { Worth::PassedUnknown } else { Worth::Passed }
    }

    /// Whether a function itself takes or drops a lock, which functions of this image
    /// it calls, and whether it makes calls whose targets are not known.
    fn calls_of(&mut self, at: u64) -> (bool, Vec<u64>, bool) {
        let Some(function) = self.function_at(at) else { return (false, Vec::new(), true) };
        let (mut locks, mut calls, mut unresolved) = (false, Vec::new(), false);
        for op in &function.ops {
            match *op {
                Op::CallRegister(_) => unresolved = true,
                Op::Call(to) | Op::Branch(to) => match self.program.stub(to).map(meaning) {
                    Some(Meaning::Lock | Meaning::Unlock | Meaning::TryLock(_)) => locks = true,
                    None if self.program.starts().binary_search(&to).is_ok()
                        && !calls.contains(&to) =>
                    {
                        calls.push(to);
                    }
                    _ => {}
                },
                _ => {}
            }
        }
        (locks, calls, unresolved)
    }
}
