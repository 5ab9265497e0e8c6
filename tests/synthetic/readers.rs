//! Every variant loads cleanly in readers that know nothing of this program.

use agxpatch_simulate::driver::Variant;
use object::{Object, ObjectSection};

use super::harness::{arm64e, driver, images};
use agxpatch_oracles::tools::ask as llvm;

/// goblin, object and the LLVM tools read it and have nothing to complain about.
fn loads(name: &str) {
    let file = driver(name);
    for image in images(&file) {
        assert!(image.segments.sections().flatten().all(|section| section.is_ok()));
        assert!(image.symbols().all(|symbol| symbol.is_ok()));
    }
    let (_, slice) = arm64e(&file);
    let read = object::File::parse(slice).unwrap();
    let text = read.section_by_name("__text").unwrap();
    assert_eq!(text.data().unwrap().len() as u64, text.size());
    for args in [
        ["--macho", "--private-headers"],
        ["--macho", "--function-starts"],
        ["--macho", "--objc-meta-data"],
        ["--macho", "--indirect-symbols"],
        ["--macho", "--exports-trie"],
    ] {
        let args = [&args[..], &["--arch", "all"]].concat();
        if llvm("llvm-objdump", &args, &file).is_none() {
            return;
        }
    }
    llvm("llvm-otool", &["-arch", "all", "-l"], &file);
    let names = llvm("llvm-lipo", &["-info"], &file).unwrap_or_default();
    assert!(names.contains("arm64e"), "{names}");
    assert_eq!(names.contains("x86_64"), images(&file).len() == 2, "{names}");
    llvm("llvm-nm", &[], slice);
}

macro_rules! each_loads {
    ($($test:ident $name:literal)*) => {
        $(#[test] fn $test() { loads($name); })*

        #[test]
        fn every_variant_is_listed_here() {
            let listed = [$($name),*];
            for variant in Variant::ALL {
                assert!(listed.contains(&variant.name), "{}", variant.name);
            }
            assert_eq!(listed.len(), Variant::ALL.len());
        }
    };
}

each_loads! {
    published_loads "published"
    renamed_loads "renamed"
    destructor_called_loads "destructor-called"
    two_hits_loads "two-hits"
    two_blocks_loads "two-blocks"
    sibling_hit_loads "sibling-hit"
    no_hit_loads "no-hit"
    legacy_patched_loads "legacy-patched"
    partly_patched_loads "partly-patched"
    branch_into_window_loads "branch-into-window"
    call_before_test_loads "call-before-test"
    impl_live_loads "impl-live"
    stripped_symbols_loads "stripped-symbols"
    stripped_metadata_loads "stripped-metadata"
    fat64_loads "fat64"
    thin_loads "thin"
    arm64e_only_loads "arm64e-only"
    sha1_sha256_loads "sha1-sha256"
    large_pages_loads "large-pages"
    linker_signed_loads "linker-signed"
    unsigned_loads "unsigned"
}

#[test]
fn llvm_disassembles_the_window_as_published() {
    let file = driver("published");
    let (_, slice) = arm64e(&file);
    let range = ["-d", "--no-show-raw-insn", "--start-address=0x2be05c", "--stop-address=0x2be0b0"];
    let Some(text) = llvm("llvm-objdump", &range, slice) else { return };
    let lines: Vec<String> = text
        .lines()
        .filter(|line| line.trim_start().starts_with("2be"))
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect();
    let expected = [
        "2be05c: b.hi 0x2be07c",
        "2be060: add w10, w8, #0x1",
        "2be064: str w10, [x25, #0x1a60]",
        "2be068: add x9, x25, x8, lsl #3",
        "2be06c: str x20, [x9, #0x1a68]",
        "2be070: add x0, x25, x21",
        "2be074: bl 0x6d49e4",
        "2be078: b 0x2be08c",
        "2be07c: add x0, x25, x21",
        "2be080: bl 0x6d49e4",
        "2be084: mov x0, x20",
        "2be088: bl 0x6d46c4",
        "2be08c: str xzr, [x19, x24]",
        "2be090: ldp x29, x30, [sp, #0x90]",
        "2be094: ldp x20, x19, [sp, #0x80]",
        "2be098: ldp x22, x21, [sp, #0x70]",
        "2be09c: ldp x24, x23, [sp, #0x60]",
        "2be0a0: ldp x26, x25, [sp, #0x50]",
        "2be0a4: ldp x28, x27, [sp, #0x40]",
        "2be0a8: ldp d9, d8, [sp, #0x30]",
        "2be0ac: add sp, sp, #0xa0",
    ];
    for (line, want) in lines.iter().zip(expected) {
        let plain = line.split(" <").next().unwrap();
        let same_number = plain.replace("#0x1a60", "#6752").replace("#0x1a68", "#6760");
        assert!(plain == want || same_number == want, "{line} is not {want}");
    }
    assert_eq!(lines.len(), expected.len());
}

#[test]
fn llvm_resolves_the_stubs_by_name() {
    let file = driver("published");
    let args = ["--macho", "--indirect-symbols", "--arch", "arm64e"];
    let Some(text) = llvm("llvm-objdump", &args, &file) else { return };
    let line = |address: &str| {
        let found = text.lines().find(|line| line.starts_with(address));
        found.unwrap_or_else(|| panic!("{address}")).to_owned()
    };
    assert!(line("0x00000000006d49e4").ends_with(" _os_unfair_lock_unlock"));
    assert!(line("0x00000000006d46c4").ends_with(" _free"));
}

#[test]
fn llvm_reads_the_fixups() {
    let file = driver("published");
    let args = ["--macho", "--chained-fixups", "--arch", "arm64e"];
    let Some(text) = llvm("llvm-objdump", &args, &file) else { return };
    assert!(text.contains("pointer_format = 12"), "{text:.2000}");
    assert!(text.contains("(_os_unfair_lock_unlock)"), "{text:.2000}");
}

#[test]
fn llvm_names_the_method_and_the_offset_cell() {
    let file = driver("published");
    let (_, slice) = arm64e(&file);
    let Some(text) = llvm("llvm-nm", &[], slice) else { return };
    for line in [
        "00000000002bdd1c t -[AGXG16XFamilyComputeContext destroyImpl]",
        "0000000000758300 s _OBJC_IVAR_$_AGXG16XFamilyComputeContext._impl",
        "0000000000758098 s _OBJC_IVAR_$_AGXG16XFamilyCommandBuffer._previousComputeCommandEncoder",
    ] {
        assert!(text.lines().any(|known| known == line), "{line}");
    }
}
