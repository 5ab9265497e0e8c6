//! Chained fixups: of real images judged by llvm-objdump, of made-up ones in
//! every pointer format judged by the encoder and by the second reader.

use std::fs;

use agxpatch_core::address::VmAddr;
use agxpatch_core::macho::{Fixup, Pointer, Universal};
use proptest::prelude::*;

use crate::mini::{self, ARM64E, Mini, le32, le64};
use crate::tools::{LAYOUTS, Libraries, ask};

#[test]
fn fixups_are_those_llvm_reads() {
    let libraries = Libraries::new();
    for architecture in ["arm64", "x86_64"] {
        let path = libraries.library(architecture, LAYOUTS[1]);
        let bytes = fs::read(&path).unwrap();
        let image = Universal::parse(&bytes).unwrap().slices[0].image().unwrap();
        let fixups = image.chained_fixups().unwrap().unwrap();
        let ours: Vec<String> = fixups
            .each()
            .map(|fixup| match fixup.unwrap() {
                Fixup { at, target: Pointer::Address(to), .. } => format!("{at} rebase {to:?}"),
                Fixup { at, target: Pointer::Import { ordinal, .. }, .. } => {
                    format!("{at} bind {}", fixups.import_name(ordinal).unwrap())
                }
                other => panic!("{other:?}"),
            })
            .collect();
        let told = ask("llvm-objdump", &["--macho", "--dyld-info"], &path);
        let told: Vec<String> = told
            .lines()
            .map(|line| line.split_whitespace().collect::<Vec<_>>())
            .filter(|words| words.len() > 4 && words[0].starts_with("__"))
            .map(|words| match words[4] {
                "rebase" => format!("{0} rebase VmAddr({1})", words[2], words[5])
                    .to_lowercase()
                    .replace("vmaddr", "VmAddr"),
                kind => format!("{} {kind} {}", words[2].to_lowercase(), words.last().unwrap()),
            })
            .collect();
        assert!(ours.len() > 50);
        assert_eq!(ours, told);
        assert_eq!(fixups.check(&image).unwrap(), ours.len());
    }
}

#[test]
fn resolving_one_pointer_agrees_with_walking_the_chain() {
    let libraries = Libraries::new();
    let bytes = libraries.bytes();
    let image = Universal::parse(&bytes).unwrap().slices[0].image().unwrap();
    let fixups = image.chained_fixups().unwrap().unwrap();
    for fixup in fixups.each() {
        let Fixup { at, target, .. } = fixup.unwrap();
        let raw = image.bytes_at(at..at.plus(8)).unwrap().try_into().unwrap();
        assert_eq!(fixups.resolve(at, u64::from_le_bytes(raw)), target);
    }
}

const BASE: u64 = 0x4000_0000;
const PAGE: u64 = 0x1000;

/// An arm64e bundle with one data segment of pointers in one chain a page;
/// three imports.
fn chained(format: u16, pages: &[Vec<u64>]) -> Vec<u8> {
    let data = PAGE * pages.len() as u64;
    let table = PAGE as usize + data as usize;
    let mut starts = le32(&[22 + 2 * pages.len() as u32]);
    starts.extend((PAGE as u16).to_le_bytes());
    starts.extend(format.to_le_bytes());
    starts.extend(PAGE.to_le_bytes());
    starts.extend(0u32.to_le_bytes());
    starts.extend((pages.len() as u16).to_le_bytes());
    for page in pages {
        let start: u16 = if page.is_empty() { 0xffff } else { 0 };
        starts.extend(start.to_le_bytes());
    }
    // Header, then the imports, the names, and the starts behind them.
    let mut fixups = le32(&[0, 64, 28, 40, 3, 1, 0]);
    fixups.extend(le32(&[1, 1 | 3 << 9, 1 | 6 << 9]));
    fixups.extend(b"_a\0_b\0_OBJC_CLASS_$_C\0");
    fixups.resize(64, 0);
    fixups.extend(le32(&[3, 0, 16, 0]));
    fixups.extend(starts);

    let mut mini = Mini::with_text(ARM64E, table + 0x2000);
    mini.commands = vec![
        mini::segment("__TEXT", BASE, 0, PAGE, &[("__text", 0x400, 0x400)]),
        mini::segment("__DATA", BASE + PAGE, PAGE, data, &[("__data", PAGE, data)]),
        mini::segment("__LINKEDIT", BASE + PAGE + data, table as u64, 0x2000, &[]),
    ];
    for (index, page) in pages.iter().enumerate() {
        mini = mini.content((PAGE as usize) * (index + 1), le64(page));
    }
    let size = fixups.len() as u32;
    mini.command(0x8000_0034, &le32(&[table as u32, size])).content(table, fixups).bytes()
}

/// Encodes a pointer; `next` says whether the one right behind it follows.
fn encode(format: u16, target: Pointer, authenticated: bool, next: bool) -> u64 {
    let plain = matches!(format, 2 | 6);
    let stride = if matches!(format, 1 | 9 | 12) { 8 } else { 4 };
    let next = (if next { 8 / stride } else { 0 }) << 51;
    let sign = if authenticated { 1 << 63 | 0x1234 << 32 } else { 0 };
    let body = match target {
        Pointer::Import { ordinal, addend } if plain => {
            1 << 63 | u64::from(ordinal) | (addend as u64 & 0xff) << 24
        }
        Pointer::Import { ordinal, .. } if authenticated => 1 << 62 | u64::from(ordinal),
        Pointer::Import { ordinal, addend } => {
            1 << 62 | u64::from(ordinal) | (addend as u64 & 0x7_ffff) << 32
        }
        Pointer::Address(VmAddr(address)) if authenticated => address - BASE,
        Pointer::Address(VmAddr(address)) => {
            let absolute = matches!(format, 1 | 2 | 10);
            let (tag, address) = (address >> 56, address & (u64::MAX >> 8));
            let target = if absolute { address } else { address - BASE };
            target | tag << if plain { 36 } else { 43 }
        }
        Pointer::Null => 0,
    };
    body | next | if plain { 0 } else { sign }
}

fn pointer(plain: bool) -> impl Strategy<Value = (Pointer, bool)> {
    // Only a plain rebase has room for a tag, the high byte.
    let address = (BASE..BASE + PAGE, prop_oneof![Just(0), any::<u8>()])
        .prop_map(|(at, tag)| Pointer::Address(VmAddr(at | u64::from(tag) << 56)));
    let addends = if plain { 0..=255i64 } else { -0x4_0000..=0x3_ffff };
    let import =
        (0..3u32, addends).prop_map(|(ordinal, addend)| Pointer::Import { ordinal, addend });
    (prop_oneof![address, import], any::<bool>()).prop_map(move |(target, sign)| match target {
        Pointer::Import { ordinal, .. } if sign && !plain => {
            (Pointer::Import { ordinal, addend: 0 }, true)
        }
        Pointer::Address(at) if sign && !plain => {
            (Pointer::Address(VmAddr(at.0 & (u64::MAX >> 8))), true)
        }
        target => (target, sign && !plain),
    })
}

fn image_of_pointers() -> impl Strategy<Value = (u16, Vec<Vec<(Pointer, bool)>>)> {
    prop::sample::select(vec![1u16, 2, 6, 7, 9, 10, 12]).prop_flat_map(|format| {
        let page = prop::collection::vec(pointer(matches!(format, 2 | 6)), 0..20);
        (Just(format), prop::collection::vec(page, 1..4))
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_pointer_format_decodes_to_what_was_encoded((format, pages) in image_of_pointers()) {
        let mut expected = Vec::new();
        let mut raw = Vec::new();
        for (index, page) in pages.iter().enumerate() {
            let begin = VmAddr(BASE + PAGE * (1 + index as u64));
            let last = page.len().saturating_sub(1);
            let word = |(place, (target, sign)): (usize, &(Pointer, bool))| {
                encode(format, *target, *sign, place != last)
            };
            raw.push(page.iter().enumerate().map(word).collect::<Vec<u64>>());
            expected.extend(page.iter().enumerate().map(|(place, (target, sign))| Fixup {
                at: begin.plus(8 * place as u64), target: *target, authenticated: *sign,
            }));
        }
        let bytes = chained(format, &raw);
        let file = Universal::parse(&bytes).unwrap();
        let image = file.slices[0].image().unwrap();
        let fixups = image.chained_fixups().unwrap().unwrap();
        let seen: Vec<Fixup> = fixups.each().collect::<Result<_, _>>().unwrap();
        prop_assert_eq!(&seen, &expected);
        prop_assert_eq!(fixups.check(&image).unwrap(), expected.len());
        prop_assert_eq!(fixups.import_name(2), Some("_OBJC_CLASS_$_C"));
        prop_assert_eq!(fixups.import_name(3), None);
    }
}

fn walk(bytes: &[u8]) -> String {
    let file = Universal::parse(bytes).unwrap();
    let image = file.slices[0].image().unwrap();
    let fixups = match image.chained_fixups() {
        Ok(fixups) => fixups.unwrap(),
        Err(error) => return error.message().to_owned(),
    };
    let error = fixups.check(&image).unwrap_err();
    assert!(fixups.each().last().unwrap().is_err(), "the error ends the walk");
    error.message().to_owned()
}

#[test]
fn chains_that_do_not_hold_together_are_refused() {
    let outside = encode(12, Pointer::Address(VmAddr(BASE + 0x10_0000)), true, false);
    assert_eq!(walk(&chained(12, &[vec![outside]])), "a fixup points outside the image");
    let unknown = encode(12, Pointer::Import { ordinal: 3, addend: 0 }, false, false);
    assert_eq!(walk(&chained(12, &[vec![unknown]])), "a fixup names an import that does not exist");
    let far = encode(12, Pointer::Address(VmAddr(BASE)), true, false) | 0x7ff << 51;
    assert_eq!(walk(&chained(12, &[vec![far]])), "a fixup chain leaves its page");
    let format = "the image's pointers are of a format this tool does not read";
    assert_eq!(walk(&chained(99, &[vec![1]])), format);
}

#[test]
fn starts_that_contradict_themselves_are_refused() {
    let bytes = chained(12, &[vec![0]]);
    let starts = 2 * PAGE as usize + 80;
    let wrong: [(usize, u16, &str); 3] =
        [(0, 22, "shorter than its pages"), (4, 0, "pages of no size"), (20, 2, "a page too many")];
    let read = |bytes: &[u8]| {
        let file = Universal::parse(bytes).unwrap();
        file.slices[0].image().unwrap().chained_fixups().map(|fixups| fixups.is_some())
    };
    assert!(read(&bytes).unwrap());
    for (at, value, what) in wrong {
        let mut bytes = bytes.clone();
        bytes[starts + at..starts + at + 2].copy_from_slice(&value.to_le_bytes());
        let error = read(&bytes).unwrap_err();
        assert_eq!(error.message(), "the chained fixups table is too short", "{what}");
    }
}
