//! The guard library: in the program, and on disk where dyld can load it.
//!
//! A release carries the library in itself, so that the two cannot be of
//! different builds. It is written once into the user's cache under the digest
//! of its bytes, and read back and compared before every use.

use std::path::{Path, PathBuf};

use agxpatch_core::edit::sha256;
use agxpatch_core::error::{Code, Error, Result};
use agxpatch_host::Host;

use super::environment::LIBRARY;
use super::private_dir;

/// The library this build carries, if it was built with one.
#[cfg(agxpatch_guard)]
const EMBEDDED: Option<&[u8]> = Some(include_bytes!(env!("AGXPATCH_GUARD_DYLIB")));
/// The library this build carries, if it was built with one.
#[cfg(not(agxpatch_guard))]
const EMBEDDED: Option<&[u8]> = None;

/// The bytes of the library this build carries.
///
/// # Errors
/// `NoGuardLibrary`.
pub fn embedded() -> Result<&'static [u8]> {
    EMBEDDED.ok_or_else(|| {
        Error::new(
            Code::NoGuardLibrary,
            "this build of agxpatch does not include the guard library",
        )
        .next(
            "build it with scripts/build-guard-macos OUT, then name OUT/libagx_guard.dylib with \
             --guard-library, or in AGXPATCH_GUARD_DYLIB when building agxpatch",
        )
    })
}

/// Where it is unpacked, below the user's home.
const FOLDERS: [&str; 4] = ["Library", "Caches", "agxpatch", "guard"];

/// The folder of all libraries that were unpacked below `home`.
pub fn place(home: &Path) -> PathBuf {
    FOLDERS.iter().fold(home.to_owned(), |folder, name| folder.join(name))
}

/// Puts `bytes` below `home` and returns where. What is there already is
/// compared first and made again if it differs.
///
/// # Errors
/// `PlaceNotOurs` where another user could have put it there, `PathRefused` for a
/// path that would be two in dyld's list, and the host's.
pub fn unpack(host: &dyn Host, home: &Path, bytes: &[u8]) -> Result<PathBuf> {
    let digest = sha256(bytes);
    let [library, caches, own @ ..] = FOLDERS;
    let base = private_dir::folder(host, home, &[library, caches], 0o700)?;
    let base = private_dir::folder(host, &base, &own, 0o700)?;
    let folder = private_dir::folder(host, &base, &[&digest], 0o700)?;
    let path = folder.join(LIBRARY);
    if path.as_os_str().as_encoded_bytes().contains(&b':') {
        return Err(Error::new(Code::PathRefused, "dyld does not accept a path with a colon")
            .with("path", path.display()));
    }
    if private_dir::read(host, &path)?.as_deref() == Some(bytes) {
        return Ok(path);
    }
    let _lock = private_dir::lock_wait(host, &base.join("lock"))?;
    // Another run was as fast.
    if private_dir::read(host, &path)?.as_deref() == Some(bytes) {
        return Ok(path);
    }
    let stage = folder.join("stage");
    if host.metadata(&stage)?.is_some() {
        host.remove_file(&stage)?;
    }
    host.write_new(&stage, bytes, 0o500)?;
    host.sync_file(&stage)?;
    host.rename(&stage, &path)?;
    host.sync_directory(&folder)?;
    match private_dir::read(host, &path)? {
        Some(kept) if kept == bytes => Ok(path),
        _ => Err(Error::new(Code::PlaceNotOurs, "the guard library changed after it was written")
            .with("path", path.display())),
    }
}
