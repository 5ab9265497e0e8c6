//! Segments, sections, symbols and functions of real images, judged by LLVM.

use std::fs;

use agxpatch_core::address::{SliceOffset, VmAddr};
use agxpatch_core::macho::Universal;

use crate::mini::{ARM64, Mini, le32, le64};
use crate::tools::{LAYOUTS, Libraries, ask};

fn hex(text: &str) -> u64 {
    u64::from_str_radix(text.trim().trim_start_matches("0x"), 16).unwrap()
}

/// The values of one field of every section, as llvm-readobj shows them.
fn field<'t>(told: &'t str, name: &str) -> Vec<&'t str> {
    let lines = told.lines().filter_map(|line| line.trim().strip_prefix(name));
    lines.map(|rest| rest.split('(').next().unwrap().trim()).collect()
}

#[test]
fn sections_are_those_llvm_reads() {
    let libraries = Libraries::new();
    for architecture in ["arm64", "x86_64"] {
        let path = libraries.library(architecture, LAYOUTS[0]);
        let bytes = fs::read(&path).unwrap();
        let file = Universal::parse(&bytes).unwrap();
        let image = file.slices[0].image().unwrap();
        let told = ask("llvm-readobj", &["--sections"], &path);
        let sections = image.sections();
        let ours = |of: fn(&agxpatch_core::macho::Section) -> u64| -> Vec<u64> {
            sections.iter().map(of).collect()
        };
        assert!(sections.len() > 10);
        assert_eq!(sections.iter().map(|s| s.name).collect::<Vec<_>>(), field(&told, "Name:"));
        assert_eq!(
            sections.iter().map(|s| s.segment).collect::<Vec<_>>(),
            field(&told, "Segment:")
        );
        let all = |name, read: fn(&str) -> u64| {
            field(&told, name).into_iter().map(read).collect::<Vec<_>>()
        };
        assert_eq!(ours(|s| s.address.0), all("Address:", hex));
        assert_eq!(ours(|s| s.size), all("Size:", hex));
        assert_eq!(ours(|s| s.offset.0), all("Offset:", |text| text.parse().unwrap()));
    }
}

#[test]
fn symbols_are_those_llvm_reads() {
    let libraries = Libraries::new();
    for architecture in ["arm64", "x86_64"] {
        let path = libraries.library(architecture, LAYOUTS[1]);
        let bytes = fs::read(&path).unwrap();
        let file = Universal::parse(&bytes).unwrap();
        let symbols = file.slices[0].image().unwrap().symbols().unwrap();
        let ours: Vec<String> = symbols
            .iter()
            .map(|symbol| match symbol.is_defined() {
                true => format!("{:016x} {}", symbol.address.0, symbol.name),
                false => format!("{:16} {}", "", symbol.name),
            })
            .collect();
        let told = ask("llvm-nm", &["-p"], &path);
        let told: Vec<String> =
            told.lines().map(|line| format!("{} {}", &line[..16], &line[19..])).collect();
        assert_eq!(ours, told);
        let visible = symbols.address_of("_visible").unwrap();
        assert!(ours.contains(&format!("{:016x} _visible", visible.0)));
        assert_eq!(symbols.address_of("_OBJC_CLASS_$_Foreign"), None);
    }
}

#[test]
fn function_starts_are_those_llvm_reads() {
    let libraries = Libraries::new();
    for architecture in ["arm64", "x86_64"] {
        let path = libraries.library(architecture, LAYOUTS[0]);
        let bytes = fs::read(&path).unwrap();
        let image = Universal::parse(&bytes).unwrap().slices[0].image().unwrap();
        let told = ask("llvm-objdump", &["--macho", "--function-starts=addrs"], &path);
        let told: Vec<VmAddr> = told.lines().skip(1).map(|line| VmAddr(hex(line))).collect();
        let starts = image.function_starts().unwrap();
        assert_eq!(starts, told);

        let text = image.text().unwrap().range();
        for (index, &start) in starts.iter().enumerate() {
            let end = starts.get(index + 1).copied().unwrap_or(text.end);
            for inside in [start, start.plus(4), VmAddr(end.0 - 1)] {
                assert_eq!(image.function_containing(inside).unwrap(), Some(start..end));
            }
        }
        assert_eq!(image.function_containing(VmAddr(text.start.0 - 1)).unwrap(), None);
        assert_eq!(image.function_containing(text.end).unwrap(), None);
    }
}

#[test]
fn identity_and_signature_are_those_llvm_reads() {
    let libraries = Libraries::new();
    let path = libraries.library("arm64", LAYOUTS[0]);
    let bytes = fs::read(&path).unwrap();
    let image = Universal::parse(&bytes).unwrap().slices[0].image().unwrap();
    let told = ask("llvm-objdump", &["--macho", "--private-headers"], &path);
    let uuid = image.uuid().unwrap().to_string().to_uppercase();
    assert!(told.contains(&format!("uuid {uuid}")), "{told}");

    let signature = image.code_signature().unwrap();
    let command = told.split("LC_CODE_SIGNATURE").nth(1).unwrap();
    let told: Vec<u64> = command
        .lines()
        .filter_map(|line| line.trim().strip_prefix("data"))
        .filter_map(|line| line.split(' ').nth(1)?.parse().ok())
        .collect();
    assert_eq!([signature.start.0, signature.end.0 - signature.start.0], told[..2]);
    assert_eq!(bytes[signature.start.0 as usize..][..4], 0xfade_0cc0_u32.to_be_bytes());
    assert_eq!(image.build_version().unwrap().minimum.to_string(), "13.0");
}

#[test]
fn every_byte_of_every_section_is_where_its_address_says() {
    let libraries = Libraries::new();
    let bytes = libraries.bytes();
    let image = Universal::parse(&bytes).unwrap().slices[0].image().unwrap();
    for section in image.sections() {
        assert_eq!(section.bytes.is_empty(), section.is_zero_fill(), "{}", section.name);
        for (index, byte) in section.bytes.iter().enumerate() {
            let address = section.address.plus(index as u64);
            let offset = image.offset_of(address).unwrap();
            assert_eq!(bytes[offset.0 as usize], *byte);
            assert_eq!(image.address_of(offset), Some(address));
        }
    }
    let zeroes = image.sections().iter().find(|section| section.is_zero_fill()).unwrap();
    assert_eq!(image.offset_of(VmAddr(zeroes.range().end.0 - 1)), None);
}

#[test]
fn the_published_identity_reads_back() {
    let uuid = *b"\x0c\xe4\x53\xff\x9f\x17\x32\x1f\xbc\x18\x38\x35\x73\xa4\x82\x21";
    let bytes = Mini::with_text(ARM64, 0x1000)
        .command(0x1b, &uuid)
        .command(0x2a, &le64(&[329 << 40 | 2 << 30]))
        .command(0x32, &le32(&[1, 0x000f_0703, 0x000f_0500, 0]))
        .bytes();
    let file = Universal::parse(&bytes).unwrap();
    let image = file.slices[0].image().unwrap();
    assert_eq!(image.uuid().unwrap().to_string(), "0ce453ff-9f17-321f-bc18-383573a48221");
    assert_eq!(image.source_version().unwrap().to_string(), "329.2");
    let build = image.build_version().unwrap();
    let shown = format!("{} {} {}", build.platform, build.minimum, build.sdk);
    assert_eq!(shown, "macOS 15.7.3 15.5");
    assert_eq!(image.file_type().to_string(), "bundle");
}

#[test]
fn words_of_a_range_are_its_instructions_and_stop_at_the_segment() {
    let code = le32(&[0xd503_201f, 0xd65f_03c0]);
    let bytes = Mini::with_text(ARM64, 0x1000).content(0x400, code).bytes();
    let file = Universal::parse(&bytes).unwrap();
    let image = file.slices[0].image().unwrap();
    let words: Vec<String> =
        image.words(VmAddr(0x400)..VmAddr(0x408)).unwrap().map(|word| word.to_string()).collect();
    assert_eq!(words, ["d503201f", "d65f03c0"]);
    assert!(image.words(VmAddr(0xffc)..VmAddr(0x1004)).is_err());
    assert!(image.words(VmAddr(0x408)..VmAddr(0x400)).is_err());
    assert_eq!(image.offset_of(VmAddr(0xfff)), Some(SliceOffset(0xfff)));
    assert_eq!(image.offset_of(VmAddr(0x1000)), None);
}
