//! Real files damaged at random: whatever is read of them, nothing panics,
//! nothing allocates more than the file is long, and what is not refused is
//! still consistent.

use std::sync::OnceLock;

use proptest::prelude::*;

use crate::examine::everything;
use crate::memory;
use crate::tools::{LAYOUTS, Libraries};

/// Room for what does not grow with the file: at most 255 segments and
/// sections, 42 slices, and the text of an error.
const CONSTANT: usize = 64 * 1024;

/// Files as clang and lld make them.
pub fn originals() -> &'static [Vec<u8>] {
    static FILES: OnceLock<Vec<Vec<u8>>> = OnceLock::new();
    FILES.get_or_init(|| {
        let libraries = Libraries::new();
        let read = |path| std::fs::read(path).unwrap();
        let mut files: Vec<_> =
            LAYOUTS.iter().map(|layout| read(libraries.library("arm64", layout))).collect();
        files.push(libraries.universal(&[]));
        files
    })
}

/// One change: where (as a share of the region), how wide, and to what.
#[derive(Clone, Debug)]
pub struct Damage {
    pub at: prop::sample::Index,
    pub early: bool,
    pub value: Value,
}

#[derive(Clone, Debug)]
pub enum Value {
    Byte(u8),
    Word(u32),
    Long(u64),
    Bit(u8),
}

pub fn damage() -> impl Strategy<Value = Damage> {
    let edge = prop::sample::select(vec![0, 1, 8, 0x7f, 0xfff, 0x7fff_ffff, 0xffff_fff8, u32::MAX]);
    let value = prop_oneof![
        any::<u8>().prop_map(Value::Byte),
        edge.prop_map(Value::Word),
        any::<u32>().prop_map(Value::Word),
        any::<u64>().prop_map(Value::Long),
        (0..8u8).prop_map(Value::Bit),
    ];
    (any::<prop::sample::Index>(), prop::bool::weighted(0.6), value)
        .prop_map(|(at, early, value)| Damage { at, early, value })
}

pub fn apply(bytes: &mut [u8], damage: &Damage) {
    // Load commands stand in the first pages, metadata anywhere.
    let region = if damage.early { bytes.len().min(0x900) } else { bytes.len() };
    let at = damage.at.index(region);
    let mut put = |new: &[u8]| {
        let room = bytes.len() - at;
        let new = &new[..new.len().min(room)];
        bytes[at..at + new.len()].copy_from_slice(new);
    };
    match damage.value {
        Value::Byte(value) => put(&[value]),
        Value::Word(value) => put(&value.to_le_bytes()),
        Value::Long(value) => put(&value.to_le_bytes()),
        Value::Bit(bit) => bytes[at] ^= 1 << bit,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_damage_makes_the_reader_panic_or_allocate_more_than_the_file(
        which in any::<prop::sample::Index>(),
        damages in prop::collection::vec(damage(), 1..6),
        cut in prop::option::weighted(0.2, any::<prop::sample::Index>()),
    ) {
        let mut bytes = which.get(originals()).clone();
        for damage in &damages {
            apply(&mut bytes, damage);
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        let largest = memory::largest_allocation(|| {
            let _ = everything(&bytes);
        });
        prop_assert!(largest <= bytes.len() + CONSTANT, "{largest} bytes at once");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_bytes_at_all_make_it_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..2000), magic in 0..4usize) {
        let magics = [0xfeed_facf_u32.to_le_bytes(), 0xcafe_babe_u32.to_be_bytes(), 0xcafe_babf_u32.to_be_bytes()];
        if let (Some(magic), true) = (magics.get(magic), bytes.len() > 4) {
            bytes[..4].copy_from_slice(magic);
        }
        let _ = everything(&bytes);
    }
}
