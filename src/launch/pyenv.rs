//! The program behind a shim of pyenv, from the layout of its files.
//!
//! A shim is a bash script that starts `pyenv exec`, and bash is the system's,
//! so a shim drops the library. Which version it would take is decided by
//! `PYENV_VERSION`, else the nearest `.python-version` upwards of the working
//! directory (or of `PYENV_DIR`), else `$PYENV_ROOT/version`, else the system.
//! A name that is not a version but the beginning of one, such as `3.12`, stands
//! for the latest that is installed. That is what pyenv's documentation says
//! (COMMANDS.md, `pyenv local`, `pyenv version-file`).

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use super::resolve::{Scene, Variables};
use agxpatch_core::error::{Code, Error, Result};

/// What a shim stands for.
pub struct Found {
    /// The program.
    pub program: PathBuf,
    /// The version it is of, or `system`.
    pub version: String,
    /// The root of that pyenv.
    root: PathBuf,
    /// All versions that are selected.
    selected: Vec<String>,
}

impl Found {
    /// Does to the variables what the shim and `pyenv exec` do, so that a `python`
    /// the program starts by name is of this version too, and not the shim again,
    /// behind which the library would be gone.
    pub fn apply(&self, variables: &mut Variables) {
        variables.insert("PYENV_ROOT".into(), self.root.clone().into());
        variables.insert("PYENV_VERSION".into(), self.selected.join(":").into());
        let path = variables.remove(OsStr::new("PATH")).unwrap_or_default();
        let mut list = self.program.parent().unwrap_or(Path::new("/")).as_os_str().to_owned();
        list.push(":");
        list.push(path);
        variables.insert("PATH".into(), list);
    }
}

/// More than any shim or version file holds.
const SMALL: u64 = 16 << 10;

/// The program `shim` stands for; none where it is not a shim.
///
/// # Errors
/// `ShimLeadsNowhere` where no selected version has the program.
pub fn behind(scene: &Scene<'_>, shim: &Path, variables: &Variables) -> Result<Option<Found>> {
    let Some(root) = root(scene, shim) else { return Ok(None) };
    let Some(name) = shim.file_name() else { return Ok(None) };
    let versions = selected(scene, &root, variables);
    let full = |version: &String| {
        let folder = installed(scene, &root, version);
        let name = folder.and_then(|folder| folder.file_name()?.to_str().map(str::to_owned));
        name.unwrap_or_else(|| version.clone())
    };
    for version in &versions {
        let program = if version == "system" {
            let shims = root.join("shims");
            scene.on_path(name, variables, |path| path.parent() != Some(&shims))
        } else {
            installed(scene, &root, version).map(|folder| folder.join("bin").join(name))
        };
        if let Some(program) = program.filter(|program| scene.files.is_program(program)) {
            let version = version.clone();
            let selected = versions.iter().map(full).collect();
            return Ok(Some(Found { program, version, root, selected }));
        }
    }
    Err(Error::new(Code::ShimLeadsNowhere, "none of pyenv's selected versions has the program")
        .with("shim", shim.display())
        .with("versions", versions.join(", "))
        .next("see `pyenv versions`, or name the interpreter itself"))
}

/// The root of the pyenv a shim belongs to: it stands in the script, else above
/// the folder of shims.
fn root(scene: &Scene<'_>, shim: &Path) -> Option<PathBuf> {
    let text = String::from_utf8(scene.files.head(shim, SMALL)?).ok()?;
    let runs_pyenv = |line: &&str| line.contains("pyenv") && line.contains(" exec ");
    text.lines().find(runs_pyenv)?;
    let exported = text.lines().find_map(|line| {
        let value = line.trim().strip_prefix("export PYENV_ROOT=")?;
        Some(PathBuf::from(value.trim_matches(['"', '\''])))
    });
    let above = shim.parent().filter(|folder| folder.ends_with("shims")).and_then(Path::parent);
    exported.filter(|root| root.is_absolute()).or_else(|| above.map(Path::to_owned))
}

fn selected(scene: &Scene<'_>, root: &Path, variables: &Variables) -> Vec<String> {
    let variable = |name: &str| variables.get(OsStr::new(name)).and_then(|value| value.to_str());
    let named = |text: &str, separators: &[char]| -> Vec<String> {
        let names = text.split(separators).map(|name| name.trim_start_matches("python-"));
        names.filter(|name| !name.is_empty()).map(str::to_owned).collect()
    };
    if let Some(versions) = variable("PYENV_VERSION") {
        return named(versions, &[':']);
    }
    let from = variable("PYENV_DIR").map_or(scene.directory, Path::new);
    let files = from.ancestors().map(|folder| folder.join(".python-version"));
    for file in files.chain([root.join("version")]) {
        let text = scene.files.head(&file, SMALL).and_then(|bytes| String::from_utf8(bytes).ok());
        let lines = text.iter().flat_map(|text| text.lines());
        let versions: Vec<String> = lines
            .filter(|line| !line.trim_start().starts_with('#'))
            .flat_map(|line| named(line, &[' ', '\t', '\r']))
            .collect();
        if !versions.is_empty() {
            return versions;
        }
    }
    vec!["system".to_owned()]
}

/// The folder of a version, or of the latest that begins so. A name that would
/// leave the folder of versions is none.
fn installed(scene: &Scene<'_>, root: &Path, version: &str) -> Option<PathBuf> {
    if version.contains('/') || version.starts_with('.') {
        return None;
    }
    let versions = root.join("versions");
    let exact = versions.join(version);
    if scene.files.canonical(&exact).is_some() {
        return Some(exact);
    }
    let numbers = |name: &str| -> Option<Vec<u32>> {
        name.strip_prefix(version)?.strip_prefix('.')?;
        name.split('.').map(|part| part.parse().ok()).collect()
    };
    let names = scene.files.names(&versions);
    let latest = names.iter().filter_map(|name| Some((numbers(name)?, name))).max()?;
    Some(versions.join(latest.1))
}
