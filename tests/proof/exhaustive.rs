//! Every replacement of one word of the default window by any other word that
//! occurs in the function: refused, or the same on the emulator.

use std::collections::{BTreeMap, BTreeSet};

use agxpatch_core::address::Word;
use agxpatch_core::proof::Verdict;

use crate::fixture::{DEFAULT, Fixture, WINDOW, failures, index};

#[test]
fn no_other_word_of_the_function_can_take_the_place_of_a_word_of_the_window() {
    let fixture = Fixture::new();
    let right = fixture.rewritten(&DEFAULT);
    let words: BTreeSet<Word> = fixture.before.iter().chain(&right).copied().collect();
    let first = index(WINDOW.start);
    let mut by: BTreeMap<&str, usize> = BTreeMap::new();
    let mut equivalent = Vec::new();
    let (mut tried, mut refused) = (0, 0);
    for place in first..index(WINDOW.end) {
        for &word in words.iter().filter(|&&word| word != right[place]) {
            let mut after = right.clone();
            after[place] = word;
            tried += 1;
            match fixture.prove(&after) {
                Ok(proof) if proof.verdict(&[]) == Verdict::Holds => equivalent.push(after),
                Ok(proof) => {
                    refused += 1;
                    for name in failures(&proof) {
                        *by.entry(name.as_str()).or_default() += 1;
                    }
                }
                Err(error) => {
                    refused += 1;
                    *by.entry(error.code().as_str()).or_default() += 1;
                }
            }
        }
    }
    println!("{} words, {tried} replacements, {refused} refused by {by:#?}", words.len());
    println!("{} shown equivalent", equivalent.len());
    for after in &equivalent {
        let at = (first..).find(|&place| after[place] != right[place]).unwrap();
        println!("  word {} becomes {}", at - first, after[at]);
    }
    assert_eq!(refused + equivalent.len(), tried);
    crate::emulation::agree(&fixture, &equivalent, 64);
}
