//! Mach-O programs that are just enough to be judged.

use agxpatch_core::codesign::build::{self, Spec};
use agxpatch_core::macho::Architecture;

/// Ad hoc signed, for arm64, nothing special.
pub fn plain() -> Vec<u8> {
    program(Architecture::ARM64, &Spec::new("org.python.python"), false)
}

pub fn signed(spec: &Spec) -> Vec<u8> {
    program(Architecture::ARM64, spec, false)
}

/// A library with code for these architectures.
pub fn library(architectures: &[Architecture]) -> Vec<u8> {
    let of = |architecture: &Architecture| {
        (*architecture, program(*architecture, &Spec::linker_signed("libagx_guard"), false))
    };
    universal(&architectures.iter().map(of).collect::<Vec<_>>())
}

/// The property list of boolean entitlements.
pub fn entitlements(names: &[&str]) -> Option<String> {
    let keys: String = names.iter().map(|name| format!("<key>{name}</key><true/>")).collect();
    Some(format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?><plist version=\"1.0\"><dict>{keys}</dict></plist>"
    ))
}

/// A program for one processor; `restricted` gives it a `__RESTRICT` segment.
pub fn program(architecture: Architecture, spec: &Spec, restricted: bool) -> Vec<u8> {
    const CODE: usize = 0x4000;
    let size = build::size(spec, CODE) as u64;
    let base = 0x1_0000_0000;
    let mut commands = vec![
        segment("__TEXT", base, 0, CODE as u64, Some(("__text", 0x1000, 0x100))),
        segment("__LINKEDIT", base + 0x8000, CODE as u64, size, None),
    ];
    if restricted {
        commands.insert(1, segment("__RESTRICT", base + 0x4000, 0, 0, Some(("__restrict", 0, 0))));
    }
    commands.push(command(0x1d, &le32(&[CODE as u32, size as u32])));
    let (cpu, subtype) = (architecture.cpu_type, architecture.cpu_subtype);
    let all = commands.concat();
    let header = [0xfeed_facf, cpu, subtype, 2, commands.len() as u32, all.len() as u32, 0, 0];
    let mut bytes = le32(&header);
    bytes.extend(all);
    bytes.resize(CODE, 0);
    let signature = build::build(spec, &bytes);
    bytes.extend(signature);
    bytes
}

pub fn universal(slices: &[(Architecture, Vec<u8>)]) -> Vec<u8> {
    let mut bytes: Vec<u8> = [0xcafe_babe_u32, slices.len() as u32].map(u32::to_be_bytes).concat();
    let mut at = 0x4000_usize;
    let mut places = Vec::new();
    for (architecture, slice) in slices {
        let table =
            [architecture.cpu_type, architecture.cpu_subtype, at as u32, slice.len() as u32, 14];
        bytes.extend(table.map(u32::to_be_bytes).concat());
        places.push(at);
        at = (at + slice.len()).next_multiple_of(0x4000);
    }
    for (at, (_, slice)) in places.into_iter().zip(slices) {
        bytes.resize(at, 0);
        bytes.extend(slice);
    }
    bytes
}

fn le32(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

fn command(number: u32, body: &[u8]) -> Vec<u8> {
    let mut bytes = le32(&[number, (8 + body.len()) as u32]);
    bytes.extend(body);
    bytes
}

fn name16(name: &str) -> Vec<u8> {
    let mut bytes = name.as_bytes().to_vec();
    bytes.resize(16, 0);
    bytes
}

fn segment(
    name: &str,
    address: u64,
    offset: u64,
    size: u64,
    section: Option<(&str, u64, u64)>,
) -> Vec<u8> {
    let mut body = name16(name);
    let memory = size.next_multiple_of(0x4000);
    body.extend([address, memory, offset, size].map(u64::to_le_bytes).concat());
    body.extend(le32(&[5, 5, section.iter().len() as u32, 0]));
    if let Some((section, at, size)) = section {
        body.extend(name16(section));
        body.extend(name16(name));
        body.extend([address + at - offset, size].map(u64::to_le_bytes).concat());
        body.extend(le32(&[at as u32, 0, 0, 0, 0, 0, 0, 0]));
    }
    command(0x19, &body)
}
