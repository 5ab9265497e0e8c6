//! What was found of a signature in a file.

use std::fmt;
use std::ops::Range;

use serde::Serialize;

use crate::address::{FileOffset, VmAddr, Word};
use crate::error::{Code, Error, Result};
use crate::macho::{Architecture, Slice};
use crate::signature::{self, Captures, NearMiss};

use super::engine::Form;

/// The form in which a sequence stands in a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "kebab-case")]
pub enum State {
    /// As the compiler made it.
    Original,
    /// As a patch rewrote it.
    Patched {
        /// The patch's name.
        patch: String,
    },
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            State::Original => f.write_str("original"),
            State::Patched { patch } => write!(f, "patched by {patch}"),
        }
    }
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "sighting", rename_all = "kebab-case")]
pub enum Sighting {
    /// The sequence, once, in one of its forms.
    Found(Site),
    /// A mixture of its forms, every word of which is of one or the other.
    Partly {
        /// Address of the first word.
        at: VmAddr,
        /// How many words are of the original.
        original: usize,
        /// How many lines tell the forms apart.
        of: usize,
    },
    /// The sequence more than once: architecture, address and form of each.
    Several(Vec<(String, VmAddr, State)>),
    /// Nothing, and what comes nearest.
    Absent {
        /// The best near misses, best first.
        nearest: Vec<NearMiss>,
        /// How many lines of the pattern say something.
        telling: usize,
    },
}

/// A sequence that was found once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Site {
    /// The signature's name.
    pub signature: String,
    /// The form it stands in.
    #[serde(flatten)]
    pub state: State,
    /// What the form's names stand for.
    pub captures: Captures,
    /// Where.
    #[serde(flatten)]
    pub place: Place,
}

/// Where a sequence stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Place {
    /// Number of the slice in the file.
    pub slice: usize,
    /// The slice's architecture.
    pub architecture: Architecture,
    /// Where the window begins in the file.
    pub offset: FileOffset,
    /// The addresses of the window, the first after it excluded.
    pub window: Range<VmAddr>,
    /// The words that stand there.
    pub words: Vec<Word>,
    /// The function around it, if the image lists function starts.
    pub function: Option<Range<VmAddr>>,
    /// The method whose implementation that function is, if the image says so.
    pub method: Option<String>,
}

impl Sighting {
    /// The site, or an error that says what was found instead.
    pub fn site(self) -> Result<Site> {
        match self {
            Sighting::Found(site) => Ok(site),
            Sighting::Partly { at, original, of } => Err(Error::new(
                Code::PartlyPatched,
                "the window holds a mixture of the original and a rewrite",
            )
            .with("address", at)
            .with("words of the original", format!("{original} of {of}"))
            .next("start again from the original file; this one was patched by halves")),
            Sighting::Several(found) => Err(several(&found)),
            Sighting::Absent { nearest, telling } => Err(absent_error(&nearest, telling)),
        }
    }
}

fn several(found: &[(String, VmAddr, State)]) -> Error {
    let error = Error::new(Code::ManyMatches, "the sequence occurs more than once");
    found
        .iter()
        .fold(error, |error, (architecture, at, state)| {
            error.with("at", format!("{at} in {architecture}, {state}"))
        })
        .next("which of them to patch is for a person to find out; nothing was changed")
}

fn absent_error(nearest: &[NearMiss], telling: usize) -> Error {
    let error = Error::new(Code::NoMatch, "the sequence does not occur in the file");
    nearest
        .iter()
        .fold(error, |error, miss| {
            error.with(
                "near miss",
                format!(
                    "{}: {} of {telling} lines fit; the first that does not is line {}, `{}`, where {} stands",
                    miss.at,
                    miss.fitting,
                    miss.line + 1,
                    miss.wanted,
                    miss.found
                ),
            )
        })
        .next("this build of the driver may hold other code; nothing was changed")
}

/// How many near misses an error shows.
const NEAREST: usize = 3;

/// What to say where no form was found whole.
pub(super) fn absent(slices: &[&Slice<'_>], forms: &[Form]) -> Result<Sighting> {
    let Some(original) = forms.first() else {
        return Err(Error::new(Code::Bug, "a signature has no forms"));
    };
    let mut nearest = Vec::new();
    for slice in slices {
        let image = slice.image()?;
        let text = image.text()?;
        let words: Vec<Word> = Word::all(text.bytes).collect();
        if let Some((index, of_original, of)) = mixture(&words, text.address, forms) {
            let at = text.address.instruction(index);
            return Ok(Sighting::Partly { at, original: of_original, of });
        }
        let code = signature::Code { address: text.address, bytes: text.bytes };
        nearest.extend(signature::nearest(&original.pattern, code, NEAREST));
    }
    nearest.sort_by_key(|miss| std::cmp::Reverse(miss.fitting));
    nearest.truncate(NEAREST);
    Ok(Sighting::Absent { nearest, telling: original.pattern.telling() })
}

/// The first window in which every word is of some form, and their values agree:
/// its index, how many of the words that tell the forms apart are of the
/// original, and how many there are.
fn mixture(words: &[Word], address: VmAddr, forms: &[Form]) -> Option<(usize, usize, usize)> {
    let (original, rewrites) = forms.split_first()?;
    let length = original.pattern.len();
    let index =
        words.windows(length).enumerate().position(|(index, window)| {
            window.iter().enumerate().all(|(line, &word)| {
                forms.iter().any(|form| form.pattern.templates[line].fits(word))
            }) && agree(window, address.instruction(index), forms)
        })?;
    let telling: Vec<usize> = (0..length)
        .filter(|&line| {
            let templates = |form: &Form| form.pattern.templates[line].clone();
            rewrites.iter().any(|rewrite| templates(rewrite) != templates(original))
        })
        .collect();
    let of_original = telling
        .iter()
        .filter(|&&line| original.pattern.templates[line].fits(words[index + line]))
        .count();
    Some((index, of_original, telling.len()))
}

/// Whether the captured values of a window agree if each line is read as the
/// first form it can be.
fn agree(window: &[Word], start: VmAddr, forms: &[Form]) -> bool {
    let mut captures = Captures::default();
    window.iter().enumerate().all(|(line, &word)| {
        let at = start.instruction(line);
        forms.iter().any(|form| form.pattern.templates[line].agrees(word, at, &mut captures))
    })
}
