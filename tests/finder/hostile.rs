//! Code that nothing should make the finder stumble over.

use std::time::Instant;

use agxpatch_core::finder::{Program, Verdict, examine};
use agxpatch_core::macho::Universal;

use super::verdicts::BUDGET;

/// An arm64 library with this code and nothing else.
fn image(words: &[u32]) -> Vec<u8> {
    let header = 32 + 72 + 80;
    let code = words.len() * 4;
    let mut bytes = Vec::new();
    let number = |bytes: &mut Vec<u8>, value: u32| bytes.extend(value.to_le_bytes());
    let long = |bytes: &mut Vec<u8>, value: u64| bytes.extend(value.to_le_bytes());
    let name = |bytes: &mut Vec<u8>, name: &str| {
        let mut padded = [0; 16];
        padded[..name.len()].copy_from_slice(name.as_bytes());
        bytes.extend(padded);
    };
    for value in [0xfeed_facf, 0x0100_000c, 0, 6, 2, 152 + 24, 0, 0] {
        number(&mut bytes, value);
    }
    let start = header + 24;
    for value in [0x19, 152] {
        number(&mut bytes, value);
    }
    name(&mut bytes, "__TEXT");
    for value in [0, (start + code) as u64, 0, (start + code) as u64] {
        long(&mut bytes, value);
    }
    for value in [5, 5, 1, 0] {
        number(&mut bytes, value);
    }
    name(&mut bytes, "__text");
    name(&mut bytes, "__TEXT");
    long(&mut bytes, start as u64);
    long(&mut bytes, code as u64);
    for value in [start as u32, 2, 0, 0, 0x8000_0400, 0, 0, 0] {
        number(&mut bytes, value);
    }
    // An empty symbol table.
    for value in [2, 24, 0, 0, 0, 0] {
        number(&mut bytes, value);
    }
    words.iter().for_each(|word| number(&mut bytes, *word));
    bytes
}

/// The verdict about the code from its first instruction on.
fn verdict(words: &[u32]) -> Verdict {
    let bytes = image(words);
    let file = Universal::parse(&bytes).unwrap();
    let image = file.slices[0].image().unwrap();
    let program = Program::new(&image).unwrap();
    let entry = image.text().unwrap().address.0;
    let started = Instant::now();
    let verdict = examine(&program, entry, BUDGET).verdict;
    // The bound is on work; this only catches what does not end.
    assert!(started.elapsed().as_secs() < 60, "{verdict:?}");
    verdict
}

const RET: u32 = 0xd65f_03c0;

#[test]
fn every_single_word_has_a_verdict() {
    let mut word = 1u32;
    for _ in 0..20_000 {
        word = word.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        verdict(&[word, RET]);
    }
}

#[test]
fn code_of_random_words_has_a_verdict() {
    let mut seed = 7u64;
    let mut random = || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 32) as u32
    };
    for _ in 0..300 {
        let words: Vec<u32> = (0..200).map(|_| random()).collect();
        verdict(&words);
    }
}

#[test]
fn a_branch_into_nowhere_is_not_understood() {
    let br_x8 = 0xd61f_0100;
    assert_eq!(verdict(&[br_x8]).name(), "not-understood");
    let forward = 0x1400_0000 | 0x1000;
    assert_eq!(verdict(&[forward]).name(), "not-understood");
}

#[test]
fn falling_out_of_the_code_is_not_understood() {
    let nop = 0xd503_201f;
    assert_eq!(verdict(&[nop, nop]).name(), "not-understood");
}

#[test]
fn an_unresolved_call_leaves_no_verdict_without_a_pool() {
    let blr_x8 = 0xd63f_0100;
    assert_eq!(verdict(&[RET]).name(), "no-pool");
    // The return address is saved in x19 around the call.
    let (save, restore) = (0xaa1e_03f3, 0xaa13_03fe);
    assert_eq!(verdict(&[save, blr_x8, restore, RET]).name(), "not-understood");
}

/// Two entries into one loop: no dominator, no natural loop.
#[test]
fn an_irreducible_graph_has_a_verdict() {
    let words = [
        0xb400_0060, // cbz x0, second
        0xf100_0421, // first: subs x1, x1, #1
        0x5400_0040, // b.eq end of first
        0xd100_0400, // second: sub x0, x0, #1
        0xb5ff_ffa0, // cbnz x0, first
        RET,
    ];
    assert_eq!(verdict(&words).name(), "no-pool");
}

/// Each diamond doubles the paths; nothing tells them apart, so they meet again.
#[test]
fn ten_thousand_diamonds_end() {
    let mut words = Vec::new();
    for _ in 0..10_000 {
        words.extend([0xf100_003f, 0x5400_0040, 0x9100_0421]);
    }
    words.push(RET);
    verdict(&words);
}

/// Forty bits of history that all stay alive: more paths than anyone follows.
#[test]
fn an_explosion_of_states_is_not_understood() {
    let mut words = Vec::new();
    for register in 2..30u32 {
        // tbz x0, #register, over; mov x(register), x1
        words.extend([0x3600_0040 | register << 19, 0xaa01_03e0 | register]);
    }
    words.extend([0x8b02_0060; 1]);
    for register in 3..30u32 {
        words.push(0x8b00_0000 | register << 16);
    }
    words.push(RET);
    let verdict = verdict(&words);
    assert!(matches!(verdict.name(), "not-understood" | "no-pool"), "{verdict:?}");
}

#[test]
fn a_hundred_thousand_instructions_are_refused_by_name() {
    let words = vec![0xd503_201f; 100_000];
    let found = verdict(&words);
    let Verdict::NotUnderstood { why, .. } = found else { panic!("{found:?}") };
    assert_eq!(why, "the function is too long");
}

#[test]
fn endless_recursion_ends() {
    // stp x29, x30, [sp, #-16]!; bl start; ldp x29, x30, [sp], #16; ret
    let words = [0xa9bf_7bfd, 0x97ff_ffff, 0xa8c1_7bfd, RET];
    assert_eq!(verdict(&words).name(), "not-understood");
}
