//! Whether the catalogue is fit to be used.

use std::collections::BTreeSet;

use crate::address::{VmAddr, Word};
use crate::check::Check;
use crate::error::{Code, Error, Result};
use crate::signature::{Captures, Kind, Pattern, Value};

use super::catalogue::{Patch, Pinned, Signature};
use super::engine::Engine;

/// How many fixed bits an anchor needs: with these, a word chosen at random
/// matches less than once in a million.
const ANCHOR_BITS: u32 = 20;

/// Judges every signature and patch.
pub fn lint(engine: &Engine) -> Result<Vec<Check>> {
    let mut checks = Vec::new();
    for signature in &engine.catalogue().signatures {
        let original = Pattern::compile(&engine.assembler, &signature.pattern)?;
        checks.push(anchor(signature, &original));
        let patches: Vec<&Patch> = engine.catalogue().patches_for(&signature.name).collect();
        checks.push(captures_used(engine, signature, &original, &patches)?);
        for patch in patches {
            checks.push(lengths(engine, &original, patch));
            checks.push(pinned(engine, &original, patch));
        }
    }
    Ok(checks)
}

fn anchor(signature: &Signature, pattern: &Pattern) -> Check {
    let line = pattern.anchor();
    let bits = pattern.templates[line].mask.count_ones();
    Check::from(
        "anchor-rare",
        bits >= ANCHOR_BITS,
        format!("{}: `{}` has {bits} fixed bits", signature.name, pattern.source.lines[line].text),
    )
}

/// A name that stands once and that no rewrite uses only weakens the pattern.
fn captures_used(
    engine: &Engine,
    signature: &Signature,
    original: &Pattern,
    patches: &[&Patch],
) -> Result<Check> {
    let mut used = BTreeSet::new();
    for patch in patches {
        let pattern = Pattern::compile(&engine.assembler, &patch.rewrite)?;
        used.extend(pattern.source.names.keys().cloned());
    }
    let times = |name: &String| {
        original.templates.iter().flat_map(|t| &t.fields).filter(|f| f.name == *name).count()
    };
    let idle: Vec<&str> = original
        .source
        .names
        .keys()
        .filter(|name| !used.contains(*name) && times(name) < 2)
        .map(String::as_str)
        .collect();
    Ok(match idle.is_empty() {
        true => Check::pass("captures-used", format!("{}: all", signature.name)),
        false => {
            Check::fail("captures-used", format!("{}: idle {}", signature.name, idle.join(", ")))
        }
    })
}

fn lengths(engine: &Engine, original: &Pattern, patch: &Patch) -> Check {
    const NAME: &str = "same-length";
    match Pattern::compile(&engine.assembler, &patch.rewrite) {
        Ok(rewrite) => Check::from(
            NAME,
            rewrite.len() == original.len(),
            format!("{}: {} lines for {}", patch.name, rewrite.len(), original.len()),
        ),
        Err(error) => Check::fail(NAME, format!("{}: {error}", patch.name)),
    }
}

/// The rewrite must make the published words from the published roles.
fn pinned(engine: &Engine, original: &Pattern, patch: &Patch) -> Check {
    const NAME: &str = "pinned-words";
    let Some(pinned) = &patch.pinned else {
        return Check::skipped(NAME, format!("{}: none given", patch.name));
    };
    match differing(engine, original, patch, pinned) {
        Ok(None) => Check::pass(NAME, format!("{}: {}", patch.name, pinned.words)),
        Ok(Some(difference)) => Check::fail(NAME, format!("{}: {difference}", patch.name)),
        Err(error) => Check::fail(NAME, format!("{}: {error}", patch.name)),
    }
}

/// The first word that differs from the pinned one, as a sentence.
fn differing(
    engine: &Engine,
    original: &Pattern,
    patch: &Patch,
    pinned: &Pinned,
) -> Result<Option<String>> {
    let rewrite = Pattern::compile(&engine.assembler, &patch.rewrite)?;
    let at = number(&pinned.at).map(|at| VmAddr(at as u64)).ok_or_else(|| broken(&pinned.at))?;
    let captures = roles(original, pinned)?;
    let words: Vec<&str> = pinned.words.split_whitespace().collect();
    if words.len() != rewrite.len() {
        return Ok(Some(format!("{} words are pinned for {}", words.len(), rewrite.len())));
    }
    for (index, word) in words.into_iter().enumerate() {
        let address = at.instruction(index);
        let line = rewrite.source.render(index, address, &captures)?;
        let made = match line {
            Some(line) => engine.assembler.assemble_line(&line, address)?.to_string(),
            None => "?".to_owned(),
        };
        if made != word {
            return Ok(Some(format!("{address}: {word} is pinned and {made} is made")));
        }
    }
    Ok(None)
}

fn roles(original: &Pattern, pinned: &Pinned) -> Result<Captures> {
    let mut captures = Captures::default();
    for (name, kind) in &original.source.names {
        let text = pinned.roles.get(name).ok_or_else(|| broken(name))?;
        let value = match kind {
            Kind::Register => {
                text.strip_prefix('x').and_then(|n| n.parse().ok()).map(Value::Register)
            }
            Kind::Immediate => text.strip_prefix('#').and_then(number).map(Value::Immediate),
            Kind::Address => number(text).map(|at| Value::Address(VmAddr(at as u64))),
        };
        captures.agree(name, value.ok_or_else(|| broken(text))?);
    }
    Ok(captures)
}

fn number(text: &str) -> Option<i64> {
    match text.strip_prefix("0x") {
        Some(hex) => i64::from_str_radix(hex, 16).ok(),
        None => text.parse().ok(),
    }
}

fn broken(what: &str) -> Error {
    Error::new(Code::CatalogueBroken, "pinned words cannot be read").with("at", what)
}

/// How often the anchor of `pattern` occurs among `words`.
pub fn anchor_hits(pattern: &Pattern, words: impl Iterator<Item = Word>) -> usize {
    let template = &pattern.templates[pattern.anchor()];
    words.filter(|&word| template.fits(word)).count()
}
