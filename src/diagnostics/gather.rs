//! Keeping the reports of incidents in a folder of one's own.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::Incident;
use crate::error::{Code, Error, Result};

/// Copies the report of each incident into `folder`, one file an incident,
/// named by it; one that is there already is left alone. Returns the new files.
pub fn gather<'a>(
    incidents: impl IntoIterator<Item = &'a Incident>,
    folder: &Path,
) -> Result<Vec<PathBuf>> {
    let failed = |path: &Path, error: io::Error| {
        Error::new(Code::WriteFailed, "a crash report cannot be kept")
            .with("path", path.display())
            .with("reason", error)
    };
    fs::create_dir_all(folder).map_err(|error| failed(folder, error))?;
    let mut written = Vec::new();
    for incident in incidents {
        let target = folder.join(file_name(incident));
        match copy(&incident.path, &target) {
            Ok(()) => written.push(target),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(failed(&target, error)),
        }
    }
    Ok(written)
}

fn copy(from: &Path, to: &Path) -> io::Result<()> {
    let contents = fs::read(from)?;
    OpenOptions::new().write(true).create_new(true).open(to)?.write_all(&contents)
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
