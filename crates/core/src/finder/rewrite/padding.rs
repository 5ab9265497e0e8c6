//! Padding: executable bytes of the file that belong to no section and are zero.

use super::super::image::Program;

/// How far after the load commands padding is left alone: tools that add a load
/// command put it there.
const RESERVED: u64 = 256;

/// The fewest words of a run that is used. So room that is asked for before it is known how
/// many words come, and room for these, are found in the same run.
const LEAST: u64 = 16;

/// The runs of padding, used from their beginnings.
pub struct Pads {
    runs: Vec<std::ops::Range<u64>>,
}

impl Pads {
    /// The padding of an image.
    pub fn of(program: &Program<'_>) -> Pads {
        Pads { runs: program.padding(RESERVED) }
    }

    /// Where so many words would go.
    pub fn next(&self, words: u64) -> Option<u64> {
        let room = 4 * words.max(LEAST);
        self.runs.iter().find(|run| run.end - run.start >= room).map(|run| run.start)
    }

    /// Takes the room for these words and says where it begins.
    pub fn take(&mut self, words: &[u32]) -> u64 {
        let length = words.len() as u64;
        let Some(start) = self.next(length) else { return 0 };
        let run = self.runs.iter_mut().find(|run| run.start == start);
        run.into_iter().for_each(|run| run.start += 4 * length);
        start
    }
}
