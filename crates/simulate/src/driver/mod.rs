//! A driver that has what is published of Apple's, where it is published.
//!
//! No one here has the driver. What is published of it is a few addresses, twelve
//! instructions and some names; [`facts`] holds them. What the methods around the
//! sequence do, in which order and at which offsets, is known from other builds of
//! the same template; [`driver_logic`](agxpatch_core::driver_logic) describes it,
//! and the methods here are written to do the same. Around these a whole universal
//! file of the same size is made up: code by the thousand functions, near misses
//! of the sequence among them, Objective-C classes, symbols, fixups, a signature.
//! Nothing in it is Apple's, and nothing in it is random: the same variant gives
//! the same bytes.
//!
//! The variants ([`Variant::ALL`]) are drivers that the published addresses do
//! not fit, or that must not be patched.
//!
//! The edge: this writes Mach-O and signatures on its own. It uses none of
//! `macho`, `codesign` and `signature`, which are tested with it.

mod arm64e;
mod assembly;
mod bindings;
mod classes;
mod code;
mod container;
mod destroy;
mod destroyers;
mod encode;
pub mod facts;
mod fixups;
mod frames;
mod functions;
mod image;
mod layout;
mod listings;
mod load_commands;
mod names;
mod objc;
mod places;
mod random;
mod siblings;
mod signature;
mod variant;
mod x86_64;

pub use variant::{Build, Container, Names, Release, Signing, Variant};

use container::{Placed, universal};
use load_commands::Cpu;

use agxpatch_core::error::Result;

/// The bytes of a variant's file.
pub fn build(variant: &Variant) -> Result<Vec<u8>> {
    let arm64e = |size| arm64e::build(variant, size);
    let whole = facts::FILE_SIZE - facts::ARM64E_AT.0;
    // Without symbols the slice is smaller, as it would be.
    let size = (variant.names == Names::All).then_some(whole);
    let first = facts::FIRST_SLICE_AT.0;
    match variant.container {
        Container::Thin => arm64e(size),
        Container::Arm64eOnly => {
            let slice = Placed { cpu: Cpu::ARM64E, offset: first, bytes: arm64e(size)? };
            Ok(universal(&[slice], false))
        }
        Container::Fat32 | Container::Fat64 => {
            let version = names::source_version(variant.build);
            let intel = x86_64::build(variant.signing, version, version);
            let slices = [
                Placed { cpu: Cpu::X86_64, offset: first, bytes: intel },
                Placed { cpu: Cpu::ARM64E, offset: facts::ARM64E_AT.0, bytes: arm64e(size)? },
            ];
            Ok(universal(&slices, variant.container == Container::Fat64))
        }
    }
}

/// A thin arm64e driver whose `__text` has `text_size` bytes, 7 MiB to two
/// thousand million, for measuring how cost grows. The published functions are at
/// their addresses; the stubs stand before the code, so the words of its calls
/// differ, and there are no symbols.
pub fn build_scaled(text_size: u64) -> Result<Vec<u8>> {
    arm64e::build_scaled(text_size)
}
