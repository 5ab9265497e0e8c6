//! The scan against the plainest one there is: every pattern, compared at every
//! place.

use agxpatch_core::address::{VmAddr, Word};
use agxpatch_core::arm64::Assembler;
use agxpatch_core::error::Code as ErrorCode;
use agxpatch_core::signature::{Code, Many, Match, Pattern, find, nearest};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

const ORIGIN: VmAddr = VmAddr(0x4000);

/// Masks as captures leave them: of a fixed instruction, a branch whose target
/// is captured, a load whose offset is, a sum of registers, and any instruction.
const MASKS: [u32; 6] = [!0, 0xfc00_0000, 0xffc0_0000, 0xffe0_fc1f, 0xffe0_0000, 0];

fn pattern(lines: &[(u32, u32)]) -> Pattern {
    let line = |(value, mask): &(u32, u32)| format!("word {:08x}/{mask:08x}\n", value & mask);
    let text: String = lines.iter().map(line).collect();
    Pattern::compile(&Assembler::new(), &text).unwrap()
}

fn bytes(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

fn naive(patterns: &[Pattern], words: &[u32]) -> Vec<(usize, Match)> {
    let words: Vec<Word> = words.iter().copied().map(Word).collect();
    let mut found = Vec::new();
    for start in 0..words.len() {
        let at = ORIGIN.instruction(start);
        for (number, pattern) in patterns.iter().enumerate() {
            let captures = pattern.match_at(&words[start..], at);
            found.extend(captures.map(|captures| (number, Match { at, captures })));
        }
    }
    found
}

/// Few different words, so that patterns share lines and occur by chance; some
/// of them commonplace in compiled code.
fn some_word() -> impl Strategy<Value = u32> {
    select(vec![
        0x5400_0108,
        0x5400_0128,
        0x1400_0005,
        0xd503_201f,
        0xd65f_03c0,
        0x8b15_0320,
        0x8b14_0320,
        0x9410_5a5c,
        0x9410_598f,
        0xf838_6a7f,
        0xf90d_3534,
        0xaa14_03e0,
    ])
}

fn some_pattern() -> impl Strategy<Value = Vec<(u32, u32)>> {
    vec((some_word(), select(MASKS.to_vec())), 1..5)
        .prop_filter("says something", |lines| lines.iter().any(|(_, mask)| *mask != 0))
}

proptest! {
    #[test]
    fn one_pass_finds_what_comparing_everywhere_finds(
        patterns in vec(some_pattern(), 1..40),
        words in vec(some_word(), 0..200),
    ) {
        let patterns: Vec<Pattern> = patterns.iter().map(|lines| pattern(lines)).collect();
        let bytes = bytes(&words);
        let code = Code { address: ORIGIN, bytes: &bytes };
        let expected = naive(&patterns, &words);
        prop_assert_eq!(Many::new(&patterns).find(code), expected.clone());
        for (number, pattern) in patterns.iter().enumerate() {
            let of_this = expected.iter().filter(|(n, _)| *n == number).map(|(_, m)| m.clone());
            prop_assert_eq!(find(pattern, code), of_this.collect::<Vec<_>>());
        }
    }

    #[test]
    fn strangers_by_the_thousand_are_found_wherever_they_were_planted(
        seed in any::<u32>(),
        count in select(vec![5usize, 100, 1000, 5000]),
        gap in 0usize..9,
    ) {
        let word = |n: usize| seed.wrapping_add(n as u32).wrapping_mul(0x85eb_ca6b).rotate_left(13);
        let patterns: Vec<Pattern> = (0..count)
            .map(|n| pattern(&[(word(2 * n), MASKS[3]), (word(2 * n + 1), !0)]))
            .collect();
        let mut words = Vec::new();
        for n in (0..count).step_by(count / 5) {
            words.extend((0..gap).map(|_| 0xd503_201f));
            words.extend([word(2 * n), word(2 * n + 1)]);
        }
        let bytes = bytes(&words);
        let found = Many::new(&patterns).find(Code { address: ORIGIN, bytes: &bytes });
        let planted: Vec<usize> = (0..count).step_by(count / 5).collect();
        prop_assert_eq!(found.iter().map(|(n, _)| *n).collect::<Vec<_>>(), planted);
    }

    #[test]
    fn the_nearest_miss_is_as_near_as_any_place_comes(
        lines in some_pattern(),
        words in vec(some_word(), 0..60),
    ) {
        let pattern = pattern(&lines);
        let all: Vec<Word> = words.iter().copied().map(Word).collect();
        let near = |(start, window): (usize, &[Word])| {
            let (fitting, line) = pattern.near(window, ORIGIN.instruction(start));
            line.map(|_| fitting)
        };
        let mut expected: Vec<usize> =
            all.windows(pattern.len()).enumerate().filter_map(near).filter(|n| *n > 0).collect();
        expected.sort_by_key(|fitting| std::cmp::Reverse(*fitting));
        expected.truncate(3);
        let bytes = bytes(&words);
        let found = nearest(&pattern, Code { address: ORIGIN, bytes: &bytes }, 3);
        prop_assert_eq!(found.iter().map(|miss| miss.fitting).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn a_word_fits_as_long_as_no_fixed_bit_of_it_changes(
        lines in some_pattern(),
        bit in 0u32..32,
    ) {
        for template in pattern(&lines).templates {
            let changed = template.value ^ 1 << bit;
            prop_assert!(template.fits(Word(template.value)));
            prop_assert_eq!(template.fits(Word(changed)), template.mask >> bit & 1 == 0);
        }
    }

    #[test]
    fn no_text_is_too_strange_for_the_parser(
        parts in vec(select(vec![
            "nop", "b", "bl", "b.hi", "cbz", "tbz", "add", "ldr", " ", " ", "\n", "\n", ", ", ":",
            "{a}", "{b}", "#{a}", "w{b}", "{", "}", "[", "]", "#", "x0", "w1", "xzr", "sp", "?",
            "word ", "00000001", "/", "ffffffff", ";", "out", "out:", "é", "\0", "{}", "{1}", "#0x10",
        ]), 0..14),
    ) {
        let text = parts.concat();
        if let Err(error) = Pattern::compile(&Assembler::new(), &text) {
            prop_assert_eq!(error.code(), ErrorCode::PatternSyntax, "{:?}", text);
        }
    }
}
