//! The verdict about every function of every compilation.

use std::collections::BTreeMap;
use std::sync::Mutex;

use agxpatch_core::address::VmAddr;
use agxpatch_core::finder::{Budget, Program, Verdict, candidates, examine};
use agxpatch_core::macho::{Image, Universal};
use agxpatch_core::proof::rewrite::refine_images;

use agxpatch_oracles::shapes::{self, Compiled};

/// What a function's name says about it.
const WORDS: [(&str, &str); 4] = [
    ("late_", "clears-late"),
    ("right_", "clears-under-lock"),
    ("nopool_", "no-pool"),
    ("unclear_", "not-understood"),
];

/// The verdict a symbol asks for. Methods that only make a block are left out, and
/// pieces that the compiler split off.
pub fn wanted(symbol: &str) -> Option<&'static str> {
    if symbol.ends_with("asynchronous]") || symbol.contains(".cold") {
        return None;
    }
    WORDS.iter().find(|(word, _)| symbol.contains(word)).map(|(_, verdict)| *verdict)
}

/// The functions of an image whose names ask for a verdict.
pub fn judged(program: &Program<'_>) -> Vec<(u64, &'static str)> {
    let starts = program.starts().iter();
    starts.filter_map(|start| Some((*start, wanted(program.symbol(*start)?)?))).collect()
}

/// Those of them that must be found to clear late.
pub fn late(program: &Program<'_>) -> Vec<u64> {
    let late = judged(program).into_iter().filter(|(_, wanted)| *wanted == "clears-late");
    late.map(|(start, _)| start).collect()
}

/// Whether a rewrite of a function is proven to do the same.
pub fn proven(before: &Image<'_>, after: &Image<'_>, entry: u64) -> bool {
    refine_images(before, after, VmAddr(entry)).is_ok_and(|found| found.holds())
}

/// How much the tests let a function cost.
pub const BUDGET: Budget = Budget { states: 60_000, steps: 3_000_000 };

#[derive(Default)]
struct Count {
    right: usize,
    not_understood: usize,
    wrong: Vec<String>,
    dear: Vec<String>,
    not_looked_at: Vec<String>,
}

#[test]
fn no_compilation_of_a_known_shape_gets_a_wrong_verdict() {
    let counts: Mutex<BTreeMap<String, Count>> = Mutex::default();
    shapes::each(shapes::jobs(), |Compiled { job, image }| {
        let file = Universal::parse(&image).unwrap();
        let program = Program::new(&file.slices[0].image().unwrap()).unwrap();
        let candidates = candidates(&program);
        for (start, wanted) in judged(&program) {
            let findings = examine(&program, start, BUDGET);
            let name = program.symbol(start).unwrap_or_default().to_owned();
            let mut counts = counts.lock().unwrap();
            let count = counts.entry(name.clone()).or_default();
            let found = findings.verdict.name();
            match &findings.verdict {
                _ if found == wanted => count.right += 1,
                Verdict::NotUnderstood { .. } => count.not_understood += 1,
                _ => count.wrong.push(format!("{name}, {job:?}: {found}")),
            }
            if wanted == "clears-late" && !candidates.contains(&start) {
                count.not_looked_at.push(format!("{name}, {job:?}"));
            }
            if findings.steps > 200_000 {
                count.dear.push(format!("{name}, {job:?}: {} steps", findings.steps));
            }
        }
    });
    let counts = counts.into_inner().unwrap();
    let wrong: Vec<&String> = counts.values().flat_map(|count| &count.wrong).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
    let dear: Vec<&String> = counts.values().flat_map(|count| &count.dear).collect();
    assert!(dear.is_empty(), "{dear:#?}");
    let unseen: Vec<&String> = counts.values().flat_map(|count| &count.not_looked_at).collect();
    // Who leaves a part to a function that a called one calls, as what -Oz puts apart, is not
    // looked at unless it is named.
    let right: usize = counts.values().map(|count| count.right).sum();
    assert!(unseen.len() * 25 <= right, "late, and no candidates of their files: {unseen:#?}");
    let unclear: usize = counts.values().map(|count| count.not_understood).sum();
    let refused: Vec<(&String, usize)> =
        counts.iter().map(|(n, c)| (n, c.not_understood)).filter(|(_, c)| *c > 0).collect();
    eprintln!("{right} verdicts right, {unclear} not understood: {refused:?}");
    assert!(unclear * 50 <= right + unclear, "{unclear} of {right}: {refused:#?}");
}

/// The shortest path of the driver's own logic runs from the gift over the unlock
/// to the store, in this order.
#[test]
fn a_witness_names_the_store_the_unlock_and_the_late_clear() {
    let driver = |job: &shapes::Job| job.source.ends_with("driver.m") && job.flags == ["-O2"];
    let jobs = shapes::jobs().into_iter().filter(driver).collect();
    shapes::each(jobs, |Compiled { image, .. }| {
        let file = Universal::parse(&image).unwrap();
        let program = Program::new(&file.slices[0].image().unwrap()).unwrap();
        for start in late(&program) {
            let findings = examine(&program, start, BUDGET);
            let Verdict::ClearsLate { witnesses } = &findings.verdict else { panic!() };
            let [witness] = witnesses.as_slice() else { panic!("{witnesses:?}") };
            let word = |at: VmAddr| program.word(at.0).unwrap().0;
            // A store of a register, a call, a store of the zero register.
            assert_eq!(word(witness.given) >> 24 & 0x3f, 0x39, "{witness:?}");
            assert_eq!(word(witness.unlocked) >> 26, 0x25, "{witness:?}");
            assert_eq!(word(witness.cleared) & 0x1f, 31, "{witness:?}");
            assert_eq!(witness.path.first().map(|at| at.0), Some(start));
            assert_eq!(findings.fields[0].name.as_deref(), Some("_impl"));
        }
    });
}
