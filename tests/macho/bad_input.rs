//! Files that are not, or not quite, what was hoped for: each refused by name.

use agxpatch_core::error::Code;
use agxpatch_core::exit::Exit;
use agxpatch_core::macho::Universal;

use crate::examine::everything;
use crate::mini::{self, ARM64, HEADER, Mini, le32, le64};
use crate::tools::Libraries;

fn refusal(bytes: &[u8]) -> (Code, String) {
    let error = everything(bytes).unwrap_err();
    assert!(error.advice().is_some(), "{error} says what to do next");
    assert_eq!(error.exit(), Exit::Unsupported);
    (error.code(), error.message().to_owned())
}

fn not_macho(bytes: &[u8], message: &str) {
    assert_eq!(refusal(bytes), (Code::NotMachO, message.to_owned()));
}

fn malformed(bytes: &[u8], message: &str) {
    assert_eq!(refusal(bytes), (Code::Malformed, message.to_owned()));
}

fn mini() -> Mini {
    Mini::with_text(ARM64, 0x1000)
}

#[test]
fn an_empty_file() {
    not_macho(b"", "the file is empty");
}

#[test]
fn text() {
    not_macho(b"<!DOCTYPE html>\n<html>", "the file is text, not a Mach-O");
}

#[test]
fn unknown_bytes() {
    not_macho(&[0; 64], "the file is not a Mach-O");
}

#[test]
fn a_static_archive() {
    not_macho(b"!<arch>\nfile", "the file is a static archive, not a linked image");
}

#[test]
fn a_shared_cache() {
    not_macho(b"dyld_v1  arm64e\0", "the file is a dyld shared cache, not one image");
}

#[test]
fn an_elf_image() {
    not_macho(b"\x7fELF\x02\x01", "the file is an ELF image, not a Mach-O");
}

#[test]
fn a_32_bit_image_that_claims_a_64_bit_processor() {
    let bytes = le32(&[0xfeed_face, ARM64.0, ARM64.1, 2, 0, 0, 0]);
    not_macho(&bytes, "the file is a 32-bit Mach-O, which is not supported");
}

#[test]
fn a_thin_32_bit_image_is_named_and_not_searched() {
    let bytes = le32(&[0xfeed_face, 12, 9, 2, 0, 0, 0]);
    let file = Universal::parse(&bytes).unwrap();
    assert_eq!(file.slices[0].architecture.name(), Some("armv7"));
    assert!(!file.slices[0].is_searched());
    let big_endian: Vec<u8> = [0xfeed_facf_u32, 0x0100_0012, 0, 2, 0, 0, 0, 0]
        .iter()
        .flat_map(|number| number.to_be_bytes())
        .collect();
    let file = Universal::parse(&big_endian).unwrap();
    assert_eq!(file.slices[0].architecture.name(), Some("ppc64"));
}

#[test]
fn a_32_bit_image_whose_load_commands_are_cut_off() {
    malformed(&le32(&[0xfeed_face, 12, 9, 2, 1, 8, 0]), "the slice ends inside its load commands");
}

#[test]
fn big_endian_images() {
    not_macho(
        b"\xfe\xed\xfa\xcf....",
        "the file is a big-endian 64-bit Mach-O, which is not supported",
    );
    not_macho(
        b"\xfe\xed\xfa\xce....",
        "the file is a big-endian 32-bit Mach-O, which is not supported",
    );
}

#[test]
fn a_universal_file_in_a_universal_file() {
    let inner = mini::universal(false, &[(ARM64, 0, 0x1000, &mini().bytes())]);
    let outer = mini::universal(false, &[(ARM64, 0, 0x1000, &inner)]);
    not_macho(&outer, "the slice is itself a universal file");
}

#[test]
fn encrypted_code() {
    for number in [0x21, 0x2c] {
        let bytes = mini().command(number, &le32(&[0x400, 0x400, 1, 0])).bytes();
        assert_eq!(refusal(&bytes), (Code::Encrypted, "the code is encrypted".to_owned()));
        everything(&mini().command(number, &le32(&[0x400, 0x400, 0, 0])).bytes()).unwrap();
    }
}

#[test]
fn load_commands_that_contradict_the_header() {
    let with = |at: usize, value: u32| {
        let mut bytes = mini().command(0x1b, &[7; 16]).bytes();
        bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
        bytes
    };
    let first = HEADER + 4;
    malformed(&with(20, 0x0fff_ffff), "the file ends inside its load commands");
    malformed(&with(16, u32::MAX), "the header counts more load commands than fit their size");
    malformed(&with(16, 3), "a load command reaches past the end of all load commands");
    malformed(&with(first, 0), "a load command's size is not a multiple of eight");
    malformed(&with(first, 12), "a load command's size is not a multiple of eight");
    malformed(
        &with(first, 0x7fff_fff8),
        "a load command reaches past the end of all load commands",
    );
    malformed(&with(HEADER + 64, 2), "a segment command is too short for its sections");
    malformed(&with(HEADER + 64, u32::MAX), "a segment command is too short for its sections");
}

#[test]
fn segments_and_sections_that_leave_the_file_or_each_other() {
    let with = |segments: &[Vec<u8>]| Mini { commands: segments.to_vec(), ..mini() }.bytes();
    let text = mini::segment("__TEXT", 0, 0, 0x800, &[]);
    malformed(
        &with(&[mini::segment("__TEXT", 0, 0, 0x1001, &[])]),
        "a segment reaches past the end of the file",
    );
    malformed(
        &with(&[mini::segment("__TEXT", 0, 0x800, u64::MAX, &[])]),
        "a segment reaches past the end of the file",
    );
    malformed(
        &with(&[mini::segment("__TEXT", u64::MAX, 0, 8, &[])]),
        "a segment has more bytes than memory",
    );
    malformed(
        &with(&[mini::segment("__TEXT", 0, 0, 0x800, &[("__text", 0x700, 0x200)])]),
        "a section lies outside its segment",
    );
    let overlap = "two segments overlap";
    malformed(&with(&[text.clone(), mini::segment("__DATA", 0x7ff, 0x800, 0x800, &[])]), overlap);
    malformed(&with(&[text, mini::segment("__DATA", 0x800, 0x7ff, 0x800, &[])]), overlap);
}

#[test]
fn a_section_whose_bytes_are_not_where_its_address_says() {
    let mut bytes = mini().bytes();
    let offset = HEADER + 72 + 48;
    bytes[offset..offset + 4].copy_from_slice(&0x500u32.to_le_bytes());
    malformed(&bytes, "a section's bytes are not where its address says");
}

#[test]
fn more_sections_than_a_symbol_can_name() {
    let many: Vec<_> = (0..256).map(|_| ("__text", 0x8000, 0)).collect();
    let mut mini = Mini { size: 0x9000, ..mini() };
    mini.commands = vec![mini::segment("__TEXT", 0, 0, 0x9000, &many)];
    malformed(&mini.bytes(), "the image has more than 255 sections");
}

#[test]
fn tables_of_load_commands_that_leave_the_file() {
    let message = "the data of a load command reaches past the end of the file";
    for number in [0x1d, 0x26, 0x8000_0034] {
        malformed(&mini().command(number, &le32(&[0xff8, 9])).bytes(), message);
        malformed(&mini().command(number, &le32(&[u32::MAX, u32::MAX])).bytes(), message);
    }
    let symbols = "the symbol table reaches past the end of the file";
    malformed(&mini().command(2, &le32(&[0x800, u32::MAX, 0, 0])).bytes(), symbols);
    malformed(&mini().command(2, &le32(&[0x800, 1, 0xfff, 2])).bytes(), symbols);
}

#[test]
fn a_load_command_that_may_occur_once_occurring_twice() {
    let bytes = mini().command(0x1b, &[1; 16]).command(0x1b, &[2; 16]).bytes();
    malformed(&bytes, "a load command that may occur once occurs twice");
}

#[test]
fn a_debugging_companion_has_section_headers_without_bytes() {
    let mut mini = mini();
    mini.file_type = 10;
    mini.commands[0][8 + 16 + 24..][..8].fill(0);
    let bytes = mini.bytes();
    let file = Universal::parse(&bytes).unwrap();
    let image = file.slices[0].image().unwrap();
    assert_eq!((image.sections()[0].size, image.sections()[0].bytes.len()), (0x400, 0));
    assert_eq!(image.text().unwrap_err().code(), Code::Malformed);
}

#[test]
fn a_32_bit_segment_in_a_64_bit_image() {
    let bytes = mini().command(1, &[0; 48]).bytes();
    malformed(&bytes, "a 64-bit image holds a 32-bit segment");
}

#[test]
fn function_starts_that_never_end() {
    let bytes = mini().command(0x26, &le32(&[0x800, 8])).content(0x800, [0xff; 8]).bytes();
    let file = Universal::parse(&bytes).unwrap();
    let image = file.slices[0].image().unwrap();
    let message = "the table of function starts cannot be read";
    assert_eq!(image.function_starts().unwrap_err().message(), message);
}

#[test]
fn a_symbol_whose_name_is_not_there_has_an_empty_one() {
    let entry = [le32(&[u32::MAX, 0x0000_010f]), le64(&[0x400])].concat();
    let bytes = mini().command(2, &le32(&[0x800, 1, 0x900, 16])).content(0x800, entry).bytes();
    let file = Universal::parse(&bytes).unwrap();
    let symbols = file.slices[0].image().unwrap().symbols().unwrap();
    let seen: Vec<_> = symbols.iter().map(|symbol| (symbol.name, symbol.address.0)).collect();
    assert_eq!(seen, [("", 0x400)]);
}

#[test]
fn a_file_cut_at_any_byte_is_refused_and_never_more() {
    let libraries = Libraries::new();
    let whole = libraries.bytes();
    everything(&whole).unwrap();
    for length in 0..whole.len() {
        let error = everything(&whole[..length]).unwrap_err();
        assert!(matches!(error.code(), Code::NotMachO | Code::Malformed), "at {length}: {error}");
    }
}

#[test]
fn a_universal_file_cut_at_any_byte_is_refused() {
    let body = mini().bytes();
    for wide in [false, true] {
        let whole =
            mini::universal(wide, &[(ARM64, 4, 0x100, &body), (mini::X86_64, 4, 0x1200, &body)]);
        for length in 0..whole.len() {
            assert!(everything(&whole[..length]).is_err(), "at {length}");
        }
    }
}
