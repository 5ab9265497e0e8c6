//! Reproducible random numbers (SplitMix64, public domain, Vigna 2015).

pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A value that is often one of those arithmetic stumbles over.
    pub fn value(&mut self) -> u64 {
        const EDGES: [u64; 8] = [
            0,
            1,
            u64::MAX,
            i64::MAX as u64,
            i64::MIN as u64,
            0xffff_ffff,
            0x7fff_ffff,
            0x8000_0000,
        ];
        match self.next() % 4 {
            0 => EDGES[(self.next() % 8) as usize],
            1 => self.next() % 256,
            _ => self.next(),
        }
    }
}
