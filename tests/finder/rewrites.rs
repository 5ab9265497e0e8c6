//! Every rewritten function, proven, beside the original on an emulated processor.
//!
//! Both run on the same random states: the same calls in the same order with the same
//! arguments, the same memory at the end. Permitted is one thing only: the clear of
//! the field comes earlier. So calls are compared with what the memory holds at each,
//! the field left out, and the field at the end.
//!
//! Many compilers write the same function, so each is run once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;

use agxpatch_core::finder::{Program, Rewritten, rewrite};
use agxpatch_core::macho::{Image, Universal};

use super::processor::{Processor, starts};
use super::verdicts::{late, proven};
use agxpatch_oracles::shapes::{self, Compiled};
use agxpatch_oracles::tools::is_full;

/// How many states each function runs on.
fn rounds() -> usize {
    if is_full() { 1000 } else { 6 }
}

/// The image with a rewrite.
pub fn rewritten(image: &[u8], rewrite: &Rewritten) -> Vec<u8> {
    let mut bytes = image.to_vec();
    for change in &rewrite.changes {
        let at = change.at.0 as usize;
        bytes[at..at + change.new.len()].copy_from_slice(&change.new);
    }
    bytes
}

/// A function as far as its code goes, where the image and its data lie apart: two that
/// are equal differ in addresses only.
pub fn code(program: &Program<'_>, entry: u64) -> Vec<String> {
    const RELATIVE_PAGE: u32 = 0x9f00_0000;
    let range = program.function(entry).unwrap();
    let mut code = vec![program.symbol(entry).unwrap_or_default().to_owned()];
    for at in range.clone().step_by(4) {
        let word = program.word(at).unwrap().0;
        let call = word & 0x7c00_0000 == 0x1400_0000;
        let target = at.wrapping_add_signed(i64::from((word << 6) as i32 >> 6) * 4);
        code.push(match (call, program.stub(target)) {
            (true, Some(stub)) => format!("{:x} {stub}", word >> 26),
            (true, None) if !range.contains(&target) => {
                let name = program.symbol(target).map(str::to_owned);
                format!("{:x} {}", word >> 26, name.unwrap_or_else(|| format!("{target:x}")))
            }
            // `adrp` and the loads of literals.
            _ if word & RELATIVE_PAGE == 0x9000_0000 => format!("page to {}", word & 31),
            _ if word & 0x3b00_0000 == 0x1800_0000 => format!("{:x}", word & 0xff00_001f),
            _ => format!("{word:x}"),
        });
    }
    code
}

#[derive(Default)]
struct Count {
    known: BTreeSet<Vec<String>>,
    rewritten: usize,
    repeated: usize,
    returned: usize,
    refused: BTreeMap<String, usize>,
    differing: Vec<String>,
}

/// Runs both versions of a function; how many runs returned, and the first state that
/// tells them apart.
fn run_both(before: &mut Processor, after: &mut Processor, entry: u64) -> (usize, Option<usize>) {
    let mut returned = 0;
    for (number, start) in starts(rounds()).iter().enumerate() {
        let (one, other) = (before.run(entry, start), after.run(entry, start));
        returned += usize::from(one.returned);
        // A run that does not end is cut at any point.
        if one.returned && one != other {
            return (returned, Some(number));
        }
    }
    (returned, None)
}

#[test]
fn rewritten_functions_do_the_same_and_clear_earlier() {
    let count: Mutex<Count> = Mutex::default();
    let every = if is_full() { 1 } else { 8 };
    let jobs = shapes::jobs().into_iter().step_by(every).collect();
    shapes::each(jobs, |Compiled { job, image }| {
        let file = Universal::parse(&image).unwrap();
        let original = file.slices[0].image().unwrap();
        let program = Program::new(&original).unwrap();
        let mut before = None;
        for entry in late(&program) {
            if !count.lock().unwrap().known.insert(code(&program, entry)) {
                count.lock().unwrap().repeated += 1;
                continue;
            }
            let name = program.symbol(entry).unwrap_or_default();
            let mut prove = |before: &Image<'_>, after: &Image<'_>| proven(before, after, entry);
            let changed = match rewrite(&original, entry, &mut prove).unwrap() {
                Ok(changed) => changed,
                Err(refusal) => {
                    let key = format!("{name}: {refusal}");
                    *count.lock().unwrap().refused.entry(key).or_default() += 1;
                    continue;
                }
            };
            let bytes = rewritten(&image, &changed);
            let before = before.get_or_insert_with(|| Processor::with(&original));
            let mut after = Processor::with(&Image::parse(&bytes).unwrap());
            let (returned, differs) = run_both(before, &mut after, entry);
            let mut count = count.lock().unwrap();
            count.rewritten += 1;
            count.returned += returned;
            count.differing.extend(differs.map(|state| format!("{name} {job:?} state {state}")));
        }
    });
    let Count { rewritten, repeated, returned, refused, differing, .. } =
        count.into_inner().unwrap();
    eprintln!(
        "{rewritten} rewritten, {repeated} more with the same code, {} states each, {returned} \
         runs returned, {} differ; refused: {refused:#?}",
        rounds(),
        differing.len()
    );
    assert!(differing.is_empty(), "{differing:#?}");
    let left: usize = refused.values().sum();
    assert!(left * 10 <= rewritten + left, "{left} refused: {refused:#?}");
    // Most runs end, so that they say something.
    assert!(returned * 4 >= rewritten * rounds() * 3);
}
