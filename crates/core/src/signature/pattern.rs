//! A compiled pattern: what it matches, and what its names stood for.

use crate::address::{VmAddr, Word};
use crate::arm64::Assembler;
use crate::error::Result;

use super::anchors;
use super::captures::Captures;
use super::syntax::Source;
use super::template::{self, Template};

/// A pattern ready to be looked for.
#[derive(Clone, Debug)]
pub struct Pattern {
    /// As it was written.
    pub source: Source,
    /// One template a line.
    pub templates: Vec<Template>,
}

impl Pattern {
    /// Reads and compiles a pattern.
    pub fn compile(assembler: &Assembler, text: &str) -> Result<Pattern> {
        let source = Source::parse(text)?;
        let templates = template::compile(assembler, &source)?;
        Ok(Pattern { source, templates })
    }

    /// How many instructions it spans.
    pub fn len(&self) -> usize {
        self.templates.len()
    }

    /// A pattern spans at least one instruction.
    pub fn is_empty(&self) -> bool {
        self.templates.is_empty()
    }

    /// What the names stand for if `words` at `address` match.
    pub fn match_at(&self, words: &[Word], address: VmAddr) -> Option<Captures> {
        let mut captures = Captures::default();
        if words.len() < self.len() {
            return None;
        }
        for (index, (template, &word)) in self.templates.iter().zip(words).enumerate() {
            if !template.agrees(word, address.instruction(index), &mut captures) {
                return None;
            }
        }
        Some(captures)
    }

    /// How many words of `words` fit in order and agree with those before them,
    /// and which line is the first that does not. Words after the first misfit
    /// count only if they still agree.
    pub fn near(&self, words: &[Word], address: VmAddr) -> (usize, Option<usize>) {
        let mut captures = Captures::default();
        let (mut fitting, mut first) = (0, None);
        for (index, (template, &word)) in self.templates.iter().zip(words).enumerate() {
            if template.agrees(word, address.instruction(index), &mut captures) {
                fitting += usize::from(template.mask != 0);
            } else if first.is_none() {
                first = Some(index);
            }
        }
        (fitting, first)
    }

    /// The lines that do not fit `words`, or do not agree with those before them that
    /// do.
    pub fn misfits(&self, words: &[Word], address: VmAddr) -> Vec<usize> {
        let mut captures = Captures::default();
        let lines = self.templates.iter().zip(words).enumerate();
        lines
            .filter_map(|(index, (template, &word))| {
                let fits = template.agrees(word, address.instruction(index), &mut captures);
                (!fits).then_some(index)
            })
            .collect()
    }

    /// At most how many words of `words` fit, told without reading any captured
    /// value.
    pub fn may_fit(&self, words: impl Iterator<Item = Word>) -> usize {
        let lines = self.templates.iter().zip(words);
        lines.filter(|(template, word)| template.mask != 0 && template.fits(*word)).count()
    }

    /// How many lines say something about their word.
    pub fn distinguishing(&self) -> usize {
        self.templates.iter().filter(|template| template.mask != 0).count()
    }

    /// The line to look for first.
    pub fn anchor(&self) -> usize {
        anchors::lines(self).first().copied().unwrap_or(0)
    }
}
