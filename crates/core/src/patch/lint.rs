//! Whether the catalogue is fit to be used.

use std::collections::BTreeSet;

use crate::address::{VmAddr, Word};
use crate::check::Check;
use crate::error::{Code, Error, Result};
use crate::signature::{Captures, Kind, Pattern, Rendered, Value};

use super::catalogue::{Patch, Pinned, Signature};
use super::engine::{Engine, PatternVariant};

/// How many fixed bits an anchor needs: with these, a word chosen at random
/// matches less than once in a million.
const ANCHOR_BITS: u32 = 20;

/// Judges every signature and patch.
pub fn lint(engine: &Engine) -> Vec<Check> {
    engine
        .catalogue()
        .signatures
        .iter()
        .flat_map(|signature| of_signature(engine, signature))
        .collect()
}

fn of_signature(engine: &Engine, signature: &Signature) -> Vec<Check> {
    const COMPILES: &str = "compiles";
    let name = &signature.name;
    let (original, rewrites) = match engine.forms(signature).map(<[PatternVariant]>::split_first) {
        Ok(Some((original, rewrites))) => (&original.pattern, rewrites),
        Ok(None) => return vec![Check::fail(COMPILES, format!("{name}: no form"))],
        Err(error) => return vec![Check::fail(COMPILES, format!("{name}: {}", in_a_line(&error)))],
    };
    let lines = format!("{name}: {} lines, {} rewrites", original.len(), rewrites.len());
    let mut checks = vec![
        Check::pass(COMPILES, lines),
        anchor(signature, original),
        captures_used(signature, original, rewrites),
    ];
    let patches = engine.catalogue().patches_for(name);
    for (patch, rewrite) in patches.zip(rewrites) {
        checks.push(names_known(signature, original, patch, &rewrite.pattern));
        checks.push(original_restorable(signature, original, patch, &rewrite.pattern));
        checks.push(pinned(engine, original, patch, &rewrite.pattern));
    }
    checks
}

/// An error with all its context, for a list of checks.
fn in_a_line(error: &Error) -> String {
    let context = error.context().iter().map(|(name, value)| format!("{name}: {value}"));
    let context: Vec<String> = context.collect();
    format!("{error}; {}", context.join("; "))
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
fn captures_used(signature: &Signature, original: &Pattern, rewrites: &[PatternVariant]) -> Check {
    let used: BTreeSet<&String> =
        rewrites.iter().flat_map(|rewrite| rewrite.pattern.source.names.keys()).collect();
    let times = |name: &String| {
        original.templates.iter().flat_map(|t| &t.fields).filter(|f| f.name == *name).count()
    };
    let names = original.source.names.keys();
    // A signature without rewrites is looked for to show its captures.
    let idle =
        names.filter(|name| !rewrites.is_empty() && !used.contains(*name) && times(name) < 2);
    let idle: Vec<&str> = idle.map(String::as_str).collect();
    Check::from(
        "captures-used",
        idle.is_empty(),
        match idle.as_slice() {
            [] => format!("{}: all", signature.name),
            idle => format!(
                "{}: {} stand once and in no rewrite; write `?`, or use them",
                signature.name,
                idle.join(", ")
            ),
        },
    )
}

/// A rewrite can only use what the sequence captures, or a function's name.
fn names_known(
    signature: &Signature,
    original: &Pattern,
    patch: &Patch,
    rewrite: &Pattern,
) -> Check {
    let known = |name: &String| {
        original.source.names.contains_key(name) || signature.functions.contains_key(name)
    };
    let names = rewrite.source.names.keys().filter(|name| !known(name));
    let unknown: Vec<&str> = names.map(String::as_str).collect();
    Check::from(
        "names-known",
        unknown.is_empty(),
        match unknown.as_slice() {
            [] => format!("{}: all", patch.name),
            names => format!("{}: no line captures {}", patch.name, names.join(", ")),
        },
    )
}

/// What a rewrite overwrites the signature must say in full, or the original cannot
/// be put back.
fn original_restorable(
    signature: &Signature,
    original: &Pattern,
    patch: &Patch,
    rewrite: &Pattern,
) -> Check {
    let lines = original.source.lines.iter().zip(&rewrite.source.lines).enumerate();
    // Names that can be read off the patched form, or off the image's stubs.
    let fields = rewrite.templates.iter().flat_map(|template| &template.fields);
    let mut known: BTreeSet<&str> = fields.map(|field| field.name.as_str()).collect();
    known.extend(signature.functions.keys().map(String::as_str));
    let mut lost: Vec<String> = Vec::new();
    for (index, (old, new)) in lines {
        if old.is_open() && !new.is_open() {
            lost.push(format!("line {} (`{}` for `{}`)", index + 1, new.text, old.text));
        }
        let names = original.templates[index].fields.iter().map(|field| field.name.as_str());
        lost.extend(names.filter(|name| !known.contains(name)).map(|name| {
            format!("line {} (`{}`), whose {name} the rewrite loses", index + 1, old.text)
        }));
    }
    Check::from(
        "original-restorable",
        lost.is_empty(),
        match lost.as_slice() {
            [] => format!("{}: every line", patch.name),
            lost => format!("{}: not {}", patch.name, lost.join(", ")),
        },
    )
}

/// The rewrite must make the published words from the published roles.
fn pinned(engine: &Engine, original: &Pattern, patch: &Patch, rewrite: &Pattern) -> Check {
    const NAME: &str = "pinned-words";
    let Some(pinned) = &patch.pinned else {
        return Check::skipped(NAME, format!("{}: none given", patch.name));
    };
    match differing(engine, original, rewrite, pinned) {
        Ok(None) => Check::pass(NAME, format!("{}: {}", patch.name, pinned.words)),
        Ok(Some(difference)) => Check::fail(NAME, format!("{}: {difference}", patch.name)),
        Err(error) => Check::fail(NAME, format!("{}: {error}", patch.name)),
    }
}

/// The first word that differs from the pinned one, as a sentence.
fn differing(
    engine: &Engine,
    original: &Pattern,
    rewrite: &Pattern,
    pinned: &Pinned,
) -> Result<Option<String>> {
    let at = number(&pinned.at).map(|at| VmAddr(at as u64)).ok_or_else(|| broken(&pinned.at))?;
    let captures = roles(original, pinned)?;
    let words: Vec<&str> = pinned.words.split_whitespace().collect();
    if words.len() != rewrite.len() {
        return Ok(Some(format!("{} words are pinned for {}", words.len(), rewrite.len())));
    }
    for (index, word) in words.into_iter().enumerate() {
        let address = at.instruction(index);
        let made = match rewrite.source.render(index, address, &captures)? {
            Rendered::Text(line) => engine.assembler.assemble_line(&line, address)?.to_string(),
            Rendered::Word(word) => word.to_string(),
            Rendered::Open => "?".to_owned(),
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
