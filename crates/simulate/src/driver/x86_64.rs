//! The Intel slice: nothing to patch, everything to leave alone.

use super::code;
use super::image::{Image, Imported, Symbol};
use super::layout::{Memory, Segment, TEXT, flags};
use super::load_commands::Cpu;
use super::random::Random;
use super::variant::Signing;
use agxpatch_core::address::VmAddr;

const TEXT_AT: VmAddr = VmAddr(0x2000);
const TEXT_END: VmAddr = VmAddr(0x93_0000);
const SEGMENT_END: VmAddr = VmAddr(0x94_0000);

/// Published addresses of the Intel slice.
const PUBLISHED: [(u64, &str); 4] = [
    (0x36_42f0, super::names::USE_RESOURCE_COMMON),
    (0x3c_61b0, "-[AGXG16XFamilyComputeContext setComputePipelineState:]"),
    (0x3c_eb70, super::names::PREPARE_FOR_ENQUEUE),
    (0x80_d7d0, super::names::ALLOCATE_USC_SPILL_BUFFER),
];

/// Builds the slice; it comes to less than the arm64e slice's offset leaves.
pub(super) fn build(signing: Signing, source_version: u64, uuid_seed: u64) -> Vec<u8> {
    let mut random = Random::new(0x8664);
    let mut text = Segment::new(TEXT, VmAddr(0), SEGMENT_END, 5);
    let size = TEXT_END.0 - TEXT_AT.0;
    text.add_at("__text", TEXT_AT, size, 4, flags::CODE);
    let strings = b"AGXMetalG16X\0x86_64\0";
    let strings_at = text.add("__cstring", strings.len() as u64, 0, flags::CSTRINGS);
    let mut memory = Memory(vec![0; SEGMENT_END.0 as usize]);
    memory.put(strings_at, strings);
    let fixed = PUBLISHED.map(|(address, _)| address - TEXT_AT.0);
    let code = memory.0.get_mut(TEXT_AT.0 as usize..TEXT_END.0 as usize).unwrap_or_default();
    let starts: Vec<VmAddr> = code::fill_x86_64(code, &fixed, &mut random)
        .into_iter()
        .map(|start| TEXT_AT.plus(start))
        .collect();
    let locals = starts
        .iter()
        .enumerate()
        .map(|(index, &address)| {
            let published = PUBLISHED.iter().find(|(at, _)| *at == address.0);
            let name = published
                .map_or_else(|| super::names::function(index), |(_, name)| (*name).to_owned());
            Symbol { name, address, section: 1 }
        })
        .collect();
    Image {
        cpu: Cpu::X86_64,
        memory,
        segments: vec![text],
        uuid: super::names::uuid(uuid_seed),
        source_version,
        libraries: super::names::LIBRARIES,
        fixups: Vec::new(),
        function_starts: starts,
        locals,
        exported: Vec::new(),
        imported: vec![Imported { name: "dyld_stub_binder".into(), library: 1 }],
        indirect: Vec::new(),
        signing,
        size: None,
    }
    .build()
}
