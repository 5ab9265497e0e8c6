//! A large file of which little is wanted: only the parts asked for are read.
//!
//! The bytes that were asked for stand at their places among zeros, in memory
//! the system does not provide before it is written to. A caller that reads where
//! nothing was asked for reads zeros, so this is for those who know what they
//! need: the tables at the head of a Mach-O and the code they point to.

use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use agxpatch_core::error::Result;

use super::{open_regular, read_failed, room_for};

/// A file that is read in parts.
pub struct SparseFile {
    file: File,
    path: PathBuf,
    bytes: Vec<u8>,
}

impl SparseFile {
    /// Opens a regular file and reads nothing.
    pub fn open(path: &Path) -> Result<SparseFile> {
        let (file, metadata) = open_regular(path)?;
        // Zeros that are made at once are provided when they are written to, unless
        // the allocator has such a block. Running out of memory ends the program
        // there, so where one is thinkable it is asked for in another way first.
        if metadata.len() > RATHER_LARGE {
            drop(room_for(path, &metadata)?);
        }
        let bytes = vec![0; metadata.len() as usize];
        Ok(SparseFile { file, path: path.to_owned(), bytes })
    }

    /// All of the file's places; zeros where nothing was read.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Reads what lies in `range` to its place. What lies past the end of the
    /// file is left out.
    pub fn load(&mut self, range: Range<u64>) -> Result<()> {
        let length = self.bytes.len() as u64;
        let (start, end) = (range.start.min(length), range.end.min(length));
        let place = &mut self.bytes[start as usize..end.max(start) as usize];
        self.file.read_exact_at(place, start).map_err(|reason| read_failed(&self.path, &reason))
    }

    /// Calls `look` with one piece after the other of what lies in `range`, with
    /// where it begins and how many of its bytes are its share: each reaches
    /// `overlap` bytes further, but not past `end`. None of it is kept.
    pub fn each_piece(
        &self,
        range: Range<u64>,
        end: u64,
        overlap: usize,
        mut look: impl FnMut(u64, u64, &[u8]) -> Result<()>,
    ) -> Result<()> {
        let mut piece = Vec::new();
        for start in range.clone().step_by(PIECE) {
            let share = (range.end - start).min(PIECE as u64);
            let until = end.min(start + share + overlap as u64);
            piece.resize((until - start) as usize, 0);
            let read = self.file.read_exact_at(&mut piece, start);
            read.map_err(|reason| read_failed(&self.path, &reason))?;
            look(start, share, &piece)?;
        }
        Ok(())
    }
}

/// From how many bytes on there may not be the memory.
const RATHER_LARGE: u64 = 1 << 30;

/// Bytes from the beginning of a piece to that of the next: small enough to
/// stay in the second-level cache until it is looked at.
const PIECE: usize = 64 << 10;
