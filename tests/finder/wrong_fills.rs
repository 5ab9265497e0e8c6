//! Wrong rewrites of functions that fill memory, exchange the field or read it again.
//!
//! Bits of each word that a rewrite changes, in the function and in padding, are turned
//! over, one at a time: every third, or with `AGXPATCH_FULL=1` every one. The proof refuses the outcome, or a processor finds no difference from the
//! original.

use std::sync::Mutex;

use agxpatch_core::address::VmAddr;
use agxpatch_core::finder::{Program, rewrite};
use agxpatch_core::macho::{Image, Universal};

use super::mutations::differ;
use super::rewrites::rewritten;
use super::verdicts::{late, proven};
use agxpatch_oracles::shapes::{self, Compiled, Job};
use agxpatch_oracles::tools::is_full;

/// How many wrong rewrites are refused at least.
const AT_LEAST: usize = 500;

#[derive(Default)]
struct Count {
    refused: usize,
    equivalent: usize,
    wrong: Vec<String>,
}

fn turn_bits(original: &[u8], image: &Image<'_>, entry: u64, count: &Mutex<Count>) {
    let program = Program::new(image).unwrap();
    let mut prove = |before: &Image<'_>, after: &Image<'_>| proven(before, after, entry);
    // What is refused has nothing to be turned over.
    let Ok(done) = rewrite(image, entry, &mut prove).unwrap() else { return };
    let bytes = rewritten(original, &done);
    let is_code = |at: VmAddr| program.word(at.0).is_some();
    let words = done.changes.iter().filter(|one| image.address_of(one.at).is_some_and(is_code));
    let every = if is_full() { 1 } else { 3 };
    let bits = words.flat_map(|one| (0..32).map(|bit| (one.at.0 as usize, bit)));
    for (place, bit) in bits.step_by(every) {
        let mut mutant = bytes.clone();
        mutant[place + bit / 8] ^= 1 << (bit % 8);
        let mutant = Image::parse(&mutant).unwrap();
        let holds = proven(image, &mutant, entry);
        let wrong = holds && differ(image, &mutant, entry);
        let mut count = count.lock().unwrap();
        match (holds, wrong) {
            (false, _) => count.refused += 1,
            (true, false) => count.equivalent += 1,
            (true, true) => {
                let name = program.symbol(entry).unwrap_or_default();
                count.wrong.push(format!("{name}: bit {bit} at offset {place:x}"));
            }
        }
    }
}

#[test]
fn a_turned_bit_of_a_fill_or_a_kept_block_is_refused_or_does_the_same() {
    let wanted = |job: &Job| {
        let source = job.source.ends_with("filled.m") || job.source.ends_with("kept.c");
        source && job.version == 22 && job.flags == ["-O2"]
    };
    let jobs: Vec<Job> = shapes::jobs().into_iter().filter(wanted).collect();
    let count: Mutex<Count> = Mutex::default();
    let looked = Mutex::new(0);
    shapes::each(jobs, |Compiled { image, .. }| {
        let file = Universal::parse(&image).unwrap();
        let original = file.slices[0].image().unwrap();
        for entry in late(&Program::new(&original).unwrap()) {
            turn_bits(&image, &original, entry, &count);
            *looked.lock().unwrap() += 1;
        }
    });
    let Count { refused, equivalent, wrong } = count.into_inner().unwrap();
    eprintln!("{refused} refused, {equivalent} equivalent");
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(*looked.lock().unwrap() == 0 || refused >= AT_LEAST, "{refused} refused");
}
