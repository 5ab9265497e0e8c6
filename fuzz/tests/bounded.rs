//! Seeds are accepted, and damage to them ends no parser: for some seconds a target,
//! by the same numbers in every run.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use agxpatch_fuzz::damage::{Random, damage};
use agxpatch_fuzz::{Limits, TARGETS, Target};

/// As many inputs as `scripts/test` has time for; `AGXPATCH_FUZZ_SECONDS` has its own.
const MAX_INPUTS: u64 = 2000;
/// Of each target.
const MAX_SECONDS: u64 = 2;

/// Without optimisation no time is promised.
const LIMITS: Limits = Limits { time: None };

fn seconds() -> u64 {
    let given = std::env::var("AGXPATCH_FUZZ_SECONDS").ok();
    given.map_or(MAX_SECONDS, |given| given.parse().expect("a number of seconds"))
}

/// Hands one input to a target, and keeps an input that ends it.
fn try_on(target: &Target, number: u64, bytes: &[u8]) {
    let Err(panic) =
        catch_unwind(AssertUnwindSafe(|| LIMITS.enforce(bytes.len(), || (target.run)(bytes))))
    else {
        return;
    };
    let kept = std::env::temp_dir().join(format!("agxpatch-fuzz-{}-{number}", target.name));
    std::fs::write(&kept, bytes).unwrap();
    eprintln!("{} panics on input {number}, kept as {}", target.name, kept.display());
    std::panic::resume_unwind(panic);
}

fn damaged(target: &Target) {
    let seeds = (target.seeds)();
    assert!(!seeds.is_empty() && seeds.iter().all(|seed| !seed.is_empty()), "{}", target.name);
    // What is made once and kept is not an input's cost.
    (target.run)(&seeds[0]);
    seeds.iter().for_each(|seed| try_on(target, 0, seed));
    let began = Instant::now();
    let limit = Duration::from_secs(seconds());
    let longer = limit.as_secs() > MAX_SECONDS;
    let mut number = 0;
    while began.elapsed() < limit && (longer || number < MAX_INPUTS) {
        number += 1;
        let mut random = Random(number);
        let mut bytes = seeds[random.below(seeds.len())].clone();
        let other = &seeds[random.below(seeds.len())];
        damage(&mut random, &mut bytes, other);
        try_on(target, number, &bytes);
    }
    println!("{}: {number} inputs from {} seeds", target.name, seeds.len());
}

#[test]
fn damaged_input_ends_no_parser() {
    for target in &TARGETS {
        damaged(target);
    }
}

#[test]
fn damage_is_the_same_for_the_same_number() {
    let once = |number| {
        let mut bytes = vec![7; 500];
        damage(&mut Random(number), &mut bytes, b"other");
        bytes
    };
    assert_eq!(once(5), once(5));
    assert!((1..50).map(once).collect::<std::collections::HashSet<_>>().len() > 40);
}
