//! The rewrites that keep two threads from giving one block back: which compiled shapes
//! have room for them, that a processor sees no difference to one thread, and that what
//! the proof is for is what it refuses.

use std::collections::BTreeMap;
use std::sync::Mutex;

use agxpatch_core::address::VmAddr;
use agxpatch_core::check::Status;
use agxpatch_core::finder::{Program, RewriteKind, Rewritten, rewrite_as};
use agxpatch_core::macho::{Image, Universal};
use agxpatch_core::patch::Prover;
use agxpatch_core::proof::rewrite::ByRefinement;

use super::mutations::differ;
use super::verdicts::late;
use agxpatch_oracles::shapes::{self, Compiled};
use agxpatch_oracles::tools::is_full;

/// The kinds of which this is about.
fn kinds() -> impl Iterator<Item = RewriteKind> {
    RewriteKind::ALL.into_iter().filter(|kind| kind.excludes_double_push())
}

/// Why the prover refuses, if it does.
fn refused(before: &Image<'_>, after: &Image<'_>, entry: u64, kind: RewriteKind) -> Option<String> {
    match ByRefinement.prove(before, after, VmAddr(entry), kind) {
        Ok(proven) => {
            let failed = proven.checks.into_iter().find(|check| check.status == Status::Fail);
            failed.map(|check| format!("{}: {}", check.name, check.detail))
        }
        Err(error) => Some(error.to_string()),
    }
}

const NOP: u32 = 0xd503_201f;

/// Wrong rewrites: what each is, and the words that are other than they should be, by
/// their numbers among the changed words.
type Spoilt = Vec<(&'static str, Vec<(usize, u32)>)>;

/// Of a rewrite that takes the block by `swpal xzr, block, [base]`.
fn spoilt_exchange(words: &[u32]) -> Spoilt {
    let Some(at) = words.iter().position(|word| word & 0xffff_fc00 == 0xf8ff_8000) else {
        return Vec::new();
    };
    let word = words[at];
    let one = |name, new| (name, vec![(at, new)]);
    vec![
        one("a load in place of the exchange", 0xf940_0000 | word & 0x3ff),
        one("an exchange of half a pointer", word & !(1 << 30)),
        one("an exchange with something else", word & !(31 << 16)),
        one("an exchange into another register", word ^ 1),
        one("an exchange of another place", word ^ 1 << 5),
        one("an addition in place of the exchange", word & !(1 << 15)),
        one("the exchange lost", NOP),
    ]
}

/// Of a rewrite that loads the block again, clears the field, and goes elsewhere with
/// null.
fn spoilt_reread(words: &[u32]) -> Spoilt {
    const CLEAR: u32 = 31;
    let is_test = |at: &usize| words[*at] >> 24 == 0xb4 && *at > 1 && words[at - 1] & 31 == CLEAR;
    let Some(at) = (0..words.len()).find(is_test) else { return Vec::new() };
    let (load, clear, test) = (words[at - 2], words[at - 1], words[at]);
    let block = load & 31;
    // The two ways on stand two and three words behind the test.
    let other_way = test ^ (2 ^ 3) << 5;
    vec![
        ("the load lost", vec![(at - 2, NOP)]),
        ("the clear lost", vec![(at - 1, NOP)]),
        ("null given to the pool", vec![(at, NOP)]),
        ("null goes the other way", vec![(at, other_way)]),
        ("the block goes where null should", vec![(at, test ^ 1 << 24)]),
        ("a load into another register", vec![(at - 2, load ^ 1)]),
        ("the block stored again", vec![(at - 1, clear & !31 | block)]),
        ("the clear before the load", vec![(at - 2, clear), (at - 1, load)]),
        ("half of the test", vec![(at, test & !(1 << 31))]),
    ]
}

/// In how many functions at least each wrong rewrite is made.
const AT_LEAST: usize = 3;

/// Holds every wrong rewrite against the prover, and counts them by name.
fn refuse_spoilt(
    (original, image): (&Image<'_>, &[u8]),
    entry: u64,
    kind: RewriteKind,
    made: &Rewritten,
    count: &mut Count,
) {
    let code: Vec<_> = made.changes.iter().filter(|change| change.new.len() == 4).collect();
    let word = |bytes: &[u8]| u32::from_le_bytes(bytes.try_into().unwrap());
    let words: Vec<u32> = code.iter().map(|change| word(&change.new)).collect();
    let all = match kind {
        RewriteKind::Take => spoilt_exchange(&words),
        _ => spoilt_reread(&words),
    };
    for (name, changed) in all {
        let mut bytes = super::rewrites::rewritten(image, made);
        for (number, new) in changed {
            let at = code[number].at.0 as usize;
            bytes[at..at + 4].copy_from_slice(&new.to_le_bytes());
        }
        let after = Image::parse(&bytes).unwrap();
        *count.spoilt.entry(name).or_default() += 1;
        if refused(original, &after, entry, kind).is_none() {
            count.accepted.push(format!("{name} at {entry:#x}"));
        }
    }
}

#[derive(Default)]
struct Count {
    spoilt: BTreeMap<&'static str, usize>,
    accepted: Vec<String>,
    rewritten: BTreeMap<(&'static str, String), usize>,
    refused: BTreeMap<(&'static str, String), usize>,
    differing: Vec<String>,
}

#[test]
fn stronger_rewrites_are_proven_and_do_the_same_for_one_thread() {
    let count: Mutex<Count> = Mutex::default();
    let every = if is_full() { 1 } else { 8 };
    let jobs = shapes::jobs().into_iter().step_by(every).collect();
    shapes::each(jobs, |Compiled { job, image }| {
        let file = Universal::parse(&image).unwrap();
        let original = file.slices[0].image().unwrap();
        let program = Program::new(&original).unwrap();
        for entry in late(&program) {
            let name = program.symbol(entry).unwrap_or_default().to_owned();
            for kind in kinds() {
                let mut why = None;
                let mut accept = |before: &Image<'_>, after: &Image<'_>| {
                    let refused = refused(before, after, entry, kind);
                    let accepted = refused.is_none();
                    why = why.take().or(refused);
                    accepted
                };
                let made = rewrite_as(&original, entry, kind, &mut accept).unwrap();
                let mut count = count.lock().unwrap();
                match made {
                    Err(refusal) => {
                        let why = why.map(|why| format!(" ({why})")).unwrap_or_default();
                        let key = (kind.name(), format!("{name}: {refusal}{why}"));
                        *count.refused.entry(key).or_default() += 1;
                    }
                    Ok(rewritten) => {
                        *count.rewritten.entry((kind.name(), name.clone())).or_default() += 1;
                        refuse_spoilt((&original, &image), entry, kind, &rewritten, &mut count);
                        let bytes = super::rewrites::rewritten(&image, &rewritten);
                        let after = Image::parse(&bytes).unwrap();
                        if differ(&original, &after, entry) {
                            count.differing.push(format!("{} of {name}: {job:?}", kind.name()));
                        }
                    }
                }
            }
        }
    });
    let Count { spoilt, accepted, rewritten, refused, differing } = count.into_inner().unwrap();
    eprintln!("rewritten: {rewritten:#?}\nrefused: {refused:#?}\nspoilt: {spoilt:#?}");
    assert!(differing.is_empty(), "{differing:#?}");
    assert!(accepted.is_empty(), "{accepted:#?}");
    if rewritten.is_empty() {
        // The compilers are missing, which was said.
        return;
    }
    assert!(spoilt.values().all(|count| *count >= AT_LEAST), "{spoilt:#?}");
    for kind in ["take", "reread"] {
        for function in ["destroyImplInlined", "destroyImplCalled", "late_plain"] {
            let made = |(of, name): &(&str, String)| *of == kind && name.contains(function);
            assert!(rewritten.keys().any(made), "{kind} of {function}");
        }
    }
}
