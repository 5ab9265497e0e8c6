//! Looking for the catalogue's signatures in a file.
//!
//! Many are looked for in one pass over the code. What takes a pass for each, to
//! find a mixture of forms or the nearest misses, is left out where it cannot
//! change what is said.

use crate::address::VmAddr;
use crate::error::{Code, Error, Result};
use crate::macho::{Image, Slice, Universal};
use crate::signature::{self, Captures, Many, Match, Value};

use super::catalogue::Signature;
use super::engine::{Engine, Form};
use super::methods::{Methods, glob};
use super::sighting::{self, Place, Searched, Sighting, Site};

/// A slice of the processor family that signatures are for, with its image and
/// code if they can be read.
struct Text<'f, 'a> {
    slice: &'f Slice<'a>,
    read: Result<(Image<'a>, signature::Code<'a>)>,
}

/// A signature to look for, with its forms.
type Known<'e> = (&'e Signature, &'e [Form]);

/// A place where a form of a signature stands.
struct Hit {
    /// Position of the slice among the texts.
    text: usize,
    /// Position of the form among the signature's.
    form: usize,
    found: Match,
}

impl Engine {
    /// Looks for one signature in every slice it is for.
    ///
    /// # Errors
    /// If the file has no such slice, or one cannot be read. That the sequence
    /// is not there is a [`Sighting`] and no error.
    pub fn look(&self, file: &Universal<'_>, signature: &Signature) -> Result<Sighting> {
        let known = (signature, self.forms(signature)?);
        let texts = texts(file);
        let hits = scan(&texts, &[known]).pop().unwrap_or_default();
        match self.judge(file, &texts, known, &hits)? {
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
    /// as [`Engine::look`].
    pub fn look_for_any(&self, file: &Universal<'_>) -> Result<Sighting> {
        let texts = texts(file);
        let signatures = &self.catalogue().signatures;
        let (first, others) = signatures.split_at(signatures.len().min(1));
        let (mut nothing_of, mut no_slice, mut refused) = (None, None, None);
        for together in [first, others] {
            let compiled = together.iter().map(|signature| Ok((signature, self.forms(signature)?)));
            let compiled: Vec<Known<'_>> = compiled.collect::<Result<_>>()?;
            for (&known, hits) in compiled.iter().zip(scan(&texts, &compiled)) {
                match self.judge(file, &texts, known, &hits) {
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

    /// What the places of a signature come to; none where there is nothing of it.
    fn judge(
        &self,
        file: &Universal<'_>,
        texts: &[Text<'_, '_>],
        (signature, forms): Known<'_>,
        hits: &[Hit],
    ) -> Result<Option<Sighting>> {
        let here = readable(file, texts, signature)?;
        match hits {
            // Without a rewrite there is nothing to be mixed with.
            [] if forms.len() < 2 => Ok(None),
            [] => Ok(sighting::mixture(&searched(&here, signature)?, forms)),
            [hit] => {
                let Text { slice, read } = &texts[hit.text];
                let (image, _) = read.as_ref().map_err(Error::clone)?;
                let site = site(slice, image, (signature, forms), hit)?;
                Ok(Some(Sighting::Found(site)))
            }
            several => {
                let each = several.iter().map(|hit| {
                    let architecture = texts[hit.text].slice.architecture.to_string();
                    (architecture, hit.found.at, forms[hit.form].state.clone())
                });
                Ok(Some(Sighting::Several(each.collect())))
            }
        }
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
    arm.map(|slice| Text { slice, read: read(slice) }).collect()
}

impl Text<'_, '_> {
    fn is_for(&self, signature: &Signature) -> bool {
        self.slice.architecture.name().is_some_and(|name| signature.is_for(name))
    }
}

/// The places of each signature, found in one pass over each slice.
fn scan(texts: &[Text<'_, '_>], known: &[Known<'_>]) -> Vec<Vec<Hit>> {
    let mut hits: Vec<Vec<Hit>> = known.iter().map(|_| Vec::new()).collect();
    for (text, here) in texts.iter().enumerate() {
        let Ok((_, code)) = &here.read else { continue };
        let forms: Vec<(usize, usize, &Form)> = known
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

/// Image and code of each slice a signature is for; there must be one, and all
/// must be readable.
fn readable<'t, 'a>(
    file: &Universal<'_>,
    texts: &'t [Text<'_, 'a>],
    signature: &Signature,
) -> Result<Vec<&'t (Image<'a>, signature::Code<'a>)>> {
    let here = texts.iter().filter(|text| text.is_for(signature));
    let here: Vec<_> =
        here.map(|text| text.read.as_ref().map_err(Error::clone)).collect::<Result<_>>()?;
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

/// The code of the slices with the functions of the signature's methods.
fn searched<'a>(
    here: &[&(Image<'a>, signature::Code<'a>)],
    signature: &Signature,
) -> Result<Vec<Searched<'a>>> {
    here.iter()
        .map(|(image, code)| {
            let methods = match &signature.method {
                Some(wanted) => Methods::of(image).functions_named(image, wanted)?,
                None => Vec::new(),
            };
            Ok(Searched { code: *code, methods })
        })
        .collect()
}

/// What to say where there is nothing of a signature.
fn absent(
    file: &Universal<'_>,
    texts: &[Text<'_, '_>],
    (signature, forms): Known<'_>,
) -> Result<Sighting> {
    let here = readable(file, texts, signature)?;
    let code: Vec<signature::Code<'_>> = here.iter().map(|(_, code)| *code).collect();
    sighting::absent(&code, forms)
}

fn site(
    slice: &Slice<'_>,
    image: &Image<'_>,
    (signature, forms): Known<'_>,
    hit: &Hit,
) -> Result<Site> {
    let form = &forms[hit.form];
    let methods = Methods::of(image);
    let place = place(slice, image, &methods, hit.found.at, form.pattern.len())?;
    let site = Site {
        signature: signature.name.clone(),
        state: form.state.clone(),
        captures: name_calls(signature, image, hit.found.captures.clone())?,
        place,
    };
    refuse_another_method(signature, &methods, &site)?;
    Ok(site)
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
        Error::new(Code::Malformed, "the matched code has no place in the file").with("address", at)
    })?;
    let function = image.function_containing(at)?;
    Ok(Place {
        slice: slice.index,
        architecture: slice.architecture,
        offset: offset.in_file(slice.offset),
        words: image.words(window.clone())?.collect(),
        window,
        method: function.as_ref().and_then(|function| methods.beginning_in(function)),
        function,
    })
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
                        "the sequence calls another function than it should",
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

/// Where the file names its methods, the sequence must stand in the one the
/// signature is for.
fn refuse_another_method(signature: &Signature, methods: &Methods<'_>, site: &Site) -> Result<()> {
    let Some(wanted) = &signature.method else { return Ok(()) };
    let listed = methods.named(wanted).next().is_some();
    let here = site.place.method.as_deref();
    if !listed || here.is_some_and(|name| glob(wanted, name)) {
        return Ok(());
    }
    Err(Error::new(Code::NoMatch, "the sequence stands in another method than it should")
        .with("wanted", wanted)
        .with("found in", here.unwrap_or("a function without a name"))
        .with("address", site.place.window.start))
}
