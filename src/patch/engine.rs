//! The compiled catalogue, looking for its signatures in a file.

use std::cell::OnceCell;

use crate::address::VmAddr;
use crate::arm64::{Assembler, Disassembler};
use crate::error::{Code, Error, Result};
use crate::macho::{Image, Slice, Universal};
use crate::signature::{self, Captures, Many, Pattern, Value};

use super::catalogue::{Catalogue, Signature};
use super::methods::{Methods, glob};
use super::sighting::{self, Place, Searched, Sighting, Site, State};

/// The catalogue with the tools to apply it.
pub struct Engine {
    catalogue: Catalogue,
    /// Text to words.
    pub assembler: Assembler,
    /// Words to text.
    pub disassembler: Disassembler,
    compiled: Vec<OnceCell<Vec<Form>>>,
}

/// One of the forms in which a sequence occurs: as the compiler made it, or as
/// a patch rewrote it.
#[derive(Clone, Debug)]
pub struct Form {
    /// Which form.
    pub state: State,
    /// How to recognise it.
    pub pattern: Pattern,
}

/// What to do about a pattern that cannot be read.
const SYNTAX: &str = "mend that line; docs/signatures.md describes what a pattern may hold";

impl Engine {
    /// Opens assembler and disassembler; patterns are compiled when needed.
    pub fn new(catalogue: Catalogue) -> Result<Engine> {
        let compiled = catalogue.signatures.iter().map(|_| OnceCell::new()).collect();
        Ok(Engine {
            catalogue,
            assembler: Assembler::new(),
            disassembler: Disassembler::new()?,
            compiled,
        })
    }

    /// An engine for the built-in catalogue.
    pub fn built_in() -> Result<Engine> {
        Engine::new(Catalogue::built_in()?)
    }

    /// The catalogue.
    pub fn catalogue(&self) -> &Catalogue {
        &self.catalogue
    }

    /// Compiles the signature that is looked for first, for a caller with time on
    /// its hands. What is wrong with it is said when it is looked for.
    pub fn warm_up(&self) {
        if let Some(first) = self.catalogue.signatures.first() {
            drop(self.forms(first));
        }
    }

    /// The forms of a signature, the original first.
    pub fn forms(&self, signature: &Signature) -> Result<&[Form]> {
        let known = &self.catalogue.signatures;
        match known.iter().position(|known| known.name == signature.name) {
            Some(number) => self.forms_of(number),
            None => Err(Error::new(Code::Bug, "a signature is not of this catalogue")),
        }
    }

    /// The sequence of a signature as the compiler made it.
    pub fn original(&self, signature: &Signature) -> Result<&Pattern> {
        let forms = self.forms(signature)?.first();
        forms
            .map(|form| &form.pattern)
            .ok_or_else(|| Error::new(Code::Bug, "a signature has no form"))
    }

    /// The forms of every signature, in the catalogue's order.
    pub fn all_forms(&self) -> Result<Vec<(&Signature, &[Form])>> {
        let signatures = self.catalogue.signatures.iter().enumerate();
        signatures.map(|(number, signature)| Ok((signature, self.forms_of(number)?))).collect()
    }

    fn forms_of(&self, number: usize) -> Result<&[Form]> {
        let cell = &self.compiled[number];
        if let Some(forms) = cell.get() {
            return Ok(forms);
        }
        let forms = self.compile(&self.catalogue.signatures[number])?;
        Ok(cell.get_or_init(|| forms))
    }

    fn compile(&self, signature: &Signature) -> Result<Vec<Form>> {
        let original = self.pattern(&signature.pattern, |line| {
            self.catalogue.signature_place(&signature.name, line)
        })?;
        let length = original.len();
        let mut forms = vec![Form { state: State::Original, pattern: original }];
        for patch in self.catalogue.patches_for(&signature.name) {
            let pattern =
                self.pattern(&patch.rewrite, |line| self.catalogue.patch_place(&patch.name, line))?;
            if pattern.len() != length {
                return Err(Error::new(
                    Code::CatalogueBroken,
                    "a rewrite has another length than the sequence it replaces",
                )
                .with("patch", &patch.name)
                .with("file", self.catalogue.patch_place(&patch.name, "rewrite"))
                .with("lines", format!("{} for {length}", pattern.len()))
                .next("a rewrite fills the sequence it replaces: pad it with `nop`, or keep words with `?`"));
            }
            forms.push(Form { state: State::Patched { patch: patch.name.clone() }, pattern });
        }
        Ok(forms)
    }

    fn pattern(&self, text: &str, place: impl Fn(&str) -> String) -> Result<Pattern> {
        Pattern::compile(&self.assembler, text).map_err(|error| {
            let line = error.context().iter().find(|(name, _)| *name == "line");
            let place = place(line.map_or("pattern", |(_, line)| line.as_str()));
            match error.advice() {
                Some(_) => error.with("file", place),
                None => error.with("file", place).next(SYNTAX),
            }
        })
    }

    /// Looks for one signature in every slice it is for.
    ///
    /// # Errors
    /// If the file has no such slice, or one cannot be read. That the sequence
    /// is not there is a [`Sighting`] and no error.
    pub fn look(&self, file: &Universal<'_>, signature: &Signature) -> Result<Sighting> {
        let slices: Vec<&Slice<'_>> = file
            .slices
            .iter()
            .filter(|s| s.architecture.name().is_some_and(|n| signature.is_for(n)))
            .collect();
        if slices.is_empty() {
            let held: Vec<String> =
                file.slices.iter().map(|slice| slice.architecture.to_string()).collect();
            return Err(Error::new(Code::NoSlice, "the file has no slice this signature is for")
                .with("signature", &signature.name)
                .with("wanted", signature.architectures.join(" or "))
                .with("slices", held.join(", ")));
        }
        let forms = self.forms(signature)?;
        let together = Many::new(forms.iter().map(|form| &form.pattern));
        let mut found = Vec::new();
        for slice in &slices {
            let image = slice.image()?;
            let text = image.text()?;
            let code = signature::Code { address: text.address, bytes: text.bytes };
            for (form, hit) in together.find(code) {
                found.push((*slice, image.clone(), &forms[form], hit));
            }
        }
        match found.len() {
            0 => sighting::absent(&searched(signature, &slices)?, forms),
            1 => {
                let (slice, image, form, hit) = found.remove(0);
                let methods = Methods::of(&image);
                let place = self.place(slice, &image, &methods, hit.at, form.pattern.len())?;
                let site = Site {
                    signature: signature.name.clone(),
                    state: form.state.clone(),
                    captures: name_calls(signature, &image, hit.captures)?,
                    place,
                };
                refuse_another_method(signature, &methods, &site)?;
                Ok(Sighting::Found(site))
            }
            _ => Ok(Sighting::Several(
                found
                    .iter()
                    .map(|(slice, _, form, hit)| {
                        (slice.architecture.to_string(), hit.at, form.state.clone())
                    })
                    .collect(),
            )),
        }
    }

    /// Looks for every signature of the catalogue and returns the only one that
    /// is there, else the sighting of the first.
    pub fn look_for_any(&self, file: &Universal<'_>) -> Result<Sighting> {
        let mut first = None;
        for signature in &self.catalogue.signatures {
            let sighting = self.look(file, signature);
            if let Ok(Sighting::Found(_) | Sighting::Several(_) | Sighting::Partly { .. }) =
                sighting
            {
                return sighting;
            }
            first.get_or_insert(sighting);
        }
        first.unwrap_or_else(|| {
            Err(Error::new(Code::CatalogueBroken, "the catalogue holds no signature"))
        })
    }

    fn place(
        &self,
        slice: &Slice<'_>,
        image: &Image<'_>,
        methods: &Methods<'_>,
        at: VmAddr,
        length: usize,
    ) -> Result<Place> {
        let window = at..at.instruction(length);
        let offset = image.offset_of(at).ok_or_else(|| {
            Error::new(Code::Malformed, "the matched code has no place in the file")
                .with("address", at)
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
}

/// The code of the slices with the functions of the signature's methods.
fn searched<'a>(signature: &Signature, slices: &[&Slice<'a>]) -> Result<Vec<Searched<'a>>> {
    let mut searched = Vec::new();
    for slice in slices {
        let image = slice.image()?;
        let text = image.text()?;
        let methods = match &signature.method {
            Some(wanted) => Methods::of(&image).functions_named(&image, wanted)?,
            None => Vec::new(),
        };
        let code = signature::Code { address: text.address, bytes: text.bytes };
        searched.push(Searched { code, methods });
    }
    Ok(searched)
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
