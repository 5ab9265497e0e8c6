//! Damage to bytes, the same for the same number.

/// A generator of numbers (SplitMix64): any seed will do, and no two steps are alike.
#[derive(Clone, Debug)]
pub struct Random(pub u64);

impl Random {
    /// The next number.
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`, or 0 where that is 0.
    pub fn below(&mut self, bound: usize) -> usize {
        (self.draw() as usize).checked_rem(bound).unwrap_or(0)
    }
}

/// Values at which sizes, counts and offsets tend to go wrong.
const EDGES: [u32; 8] = [0, 1, 0x7f, 0xff, 0xffff, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff];
/// Text that means something to one of the parsers.
const WORDS: [&str; 16] = [
    "{",
    "}",
    "[",
    "]",
    "\"",
    "\\u0000",
    "\n",
    "null",
    "-1",
    "1e999",
    "99999999999999999999",
    "=",
    "'''",
    "{x}",
    "?",
    "<key>",
];
/// The longest that damage makes of an input.
pub const MAX_LENGTH: usize = 1 << 20;

/// One to six kinds of damage to `bytes`; `other` is spliced in at times.
pub fn damage(random: &mut Random, bytes: &mut Vec<u8>, other: &[u8]) {
    for _ in 0..=random.below(6) {
        damage_once(random, bytes, other);
    }
    bytes.truncate(MAX_LENGTH);
}

fn damage_once(random: &mut Random, bytes: &mut Vec<u8>, other: &[u8]) {
    let at = random.below(bytes.len());
    match random.below(9) {
        0 => change(bytes, at, |byte, n| byte ^ (1 << (n % 8)), random.draw()),
        1 => change(bytes, at, |_, n| n as u8, random.draw()),
        2 => change(
            bytes,
            at,
            |byte, n| byte.wrapping_add((n % 5) as u8).wrapping_sub(2),
            random.draw(),
        ),
        3 => overwrite(bytes, at, &edge(random)),
        4 => drop(bytes.drain(at..(at + random.below(64)).min(bytes.len()))),
        5 => bytes.truncate(at),
        6 => {
            let end = (at + random.below(256)).min(bytes.len());
            let again = bytes[at..end].to_vec();
            bytes.splice(at..at, again);
        }
        7 => {
            let word = WORDS[random.below(WORDS.len())];
            bytes.splice(at..at, word.bytes());
        }
        _ => {
            let start = random.below(other.len());
            let end = (start + random.below(512)).min(other.len());
            overwrite(bytes, at, &other[start..end]);
        }
    }
}

fn edge(random: &mut Random) -> [u8; 4] {
    let value = EDGES[random.below(EDGES.len())].wrapping_add(random.below(3) as u32);
    if random.below(2) == 0 { value.to_le_bytes() } else { value.to_be_bytes() }
}

fn change(bytes: &mut [u8], at: usize, to: impl Fn(u8, u64) -> u8, number: u64) {
    if let Some(byte) = bytes.get_mut(at) {
        *byte = to(*byte, number);
    }
}

fn overwrite(bytes: &mut Vec<u8>, at: usize, with: &[u8]) {
    let end = (at + with.len()).min(bytes.len());
    bytes.splice(at..end, with.iter().copied());
}
