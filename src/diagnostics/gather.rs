//! Keeping the reports of incidents in a folder of one's own.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::collect::{Incident, Limits, read_file};
use agxpatch_core::error::{Code, Error, Result};

/// Copies the report of each incident into `folder`, one file an incident,
/// named by it; one that is there already is left alone. Returns the new files.
///
/// # Errors
/// `WriteFailed`, also where a report is no longer what was read within `limits`:
/// since then a link, a pipe or a file without end may have taken its place.
pub fn gather<'a>(
    incidents: impl IntoIterator<Item = &'a Incident>,
    folder: &Path,
    limits: &Limits,
) -> Result<Vec<PathBuf>> {
    let mut buffer = Vec::new();
    let failed = |path: &Path, error: io::Error| {
        Error::new(Code::WriteFailed, "cannot store a crash report")
            .with("path", path.display())
            .with("reason", error)
    };
    fs::create_dir_all(folder).map_err(|error| failed(folder, error))?;
    let mut written = Vec::new();
    for incident in incidents {
        let target = folder.join(file_name(incident));
        if fs::symlink_metadata(&target).is_ok() {
            continue;
        }
        let contents = read_file(&incident.path, limits, &mut buffer)
            .map_err(|reason| failed(&incident.path, io::Error::other(reason)))?;
        match write_new(&target, contents) {
            Ok(()) => written.push(target),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(failed(&target, error)),
        }
    }
    Ok(written)
}

fn write_new(path: &Path, contents: &[u8]) -> io::Result<()> {
    OpenOptions::new().write(true).create_new(true).open(path)?.write_all(contents)
}

/// Made of the identifier alone, which comes from the report and may hold
/// anything, so only what is harmless in a name is taken.
fn file_name(incident: &Incident) -> String {
    let id: String = incident
        .report
        .incident
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' })
        .take(80)
        .collect();
    let extension = incident.path.extension().unwrap_or_default().to_string_lossy();
    format!("{id}.{}", if extension == "crash" { "crash" } else { "ips" })
}
