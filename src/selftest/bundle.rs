//! The driver's bundle as a copy of it would have to hold it.
//!
//! Metal finds libraries and tables beside the image, so a scoped copy is one of
//! the whole bundle, made of plain files and folders. Whether a real bundle is
//! made of is unknown here. Counts are told, and the kinds of
//! files by the ends of their names.

use std::collections::BTreeMap;
use std::path::Path;

use agxpatch_core::check::Check;
use agxpatch_core::error::Result;
use agxpatch_host::{FileKind, Host};

/// Deeper than any bundle is nested; what is below is not looked at.
const DEEPEST: usize = 8;

/// The check for the bundle that `driver` is the program of.
pub(super) fn check(host: &dyn Host, driver: &Path) -> Check {
    const NAME: &str = "driver-bundle";
    let Some(bundle) = driver.ancestors().nth(3) else {
        return Check::skipped(NAME, "the driver stands in no bundle");
    };
    let mut seen = Seen::default();
    match seen.look(host, bundle, 0) {
        Ok(()) => Check::from(NAME, seen.others == 0, seen.to_string()),
        Err(error) => Check::fail(NAME, error.to_string()),
    }
}

#[derive(Default)]
struct Seen {
    files: usize,
    bytes: u64,
    folders: usize,
    /// Links, and whatever else is neither.
    others: usize,
    /// How many names end in what.
    kinds: BTreeMap<String, usize>,
}

impl Seen {
    fn look(&mut self, host: &dyn Host, folder: &Path, depth: usize) -> Result<()> {
        for name in host.list(folder)? {
            let path = folder.join(&name);
            let Some(found) = host.metadata(&path)? else { continue };
            match found.kind {
                FileKind::File => {
                    self.files += 1;
                    self.bytes += found.length;
                    let end = name.rsplit_once('.').map_or("none", |(_, end)| end);
                    *self.kinds.entry(end.to_owned()).or_default() += 1;
                }
                FileKind::Directory if depth < DEEPEST => {
                    self.folders += 1;
                    self.look(host, &path, depth + 1)?;
                }
                _ => self.others += 1,
            }
        }
        Ok(())
    }
}

impl std::fmt::Display for Seen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let kinds: Vec<String> =
            self.kinds.iter().map(|(end, count)| format!("{end} {count}")).collect();
        write!(
            f,
            "{} files of {} bytes in {} folders, {} that are neither; names end in {}",
            self.files,
            self.bytes,
            self.folders,
            self.others,
            kinds.join(", ")
        )
    }
}
