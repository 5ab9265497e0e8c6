//! How fast the scan is, beside summing the same words once; `scripts/bench`
//! prints the ratios.
//!
//! Takes the sizes of code in megabytes. The code is random words with a share
//! of those the signature is anchored on, so that the second look is taken too.
//! A thousand signatures are once variants of one, which share most lines, and
//! once strangers, which share none.

use std::hint::black_box;
use std::time::{Duration, Instant};

use agxpatch_core::address::VmAddr;
use agxpatch_core::arm64::Assembler;
use agxpatch_core::patch::Catalogue;
use agxpatch_core::signature::{Code, Many, Pattern, find};

fn main() {
    let assembler = Assembler::new();
    let catalogue = Catalogue::built_in().expect("the built-in catalogue is sound");
    let one = Pattern::compile(&assembler, &catalogue.signatures[0].pattern).expect("it compiles");
    let thousand: Vec<Pattern> = (0..1000).map(|n| variant(&assembler, &one, n)).collect();
    let many = Many::new(&thousand);
    let mut chance = Chance::default();
    let strangers: Vec<Pattern> =
        (0..1000).map(|_| stranger(&assembler, &one, &mut chance)).collect();
    let strange = Many::new(&strangers);
    for megabytes in std::env::args().skip(1).filter_map(|text| text.parse::<usize>().ok()) {
        let bytes = code(megabytes << 20);
        let code = Code { address: VmAddr(0x4000), bytes: &bytes };
        let sum = best(|| black_box(sum(&bytes)));
        let single = best(|| black_box(find(&one, code).len()));
        let thousand = best(|| black_box(many.find(code).len()));
        let strangers = best(|| black_box(strange.find(code).len()));
        let seconds =
            [sum, single, thousand, strangers].map(|time| format!(" {:.6}", time.as_secs_f64()));
        println!("{megabytes}{}", seconds.concat());
    }
}

/// The signature with another distance in its first branch, by its bits.
fn variant(assembler: &Assembler, pattern: &Pattern, number: u32) -> Pattern {
    let lines: String = pattern
        .templates
        .iter()
        .enumerate()
        .map(|(line, template)| {
            let shift = if line == 0 { (number + 16) << 5 } else { 0 };
            format!("word {:08x}/{:08x}\n", template.value ^ shift, template.mask)
        })
        .collect();
    Pattern::compile(assembler, &lines).expect("words compile")
}

/// Random words under the signature's masks.
fn stranger(assembler: &Assembler, pattern: &Pattern, chance: &mut Chance) -> Pattern {
    let line = |mask: u32| format!("word {:08x}/{mask:08x}\n", chance.word() & mask);
    let lines: String = pattern.templates.iter().map(|template| template.mask).map(line).collect();
    Pattern::compile(assembler, &lines).expect("words compile")
}

/// Reproducible words.
struct Chance(u64);

impl Default for Chance {
    fn default() -> Chance {
        Chance(0x9e37_79b9_7f4a_7c15)
    }
}

impl Chance {
    fn word(&mut self) -> u32 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 32) as u32
    }
}

/// Reproducible words; one in 4096 is the signature's first.
fn code(size: usize) -> Vec<u8> {
    // Not the words of the strangers again.
    let mut chance = Chance(0x0123_4567_89ab_cdef);
    let mut bytes = Vec::with_capacity(size);
    while bytes.len() < size {
        let word = chance.word();
        let word = if word >> 20 == 0 { 0x5400_0108 } else { word };
        bytes.extend(word.to_le_bytes());
    }
    bytes
}

fn sum(bytes: &[u8]) -> u32 {
    let word = |c: &[u8]| u32::from_le_bytes([c[0], c[1], c[2], c[3]]);
    bytes.chunks_exact(4).fold(0u32, |sum, c| sum.wrapping_add(word(c)))
}

fn best<T>(mut work: impl FnMut() -> T) -> Duration {
    (0..7)
        .map(|_| {
            let start = Instant::now();
            work();
            start.elapsed()
        })
        .min()
        .unwrap_or_default()
}
