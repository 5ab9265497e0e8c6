//! A bundle as files in memory, and the comparison of one on disk with it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use agxpatch_core::error::{Code, Error, Result};
use agxpatch_host::{FileKind, Host};

use super::private_dir;

/// The files of a bundle by their path in it.
pub type Contents = BTreeMap<PathBuf, Vec<u8>>;

/// More than any driver bundle has; who plants more is not copied.
const MAX_FILES: usize = 4096;
const MAX_BYTES: usize = 1 << 30;
const MAX_DEPTH: usize = 8;

/// Reads every file of a bundle.
///
/// # Errors
/// `NoDriverToCopy` for what is neither file nor folder or too much, and the
/// host's.
pub fn read(host: &dyn Host, bundle: &Path) -> Result<Contents> {
    let mut reading = Reading { host, bundle, contents: Contents::new(), bytes: 0 };
    reading.folder(Path::new(""), 0)?;
    Ok(reading.contents)
}

struct Reading<'a> {
    host: &'a dyn Host,
    bundle: &'a Path,
    contents: Contents,
    bytes: usize,
}

impl Reading<'_> {
    fn folder(&mut self, inside: &Path, depth: usize) -> Result<()> {
        let refused = |path: &Path, reason: &str| {
            Err(Error::new(Code::NoDriverToCopy, "the driver's bundle cannot be copied")
                .with("path", path.display())
                .with("reason", reason))
        };
        let folder = self.bundle.join(inside);
        if depth > MAX_DEPTH {
            return refused(&folder, "its folders are nested too deeply");
        }
        for name in self.host.list(&folder)? {
            let (inside, path) = (inside.join(&name), folder.join(&name));
            let kind = self.host.metadata(&path)?.map(|metadata| metadata.kind);
            match kind {
                Some(FileKind::Directory) => self.folder(&inside, depth + 1)?,
                Some(FileKind::File) => {
                    let bytes = self.host.read(&path)?.bytes;
                    self.bytes = self.bytes.saturating_add(bytes.len());
                    self.contents.insert(inside, bytes);
                }
                _ => return refused(&path, "it is neither a file nor a folder"),
            }
            if self.contents.len() > MAX_FILES || self.bytes > MAX_BYTES {
                return refused(self.bundle, "it holds too much");
            }
        }
        Ok(())
    }
}

/// What first differs between the bundle on disk and `wanted`; none if nothing
/// does.
///
/// # Errors
/// `PlaceNotOurs` for what is not ours, and the host's.
pub fn difference(host: &dyn Host, bundle: &Path, wanted: &Contents) -> Result<Option<String>> {
    let mut missing: Vec<&PathBuf> = wanted.keys().collect();
    let mut folders = vec![PathBuf::new()];
    while let Some(inside) = folders.pop() {
        let folder = bundle.join(&inside);
        let Some(metadata) = host.metadata(&folder)? else {
            return Ok(Some(format!("{} is missing", folder.display())));
        };
        private_dir::require_private(host, &folder, &metadata, FileKind::Directory)?;
        for name in host.list(&folder)? {
            let (inside, path) = (inside.join(&name), folder.join(&name));
            let Some(metadata) = host.metadata(&path)? else { continue };
            if metadata.kind == FileKind::Directory {
                folders.push(inside);
                continue;
            }
            let found = private_dir::read(host, &path)?;
            match wanted.get(&inside) {
                None => return Ok(Some(format!("{} does not belong there", path.display()))),
                Some(bytes) if found.as_ref() != Some(bytes) => {
                    return Ok(Some(format!("{} was altered", path.display())));
                }
                Some(_) => missing.retain(|path| **path != inside),
            }
        }
    }
    Ok(missing.first().map(|path| format!("{} is missing", bundle.join(path).display())))
}

/// Writes the bundle into `folder`, which must not exist yet, and forces all of
/// it to disk. `program` is the file that is executable.
pub fn write(host: &dyn Host, folder: &Path, contents: &Contents, program: &Path) -> Result<()> {
    host.create_directory(folder, 0o755)?;
    let mut folders = vec![folder.to_owned()];
    for (inside, bytes) in contents {
        for above in ancestors(inside) {
            let path = folder.join(above);
            if !folders.contains(&path) {
                host.create_directory(&path, 0o755)?;
                folders.push(path);
            }
        }
        let path = folder.join(inside);
        let mode = if inside == program { 0o755 } else { 0o644 };
        host.write_new(&path, bytes, mode)?;
        host.sync_file(&path)?;
    }
    folders.iter().rev().try_for_each(|folder| host.sync_directory(folder))
}

/// The folders above a path in a bundle, outermost first, the bundle excluded.
fn ancestors(inside: &Path) -> Vec<&Path> {
    let above = inside.ancestors().skip(1).filter(|above| *above != Path::new(""));
    let mut above: Vec<&Path> = above.collect();
    above.reverse();
    above
}
