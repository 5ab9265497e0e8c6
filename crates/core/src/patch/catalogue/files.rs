//! The forms of a catalogue's files, and how they are read.

use serde::Deserialize;

use super::entries::{KnownBuild, KnownRelease, Signature};
use crate::error::{Code, Error, Result};

/// A file of signatures holds one, or many as `[[signature]]`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SignaturesFile {
    pub signature: Vec<Signature>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct BuildsFile {
    pub build: Vec<KnownBuild>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ReleasesFile {
    pub release: Vec<KnownRelease>,
}

/// The signatures in the text of a file that holds one, or many.
///
/// Of many, each is read by itself: a tree of all would be built only to be taken
/// apart. That a line looks like a header proves nothing, it may be one of an
/// essay; but a text that is cut within a string or a list does not parse. Then,
/// as whenever something is wrong, the file is read as one.
pub(super) fn read_signatures(text: &str, origin: &str) -> Result<Vec<Signature>> {
    let mut headers: Vec<usize> = Vec::new();
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        headers.extend((line.trim() == "[[signature]]").then_some(at));
        at += line.len();
    }
    if headers.is_empty() {
        return Ok(vec![read(text, origin)?]);
    }
    let ends = headers.into_iter().skip(1).chain([text.len()]);
    let pieces = ends.scan(0, |start, end| Some(&text[std::mem::replace(start, end)..end]));
    let each: Option<Vec<SignaturesFile>> =
        pieces.map(|piece| toml::from_str(piece).ok()).collect();
    let signatures = match each {
        Some(each) => each.into_iter().flat_map(|file| file.signature).collect(),
        None => read::<SignaturesFile>(text, origin)?.signature,
    };
    Ok(signatures)
}

pub(super) fn read<T: for<'a> Deserialize<'a>>(text: &str, origin: &str) -> Result<T> {
    toml::from_str(text).map_err(|reason| {
        Error::new(Code::CatalogueBroken, "a catalogue file cannot be read")
            .with("file", origin)
            .with("reason", reason.to_string().trim_end())
            .next("correct that line; the built-in files under signatures/ and patches/ are the model")
    })
}
