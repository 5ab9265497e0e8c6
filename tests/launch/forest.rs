//! A tree of files that exists only as data.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use agxpatch::launch::files::{Entry, Files};
use agxpatch::launch::{Scene, Target, Variables, resolve};

/// A tree of files, and what is set in the environment.
#[derive(Default)]
pub struct Forest {
    files: BTreeMap<PathBuf, (u32, Vec<u8>)>,
    links: BTreeMap<PathBuf, PathBuf>,
    pub variables: Variables,
    directory: PathBuf,
}

impl Forest {
    /// A Mac's usual programs, and `PATH` as given.
    pub fn new(path: &str) -> Forest {
        let forest = Forest { directory: "/Users/me/project".into(), ..Forest::default() };
        let forest = forest.program("/usr/bin/env").program("/bin/bash").program("/bin/sh");
        forest.variable("PATH", path)
    }

    pub fn variable(mut self, name: &str, value: &str) -> Forest {
        self.variables.insert(name.into(), value.into());
        self
    }

    /// Something executable that is not a script.
    pub fn program(self, path: &str) -> Forest {
        self.file(path, 0o755, b"\xcf\xfa\xed\xfe")
    }

    pub fn script(self, path: &str, text: &str) -> Forest {
        self.file(path, 0o755, text.as_bytes())
    }

    pub fn file(mut self, path: &str, mode: u32, bytes: &[u8]) -> Forest {
        self.files.insert(path.into(), (mode, bytes.to_vec()));
        self
    }

    pub fn link(mut self, path: &str, target: &str) -> Forest {
        self.links.insert(path.into(), target.into());
        self
    }

    pub fn scene(&self) -> Scene<'_> {
        Scene { files: self, directory: &self.directory }
    }

    pub fn resolve(&self, words: &[&str]) -> agxpatch_core::Result<Target> {
        let words: Vec<OsString> = words.iter().map(Into::into).collect();
        resolve(&self.scene(), &words, self.variables.clone())
    }

    /// What would be started: the program, then its arguments.
    pub fn starts(&self, words: &[&str]) -> Vec<String> {
        let target = self.resolve(words).unwrap();
        let program = target.program.to_str().unwrap().to_owned();
        let arguments = target.arguments.iter().map(|word| word.to_str().unwrap().to_owned());
        std::iter::once(program).chain(arguments).collect()
    }
}

impl Files for Forest {
    fn entry(&self, path: &Path) -> Option<Entry> {
        if let Some(target) = self.links.get(path) {
            return Some(Entry::Link(target.clone()));
        }
        if let Some((mode, _)) = self.files.get(path) {
            return Some(Entry::File { mode: *mode });
        }
        let mut all = self.files.keys().chain(self.links.keys());
        all.any(|each| each.starts_with(path)).then_some(Entry::Directory)
    }

    fn head(&self, path: &Path, most: u64) -> Option<Vec<u8>> {
        let (_, bytes) = self.files.get(&self.canonical(path)?)?;
        Some(bytes.iter().copied().take(most as usize).collect())
    }

    fn names(&self, path: &Path) -> Vec<String> {
        let all = self.files.keys().chain(self.links.keys());
        let mut names: Vec<String> = all
            .filter_map(|each| each.strip_prefix(path).ok()?.components().next())
            .map(|name| name.as_os_str().to_str().unwrap().to_owned())
            .collect();
        names.sort();
        names.dedup();
        names
    }
}
