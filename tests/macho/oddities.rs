//! Images that other linkers and tools make.

use agxpatch_core::macho::{FileType, Universal};

use crate::mini::{ARM64, Mini, command, le32, le64, segment};

/// `__DWARF` as the Go linker writes it: bytes in the file, no memory, and sections
/// whose addresses mean nothing.
fn go_dwarf() -> Vec<u8> {
    let mut body = b"__DWARF\0\0\0\0\0\0\0\0\0".to_vec();
    body.extend(le64(&[0x20_0000, 0, 0x1000, 0x800]));
    body.extend(le32(&[0, 0, 1, 0]));
    body.extend(b"__zdebug_info\0\0\0");
    body.extend(b"__DWARF\0\0\0\0\0\0\0\0\0");
    body.extend(le64(&[0, 0x700]));
    body.extend(le32(&[0x1000, 0, 0, 0, 0, 0, 0, 0]));
    command(0x19, &body)
}

#[test]
fn a_go_programs_debugging_segment_takes_no_memory() {
    let mut mini = Mini::with_text(ARM64, 0x1000);
    mini.commands.push(go_dwarf());
    mini.size = 0x1800;
    let bytes = mini.bytes();
    let file = Universal::parse(&bytes).unwrap();
    let image = file.slices[0].image().unwrap();
    let dwarf = image.segment("__DWARF").unwrap();
    assert_eq!((dwarf.size, dwarf.bytes.len()), (0, 0x800));
    assert_eq!(image.section("__DWARF", "__zdebug_info").unwrap().bytes.len(), 0x700);
    // A segment that has memory must have enough of it.
    let text = segment("__TEXT", 0, 0, 0x1000, &[("__text", 0x400, 0x400)]);
    let mut short = text.clone();
    short[32..40].copy_from_slice(&0x800_u64.to_le_bytes());
    mini.commands[0] = short;
    assert!(Universal::parse(&mini.bytes()).unwrap().slices[0].image().is_err());
}

#[test]
fn a_dsym_is_called_a_dsym() {
    let mut mini = Mini::with_text(ARM64, 0x1000);
    mini.file_type = FileType::DSYM.0;
    let bytes = mini.bytes();
    let file = Universal::parse(&bytes).unwrap();
    let error = file.slices[0].image().unwrap().text().map(|text| text.size).unwrap_err();
    assert!(error.message().contains("dSYM"), "{error}");
    assert!(error.advice().is_some());
}
