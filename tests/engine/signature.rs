//! Patterns: reading, compiling, matching.

use agxpatch_core::address::{VmAddr, Word};
use agxpatch_core::arm64::{Assembler, Disassembler};
use agxpatch_core::patch::Engine;
use agxpatch_core::signature::{Code, Many, Pattern, Value, find, generalise, nearest};
use proptest::prelude::*;

const RELEASE: &str = "
        b.hi    full
        ?
        ?
        ?
        str     {impl}, [{slot}, #{slots}]
        add     x0, {pool}, {lock}
        bl      {unlock}
        b       clear
  full: add     x0, {pool}, {lock}
        bl      {unlock}
        mov     x0, {impl}
        bl      {free}
 clear: str     xzr, [{self}, {ivar}]
  done:
";

/// The published words, with three of our own where none were published.
const PUBLISHED: [u32; 13] = [
    0x54000108, 0x11000528, 0xb9000028, 0x8b080ea9, 0xf90d3534, 0x8b150320, 0x94105a5c, 0x14000005,
    0x8b150320, 0x94105a59, 0xaa1403e0, 0x9410598f, 0xf8386a7f,
];

fn compile(text: &str) -> Pattern {
    Pattern::compile(&Assembler::new(), text).unwrap()
}

fn bytes(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

#[test]
fn the_published_sequence_is_found_with_its_published_roles() {
    let mut words = vec![0xd503201f; 100];
    words.splice(40..53, PUBLISHED);
    let bytes = bytes(&words);
    let address = VmAddr(0x2be05c - 160);
    let found = find(&compile(RELEASE), Code { address, bytes: &bytes });
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].at, VmAddr(0x2be05c));
    let captures = &found[0].captures;
    for (name, register) in
        [("impl", 20), ("slot", 9), ("pool", 25), ("lock", 21), ("self", 19), ("ivar", 24)]
    {
        assert_eq!(captures.register(name), Some(register), "{name}");
    }
    assert_eq!(captures.immediate("slots"), Some(0x1a68));
    assert_eq!(captures.address("unlock"), Some(VmAddr(0x6d49e4)));
    assert_eq!(captures.address("free"), Some(VmAddr(0x6d46c4)));
}

/// Each instruction of a built-in file that was changed wants its row in
/// `src/signature/encodings.rs`: looking for it takes four times as long without.
#[test]
fn built_in_signatures_are_searched_without_the_assembler() {
    let engine = Engine::built_in().unwrap();
    assert_eq!(engine.all_forms().unwrap().len(), 1);
    assert!(!engine.assembler.is_open());
}

#[test]
fn labels_inside_the_match_leave_no_freedom_to_branches() {
    let pattern = compile(RELEASE);
    assert_eq!((pattern.templates[0].mask, pattern.templates[0].value), (!0, 0x54000108));
    assert_eq!((pattern.templates[7].mask, pattern.templates[7].value), (!0, 0x14000005));
}

#[test]
fn a_register_that_does_not_recur_is_a_near_miss_that_names_the_line() {
    let mut words = PUBLISHED;
    words[10] = 0xaa1503e0;
    let bytes = bytes(&words);
    let code = Code { address: VmAddr(0x1000), bytes: &bytes };
    let pattern = compile(RELEASE);
    assert!(find(&pattern, code).is_empty());
    let miss = &nearest(&pattern, code, 3)[0];
    assert_eq!((miss.at, miss.fitting, miss.line), (VmAddr(0x1000), 9, 10));
    assert_eq!(miss.wanted, "mov     x0, {impl}");
}

#[test]
fn a_pattern_that_runs_over_the_end_does_not_match() {
    let bytes = bytes(&PUBLISHED[..12]);
    assert!(find(&compile(RELEASE), Code { address: VmAddr(0), bytes: &bytes }).is_empty());
}

#[test]
fn immediates_are_read_with_their_scale_and_sign() {
    let assembler = Assembler::new();
    for (pattern, line, want) in [
        ("ldr {a}, [{b}, #{n}]", "ldr x3, [x4, #32760]", 32760),
        ("ldr w{a}, [{b}, #{n}]", "ldr w3, [x4, #16380]", 16380),
        ("add {a}, {b}, #{n}", "add x3, x4, #4095", 4095),
        ("stp {a}, {b}, [{c}, #{n}]", "stp x3, x4, [x5, #-512]", -512),
        ("ldrb w{a}, [{b}, #{n}]", "ldrb w3, [x4, #77]", 77),
        ("movz {a}, #{n}", "movz x3, #65535", 65535),
        ("tbz w{a}, #{n}, out\nout:", "tbz w3, #21, #4", 21),
    ] {
        let bytes = assembler.assemble_line(line, VmAddr(0)).unwrap().to_bytes();
        let found = find(&compile(pattern), Code { address: VmAddr(0), bytes: &bytes });
        assert_eq!(found.len(), 1, "{pattern}");
        assert_eq!(found[0].captures.immediate("n"), Some(want), "{pattern}");
    }
}

#[test]
fn a_capture_that_is_not_held_bit_for_bit_is_refused() {
    for pattern in ["and {a}, {b}, #{n}", "lsl {a}, {b}, #{n}"] {
        let error = Pattern::compile(&Assembler::new(), pattern).unwrap_err();
        assert_eq!(error.code().as_str(), "AGX-0201", "{pattern}");
    }
}

#[test]
fn malformed_patterns_are_refused_with_the_line() {
    for (pattern, line) in [
        ("b nowhere", "b nowhere"),
        ("mov x0, {x", "mov x0, {x"),
        ("a: nop\na: nop", "a: nop"),
        ("end:\nnop", "nop"),
        ("", ""),
        ("bl 5", "bl 5"),
        ("add {a}, {a}, #{a}", "add {a}, {a}, #{a}"),
    ] {
        let error = Pattern::compile(&Assembler::new(), pattern).unwrap_err();
        assert!(error.context().contains(&("line", line.into())), "{pattern}: {error:?}");
    }
}

#[test]
fn words_given_by_their_bits_match_like_assembled_ones() {
    let assembled = compile(RELEASE);
    let by_bits: String = assembled
        .templates
        .iter()
        .map(|template| format!("word {:08x}/{:08x}\n", template.value, template.mask))
        .collect();
    let bytes = bytes(&PUBLISHED);
    let code = Code { address: VmAddr(0x2be05c), bytes: &bytes };
    let places = |pattern: &Pattern| find(pattern, code).iter().map(|m| m.at).collect::<Vec<_>>();
    assert_eq!(places(&compile(&by_bits)), places(&assembled));
    for wrong in ["word 1/ffffffff", "word 00000001/00000000", "word 00000001"] {
        assert!(Pattern::compile(&Assembler::new(), wrong).is_err(), "{wrong}");
    }
}

#[test]
fn many_patterns_in_one_pass_find_what_each_alone_finds() {
    let patterns = [
        compile(RELEASE),
        compile("add x0, {pool}, {lock}\nbl {unlock}"),
        compile("str xzr, [{self}, {ivar}]"),
        compile("ret"),
    ];
    let bytes = bytes(&PUBLISHED);
    let code = Code { address: VmAddr(0x2be05c), bytes: &bytes };
    let together = Many::new(&patterns).find(code);
    let mut alone: Vec<_> = patterns
        .iter()
        .enumerate()
        .flat_map(|(number, pattern)| find(pattern, code).into_iter().map(move |m| (number, m)))
        .collect();
    alone.sort_by_key(|(number, hit)| (hit.at, *number));
    assert_eq!(together, alone);
    assert_eq!(together.len(), 4);
}

proptest! {
    #[test]
    fn any_registers_and_addresses_are_found_and_read_back(
        mut registers in Just((1u8..29).filter(|r| *r != 16).collect::<Vec<_>>()).prop_shuffle(),
        origin in 0x1000u64..0x400_0000,
        unlock in 0u64..0x400_0000,
        free in 0u64..0x400_0000,
    ) {
        registers.truncate(6);
        let [imp, slot, pool, lock, this, ivar] = registers[..] else { unreachable!() };
        let (origin, unlock, free) = (origin & !3, unlock & !3, free & !3);
        let lines = [
            format!("b.hi #{:#x}", origin + 32), "nop".into(), "nop".into(), "nop".into(),
            format!("str x{imp}, [x{slot}, #0x1a68]"),
            format!("add x0, x{pool}, x{lock}"), format!("bl #{unlock:#x}"),
            format!("b #{:#x}", origin + 48),
            format!("add x0, x{pool}, x{lock}"), format!("bl #{unlock:#x}"),
            format!("mov x0, x{imp}"), format!("bl #{free:#x}"),
            format!("str xzr, [x{this}, x{ivar}]"),
        ];
        let words = Assembler::new().assemble(&lines, VmAddr(origin)).unwrap();
        let bytes: Vec<u8> = words.iter().copied().flat_map(Word::to_bytes).collect();
        let found = find(&compile(RELEASE), Code { address: VmAddr(origin), bytes: &bytes });
        prop_assert_eq!(found.len(), 1);
        let read = |name| found[0].captures.get(name).unwrap();
        prop_assert_eq!(read("impl"), Value::Register(imp));
        prop_assert_eq!(read("ivar"), Value::Register(ivar));
        prop_assert_eq!(read("unlock"), Value::Address(VmAddr(unlock)));
        prop_assert_eq!(read("free"), Value::Address(VmAddr(free)));
    }
}

#[test]
fn addresses_in_data_instructions_are_captured() {
    let pattern =
        compile("adrp {a}, {page}\nldr {b}, [{a}, #{low}]\nadr x0, {near}\nldr x1, {word}");
    let (assembler, address) = (Assembler::new(), VmAddr(0x2bd2c0));
    let lines =
        ["adrp x8, #0x758000", "ldr x9, [x8, #0x300]", "adr x0, #0x2bd2c5", "ldr x1, #0x2bd2d4"];
    let words = (0..)
        .zip(lines)
        .map(|(index, line)| assembler.assemble_line(line, address.instruction(index)).unwrap().0);
    let bytes = bytes(&words.collect::<Vec<u32>>());
    let code = Code { address, bytes: &bytes };
    let found = find(&pattern, code);
    let captures = &found[0].captures;
    assert_eq!(captures.immediate("low"), Some(0x300));
    assert_eq!(captures.address("near"), Some(VmAddr(0x2bd2c5)));
    assert_eq!(captures.address("word"), Some(VmAddr(0x2bd2d4)));
    assert_eq!(captures.address("page"), Some(VmAddr(0x758000)));
    let elsewhere = compile("adrp x8, {page}\nadrp x9, {page}");
    assert!(find(&elsewhere, code).is_empty());
}

#[test]
fn an_address_that_adrp_captured_can_be_written_again() {
    let (assembler, at) = (Assembler::new(), VmAddr(0x2bd2c0));
    let pattern = compile("adrp x8, {page}");
    let word = assembler.assemble_line("adrp x8, #0x758000", at).unwrap();
    let captures = pattern.match_at(&[word], at).unwrap();
    assert_eq!(captures.get("page"), Some(Value::Address(VmAddr(0x758000))));
    let made = pattern.source.render(0, at, &captures).unwrap();
    let agxpatch_core::signature::Rendered::Text(text) = made else { panic!("{made:?}") };
    assert_eq!(assembler.assemble_line(&text, at), Ok(word));
}

#[test]
fn a_pattern_is_written_from_code_and_found_in_another_build_of_it() {
    let (assembler, disassembler) = (Assembler::new(), Disassembler::new().unwrap());
    let code = |at: u64, page: &str, low: &str, callee: &str| -> Vec<Word> {
        let lines = [
            "pacibsp".to_owned(),
            format!("adrp x8, {page}"),
            format!("ldr x9, [x8, {low}]"),
            format!("cbz x9, #{:#x}", at + 24),
            format!("bl {callee}"),
            "ldr x1, [x2], #8".to_owned(),
            "retab".to_owned(),
        ];
        let words = (0..).zip(&lines).map(|(index, line)| {
            assembler.assemble_line(line, VmAddr(at).instruction(index)).unwrap()
        });
        words.collect()
    };
    let first = code(0x4000, "#0x758000", "#0x300", "#0x9000");
    let stub = |at: VmAddr| (at == VmAddr(0x9000)).then(|| "_free".to_owned());
    let made = generalise(&assembler, &disassembler, &first, VmAddr(0x4000), stub).unwrap();
    assert_eq!(made.functions.get("free").map(String::as_str), Some("_free"));
    for line in ["adrp    x8, {page1}", "ldr     x9, [x8, #{low1}]", "bl      {free}", "l1: retab"]
    {
        assert!(made.pattern.contains(line), "{line} in\n{}", made.pattern);
    }
    assert!(made.pattern.contains("ldr     x1, [x2], #8"), "{}", made.pattern);
    let other = code(0x8000, "#0x10000", "#0x48", "#0xa000");
    let pattern = compile(&made.pattern);
    let captures = pattern.match_at(&other, VmAddr(0x8000)).unwrap();
    assert_eq!(captures.address("free"), Some(VmAddr(0xa000)));
    assert_eq!(captures.immediate("low1"), Some(0x48));
}

#[test]
fn code_that_cannot_be_written_as_text_is_given_by_its_bits() {
    let (assembler, disassembler) = (Assembler::new(), Disassembler::new().unwrap());
    let words = [Word(0x0000_1234), Word(0xd503_201f)];
    let made = generalise(&assembler, &disassembler, &words, VmAddr(0), |_| None).unwrap();
    assert!(made.pattern.contains("word    00001234/ffffffff"), "{}", made.pattern);
}
