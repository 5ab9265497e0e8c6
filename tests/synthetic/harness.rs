//! One built driver a variant, and plain looks into its bytes.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock};

use agxpatch_simulate::driver::{self, Variant};
use goblin::mach::MachO;

/// The variant's bytes, built once for all tests of this program.
pub fn driver(name: &str) -> Arc<Vec<u8>> {
    static BUILT: OnceLock<Mutex<HashMap<String, Arc<Vec<u8>>>>> = OnceLock::new();
    let mut built = BUILT.get_or_init(Default::default).lock().unwrap();
    let build = || Arc::new(driver::build(Variant::named(name).unwrap()).unwrap());
    built.entry(name.to_owned()).or_insert_with(build).clone()
}

/// CPU subtype, offset and bytes of every slice.
fn slices(file: &[u8]) -> Vec<(usize, usize, &[u8])> {
    let number = |at: usize, size: usize| {
        file[at..at + size].iter().fold(0usize, |sum, byte| sum << 8 | usize::from(*byte))
    };
    let (entry, width) = match number(0, 4) {
        0xcafe_babf => (32, 8),
        0xcafe_babe => (20, 4),
        _ => return vec![(0x8000_0002, 0, file)],
    };
    let slice = |at: usize| {
        let (offset, size) = (number(at + 8, width), number(at + 8 + width, width));
        (number(at + 4, 4), offset, &file[offset..offset + size])
    };
    (0..number(4, 4)).map(|index| slice(8 + index * entry)).collect()
}

/// The offset in the file, and the bytes, of the arm64e slice.
pub fn arm64e(file: &[u8]) -> (usize, &[u8]) {
    let slices = slices(file);
    let (_, offset, bytes) = slices.iter().find(|slice| slice.0 == 0x8000_0002).unwrap();
    (*offset, bytes)
}

/// The instruction at that address of a slice.
pub fn word(slice: &[u8], address: u64) -> u32 {
    let at = address as usize;
    u32::from_le_bytes(slice[at..at + 4].try_into().unwrap())
}

pub fn image(slice: &[u8]) -> MachO<'_> {
    MachO::parse(slice, 0).unwrap()
}

/// Every image of a file, as goblin sees it.
pub fn images(file: &[u8]) -> Vec<MachO<'_>> {
    slices(file).into_iter().map(|(_, _, bytes)| image(bytes)).collect()
}
