//! What is known to hold on a path: the outcomes of its branches.

use crate::arm64::semantics::{Condition, Flags, Term, Terms, Test};

/// Outcomes of branches, none of which contradicts another as far as is seen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PathCondition {
    flags: Vec<(Flags, u16)>,
    zero: Vec<(Term, bool)>,
}

impl PathCondition {
    /// Adds that `test` holds. False if that contradicts what is known, so that
    /// nothing satisfies all of it.
    pub fn assume(&mut self, terms: &Terms, test: Test) -> bool {
        match test {
            Test::Zero(term, zero) => match self.is_zero(terms, term) {
                Some(known) => known == zero,
                None => {
                    self.zero.push((term, zero));
                    true
                }
            },
            Test::Flags(condition) => self.assume_flags(terms, condition),
        }
    }

    fn assume_flags(&mut self, terms: &Terms, condition: Condition) -> bool {
        if let Some(decided) = condition.decided(terms) {
            return decided;
        }
        match self.flags.iter_mut().find(|(flags, _)| *flags == condition.flags) {
            Some((_, possible)) => {
                *possible &= condition.holds;
                *possible != 0
            }
            None => {
                self.flags.push((condition.flags, condition.holds));
                true
            }
        }
    }

    /// Everything known to either, or none if they contradict one another.
    pub fn joined(&self, terms: &Terms, other: &PathCondition) -> Option<PathCondition> {
        let mut joined = self.clone();
        let zero = other.zero.iter().map(|&(term, zero)| Test::Zero(term, zero));
        let flags =
            other.flags.iter().map(|&(flags, holds)| Test::Flags(Condition { flags, holds }));
        zero.chain(flags).all(|test| joined.assume(terms, test)).then_some(joined)
    }

    /// Whether a value is zero, where that is known.
    pub fn is_zero(&self, terms: &Terms, term: Term) -> Option<bool> {
        match terms.as_constant(term) {
            Some(value) => Some(value == 0),
            None => self.zero.iter().find(|(known, _)| *known == term).map(|&(_, zero)| zero),
        }
    }

    /// The values that are known to be zero.
    pub fn zeros(&self) -> impl Iterator<Item = Term> + '_ {
        self.zero.iter().filter(|(_, zero)| *zero).map(|&(term, _)| term)
    }

    /// The value, or the number zero where it is known to be that.
    pub fn resolve(&self, terms: &mut Terms, term: Term) -> Term {
        match self.is_zero(terms, term) {
            Some(true) => terms.constant(0),
            _ => term,
        }
    }
}
