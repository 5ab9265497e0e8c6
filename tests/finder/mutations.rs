//! Wrong rewrites: each word of a rewritten function replaced by each other word of it.
//!
//! The proof refuses them, or a processor finds no difference from the original on
//! random states. With `AGXPATCH_FULL=1` all late functions of one compiler are
//! mutated, else the changed words of one that is rewritten on some paths only.

use std::collections::BTreeSet;
use std::sync::Mutex;

use agxpatch_core::address::{SliceOffset, VmAddr};
use agxpatch_core::finder::{Program, rewrite};
use agxpatch_core::macho::{Image, Universal};

use super::processor::{Processor, Seen, Start, starts};
use super::rewrites::rewritten;
use super::verdicts::{late, proven};
use agxpatch_oracles::shapes::{self, Compiled, Job};
use agxpatch_oracles::tools::is_full;

/// How many states a mutant runs on that the proof lets pass.
const ROUNDS: usize = 60;

/// How many functions are mutated at least where all are.
const AT_LEAST: usize = 20;

/// The function that is mutated in every run.
const ALWAYS: &str = "late_guard6pushed";

#[derive(Default)]
struct Count {
    functions: usize,
    refused: usize,
    equivalent: usize,
    wrong: Vec<String>,
}

/// Whether a processor tells the two apart.
pub fn differ(before: &Image<'_>, after: &Image<'_>, entry: u64) -> bool {
    let mut mutant = Processor::with(after);
    Original::new(before, entry).differs(&mut mutant)
}

/// What a function does on some states.
pub struct Original {
    entry: u64,
    runs: Vec<(&'static Start, Seen)>,
}

impl Original {
    /// Of an image.
    pub fn new(image: &Image<'_>, entry: u64) -> Original {
        let mut processor = Processor::with(image);
        let runs = starts(ROUNDS).iter().map(|start| (start, processor.run(entry, start)));
        Original { entry, runs: runs.filter(|(_, seen)| seen.returned).collect() }
    }

    /// Whether a processor with another version does something else.
    pub fn differs(&self, other: &mut Processor) -> bool {
        self.runs.iter().any(|(start, seen)| other.run(self.entry, start) != *seen)
    }
}

/// The offsets of the words that the rewrite is made of: the function, and what it
/// changed elsewhere in executable memory.
fn words(program: &Program<'_>, entry: u64, changed: &[u64]) -> BTreeSet<usize> {
    let image = program.image();
    let offset = |at: u64| image.offset_of(VmAddr(at)).unwrap().0;
    let function = program.function(entry).unwrap();
    let own = function.step_by(4).map(offset);
    let executable = |at: &u64| {
        let at = image.address_of(SliceOffset(*at));
        at.is_some_and(|at| program.word(at.0).is_some() && program.is_padding(at.0))
    };
    let elsewhere = changed.iter().copied().filter(executable);
    own.chain(elsewhere).map(|at| at as usize).collect()
}

fn mutate(image: &Image<'_>, entry: u64, name: &str, count: &Mutex<Count>) {
    let program = Program::new(image).unwrap();
    let mut prove = |before: &Image<'_>, after: &Image<'_>| proven(before, after, entry);
    let Ok(done) = rewrite(image, entry, &mut prove).unwrap() else { return };
    let changed: Vec<u64> = done.changes.iter().map(|change| change.at.0).collect();
    let mut bytes = rewritten(image.bytes(), &done);
    let places = words(&program, entry, &changed);
    let all: BTreeSet<[u8; 4]> =
        places.iter().map(|at| bytes[*at..at + 4].try_into().unwrap()).collect();
    let original = Original::new(image, entry);
    let mut processor = Processor::with(&Image::parse(&bytes).unwrap());
    let mut found = Count { functions: 1, ..Count::default() };
    let few = |at: &&usize| is_full() || changed.contains(&(**at as u64));
    for &at in places.iter().filter(few) {
        let address = image.address_of(SliceOffset(at as u64)).unwrap().0;
        let own: [u8; 4] = bytes[at..at + 4].try_into().unwrap();
        for word in all.iter().filter(|word| **word != own) {
            bytes[at..at + 4].copy_from_slice(word);
            if !proven(image, &Image::parse(&bytes).unwrap(), entry) {
                found.refused += 1;
                continue;
            }
            processor.write(address, *word);
            if original.differs(&mut processor) {
                let word = u32::from_le_bytes(*word);
                found.wrong.push(format!("{name}: {word:#010x} at offset {at:#x}"));
            } else {
                found.equivalent += 1;
            }
            processor.write(address, own);
        }
        bytes[at..at + 4].copy_from_slice(&own);
    }
    let Count { refused, equivalent, ref wrong, .. } = found;
    eprintln!("{name}: {refused} refused, {equivalent} equivalent, {} wrong", wrong.len());
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
        job.flags == ["-O2"] && job.version == 22 && (full || job.source.ends_with("guard.cpp"))
    };
    let count: Mutex<Count> = Mutex::default();
    let jobs: Vec<Job> = shapes::jobs().into_iter().filter(wanted).collect();
    shapes::each(jobs, |Compiled { job, image }| {
        let file = Universal::parse(&image).unwrap();
        let image = file.slices[0].image().unwrap();
        let program = Program::new(&image).unwrap();
        for entry in late(&program) {
            let name = program.symbol(entry).unwrap();
            if full || name.contains(ALWAYS) {
                mutate(&image, entry, &format!("{name} of clang {}", job.version), &count);
            }
        }
    });
    let Count { functions, refused, equivalent, wrong } = count.into_inner().unwrap();
    eprintln!("{functions} functions: {refused} mutants refused, {equivalent} equivalent");
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(!full || functions == 0 || functions >= AT_LEAST, "{functions}");
    assert!(functions == 0 || refused > 80 * functions, "{refused} of {functions}");
}
