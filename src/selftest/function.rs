//! The method everything is about, by its shape.
//!
//! Twelve words of `destroyImpl` were ever published. Whether the rest of it is
//! code the proof can read, where it takes the lock and where it reads `_impl`,
//! only the file on a Mac can tell, and above all where the sequence is *not*
//! found. So the method is looked up by its name, and described without a word
//! of it: a digest, counts, offsets, and names of instructions without what they
//! work on.

use std::collections::BTreeMap;
use std::ops::Range;

use agxpatch_core::address::{VmAddr, Word};
use agxpatch_core::arm64::Disassembler;
use agxpatch_core::arm64::semantics::{Address, Operation, Register, decode};
use agxpatch_core::check::Check;
use agxpatch_core::codesign::HashType;
use agxpatch_core::error::Result;
use agxpatch_core::macho::{Architecture, Image, Method, Universal};
use agxpatch_core::patch::{Engine, Site};

/// How many instructions from the start are named in their order: past what a
/// compiler writes to save registers and to load what it works with.
const BEGINNING: usize = 32;

/// The checks of every such method in the file; one that fails where there is
/// none.
pub(super) fn checks(engine: &Engine, file: &Universal<'_>, site: Option<&Site>) -> Vec<Check> {
    const NAME: &str = "method-there";
    let mut checks = Vec::new();
    for slice in &file.slices {
        if ![Architecture::ARM64, Architecture::ARM64E].contains(&slice.architecture) {
            continue;
        }
        let found = slice.image().and_then(|image| methods(&image));
        match found {
            Ok(found) => {
                for one in &found {
                    let site = site.filter(|site| site.place.slice == slice.index);
                    checks.extend(described(engine, slice.architecture, one, site));
                }
            }
            Err(error) => {
                checks.push(Check::fail(NAME, format!("{}: {error}", slice.architecture)))
            }
        }
    }
    if checks.is_empty() {
        checks.push(Check::fail(NAME, "no class of compute encoders names a destroyImpl"));
    }
    checks
}

/// A method with what it takes to describe it.
struct Found {
    name: String,
    range: Range<VmAddr>,
    words: Vec<Word>,
    /// Where `os_unfair_lock_lock` is called through.
    lock: Option<VmAddr>,
}

fn methods(image: &Image<'_>) -> Result<Vec<Found>> {
    let wanted = |method: &Method<'_>| {
        method.selector == "destroyImpl"
            && method.class.starts_with("AGX")
            && method.class.ends_with("FamilyComputeContext")
    };
    let stubs = image.stubs()?;
    let lock = stubs.iter().find(|stub| stub.name == "_os_unfair_lock_lock");
    let lock = lock.map(|stub| stub.address);
    let mut found = Vec::new();
    for method in image.methods()?.into_iter().filter(wanted) {
        let Some(range) = image.function_containing(method.implementation)? else { continue };
        let words = image.words(range.clone())?.collect();
        found.push(Found { name: method.to_string(), range, words, lock });
    }
    Ok(found)
}

fn described(
    engine: &Engine,
    architecture: Architecture,
    found: &Found,
    site: Option<&Site>,
) -> Vec<Check> {
    let (start, count) = (found.range.start, found.words.len());
    let bytes: Vec<u8> = found.words.iter().flat_map(|word| word.to_bytes()).collect();
    let digest = HashType::Sha256.digest([bytes.as_slice()]);
    let there = format!(
        "{} in {architecture} at {start}: {count} instructions, SHA-256 {digest}",
        found.name
    );
    let names = names(&engine.disassembler, &found.words, start);
    let beginning = runs(names.iter().take(BEGINNING).map(String::as_str));
    vec![
        Check::pass("method-there", there),
        understood(found, &names),
        Check::pass("method-beginning", beginning),
        Check::pass("method-instructions", counted(names.iter().map(String::as_str))),
        order(found, site),
        open_instructions(engine, site),
    ]
}

/// What capstone calls each instruction, without its operands.
fn names(disassembler: &Disassembler, words: &[Word], start: VmAddr) -> Vec<String> {
    let read = disassembler.disassemble(words, start);
    read.iter().map(|one| mnemonic(&one.text).to_owned()).collect()
}

fn mnemonic(text: &str) -> &str {
    text.split_whitespace().next().unwrap_or_default()
}

/// Whether the proof knows a meaning for every instruction, and if not, which
/// names it would have to learn.
fn understood(found: &Found, names: &[String]) -> Check {
    let known =
        |index: usize| decode(found.words[index], found.range.start.instruction(index)).is_some();
    let unknown: Vec<&str> = (0..names.len())
        .filter(|&index| !known(index))
        .map(|index| names[index].as_str())
        .collect();
    let detail = match unknown.is_empty() {
        true => format!("the proof knows all {} instructions", names.len()),
        false => format!(
            "the proof does not know {} of {}: {}",
            unknown.len(),
            names.len(),
            counted(unknown.iter().copied())
        ),
    };
    Check::from("method-understood", unknown.is_empty(), detail)
}

/// Where, from the method's start, `_impl` is read and the lock is taken: whether
/// two destroyers of one encoder can both have read it depends on the order.
fn order(found: &Found, site: Option<&Site>) -> Check {
    const NAME: &str = "impl-read-and-lock";
    let Some(ivar) = site.and_then(|site| site.captures.register("ivar")) else {
        return Check::skipped(NAME, "the sequence names the register, and it was not found");
    };
    let ivar = Register::new(ivar.into());
    let reads = found.offsets(|operation| {
        let Operation::Access { load: true, address, .. } = operation else { return false };
        matches!(address, Address::Indexed(_, Some(index), ..) if index == ivar)
    });
    let locks = found.offsets(|operation| match operation {
        Operation::Call { target } => found.lock == Some(target),
        _ => false,
    });
    let list = |offsets: &[u64]| match offsets {
        [] => "nowhere".to_owned(),
        some => some.iter().map(|at| format!("+{at:#x}")).collect::<Vec<_>>().join(", "),
    };
    let detail =
        format!("_impl is read at {}; the lock is taken at {}", list(&reads), list(&locks));
    Check::from(NAME, !reads.is_empty() && !locks.is_empty(), detail)
}

impl Found {
    /// Bytes from the start of each instruction that is `wanted`.
    fn offsets(&self, wanted: impl Fn(Operation) -> bool) -> Vec<u64> {
        let start = self.range.start;
        let all = self.words.iter().enumerate();
        all.filter(|(index, word)| decode(**word, start.instruction(*index)).is_some_and(&wanted))
            .map(|(index, _)| index as u64 * Word::SIZE)
            .collect()
    }
}

/// The instructions that the signature leaves open, because they are not published
/// them.
fn open_instructions(engine: &Engine, site: Option<&Site>) -> Check {
    const NAME: &str = "open-instructions";
    let Some(site) = site else {
        return Check::skipped(NAME, "the sequence was not found");
    };
    let signature = engine.catalogue().signature(&site.signature);
    let forms = signature.and_then(|signature| engine.forms(signature));
    let Some(form) = forms.ok().and_then(|forms| forms.iter().find(|one| one.state == site.state))
    else {
        return Check::skipped(NAME, "the form that was found is not in the catalogue");
    };
    let names = names(&engine.disassembler, &site.place.words, site.place.window.start);
    let lines = form.pattern.templates.iter().zip(&names);
    let open: Vec<&str> =
        lines.filter(|(line, _)| line.mask == 0).map(|(_, name)| name.as_str()).collect();
    Check::pass(NAME, open.join(", "))
}

/// `ldr ×12, mov ×3`, the commonest first.
fn counted<'n>(names: impl Iterator<Item = &'n str>) -> String {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for name in names {
        *counts.entry(name).or_default() += 1;
    }
    let mut counts: Vec<(&str, usize)> = counts.into_iter().collect();
    counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    counts.iter().map(|(name, count)| times(name, *count)).collect::<Vec<_>>().join(", ")
}

/// `pacibsp, sub, stp ×6`, in order.
fn runs<'n>(names: impl Iterator<Item = &'n str>) -> String {
    let mut runs: Vec<(&str, usize)> = Vec::new();
    for name in names {
        match runs.last_mut() {
            Some((last, count)) if *last == name => *count += 1,
            _ => runs.push((name, 1)),
        }
    }
    runs.iter().map(|(name, count)| times(name, *count)).collect::<Vec<_>>().join(", ")
}

fn times(name: &str, count: usize) -> String {
    if count == 1 { name.to_owned() } else { format!("{name} ×{count}") }
}

#[cfg(test)]
mod tests {
    use super::{counted, runs};

    #[test]
    fn names_are_counted_and_runs_kept_in_order() {
        let names = ["stp", "stp", "mov", "ldr", "ldr", "ldr", "stp"];
        assert_eq!(runs(names.into_iter()), "stp ×2, mov, ldr ×3, stp");
        assert_eq!(counted(names.into_iter()), "ldr ×3, stp ×3, mov");
    }
}
