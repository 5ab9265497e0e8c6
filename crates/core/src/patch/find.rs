//! Looking for the catalogue's signatures in a file.
//!
//! Many are looked for in one pass over the code. What takes a pass for each, to
//! find a mixture of forms or the nearest misses, is left out where it cannot
//! change what is said.

use std::cell::OnceCell;

use crate::address::VmAddr;
use crate::error::{Code, Error, Result};
use crate::macho::{Image, Slice, Universal};
use crate::signature::{self, Captures, Many, Match, Value};

use super::catalogue::Signature;
use super::choose;
use super::engine::{Engine, PatternVariant};
use super::match_result::{self, MatchResult, Place, Site};
use super::methods::Methods;

/// How the places to patch are chosen among those where a sequence stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Selection {
    /// By the methods that the signature names; where the image names none, there
    /// may be one place only.
    #[default]
    ByMethod,
    /// The places that hold these addresses, whatever their methods.
    At(Vec<VmAddr>),
}

/// A slice of the processor family that signatures are for, with its image and
/// code if they can be read.
pub(super) struct Text<'f, 'a> {
    pub slice: &'f Slice<'a>,
    read: Result<(Image<'a>, signature::Code<'a>)>,
    methods: OnceCell<Methods<'a>>,
}

/// A signature to look for, with its forms.
pub(super) type Known<'e> = (&'e Signature, &'e [PatternVariant]);

/// A place where a form of a signature stands.
pub(super) struct Hit {
    /// Position of the slice among the texts.
    pub text: usize,
    /// Position of the form among the signature's.
    pub form: usize,
    pub found: Match,
}

impl Engine {
    /// Looks for one signature in every slice it is for, and chooses by method.
    ///
    /// # Errors
    /// If the file has no such slice, or one cannot be read. That the sequence
    /// is not there is a [`MatchResult`] and no error.
    pub fn find(&self, file: &Universal<'_>, signature: &Signature) -> Result<MatchResult> {
        self.find_selected(file, signature, &Selection::ByMethod)
    }

    /// As [`Engine::find`], with another way to choose.
    pub fn find_selected(
        &self,
        file: &Universal<'_>,
        signature: &Signature,
        selection: &Selection,
    ) -> Result<MatchResult> {
        let known = (signature, self.forms(signature)?);
        let texts = texts(file);
        let hits = scan(&texts, &[known]).pop().unwrap_or_default();
        match judge(file, &texts, known, &hits, selection)? {
            Some(sighting) => Ok(sighting),
            None => absent(file, &texts, known),
        }
    }

    /// Looks for every signature of the catalogue and returns the sighting of the
    /// first, in its order, of which there is anything. Where there is nothing of
    /// any, that is said of the first that could be there.
    ///
    /// The first is looked for alone: mostly it is there, and the others need not
    /// be compiled.
    ///
    /// # Errors
    /// If a signature had to be looked for and cannot be compiled. If none is there,
    /// as [`Engine::find`].
    pub fn find_any(&self, file: &Universal<'_>) -> Result<MatchResult> {
        self.find_any_selected(file, &Selection::ByMethod)
    }

    /// As [`Engine::find_any`], with another way to choose.
    pub fn find_any_selected(
        &self,
        file: &Universal<'_>,
        selection: &Selection,
    ) -> Result<MatchResult> {
        let texts = texts(file);
        let signatures = &self.catalogue().signatures;
        let (first, others) = signatures.split_at(signatures.len().min(1));
        let (mut nothing_of, mut no_slice, mut refused) = (None, None, None);
        for together in [first, others] {
            let compiled = together.iter().map(|signature| Ok((signature, self.forms(signature)?)));
            let compiled: Vec<Known<'_>> = compiled.collect::<Result<_>>()?;
            for (&known, hits) in compiled.iter().zip(scan(&texts, &compiled)) {
                match judge(file, &texts, known, &hits, selection) {
                    Ok(Some(sighting)) => return Ok(sighting),
                    Ok(None) => nothing_of = nothing_of.or(Some(known)),
                    Err(error) if error.code() == Code::NoSlice => {
                        no_slice = no_slice.or(Some(error));
                    }
                    Err(error) => refused = refused.or(Some(error)),
                }
            }
        }
        match (refused, nothing_of, no_slice) {
            (Some(error), ..) => Err(error),
            (None, Some(known), _) => absent(file, &texts, known),
            (None, None, Some(error)) => Err(error),
            (None, None, None) => {
                Err(Error::new(Code::CatalogueBroken, "the catalogue holds no signature"))
            }
        }
    }
}

/// What the places of a signature come to; none where there is nothing of it.
fn judge(
    file: &Universal<'_>,
    texts: &[Text<'_, '_>],
    known: Known<'_>,
    hits: &[Hit],
    selection: &Selection,
) -> Result<Option<MatchResult>> {
    readable(file, texts, known.0)?;
    match selection {
        Selection::ByMethod => choose::by_method(texts, known, hits),
        Selection::At(_) if hits.is_empty() => Ok(None),
        Selection::At(addresses) => choose::by_hand(texts, known, hits, addresses).map(Some),
    }
}

fn texts<'f, 'a>(file: &'f Universal<'a>) -> Vec<Text<'f, 'a>> {
    let read = |slice: &Slice<'a>| {
        let image = slice.image()?;
        let text = image.text()?;
        let code = signature::Code { address: text.address, bytes: text.bytes };
        Ok((image, code))
    };
    let arm = file.slices.iter().filter(|slice| slice.architecture.is_aarch64());
    arm.map(|slice| Text { slice, read: read(slice), methods: OnceCell::new() }).collect()
}

impl<'a> Text<'_, 'a> {
    pub fn is_for(&self, signature: &Signature) -> bool {
        self.slice.architecture.name().is_some_and(|name| signature.is_for(name))
    }

    /// Its image and code.
    pub fn read(&self) -> Result<&(Image<'a>, signature::Code<'a>)> {
        self.read.as_ref().map_err(Error::clone)
    }

    /// What its image says of its methods, read once.
    pub fn methods(&self) -> Result<&Methods<'a>> {
        let (image, _) = self.read()?;
        Ok(self.methods.get_or_init(|| Methods::of(image)))
    }
}

/// The places of each signature, found in one pass over each slice.
fn scan(texts: &[Text<'_, '_>], known: &[Known<'_>]) -> Vec<Vec<Hit>> {
    let mut hits: Vec<Vec<Hit>> = known.iter().map(|_| Vec::new()).collect();
    for (text, here) in texts.iter().enumerate() {
        let Ok((_, code)) = &here.read else { continue };
        let forms: Vec<(usize, usize, &PatternVariant)> = known
            .iter()
            .enumerate()
            .filter(|(_, (signature, _))| here.is_for(signature))
            .flat_map(|(number, (_, forms))| {
                forms.iter().enumerate().map(move |(form, itself)| (number, form, itself))
            })
            .collect();
        let together = Many::new(forms.iter().map(|(_, _, form)| &form.pattern));
        for (number, found) in together.find(*code) {
            let (signature, form, _) = forms[number];
            hits[signature].push(Hit { text, form, found });
        }
    }
    hits
}

/// The code of each slice a signature is for; there must be one, and all must be
/// readable.
fn readable<'a>(
    file: &Universal<'_>,
    texts: &[Text<'_, 'a>],
    signature: &Signature,
) -> Result<Vec<signature::Code<'a>>> {
    let here = texts.iter().filter(|text| text.is_for(signature));
    let here: Vec<_> =
        here.map(|text| text.read().map(|(_, code)| *code)).collect::<Result<_>>()?;
    if here.is_empty() {
        let held: Vec<String> =
            file.slices.iter().map(|slice| slice.architecture.to_string()).collect();
        return Err(Error::new(Code::NoSlice, "the file has no slice this signature is for")
            .with("signature", &signature.name)
            .with("wanted", signature.architectures.join(" or "))
            .with("slices", held.join(", "))
            .next("name a file with such a slice, or add the architecture to the signature"));
    }
    Ok(here)
}

/// What to say where there is nothing of a signature.
fn absent(
    file: &Universal<'_>,
    texts: &[Text<'_, '_>],
    (signature, forms): Known<'_>,
) -> Result<MatchResult> {
    let code = readable(file, texts, signature)?;
    choose::refuse_missing_methods(texts, signature)?;
    let mut named = Vec::new();
    for text in texts.iter().filter(|text| text.is_for(signature)) {
        let (image, code) = text.read()?;
        let functions = text.methods()?.functions_named(image, &signature.methods)?;
        named.extend(functions.into_iter().filter_map(|function| code.part(function)));
    }
    match_result::absent(&named, &code, forms)
}

/// The place of a hit, with what stands there.
pub(super) fn site(texts: &[Text<'_, '_>], known: Known<'_>, hit: &Hit) -> Result<Site> {
    let (signature, forms) = known;
    let text = &texts[hit.text];
    let (image, _) = text.read()?;
    let form = &forms[hit.form];
    Ok(Site {
        signature: signature.name.clone(),
        state: form.state.clone(),
        captures: name_calls(signature, image, hit.found.captures.clone())?,
        place: place(text.slice, image, text.methods()?, hit.found.at, form.pattern.len())?,
    })
}

fn place(
    slice: &Slice<'_>,
    image: &Image<'_>,
    methods: &Methods<'_>,
    at: VmAddr,
    length: usize,
) -> Result<Place> {
    let window = at..at.instruction(length);
    let offset = image.offset_of(at).ok_or_else(|| {
        Error::new(Code::Malformed, "the matched code is not within the file").with("address", at)
    })?;
    let function = image.function_containing(at)?;
    Ok(Place {
        slice: slice.index,
        architecture: slice.architecture,
        offset: offset.in_file(slice.offset),
        words: image.words(window.clone())?.collect(),
        window,
        method: function.as_ref().and_then(|function| {
            methods.beginning_in(function).or_else(|| methods.function_at(function.start))
        }),
        function,
    })
}

/// Whether the captured call targets of a match are the functions that the signature
/// names, as far as the image names its stubs.
///
/// # Errors
/// If the table of stubs cannot be read.
pub fn calls_fit(signature: &Signature, image: &Image<'_>, captures: &Captures) -> Result<bool> {
    match name_calls(signature, image, captures.clone()) {
        Ok(_) => Ok(true),
        Err(error) if error.code() == Code::NoMatch => Ok(false),
        Err(error) => Err(error),
    }
}

/// Holds the captured call targets against the names of the image's stubs, and
/// adds those that this form does not capture.
fn name_calls(
    signature: &Signature,
    image: &Image<'_>,
    mut captures: Captures,
) -> Result<Captures> {
    let stubs = image.stubs()?;
    for (name, function) in &signature.functions {
        match captures.address(name) {
            Some(target) => match stubs.iter().find(|stub| stub.address == target) {
                Some(stub) if stub.name != function => {
                    return Err(Error::new(
                        Code::NoMatch,
                        "the sequence calls a different function than expected",
                    )
                    .with("address", target)
                    .with("wanted", function)
                    .with("called", stub.name));
                }
                _ => {}
            },
            None => {
                let mut named = stubs.iter().filter(|stub| stub.name == function);
                if let (Some(stub), None) = (named.next(), named.next()) {
                    captures.agree(name, Value::Address(stub.address));
                }
            }
        }
    }
    Ok(captures)
}
