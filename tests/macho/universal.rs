//! Tables of slices.

use std::fs;

use agxpatch_core::address::FileOffset;
use agxpatch_core::error::Code;
use agxpatch_core::macho::{Architecture, Container, Universal};

use crate::mini::{self, ARM64, ARM64E, Mini, X86_64};
use crate::tools::{LAYOUTS, Libraries};
use agxpatch_oracles::tools;

fn thin(cpu: (u32, u32)) -> Vec<u8> {
    Mini::with_text(cpu, 0x1000).bytes()
}

/// The numbers behind a word in the output of a tool.
fn numbers(text: &str, word: &str) -> Vec<u64> {
    text.lines()
        .filter_map(|line| line.trim().strip_prefix(word))
        .filter_map(|rest| rest.trim().split(' ').next()?.parse().ok())
        .collect()
}

#[test]
fn slices_of_joined_files_are_those_llvm_reads() {
    let libraries = Libraries::new();
    for (options, container) in [(&[][..], Container::Fat32), (&["-fat64"], Container::Fat64)] {
        let bytes = libraries.universal(options);
        let file = Universal::parse(&bytes).unwrap();
        assert_eq!(file.container, container);

        let told = tools::ask("llvm-objdump", &["--macho", "--universal-headers"], &bytes).unwrap();
        let ours = |of: fn(&agxpatch_core::macho::Slice) -> u64| -> Vec<u64> {
            file.slices.iter().map(of).collect()
        };
        assert_eq!(ours(|slice| slice.offset.0), numbers(&told, "offset"), "{told}");
        assert_eq!(ours(|slice| slice.size), numbers(&told, "size"));
        let aligns = told.lines().filter_map(|line| line.trim().strip_prefix("align 2^"));
        let aligns: Vec<u64> =
            aligns.map(|line| line.split(' ').next().unwrap().parse().unwrap()).collect();
        assert_eq!(ours(|slice| slice.align.into()), aligns);

        for slice in &file.slices {
            let name = slice.architecture.to_string();
            let alone = fs::read(libraries.library(&name, LAYOUTS[0])).unwrap();
            assert_eq!(slice.bytes, alone, "{name}");
            slice.image().unwrap();
        }
    }
}

#[test]
fn order_gaps_and_alignment_are_kept() {
    let (arm64e, x86_64) = (thin(ARM64E), thin(X86_64));
    for wide in [false, true] {
        let bytes =
            mini::universal(wide, &[(ARM64E, 14, 0xc000, &arm64e), (X86_64, 12, 0x3000, &x86_64)]);
        let file = Universal::parse(&bytes).unwrap();
        let seen: Vec<_> =
            file.slices.iter().map(|s| (s.architecture, s.align, s.offset)).collect();
        assert_eq!(
            seen,
            [
                (Architecture::ARM64E, 14, FileOffset(0xc000)),
                (Architecture::X86_64, 12, FileOffset(0x3000)),
            ]
        );
        assert_eq!(file.slice(Architecture::X86_64).unwrap().bytes, x86_64);
    }
}

#[test]
fn the_subtype_of_arm64e_keeps_its_capability_bits() {
    let bytes = thin(ARM64E);
    let file = Universal::parse(&bytes).unwrap();
    let architecture = file.slices[0].image().unwrap().architecture();
    assert_eq!(architecture.cpu_subtype, 0x8000_0002);
    assert_eq!((architecture.to_string().as_str(), architecture.is_arm64e()), ("arm64e", true));
    assert!(!Architecture::ARM64.is_arm64e());
}

#[test]
fn a_slice_that_is_not_there_is_named_with_those_that_are() {
    let bytes = mini::universal(false, &[(X86_64, 12, 0x1000, &thin(X86_64))]);
    let error = Universal::parse(&bytes).unwrap().slice(Architecture::ARM64E).unwrap_err();
    assert_eq!((error.code(), error.message()), (Code::NoSlice, "the file has no arm64e slice"));
    assert_eq!(error.context(), [("slices", "x86_64".to_owned())]);
}

fn refusal(bytes: &[u8]) -> String {
    let error = Universal::parse(bytes).unwrap_err();
    assert_eq!(error.code(), Code::Malformed);
    assert!(error.advice().is_some());
    error.message().to_owned()
}

#[test]
fn tables_that_contradict_themselves_are_refused_by_name() {
    let body = thin(ARM64);
    for wide in [false, true] {
        let table = |entries: &[mini::Entry]| refusal(&mini::universal(wide, entries));
        let first: mini::Entry = (X86_64, 0, 0x1000, &body);
        assert_eq!(table(&[]), "the universal file holds no slice");
        assert_eq!(table(&[first, (ARM64, 0, 0x1fff, &body)]), "two slices overlap");
        assert_eq!(
            table(&[first, (X86_64, 0, 0x4000, &body)]),
            "two slices are for the same processor"
        );
        assert_eq!(table(&[(ARM64, 0, 16, &body)]), "a slice overlaps the table of slices");
        assert_eq!(table(&[(ARM64, 0, 0x1000, &[])]), "a slice is empty");
        assert_eq!(
            table(&[(ARM64, 14, 0x1000, &body)]),
            "a slice is not aligned as the table says"
        );
        assert_eq!(table(&[(ARM64, 77, 0, &body)]), "a slice is not aligned as the table says");
        let mut cut = mini::universal(wide, &[first]);
        cut.truncate(0x1fff);
        assert_eq!(refusal(&cut), "a slice reaches past the end of the file");
        cut.truncate(20);
        assert_eq!(refusal(&cut), "the file ends inside its table of slices");
    }
}

#[test]
fn offsets_that_overflow_are_past_the_end() {
    let body = thin(ARM64);
    let mut bytes = mini::universal(true, &[(ARM64, 0, 0x1000, &body)]);
    bytes[16..24].copy_from_slice(&u64::MAX.to_be_bytes());
    assert_eq!(refusal(&bytes), "a slice reaches past the end of the file");
}

#[test]
fn four_billion_slices_are_refused_before_any_is_read() {
    let mut bytes = mini::universal(false, &[(ARM64, 0, 0x1000, &thin(ARM64))]);
    bytes[4..8].copy_from_slice(&u32::MAX.to_be_bytes());
    assert_eq!(refusal(&bytes), "the universal file claims too many slices");
}

#[test]
fn a_java_class_is_not_taken_for_65_slices() {
    let error = Universal::parse(b"\xca\xfe\xba\xbe\0\0\0\x41rest").unwrap_err();
    assert!(error.advice().unwrap().contains("Java"));
}

#[test]
fn a_slice_for_another_processor_than_the_table_says_is_refused() {
    let bytes = mini::universal(false, &[(ARM64E, 0, 0x1000, &thin(X86_64))]);
    let error = Universal::parse(&bytes).unwrap().slices[0].image().unwrap_err();
    assert_eq!(error.message(), "the slice is for a different processor than the table says");
}

#[test]
fn an_unreadable_slice_does_not_hide_the_others() {
    let mut old = thin(X86_64);
    old[..4].copy_from_slice(&0xfeed_face_u32.to_le_bytes());
    let bytes =
        mini::universal(false, &[((7, 3), 0, 0x1000, &old), (ARM64, 0, 0x4000, &thin(ARM64))]);
    let file = Universal::parse(&bytes).unwrap();
    assert_eq!(file.slices[0].image().unwrap_err().code(), Code::NotMachO);
    file.slices[1].image().unwrap();
}
