//! The bytes of a file, in memory that is this process's alone: what was looked at
//! is what is written, whatever happens to the file.
//!
//! They stand in a mapping and not on the heap, because the kernel backs a
//! mapping with huge pages if asked: to touch 20 MB for the first time 4 KiB at a
//! time takes longer than to read them.

use std::fs::File;
use std::io::{self, Read};
use std::ops::Deref;

use memmap2::MmapMut;

/// The bytes of a file.
pub struct FileBuffer {
    /// At least `length` bytes; nothing where that is zero.
    memory: Option<MmapMut>,
    length: usize,
}

/// What Linux calls a huge page on every processor it is asked for here. It
/// uses them in mappings that are a multiple of it.
const HUGE_PAGE: usize = 2 << 20;

impl FileBuffer {
    /// Reads all of a file that is said to be `length` bytes long.
    pub(super) fn of(file: &mut File, length: u64) -> io::Result<FileBuffer> {
        let changed = || io::Error::other("it changed while it was read");
        let mut bytes = usize::try_from(length)
            .map_err(io::Error::other)
            .and_then(FileBuffer::zeroed)
            .map_err(|_| io::Error::other("it is larger than the memory that is left"))?;
        file.read_exact(bytes.as_mut()).map_err(|reason| match reason.kind() {
            io::ErrorKind::UnexpectedEof => changed(),
            _ => reason,
        })?;
        match file.read(&mut [0])? {
            0 => Ok(bytes),
            _ => Err(changed()),
        }
    }

    fn zeroed(length: usize) -> io::Result<FileBuffer> {
        let room = if length < HUGE_PAGE { length } else { length.next_multiple_of(HUGE_PAGE) };
        let memory = match room {
            0 => None,
            _ => Some(MmapMut::map_anon(room)?),
        };
        #[cfg(target_os = "linux")]
        if let Some(memory) = memory.as_ref().filter(|_| room >= HUGE_PAGE) {
            // A kernel without huge pages refuses, and small ones do as well.
            drop(memory.advise(memmap2::Advice::HugePage));
        }
        Ok(FileBuffer { memory, length })
    }

    fn as_mut(&mut self) -> &mut [u8] {
        self.memory.as_mut().map_or(&mut [], |memory| &mut memory[..self.length])
    }
}

impl Deref for FileBuffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.memory.as_ref().map_or(&[], |memory| &memory[..self.length])
    }
}
