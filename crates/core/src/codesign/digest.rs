//! The digests a code directory may hold.
//!
//! The numbers are those of XNU's `cs_blobs.h` (`CS_HASHTYPE_*`). SHA-512 has a
//! number in Security.framework but the kernel has no code for it, so it counts
//! as unknown here as it does there.

use std::fmt;

use serde::{Serialize, Serializer};
use sha1::Sha1;
use sha2::{Sha256, Sha384};

use crate::edit::Hex;

/// How a code directory digests pages and special slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum HashType {
    /// Type 1, 20 bytes.
    Sha1,
    /// Type 2, 32 bytes.
    Sha256,
    /// Type 3: the first 20 bytes of a SHA-256.
    Sha256Truncated,
    /// Type 4, 48 bytes.
    Sha384,
}

impl HashType {
    /// All of them, by number.
    pub const ALL: [HashType; 4] =
        [HashType::Sha1, HashType::Sha256, HashType::Sha256Truncated, HashType::Sha384];

    /// The type a code directory names by `number`.
    pub fn from_number(number: u8) -> Option<HashType> {
        HashType::ALL.into_iter().find(|hash| hash.number() == number)
    }

    /// The number a code directory names it by.
    pub fn number(self) -> u8 {
        match self {
            HashType::Sha1 => 1,
            HashType::Sha256 => 2,
            HashType::Sha256Truncated => 3,
            HashType::Sha384 => 4,
        }
    }

    /// Bytes a digest takes in a slot.
    pub fn size(self) -> usize {
        match self {
            HashType::Sha1 | HashType::Sha256Truncated => 20,
            HashType::Sha256 => 32,
            HashType::Sha384 => 48,
        }
    }

    /// The digest of the pieces put one after the other.
    pub fn digest<'a>(self, pieces: impl IntoIterator<Item = &'a [u8]>) -> Digest {
        match self {
            HashType::Sha1 => run::<Sha1>(pieces, self.size()),
            HashType::Sha256 | HashType::Sha256Truncated => run::<Sha256>(pieces, self.size()),
            HashType::Sha384 => run::<Sha384>(pieces, self.size()),
        }
    }
}

fn run<'a, H: sha2::Digest>(pieces: impl IntoIterator<Item = &'a [u8]>, size: usize) -> Digest {
    let mut hasher = H::new();
    pieces.into_iter().for_each(|piece| hasher.update(piece));
    Digest::of_bytes(&hasher.finalize()[..size])
}

impl fmt::Display for HashType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            HashType::Sha1 => "SHA-1",
            HashType::Sha256 => "SHA-256",
            HashType::Sha256Truncated => "truncated SHA-256",
            HashType::Sha384 => "SHA-384",
        })
    }
}

/// A digest as it stands in a slot; 48 bytes at most, so it needs no heap.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Digest {
    bytes: [u8; Digest::MAX_LENGTH],
    length: u8,
}

impl Digest {
    const MAX_LENGTH: usize = 48;

    /// The first bytes of `bytes`, as many as the longest digest has.
    pub fn of_bytes(bytes: &[u8]) -> Digest {
        let length = bytes.len().min(Digest::MAX_LENGTH);
        let mut held = [0; Digest::MAX_LENGTH];
        held[..length].copy_from_slice(&bytes[..length]);
        Digest { bytes: held, length: length as u8 }
    }

    /// The bytes of the digest.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.length)]
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Hex(self.as_bytes()).fmt(f)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({self})")
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
