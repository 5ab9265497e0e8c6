//! Objective-C metadata in every layout, judged by the symbols the compiler
//! gave the same methods, which our reader of metadata never looks at.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use agxpatch_core::error::Code;
use agxpatch_core::macho::Universal;

use crate::mini::{self, ARM64E, Mini, le32, le64};
use crate::tools::{LAYOUTS, Libraries, ask};

fn methods(path: &Path) -> BTreeSet<String> {
    let bytes = fs::read(path).unwrap();
    let image = Universal::parse(&bytes).unwrap().slices[0].image().unwrap();
    let methods = image.methods().unwrap();
    methods.iter().map(|method| format!("{:016x} {method}", method.implementation.0)).collect()
}

/// Methods by the names of their functions.
fn judged(path: &Path) -> BTreeSet<String> {
    let told = ask("llvm-nm", &["-p"], path);
    let lines = told
        .lines()
        .filter(|line| line[17..].starts_with("t -[") || line[17..].starts_with("t +["));
    lines.map(|line| format!("{} {}", &line[..16], &line[19..])).collect()
}

#[test]
fn methods_are_found_in_every_layout_under_the_names_their_symbols_have() {
    let libraries = Libraries::new();
    for architecture in ["arm64", "x86_64"] {
        for layout in LAYOUTS {
            let path = libraries.library(architecture, layout);
            let mut expected = judged(&path);
            assert_eq!(expected.len(), 7);
            if layout.contains(&"-no_fixup_chains") {
                // The class is named by a bind opcode, which is not read.
                expected = expected.iter().map(|name| name.replace("[Foreign", "[?")).collect();
            }
            assert_eq!(methods(&path), expected, "{architecture} {layout:?}");
        }
    }
}

#[test]
fn methods_are_found_in_stripped_images_too() {
    let libraries = Libraries::new();
    for layout in LAYOUTS {
        let path = libraries.library("arm64", layout);
        let before = methods(&path);
        ask("llvm-strip", &["-x"], &path);
        assert!(judged(&path).is_empty());
        assert_eq!(methods(&path), before);
    }
}

#[test]
fn instance_variables_lead_to_the_cells_the_compiler_named() {
    let libraries = Libraries::new();
    for architecture in ["arm64", "x86_64"] {
        for layout in LAYOUTS {
            let path = libraries.library(architecture, layout);
            let bytes = fs::read(&path).unwrap();
            let image = Universal::parse(&bytes).unwrap().slices[0].image().unwrap();
            let symbols = image.symbols().unwrap();
            let ivars = image.ivars().unwrap();
            let seen: Vec<_> = ivars.iter().map(|i| (i.class, i.name, i.offset)).collect();
            assert_eq!(
                seen,
                [
                    ("Base", "isa", 0),
                    ("Base", "count", 8),
                    ("Encoder", "_impl", 16),
                    ("Encoder", "depth", 24),
                ]
            );
            for ivar in ivars {
                let symbol = format!("_OBJC_IVAR_$_{}.{}", ivar.class, ivar.name);
                assert_eq!(symbols.address_of(&symbol), Some(ivar.cell), "{symbol}");
            }
        }
    }
}

/// A bundle with one class `A` that has one method `go` in a list of the given
/// head; `first` is what the first field of the entry leads to.
fn one_class(head: u32, entry: &[u8]) -> Vec<u8> {
    let auth = |target: u64| 1 << 63 | target;
    let data = mini::segment("__DATA", 0x1000, 0x1000, 0x1000, &[("__objc_classlist", 0x1000, 8)]);
    let mut list = le32(&[head, 1]);
    list.extend(entry);
    let mut mini = Mini::with_text(ARM64E, 0x2000);
    mini.commands = vec![mini::segment("__TEXT", 0, 0, 0x1000, &[("__text", 0x400, 0x400)]), data];
    mini.content(0x1000, le64(&[0x1100]))
        .content(0x1100, le64(&[0, 0, 0, 0, auth(0x1200)]))
        .content(0x1200, le64(&[0, 0, 0, 0x1300, auth(0x1400)]))
        .content(0x1300, *b"A\0go\0")
        .content(0x1310, le64(&[0x1302]))
        .content(0x1400, list)
        .bytes()
}

fn only_method(bytes: &[u8]) -> Result<String, agxpatch_core::Error> {
    let file = Universal::parse(bytes)?;
    let methods = file.slices[0].image()?.methods()?;
    Ok(methods.iter().map(|method| format!("{method} {}", method.implementation)).collect())
}

#[test]
fn all_three_forms_of_method_list_are_read_with_signed_pointers() {
    let relative =
        |first: u32| le32(&[first.wrapping_sub(0x1408), 0, 0x440u32.wrapping_sub(0x1410)]);
    let absolute = le64(&[0x1302, 0, 1 << 63 | 0x440]);
    for (head, entry) in
        [(24, absolute), (0x8000_000c, relative(0x1310)), (0xc000_000c, relative(0x1302))]
    {
        assert_eq!(only_method(&one_class(head, &entry)).unwrap(), "-[A go] 0x440", "{head:#x}");
    }
}

#[test]
fn metadata_that_leads_nowhere_is_refused() {
    let refusal = |bytes: &[u8]| {
        let error = only_method(bytes).unwrap_err();
        assert_eq!(error.code(), Code::Malformed);
        error.message().to_owned()
    };
    let far = le64(&[0x1302, 0, 1 << 63 | 0x9000]);
    assert_eq!(refusal(&one_class(24, &far)), "a method's implementation lies outside the image");
    let lost = le64(&[0x9000, 0, 0x440]);
    assert_eq!(refusal(&one_class(24, &lost)), "Objective-C metadata leads out of the image");
    let odd = "a method list has entries of an unknown size";
    assert_eq!(refusal(&one_class(16, &far)), odd);
    let mut many = one_class(24, &far);
    many[0x1404..0x1408].copy_from_slice(&u32::MAX.to_le_bytes());
    assert_eq!(refusal(&many), "a method list reaches past the end of its segment");
}

#[test]
fn an_object_file_is_asked_to_be_linked_first() {
    let mut mini = Mini::with_text(ARM64E, 0x1000);
    mini.file_type = 1;
    let error = only_method(&mini.bytes()).unwrap_err();
    assert_eq!(error.message(), "an object file's pointers are not final");
}
