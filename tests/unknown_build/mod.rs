//! A build of the driver that no signature describes.

use agxpatch_core::address::FileOffset;
use agxpatch_core::edit::{self, Edit, EditKind};
use agxpatch_core::macho::Universal;
use agxpatch_core::patch::reseal_all;
use agxpatch_simulate::driver::{self, Container, Signing, Variant};

/// A word of the published window, in its slice, and another that does the same.
const WORD: usize = 0x2b_e084;
const STANDS: u32 = 0xaa14_03e0;
const OTHER: u32 = 0x9100_0280;

/// A driver that does the same as the published one, in words that no signature has.
/// Its signature fits it, as that of a build no one has seen would.
pub fn unknown_build(signing: Signing) -> Vec<u8> {
    let thin = Variant { container: Container::Thin, signing, ..Variant::PUBLISHED };
    let mut bytes = driver::build(&thin).unwrap();
    let mut edits = vec![Edit {
        at: FileOffset(WORD as u64),
        old: STANDS.to_le_bytes().to_vec(),
        new: OTHER.to_le_bytes().to_vec(),
        kind: EditKind::Instruction,
        why: "another compiler's choice".into(),
    }];
    let mut seals = reseal_all(&Universal::parse(&bytes).unwrap(), &edits).unwrap();
    seals.retain(|seal| seal.kind == EditKind::PageHash);
    edits.extend(seals);
    edit::apply(&mut bytes, &edits).unwrap();
    bytes
}
