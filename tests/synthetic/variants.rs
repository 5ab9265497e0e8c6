//! Each variant differs from the published driver in what its name says.

use agxpatch_core::address::VmAddr;
use agxpatch_core::codesign::{self, EmbeddedSignature, HashType};
use agxpatch_core::macho::{Container, Image, Universal};
use agxpatch_simulate::driver::{Variant, build_scaled, facts};

use super::harness::{arm64e, driver, images, word};

/// What the last slice of that variant's file is.
fn look<T>(name: &str, at: impl FnOnce(&Image<'_>, &[u8]) -> T) -> T {
    let file = driver(name);
    let universal = Universal::parse(&file).unwrap();
    let slice = universal.slices.last().unwrap();
    at(&slice.image().unwrap(), slice.bytes)
}

/// The words of the method's window, published or not.
fn window(name: &str, at: u64, count: u64) -> Vec<u32> {
    let file = driver(name);
    let (_, slice) = arm64e(&file);
    (0..count).map(|index| word(slice, at + 4 * index)).collect()
}

fn destroy_impl(image: &Image<'_>, class: &str) -> Option<VmAddr> {
    let methods = image.methods().unwrap();
    let found = methods.iter().find(|m| m.selector == "destroyImpl" && m.class.ends_with(class));
    found.map(|method| method.implementation)
}

/// How often the sequence's fixed instructions stand behind one another within
/// these addresses, whatever their registers.
fn sequences(name: &str, from: VmAddr, size: u64) -> usize {
    let file = driver(name);
    let (_, slice) = arm64e(&file);
    let at = |at: u64, index: u64| word(slice, at + 4 * index);
    (from.0..from.0 + size)
        .step_by(4)
        .filter(|&place| at(place, 0) == 0x5400_0108 && at(place, 7) == 0x1400_0005)
        .filter(|&place| at(place, 12) & 0xffe0_fc1f == 0xf820_681f)
        .count()
}

#[test]
fn renamed_has_other_addresses_registers_and_identity() {
    let entry = look("renamed", |image, _| {
        assert_ne!(image.uuid().unwrap().0, facts::UUID);
        destroy_impl(image, "FamilyComputeContext").unwrap()
    });
    assert_eq!(entry, VmAddr(0x2b_dd1c + 0x5c40));
    let moved = window("renamed", facts::WINDOW.0 + 0x5c40, 13);
    assert_eq!(moved[0], 0x5400_0108);
    assert_eq!(moved[10], 0xaa13_03e0, "mov x0, x19");
    assert_eq!(moved[12], 0xf83b_6abf, "str xzr, [x21, x27]");
    assert_ne!(window("renamed", facts::WINDOW.0, 13), window("published", facts::WINDOW.0, 13));
}

#[test]
fn two_hits_has_the_sequence_twice_in_the_method() {
    assert_eq!(sequences("published", facts::ENTRY, 0x4d8), 1);
    assert_eq!(sequences("two-hits", facts::ENTRY, 0x4d8), 2);
}

#[test]
fn sibling_hit_has_the_sequence_in_the_render_encoder_too() {
    let render = look("sibling-hit", |image, _| destroy_impl(image, "FamilyRenderContext"));
    assert_eq!(sequences("sibling-hit", render.unwrap(), 0x2e0), 1);
    assert_eq!(sequences("published", render.unwrap(), 0x2e0), 0);
    assert_eq!(sequences("sibling-hit", facts::ENTRY, 0x4d8), 1);
}

#[test]
fn no_hit_clears_under_the_lock() {
    assert_eq!(sequences("no-hit", facts::ENTRY, 0x4d8), 0);
    let words = window("no-hit", facts::WINDOW.0, 14);
    // The store to the field stands before the call on both ways.
    assert_eq!((words[5], words[9]), (0xf838_6a7f, 0xf838_6a7f));
}

#[test]
fn legacy_patched_holds_the_nine_published_words() {
    for (address, expected) in facts::LEGACY_WORDS {
        assert_eq!(window("legacy-patched", address.0, 1), [expected.0], "{address}");
    }
}

#[test]
fn partly_patched_holds_the_first_five_of_them() {
    for (index, (address, new)) in facts::LEGACY_WORDS.iter().enumerate() {
        let old = window("published", address.0, 1);
        let expected = if index < 5 { vec![new.0] } else { old };
        assert_eq!(window("partly-patched", address.0, 1), expected, "{address}");
    }
}

/// The branches on zero in the method that go to the clear, by register.
fn entries(name: &str) -> Vec<u32> {
    let words = window(name, facts::ENTRY.0, 208);
    let goes_there = |(index, word): &(usize, &u32)| {
        let at = facts::ENTRY.0 + 4 * *index as u64;
        **word & 0xff00_0000 == 0xb400_0000
            && at + (u64::from(**word >> 5) & 0x7_ffff) * 4 == 0x2b_e08c
    };
    words.iter().enumerate().filter(goes_there).map(|(_, word)| word & 31).collect()
}

#[test]
fn the_third_way_is_taken_where_the_block_just_loaded_is_null() {
    assert_eq!(entries("published"), [20]);
    // ldr x20, [x19, x24]; cbz x20, 0x2be08c
    assert_eq!(window("published", facts::WINDOW.0 - 28, 2), [0xf878_6a74, 0xb400_0254]);
}

#[test]
fn branch_into_window_tests_something_else_than_the_block() {
    assert_eq!(entries("branch-into-window"), [8]);
    let before = window("published", facts::WINDOW.0, 13);
    assert_eq!(window("branch-into-window", facts::WINDOW.0, 13), before);
}

#[test]
fn call_before_test_has_a_call_between_the_load_and_the_test() {
    let words = window("call-before-test", facts::WINDOW.0 - 36, 4);
    assert_eq!(words[0], 0xf878_6a74);
    assert_eq!(words[2] & 0xfc00_0000, 0x9400_0000);
    assert_eq!(words[3] & 0xff00_001f, 0xb400_0014);
    assert_eq!(entries("call-before-test"), [20]);
}

#[test]
fn impl_live_reads_the_register_before_the_epilogue_reloads_it() {
    let words = window("impl-live", facts::EPILOGUE.0, 3);
    assert_eq!(words, [0xa949_7bfd, 0xaa14_03e0, 0xa948_4ff4]);
}

#[test]
fn stripped_symbols_has_metadata_and_no_symbol_of_its_own() {
    look("stripped-symbols", |image, slice| {
        assert!(destroy_impl(image, "FamilyComputeContext").is_some());
        let parsed = super::harness::image(slice);
        assert!(parsed.symbols().flatten().all(|(_, symbol)| symbol.is_undefined()));
    });
}

#[test]
fn stripped_metadata_has_neither_symbols_nor_classes() {
    look("stripped-metadata", |image, slice| {
        assert_eq!(image.methods().unwrap().len(), 0);
        let parsed = super::harness::image(slice);
        assert!(parsed.symbols().flatten().all(|(_, symbol)| symbol.is_undefined()));
    });
    assert_eq!(sequences("stripped-metadata", facts::ENTRY, 0x4d8), 1);
}

#[test]
fn the_containers_are_what_they_are_called() {
    let container = |name| Universal::parse(&driver(name)).unwrap().container;
    assert_eq!(container("published"), Container::Fat32);
    assert_eq!(container("fat64"), Container::Fat64);
    assert_eq!(container("thin"), Container::Thin);
    let file = driver("arm64e-only");
    assert_eq!(arm64e(&file).0, 0x4000);
    assert_eq!(images(&file).len(), 1);
    // All hold the same slice.
    for name in ["fat64", "thin", "arm64e-only"] {
        assert!(arm64e(&driver(name)).1 == arm64e(&driver("published")).1, "{name}");
    }
}

#[test]
fn every_signature_is_right_and_of_its_kind() {
    for variant in Variant::ALL.iter().filter(|variant| variant.name != "unsigned") {
        let file = driver(variant.name);
        for slice in Universal::parse(&file).unwrap().slices {
            let signature = slice.image().unwrap().code_signature().unwrap();
            let findings = codesign::check(slice.bytes, signature);
            let broken = findings.iter().filter(|f| f.concern() != codesign::Concern::AdHoc);
            assert_eq!(broken.map(|f| f.to_string()).collect::<Vec<_>>(), [""; 0]);
        }
    }
}

/// Hash types, page sizes and kind of the last slice's signature.
fn signature(name: &str) -> (Vec<HashType>, Vec<u64>, String) {
    look(name, |image, slice| {
        let range = image.code_signature().unwrap();
        let bytes = &slice[range.start.0 as usize..range.end.0 as usize];
        let signature = EmbeddedSignature::parse(bytes).unwrap();
        let pages = signature.directories.iter().map(|d| 1 << d.page_size.exponent()).collect();
        let hashes = signature.directories.iter().map(|d| d.hash).collect();
        (hashes, pages, signature.kind().to_string())
    })
}

#[test]
fn the_published_signature_is_a_platform_binarys_over_sha256() {
    let (hashes, pages, kind) = signature("published");
    assert_eq!((hashes, pages), (vec![HashType::Sha256], vec![4096]));
    assert!(kind.contains("platform"), "{kind}");
}

#[test]
fn sha1_sha256_has_sha1_first_and_sha256_as_the_alternate() {
    assert_eq!(signature("sha1-sha256").0, [HashType::Sha1, HashType::Sha256]);
}

#[test]
fn large_pages_are_of_16_kib() {
    assert_eq!(signature("large-pages").1, [16384]);
}

#[test]
fn linker_signed_is_that() {
    assert!(signature("linker-signed").2.contains("linker"));
}

#[test]
fn unsigned_has_no_signature_in_any_slice() {
    let file = driver("unsigned");
    for slice in Universal::parse(&file).unwrap().slices {
        assert_eq!(slice.image().unwrap().code_signature(), None);
    }
}

#[test]
fn a_scaled_driver_has_as_much_code_as_asked_for_and_the_sequence_once() {
    for size in [7 << 20, 24 << 20] {
        let file = build_scaled(size).unwrap();
        let universal = Universal::parse(&file).unwrap();
        let image = universal.slices[0].image().unwrap();
        assert_eq!(image.text().unwrap().size, size);
        assert_eq!(word(&file, facts::WINDOW.0), 0x5400_0108);
        assert_eq!(destroy_impl(&image, "FamilyComputeContext"), Some(facts::ENTRY));
    }
}

#[test]
fn a_scaled_driver_beyond_what_the_formats_hold_is_refused() {
    for size in [0, 0x6f_ffff, 2_000_000_001, u64::MAX] {
        assert_eq!(build_scaled(size).unwrap_err().code(), agxpatch_core::error::Code::BadArgument);
    }
}
