//! The kind of image a header declares.

use std::fmt;

use serde::{Serialize, Serializer};

/// The kind of image: `MH_…`.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct FileType(pub u32);

impl FileType {
    /// An object file, not yet linked.
    pub const OBJECT: FileType = FileType(1);
    /// A main program.
    pub const EXECUTABLE: FileType = FileType(2);
    /// A dynamic library.
    pub const DYLIB: FileType = FileType(6);
    /// A library's symbols without its code, for linking against.
    pub const STUB: FileType = FileType(9);
    /// A loadable bundle, which is what the driver is.
    pub const BUNDLE: FileType = FileType(8);
    /// The companion file of debugging information, whose sections have no bytes.
    pub const DSYM: FileType = FileType(10);
}

impl fmt::Display for FileType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            1 => "object file",
            2 => "executable",
            5 => "preloaded executable",
            6 => "dynamic library",
            7 => "dynamic linker",
            8 => "bundle",
            9 => "stub library",
            10 => "debug symbols",
            11 => "kernel extension",
            12 => "file set",
            number => return write!(f, "file type {number}"),
        })
    }
}

impl fmt::Debug for FileType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FileType({self})")
    }
}

impl Serialize for FileType {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
