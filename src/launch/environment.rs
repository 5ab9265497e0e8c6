//! The variables a program is started with.
//!
//! They are set on the program itself, as late as can be: nothing that would
//! drop them stands between. What the user had set stays: other inserted
//! libraries come after the guard, and the guard's own further settings pass
//! through.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use super::mode::Mode;
use super::resolve::Variables;

/// Names of variables.
pub mod name {
    /// Libraries dyld loads before all others.
    pub const INSERT: &str = "DYLD_INSERT_LIBRARIES";
    /// Folders dyld looks in before an image's own path.
    pub const LIBRARY_PATH: &str = "DYLD_LIBRARY_PATH";
    /// Whether the driver may coalesce encoders: `system` or `off`.
    pub const COALESCING: &str = "AGX_GUARD_COALESCING";
    /// The guard's mode.
    pub const MODE: &str = "AGX_GUARD";
    /// The folder where each process leaves a report of its own.
    pub const REPORTS: &str = "AGX_GUARD_REPORTS";
    /// The copy's plug-in name: the path Metal would find it at from its own folder.
    pub const PLUGIN: &str = "AGX_GUARD_PLUGIN";
    /// Instead of which driver.
    pub const PLUGIN_FOR: &str = "AGX_GUARD_PLUGIN_FOR";
    /// The words of the patch, to be looked for in the loaded driver.
    pub const PATCHED: &str = "AGX_GUARD_PATCHED";
    /// The words they replace.
    pub const ORIGINAL: &str = "AGX_GUARD_ORIGINAL";
}

/// The guard library's file name.
pub const LIBRARY: &str = "libagx_guard.dylib";

/// By which way the copy of the driver comes into the process.
///
/// Both lead to one file, so taking both is not a contradiction: where the lookup is
/// followed dyld's folder leads to the image that was asked for, and where it is
/// not the folder still does, in the same process and without a second start. It
/// also keeps the system's driver from being loaded beside the copy by code that
/// asks for it by path, and their classes from clashing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Way {
    /// Both of the following.
    #[default]
    Both,
    /// The guard answers Metal's lookup of the bundle, or its `MetalPluginName` on a macOS without
    /// that lookup.
    #[value(alias = "name")]
    Lookup,
    /// `DYLD_LIBRARY_PATH` shadows the system's file.
    Path,
}

/// The copy of the driver, as the guard library is told of it.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Driver {
    /// The bundle's path from `/System/Library/Extensions`, without `.bundle`.
    pub plugin: String,
    /// The plug-in it stands in for.
    pub instead_of: String,
    /// The folder of the image.
    pub folder: PathBuf,
    /// `ADDRESS:WORD,…` of the patched window.
    pub patched: String,
    /// The same of the original.
    pub original: String,
    /// By which way it comes in.
    pub way: Way,
}

/// What to start a program with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// The guard library; none inserts none, and takes out one that is there.
    pub library: Option<PathBuf>,
    /// Its mode.
    pub mode: Mode,
    /// The folder for the reports of its processes.
    pub reports: Option<PathBuf>,
    /// The copy of the driver.
    pub driver: Option<Driver>,
    /// Whether the driver is told not to coalesce encoders.
    pub no_coalescing: bool,
}

/// Adds what is wanted to the variables the program would have had.
pub fn compose(mut variables: Variables, wanted: &Wanted) -> Variables {
    let inserted = variables.remove(OsStr::new(name::INSERT)).unwrap_or_default();
    // A second guard, of whatever build, would hook what the first has hooked.
    let foreign = |path: &PathBuf| path.file_name() != Some(OsStr::new(LIBRARY));
    let others = std::env::split_paths(&inserted).filter(foreign);
    if let Some(list) = joined(wanted.library.iter().cloned().chain(others)) {
        variables.insert(name::INSERT.into(), list);
    }
    let of_an_outer_run =
        [name::PLUGIN, name::PLUGIN_FOR, name::PATCHED, name::ORIGINAL, name::REPORTS];
    for name in of_an_outer_run {
        variables.remove(OsStr::new(name));
    }
    if wanted.library.is_none() {
        variables.remove(OsStr::new(name::MODE));
        return variables;
    }
    variables.insert(name::MODE.into(), wanted.mode.to_string().into());
    if wanted.no_coalescing {
        variables.insert(name::COALESCING.into(), "off".into());
    }
    if let Some(folder) = &wanted.reports {
        variables.insert(name::REPORTS.into(), folder.into());
    }
    if let Some(driver) = &wanted.driver {
        bring_in(&mut variables, driver);
    }
    variables
}

fn bring_in(variables: &mut Variables, driver: &Driver) {
    let mut set = |name: &str, value: &str| variables.insert(name.into(), value.into());
    set(name::PATCHED, &driver.patched);
    set(name::ORIGINAL, &driver.original);
    if driver.way != Way::Path {
        set(name::PLUGIN, &driver.plugin);
        set(name::PLUGIN_FOR, &driver.instead_of);
    }
    if driver.way != Way::Lookup {
        let had = variables.remove(OsStr::new(name::LIBRARY_PATH)).unwrap_or_default();
        let others = std::env::split_paths(&had).filter(|folder| *folder != driver.folder);
        let folders = std::iter::once(driver.folder.clone()).chain(others);
        variables.extend(joined(folders).map(|list| (name::LIBRARY_PATH.into(), list)));
    }
}

/// A list as dyld reads it, each entry once; none if it is empty. Entries with
/// a colon cannot be: they came from such a list, or were looked at before.
fn joined(paths: impl Iterator<Item = PathBuf>) -> Option<OsString> {
    let mut once: Vec<PathBuf> = Vec::new();
    for path in paths {
        if path != Path::new("") && !once.contains(&path) {
            once.push(path);
        }
    }
    std::env::join_paths(&once).ok().filter(|list| !list.is_empty())
}

/// What differs between two sets of variables, by name; none for one removed.
pub fn changes(before: &Variables, after: &Variables) -> Vec<(String, Option<String>)> {
    let text = |value: &OsString| value.to_string_lossy().into_owned();
    let removed = before.keys().filter(|name| !after.contains_key(*name));
    let mut changes: Vec<_> = removed.map(|name| (text(name), None)).collect();
    for (name, value) in after {
        if before.get(name) != Some(value) {
            changes.push((text(name), Some(text(value))));
        }
    }
    changes.sort();
    changes
}
