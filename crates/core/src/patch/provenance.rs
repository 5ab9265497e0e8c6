//! The files a catalogue was made of: which of them defines a name, and on which
//! line something of it stands. What is wrong with a file is of no use to its
//! author without that.

use std::borrow::Cow;
use std::collections::BTreeMap;

use sha2::{Digest, Sha256};

use crate::edit::Hex;
use crate::error::{Code, Error, Result};

/// What a name in a catalogue can name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    Signature,
    Patch,
}

/// The files, in the order they were added.
#[derive(Clone, Debug, Default)]
pub(super) struct Provenance {
    files: Vec<File>,
    /// How many of the files are part of the program.
    built_in: usize,
    defined: BTreeMap<(Kind, String), usize>,
}

#[derive(Clone, Debug)]
struct File {
    origin: String,
    text: Cow<'static, str>,
}

impl Provenance {
    /// Adds a file.
    pub fn add(&mut self, origin: &str, text: Cow<'static, str>) {
        self.files.push(File { origin: origin.to_owned(), text });
    }

    /// All files so far are part of the program: their names may be taken over.
    pub fn seal_built_in(&mut self) {
        self.built_in = self.files.len();
    }

    /// Notes that the file added last defines a name. True if the name was a
    /// built-in one until now.
    ///
    /// # Errors
    /// If it is the second file, or the second place in it, to do so.
    pub fn define(&mut self, kind: Kind, name: &str) -> Result<bool> {
        let this = self.files.len().saturating_sub(1);
        match self.defined.insert((kind, name.to_owned()), this) {
            None => Ok(false),
            Some(before) if before < self.built_in && self.built_in <= this => Ok(true),
            Some(before) => {
                let what = match kind {
                    Kind::Signature => "two signatures have one name",
                    Kind::Patch => "two patches have one name",
                };
                Err(Error::new(Code::CatalogueBroken, what)
                    .with("name", name)
                    .with("file", self.in_file(this, name, name))
                    .with("and", &self.files[before].origin)
                    .next("rename one of them; only a built-in name can be taken over"))
            }
        }
    }

    /// `FILE:LINE` of where `text` stands in the definition of a name; the file
    /// alone where it cannot be told.
    pub fn place(&self, kind: Kind, name: &str, text: &str) -> Option<String> {
        let file = self.defined.get(&(kind, name.to_owned()))?;
        Some(self.in_file(*file, name, text))
    }

    fn in_file(&self, file: usize, name: &str, text: &str) -> String {
        let File { origin, text: whole } = &self.files[file];
        let quoted = [format!("\"{name}\""), format!("'{name}'")];
        let names = |line: &str| {
            line.trim_start().starts_with("name") && quoted.iter().any(|name| line.contains(name))
        };
        let lines: Vec<&str> = whole.lines().collect();
        // Of two definitions in one file the last is the one that stays.
        let start = lines.iter().rposition(|line| names(line)).unwrap_or(0);
        let here = |number: &usize| !text.is_empty() && lines[*number].contains(text);
        match (start..lines.len()).find(here).or_else(|| (0..start).find(here)) {
            Some(number) => format!("{origin}:{}", number + 1),
            None => origin.clone(),
        }
    }

    /// SHA-256 over the files.
    pub fn digest(&self) -> String {
        let files = self.files.iter();
        let whole = files.fold(Sha256::new(), |digest, file| digest.chain_update(&*file.text));
        Hex(&whole.finalize()).to_string()
    }
}
