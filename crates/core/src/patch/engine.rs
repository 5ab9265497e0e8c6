//! The catalogue, compiled when it is needed. Looking for it in a file is `look`'s.

use std::cell::OnceCell;

use crate::arm64::{Assembler, Disassembler};
use crate::error::{Code, Error, Result};
use crate::signature::Pattern;

use super::catalogue::{Catalogue, Patch, Signature};
use super::match_result::State;

/// The catalogue with the tools to apply it.
pub struct Engine {
    catalogue: Catalogue,
    /// Text to words.
    pub assembler: Assembler,
    /// Words to text.
    pub disassembler: Disassembler,
    compiled: Vec<OnceCell<Vec<PatternVariant>>>,
}

/// One of the forms in which a sequence occurs: as the compiler made it, or as
/// a patch rewrote it.
#[derive(Clone, Debug)]
pub struct PatternVariant {
    /// Which form.
    pub state: State,
    /// How to recognise it.
    pub pattern: Pattern,
}

/// What to do about a pattern that cannot be read.
const SYNTAX: &str = "correct that line; docs/signatures.md describes what a pattern may hold";

impl Engine {
    /// Opens assembler and disassembler; patterns are compiled when needed.
    pub fn new(catalogue: Catalogue) -> Result<Engine> {
        let compiled = catalogue.signatures.iter().map(|_| OnceCell::new()).collect();
        Ok(Engine {
            catalogue,
            assembler: Assembler::new(),
            disassembler: Disassembler::new()?,
            compiled,
        })
    }

    /// An engine for the built-in catalogue.
    pub fn built_in() -> Result<Engine> {
        Engine::new(Catalogue::built_in()?)
    }

    /// The catalogue.
    pub fn catalogue(&self) -> &Catalogue {
        &self.catalogue
    }

    /// Compiles the signature that is looked for first, for a caller with time on
    /// its hands. What is wrong with it is said when it is looked for.
    pub fn warm_up(&self) {
        if let Some(first) = self.catalogue.signatures.first() {
            drop(self.forms(first));
        }
    }

    /// The forms of a signature, the original first.
    pub fn forms(&self, signature: &Signature) -> Result<&[PatternVariant]> {
        let known = &self.catalogue.signatures;
        match known.iter().position(|known| known.name == signature.name) {
            Some(number) => self.forms_of(number),
            None => Err(Error::new(Code::Bug, "a signature does not belong to this catalogue")),
        }
    }

    /// The sequence of a signature as the compiler made it.
    pub fn original(&self, signature: &Signature) -> Result<&Pattern> {
        let forms = self.forms(signature)?.first();
        forms
            .map(|form| &form.pattern)
            .ok_or_else(|| Error::new(Code::Bug, "a signature has no form"))
    }

    /// The forms of every signature, in the catalogue's order.
    pub fn all_forms(&self) -> Result<Vec<(&Signature, &[PatternVariant])>> {
        let signatures = self.catalogue.signatures.iter().enumerate();
        signatures.map(|(number, signature)| Ok((signature, self.forms_of(number)?))).collect()
    }

    fn forms_of(&self, number: usize) -> Result<&[PatternVariant]> {
        let cell = &self.compiled[number];
        if let Some(forms) = cell.get() {
            return Ok(forms);
        }
        let forms = self.compile(&self.catalogue.signatures[number])?;
        Ok(cell.get_or_init(|| forms))
    }

    fn compile(&self, signature: &Signature) -> Result<Vec<PatternVariant>> {
        let original = self.pattern(&signature.pattern, |line| {
            self.catalogue.signature_place(&signature.name, line)
        })?;
        let mut forms = vec![PatternVariant { state: State::Original, pattern: original }];
        for patch in self.catalogue.patches_for(&signature.name) {
            let mut pattern =
                self.pattern(&patch.rewrite, |line| self.catalogue.patch_place(&patch.name, line))?;
            self.complete(patch, &mut pattern, &forms[0].pattern)?;
            forms.push(PatternVariant {
                state: State::Patched { patch: patch.name.clone() },
                pattern,
            });
        }
        Ok(forms)
    }

    /// Makes a rewrite the form that is looked for in patched files: where it keeps
    /// the instruction, what the original says of it still holds.
    fn complete(&self, patch: &Patch, rewrite: &mut Pattern, original: &Pattern) -> Result<()> {
        let broken = |message: &str, text: &str| {
            Error::new(Code::CatalogueBroken, message)
                .with("patch", &patch.name)
                .with("file", self.catalogue.patch_place(&patch.name, text))
        };
        if rewrite.len() != original.len() {
            return Err(broken(
                "a rewrite differs in length from the sequence it replaces",
                "rewrite",
            )
            .with("lines", format!("{} for {}", rewrite.len(), original.len()))
            .next("a rewrite fills the sequence it replaces: pad it with `nop`, or keep words with `?`"));
        }
        for (index, line) in rewrite.source.lines.iter().enumerate() {
            match line.bits {
                Some((_, mask)) if mask != u32::MAX => {
                    return Err(broken("a rewrite gives only some bits of a word", &line.text)
                        .with("line", &line.text)
                        .next("give all bits with the mask ffffffff, or keep the word with `?`"));
                }
                None if line.statement.is_none() => {
                    rewrite.templates[index] = original.templates[index].clone();
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn pattern(&self, text: &str, place: impl Fn(&str) -> String) -> Result<Pattern> {
        Pattern::compile(&self.assembler, text).map_err(|error| {
            let line = error.context().iter().find(|(name, _)| *name == "line");
            let place = place(line.map_or("pattern", |(_, line)| line.as_str()));
            match error.advice() {
                Some(_) => error.with("file", place),
                None => error.with("file", place).next(SYNTAX),
            }
        })
    }
}
