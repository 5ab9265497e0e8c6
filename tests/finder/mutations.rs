//! Wrong rewrites: each word of a rewritten function replaced by each other word of it.
//!
//! The proof refuses them, or a processor finds no difference from the original on
//! random states. With `AGXPATCH_FULL=1` all late functions of two compilers are
//! mutated, else the changed words of one that is rewritten on some paths only.

use std::collections::BTreeSet;
use std::sync::Mutex;

use agxpatch_core::address::VmAddr;
use agxpatch_core::finder::{Program, rewrite};
use agxpatch_core::macho::{Image, Universal};
use agxpatch_core::proof::rewrite::refine_images;

use super::rewrites::{OBJECT, run};
use super::verdicts::judged;
use agxpatch_oracles::shapes::{self, Compiled, Job};
use agxpatch_oracles::tools::is_full;

/// How many states a mutant runs on that the proof lets pass.
const ROUNDS: u64 = 60;

/// The function that is mutated in every run.
const ALWAYS: &str = "late_guard6pushed";

#[derive(Default)]
struct Count {
    functions: usize,
    refused: usize,
    equivalent: usize,
    wrong: Vec<String>,
}

pub fn proven(before: &Image<'_>, after: &Image<'_>, entry: u64) -> bool {
    refine_images(before, after, VmAddr(entry)).is_ok_and(|found| found.holds())
}

/// Whether a processor tells the two apart.
pub fn differ(before: &Image<'_>, after: &Image<'_>, entry: u64) -> bool {
    let cells: Vec<u64> = (0..8).map(|field| OBJECT + 8 * field).collect();
    (1..=ROUNDS).any(|seed| {
        let seed = seed.wrapping_mul(0x1234_5678_9abc_def1);
        let (one, _) = run(before, entry, &cells, seed);
        let (other, _) = run(after, entry, &cells, seed);
        one.returned && one != other
    })
}

/// The offsets of the words that the rewrite is made of: the function, and what it
/// changed elsewhere in executable memory.
fn words(program: &Program<'_>, entry: u64, changed: &[u64]) -> BTreeSet<usize> {
    let image = program.image();
    let offset = |at: u64| image.offset_of(VmAddr(at)).unwrap().0;
    let function = program.function(entry).unwrap();
    let own = function.step_by(4).map(offset);
    let executable = |at: &u64| {
        let at = image.address_of(agxpatch_core::address::SliceOffset(*at));
        at.is_some_and(|at| program.word(at.0).is_some() && program.is_padding(at.0))
    };
    let elsewhere = changed.iter().copied().filter(executable);
    own.chain(elsewhere).map(|at| at as usize).collect()
}

fn mutate(image: &Image<'_>, entry: u64, name: &str, count: &Mutex<Count>) {
    let program = Program::new(image).unwrap();
    let mut prove = |before: &Image<'_>, after: &Image<'_>| proven(before, after, entry);
    let Ok(done) = rewrite(image, entry, &mut prove).unwrap() else { return };
    let mut bytes = image.bytes().to_vec();
    let mut changed = Vec::new();
    for change in &done.changes {
        let at = change.at.0 as usize;
        bytes[at..at + change.new.len()].copy_from_slice(&change.new);
        changed.push(change.at.0);
    }
    let places = words(&program, entry, &changed);
    let all: BTreeSet<[u8; 4]> =
        places.iter().map(|at| bytes[*at..at + 4].try_into().unwrap()).collect();
    let mut found = Count { functions: 1, ..Count::default() };
    let few = |at: &&usize| is_full() || changed.contains(&(**at as u64));
    for &at in places.iter().filter(few) {
        let own: [u8; 4] = bytes[at..at + 4].try_into().unwrap();
        for word in all.iter().filter(|word| **word != own) {
            bytes[at..at + 4].copy_from_slice(word);
            let mutant = Image::parse(&bytes).unwrap();
            match proven(image, &mutant, entry) {
                false => found.refused += 1,
                true if differ(image, &mutant, entry) => {
                    let word = u32::from_le_bytes(*word);
                    found.wrong.push(format!("{name}: {word:#010x} at offset {at:#x}"));
                }
                true => found.equivalent += 1,
            }
        }
        bytes[at..at + 4].copy_from_slice(&own);
    }
    let mut count = count.lock().unwrap();
    count.functions += found.functions;
    count.refused += found.refused;
    count.equivalent += found.equivalent;
    count.wrong.extend(found.wrong);
}

#[test]
fn a_rewrite_with_one_wrong_word_is_refused_or_does_the_same() {
    let full = is_full();
    let wanted = |job: &Job| {
        job.flags == ["-O2"]
            && (full || job.version == 22 && job.source.ends_with("guard.cpp"))
            && [14, 22].contains(&job.version)
    };
    let count: Mutex<Count> = Mutex::default();
    let jobs: Vec<Job> = shapes::jobs().into_iter().filter(wanted).collect();
    shapes::each(jobs, |Compiled { job, image }| {
        let file = Universal::parse(&image).unwrap();
        let image = file.slices[0].image().unwrap();
        let program = Program::new(&image).unwrap();
        for (entry, _) in judged(&program).into_iter().filter(|(_, v)| *v == "clears-late") {
            let name = program.symbol(entry).unwrap();
            if full || name.contains(ALWAYS) {
                mutate(&image, entry, &format!("{name} of clang {}", job.version), &count);
            }
        }
    });
    let Count { functions, refused, equivalent, wrong } = count.into_inner().unwrap();
    eprintln!("{functions} functions: {refused} mutants refused, {equivalent} equivalent");
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(functions == 0 || refused > 80 * functions, "{refused} of {functions}");
}
