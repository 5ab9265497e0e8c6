//! The words of one function by address.

use std::ops::Range;

use crate::address::{VmAddr, Word};
use crate::arm64::semantics::{Operation, decode};
use crate::error::{Code, Error, Result};

/// The words of a function and where they stand.
#[derive(Clone, Copy)]
pub(super) struct Function<'a> {
    pub entry: VmAddr,
    pub words: &'a [Word],
}

impl<'a> Function<'a> {
    /// Its addresses.
    pub fn range(self) -> Range<VmAddr> {
        self.entry..self.entry.instruction(self.words.len())
    }

    /// The word at `address`, if that is in the function.
    pub fn word(self, address: VmAddr) -> Option<Word> {
        let distance = address.0.checked_sub(self.entry.0)?;
        let index = usize::try_from(distance / Word::SIZE).ok()?;
        if distance % Word::SIZE == 0 { self.words.get(index).copied() } else { None }
    }

    /// The instruction at `address`.
    pub fn operation(self, address: VmAddr) -> Result<Operation> {
        let word = self.word(address).ok_or_else(|| {
            Error::new(Code::NotUnderstood, "the function runs past its end")
                .with("address", address)
        })?;
        decode(word, address).ok_or_else(|| {
            Error::new(
                Code::NotUnderstood,
                "the proof does not model an instruction of the function",
            )
            .with("address", address)
            .with("word", word)
        })
    }

    /// Every instruction with its address.
    pub fn operations(self) -> impl Iterator<Item = Result<(VmAddr, Operation)>> + 'a {
        let addresses = (0..self.words.len()).map(move |index| self.entry.instruction(index));
        addresses.map(move |address| Ok((address, self.operation(address)?)))
    }
}
