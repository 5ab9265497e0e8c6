//! Versions of the packages of a Python, read from their `dist-info` folders.
//!
//! Reports hide the paths below a home folder, and most libraries carry no version.
//! Where the person knows which Python had crashed, its packages say it. Nothing is
//! run: the names of folders hold name and version.

use std::fs;
use std::path::{Path, PathBuf};

use super::Collection;
use agxpatch_core::error::{Code, Error, Result};

/// The packages that use the GPU, with their versions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PythonPackages {
    versions: Vec<(&'static str, String)>,
}

/// The program that a package belongs to.
const PACKAGES: [(&str, &str); 5] = [
    ("torch", "torch"),
    ("mlx", "mlx"),
    ("mlx_metal", "mlx"),
    ("onnxruntime", "onnxruntime"),
    ("onnxruntime_silicon", "onnxruntime"),
];

impl PythonPackages {
    /// Looks in `python`: an executable, the folder of an environment, or a
    /// `site-packages` folder.
    ///
    /// # Errors
    /// `ReadFailed` where none of the packages is installed there.
    pub fn find(python: &Path) -> Result<PythonPackages> {
        let mut versions: Vec<(&'static str, String)> = Vec::new();
        for folder in site_packages(python) {
            for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
                let name = entry.file_name().to_string_lossy().into_owned();
                let Some((program, version)) = package(&name) else { continue };
                if versions.iter().all(|(each, _)| *each != program) {
                    versions.push((program, version));
                }
            }
        }
        if versions.is_empty() {
            return Err(Error::new(
                Code::ReadFailed,
                "no package that uses the GPU is installed there",
            )
            .with("python", python.display())
            .next("name the Python executable, or the folder of its environment"));
        }
        Ok(PythonPackages { versions })
    }

    /// Gives each program of `collection` without a version that of the package.
    pub fn fill_in(&self, collection: &mut Collection) {
        let reports = collection.incidents.iter_mut().map(|incident| &mut incident.report);
        for program in reports.flat_map(|report| &mut report.programs) {
            let found = self.versions.iter().find(|(name, _)| *name == program.name);
            if let Some((_, version)) = found.filter(|_| program.version.is_none()) {
                program.version = Some(version.clone());
                program.source = Some("dist-info".into());
            }
        }
    }
}

/// `torch-2.9.1.dist-info`.
fn package(folder: &str) -> Option<(&'static str, String)> {
    let (name, version) = folder.strip_suffix(".dist-info")?.split_once('-')?;
    let name = name.to_ascii_lowercase().replace(['-', '.'], "_");
    let (_, program) = PACKAGES.iter().find(|(package, _)| *package == name)?;
    // The part behind the plus names who built it.
    Some((program, version.split('+').next().unwrap_or(version).to_owned()))
}

fn site_packages(python: &Path) -> Vec<PathBuf> {
    let mut folders = vec![python.to_owned()];
    // Not where a link leads: an environment's executable is a link to another Python.
    let prefix = match python.is_dir() {
        true => Some(python),
        false => python.parent().and_then(Path::parent),
    };
    let libraries = prefix.into_iter().map(|prefix| prefix.join("lib"));
    for library in libraries {
        for entry in fs::read_dir(library).into_iter().flatten().flatten() {
            if entry.file_name().to_string_lossy().starts_with("python") {
                folders.push(entry.path().join("site-packages"));
            }
        }
    }
    folders
}
