//! The published driver holds what is published.

use agxpatch_core::macho::Universal;
use agxpatch_simulate::driver::facts;

use super::harness::{arm64e, driver, image, word};

#[test]
fn the_file_has_the_published_size_and_the_slice_its_published_place() {
    let file = driver("published");
    assert_eq!(file.len() as u64, facts::FILE_SIZE);
    let (offset, slice) = arm64e(&file);
    assert_eq!(offset as u64, facts::ARM64E_AT.0);
    assert_eq!((offset + slice.len()) as u64, facts::FILE_SIZE);
}

#[test]
fn the_same_variant_gives_the_same_bytes() {
    let again = agxpatch_simulate::driver::build(&agxpatch_simulate::driver::Variant::PUBLISHED);
    assert!(*driver("published") == again.unwrap());
}

#[test]
fn the_published_words_stand_at_the_published_addresses() {
    let file = driver("published");
    let (_, slice) = arm64e(&file);
    for (address, expected) in facts::WORDS {
        assert_eq!(word(slice, address.0), expected.0, "{address}");
    }
    // pacibsp
    assert_eq!(word(slice, facts::ENTRY.0), 0xd503_237f);
    assert_eq!(word(slice, facts::NEXT_METHOD.0), 0xd503_237f);
}

#[test]
fn the_published_listing_of_use_resource_common_is_there() {
    let file = driver("published");
    let (_, slice) = arm64e(&file);
    let listing = [
        (0x26_430c, 0xd503_237f), // pacibsp
        (0x26_4310, 0xa9bb_67fa), // stp x26, x25, [sp, #-0x50]!
        (0x26_4314, 0xa901_5ff8), // stp x24, x23, [sp, #0x10]
        (0x26_4320, 0xa904_7bfd), // stp x29, x30, [sp, #0x40]
        (0x26_4328, 0xaa03_03f6), // mov x22, x3
        (0x26_4334, 0xaa00_03f4), // mov x20, x0
        (0x26_4370, 0xf942_e680), // ldr x0, [x20, #0x5c8]
        (0x26_4374, 0xb400_0060), // cbz x0, 0x264380
        (0x26_4380, 0xf943_1e80), // ldr x0, [x20, #0x638]
        (0x26_4398, 0xf942_ee80), // ldr x0, [x20, #0x5d8]
    ];
    for (address, expected) in listing {
        assert_eq!(word(slice, address), expected, "{address:#x}");
    }
    // setComputePipelineState: faults at +32, the spill buffer's at +192.
    assert_eq!(word(slice, 0x2b_d2b0 + 32), 0xf942_e680);
    assert_eq!(word(slice, 0x6b_6f58 + 192) & 0xffff_fc00, 0xb901_8400);
    assert_eq!(word(slice, 0x2b_61d0 + 1268) & 0xffff_fc00, 0xf940_4c00);
}

#[test]
fn the_load_commands_carry_the_published_identity() {
    use goblin::mach::load_command::CommandVariant;
    let file = driver("published");
    let (_, slice) = arm64e(&file);
    let image = image(slice);
    assert_eq!(image.header.cpusubtype, 0x8000_0002);
    assert_eq!(image.header.filetype, goblin::mach::header::MH_BUNDLE);
    let commands: Vec<_> = image.load_commands.iter().map(|command| &command.command).collect();
    assert!(commands.iter().any(|command| {
        matches!(command, CommandVariant::Uuid(uuid) if uuid.uuid == facts::UUID)
    }));
    assert!(commands.iter().any(|command| {
        matches!(command, CommandVariant::SourceVersion(v) if v.version == facts::SOURCE_VERSION)
    }));
    for segment in &image.segments {
        let name = segment.name().unwrap();
        assert!(name == "__LINKEDIT" || segment.vmaddr == segment.fileoff, "{name}");
    }
}

#[test]
fn some_sixteen_thousand_zeros_lie_between_the_load_commands_and_the_code() {
    let file = driver("published");
    let (_, slice) = arm64e(&file);
    let image = image(slice);
    let commands = 32 + image.header.sizeofcmds as usize;
    let text = image
        .segments
        .sections()
        .flatten()
        .flatten()
        .find(|(section, _)| section.name().is_ok_and(|name| name == "__text"));
    let text = text.unwrap().0.offset as usize;
    assert!((16_000..18_000).contains(&(text - commands)), "{commands:#x}..{text:#x}");
    assert!(slice[commands..text].iter().all(|byte| *byte == 0));
}

#[test]
fn published_methods_are_found_by_metadata_alone() {
    let file = driver("stripped-symbols");
    let universal = Universal::parse(&file).unwrap();
    let image = universal.slices.last().unwrap().image().unwrap();
    let methods = image.methods().unwrap();
    let at = |class: &str, selector: &str| {
        let found = methods.iter().find(|m| m.class == class && m.selector == selector);
        found.unwrap_or_else(|| panic!("{class} {selector}")).implementation.0
    };
    let compute = "AGXG16XFamilyComputeContext";
    let buffer = "AGXG16XFamilyCommandBuffer";
    assert_eq!(at(compute, "destroyImpl"), 0x2b_dd1c);
    assert_eq!(at(compute, "setComputePipelineState:"), 0x2b_d2b0);
    assert_eq!(at(compute, "deferredEndEncoding"), 0x2b_d8dc);
    assert_eq!(at(compute, "initWithCommandBuffer:config:"), 0x2b_e1f4);
    assert_eq!(at(buffer, "computeCommandEncoderWithConfig:"), 0x24_d694);
    assert_eq!(at(buffer, "commitEncoder"), 0x24_cc34);
    assert_eq!(at(buffer, "dealloc"), 0x25_0440);
    let destroyers = methods.iter().filter(|method| method.selector == "destroyImpl").count();
    assert_eq!(destroyers, 6);
}

#[test]
fn no_sibling_holds_the_sequence_and_near_misses_abound() {
    let file = driver("published");
    let (_, slice) = arm64e(&file);
    let add = 0x8b15_0320;
    let near = (0x4000..0x6d_4000)
        .step_by(4)
        .filter(|&at| word(slice, at) == add && word(slice, at + 12) == add)
        .filter(|&at| word(slice, at + 28) == 0xf838_6a7f)
        .count();
    assert!(near > 100, "{near}");
}
