//! What was found of a signature in a file.

use std::fmt;
use std::ops::Range;

use serde::Serialize;

use crate::address::{FileOffset, VmAddr, Word};
use crate::error::{Code, Error, Result};
use crate::macho::Architecture;
use crate::signature::{self, Captures, NearMiss};

use super::engine::PatternVariant;

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
pub enum MatchResult {
    /// The sequence, once in each of the places to patch.
    Found(Sites),
    /// A mixture of its forms, every word of which is of one or the other.
    Partly {
        /// Address of the first word.
        at: VmAddr,
        /// How many words are of the original.
        original: usize,
        /// How many lines tell the forms apart.
        of: usize,
    },
    /// The sequence more than once where only one place can be the right one.
    Several {
        /// The places.
        places: Vec<Occurrence>,
    },
    /// Nothing, and what comes nearest.
    Absent {
        /// The best near misses, best first.
        nearest: Vec<NearMiss>,
        /// How many lines of the pattern say something.
        distinguishing: usize,
    },
}

/// The places to patch, which are patched together or not at all.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Sites {
    /// One in each method, at least one in all.
    pub sites: Vec<Site>,
    /// Further places where the sequence stands, which are left alone.
    pub elsewhere: Vec<Occurrence>,
}

/// A place where a form of a sequence stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Occurrence {
    /// The slice's architecture.
    pub architecture: String,
    /// Address of the first word.
    pub at: VmAddr,
    /// The method it stands in, if the image says so.
    pub method: Option<String>,
    /// The form.
    #[serde(flatten)]
    pub state: State,
}

impl fmt::Display for Occurrence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Occurrence { architecture, at, method, state } = self;
        write!(f, "{at} in {architecture}, {state}")?;
        match method {
            Some(method) => write!(f, ", {method}"),
            None => Ok(()),
        }
    }
}

impl Sites {
    /// The signature that was found.
    pub fn signature(&self) -> &str {
        self.sites.first().map_or("", |site| &site.signature)
    }

    /// The one form in which the sequence stands everywhere.
    pub fn state(&self) -> Option<&State> {
        let state = &self.sites.first()?.state;
        self.sites.iter().all(|site| site.state == *state).then_some(state)
    }
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

impl Place {
    /// The method's name as a reader is told it.
    pub fn name(&self) -> &str {
        self.method.as_deref().unwrap_or("a function without a name")
    }
}

impl MatchResult {
    /// The places to patch, or an error that says what was found instead.
    pub fn sites(self) -> Result<Sites> {
        match self {
            MatchResult::Found(sites) => Ok(sites),
            MatchResult::Partly { at, original, of } => {
                Err(Error::new(Code::PartlyPatched, "the window is only partially rewritten")
                    .with("address", at)
                    .with("words of the original", format!("{original} of {of}"))
                    .next("start from the original file; this one is only partially patched"))
            }
            MatchResult::Several { places } => Err(several(&places)),
            MatchResult::Absent { nearest, distinguishing } => {
                Err(absent_error(&nearest, distinguishing))
            }
        }
    }
}

fn several(places: &[Occurrence]) -> Error {
    let error = Error::new(Code::ManyMatches, "the sequence occurs more than once");
    let shown = places.iter().take(MAX_PLACES).map(Occurrence::to_string);
    let shown = error.with_each("at", shown);
    match places.len().saturating_sub(MAX_PLACES) {
        0 => shown,
        more => shown.with("and at", format!("{more} more places")),
    }
    .next("nothing was changed; inspect the places and choose with --at ADDRESS")
}

fn absent_error(nearest: &[NearMiss], distinguishing: usize) -> Error {
    let error = Error::new(Code::NoMatch, "the sequence does not occur in the file");
    error
        .with_each("near miss", nearest.iter().map(|miss| miss.sentence(distinguishing)))
        .next("nothing was changed; this build of the driver may contain different code")
}

/// How many places an error shows of a sequence that occurs too often.
pub(super) const MAX_PLACES: usize = 10;

/// How many near misses an error shows.
const MAX_NEAREST: usize = 3;

/// Where a mixture of forms is looked for.
pub(super) enum Searched<'a> {
    /// The code of one of the signature's methods.
    Method(signature::Code<'a>),
    /// All code of a slice that does not name its methods.
    Slice(signature::Code<'a>),
}

/// What to say where no form was found whole, nor a mixture. What comes nearest in the
/// `named` functions, which the signature is for, is said first.
pub(super) fn absent(
    named: &[signature::Code<'_>],
    code: &[signature::Code<'_>],
    forms: &[PatternVariant],
) -> Result<MatchResult> {
    let Some(original) = forms.first() else {
        return Err(Error::new(Code::Bug, "a signature has no forms"));
    };
    let nearest = nearest_first(&original.pattern, named, code, MAX_NEAREST);
    Ok(MatchResult::Absent { nearest, distinguishing: original.pattern.distinguishing() })
}

/// The nearest misses of a pattern, at most `count`: those in the `named` functions
/// before those anywhere in the code, best first.
pub fn nearest_first(
    pattern: &signature::Pattern,
    named: &[signature::Code<'_>],
    code: &[signature::Code<'_>],
    count: usize,
) -> Vec<NearMiss> {
    let best = |code: &[signature::Code<'_>]| {
        let near = |code: &signature::Code<'_>| signature::nearest(pattern, *code, count);
        let mut misses: Vec<NearMiss> = code.iter().flat_map(near).collect();
        misses.sort_by_key(|miss| std::cmp::Reverse(miss.fitting));
        misses
    };
    let mut nearest = best(named);
    for miss in best(code) {
        if nearest.iter().all(|known| known.at != miss.at) {
            nearest.push(miss);
        }
    }
    nearest.truncate(count);
    nearest
}

/// The first mixture of the forms in the code.
pub(super) fn mixture(searched: &[Searched<'_>], forms: &[PatternVariant]) -> Option<MatchResult> {
    let (original, rewrites) = forms.split_first()?;
    searched.iter().find_map(|searched| mixture_in(searched, original, rewrites, forms))
}

/// The first window in which every word is of some form and the values agree.
/// Outside of the signature's methods one word of a rewrite proves nothing, for it
/// may be a `nop`.
fn mixture_in(
    searched: &Searched<'_>,
    original: &PatternVariant,
    rewrites: &[PatternVariant],
    forms: &[PatternVariant],
) -> Option<MatchResult> {
    let (code, at_least) = match searched {
        Searched::Method(code) => (code, 0),
        Searched::Slice(code) => (code, 2),
    };
    let template = |form: &PatternVariant, line: usize| form.pattern.templates[line].clone();
    let distinguishing: Vec<usize> = (0..original.pattern.len())
        .filter(|&line| rewrites.iter().any(|r| template(r, line) != template(original, line)))
        .collect();
    let of_original = |window: &[Word]| {
        distinguishing.iter().filter(|&&line| template(original, line).fits(window[line])).count()
    };
    let of_some_form =
        |line: usize, word: Word| forms.iter().any(|form| form.pattern.templates[line].fits(word));
    code.bytes.as_chunks().0.windows(original.pattern.len()).enumerate().find_map(
        |(index, cells)| {
            let at = code.address.instruction(index);
            let read = |cell: &[u8; 4]| Word(u32::from_le_bytes(*cell));
            if !cells.iter().enumerate().all(|(line, cell)| of_some_form(line, read(cell))) {
                return None;
            }
            // Copied for the few windows that fit, not for all code.
            let window: Vec<Word> = cells.iter().map(read).collect();
            if !agree(&window, at, forms) {
                return None;
            }
            let original = of_original(&window);
            let believable = original + at_least <= distinguishing.len();
            believable.then_some(MatchResult::Partly { at, original, of: distinguishing.len() })
        },
    )
}

/// Whether the captured values of a window agree if each line is read as the
/// first form it can be.
fn agree(window: &[Word], start: VmAddr, forms: &[PatternVariant]) -> bool {
    let mut captures = Captures::default();
    window.iter().enumerate().all(|(line, &word)| {
        let at = start.instruction(line);
        forms.iter().any(|form| form.pattern.templates[line].agrees(word, at, &mut captures))
    })
}
