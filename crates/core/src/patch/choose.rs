//! From the places where a sequence stands to those that are patched.
//!
//! An image that names its methods is held to the names in the signature: one
//! place in such a method is a site, two in one method are an error, and places in
//! other methods are listed and left alone, for they may be the tail of a function
//! that has no race. An image without names may hold the sequence once.

use std::ops::Range;

use crate::address::VmAddr;
use crate::error::{Code, Error, Result};
use crate::signature;

use super::catalogue::Signature;
use super::find::{Hit, Known, Text, site};
use super::match_result::{self, MAX_PLACES, MatchResult, Occurrence, Searched, Sites};

/// The hits of a signature, by what its methods say of them.
#[derive(Default)]
struct Sorted<'h, 'a> {
    /// The only hit in a method of the signature.
    sites: Vec<&'h Hit>,
    /// Hits that share a method of the signature.
    crowded: Vec<&'h Hit>,
    /// Hits in other functions.
    elsewhere: Vec<&'h Hit>,
    /// Hits in slices that name no methods.
    unnamed: Vec<&'h Hit>,
    /// The signature's methods without a hit, and slices that name no methods.
    without: Vec<Searched<'a>>,
}

/// What the hits come to, chosen by method; none where there is nothing.
pub(super) fn by_method(
    texts: &[Text<'_, '_>],
    known: Known<'_>,
    hits: &[Hit],
) -> Result<Option<MatchResult>> {
    let (signature, forms) = known;
    if hits.is_empty() && forms.len() < 2 {
        // Without a rewrite there is nothing to be mixed with.
        return Ok(None);
    }
    let mut sorted = sort(texts, signature, hits)?;
    let mut ambiguous = sorted.crowded;
    match sorted.unnamed.as_slice() {
        [only] => sorted.sites.push(only),
        several => ambiguous.extend(several),
    }
    if !ambiguous.is_empty() {
        ambiguous.extend(sorted.sites);
        return several(texts, known, ambiguous).map(Some);
    }
    if let Some(mixture) = match_result::mixture(&sorted.without, forms) {
        return Ok(Some(mixture));
    }
    if hits.is_empty() {
        return Ok(None);
    }
    if sorted.sites.is_empty() {
        refuse_missing_methods(texts, signature)?;
        return Err(another_method(texts, known, &sorted.elsewhere));
    }
    found(texts, known, sorted.sites, sorted.elsewhere).map(Some)
}

/// The places that hold `addresses`.
pub(super) fn by_hand(
    texts: &[Text<'_, '_>],
    known: Known<'_>,
    hits: &[Hit],
    addresses: &[VmAddr],
) -> Result<MatchResult> {
    let holds = |hit: &Hit, address: &VmAddr| {
        let length = known.1[hit.form].pattern.len();
        (hit.found.at..hit.found.at.instruction(length)).contains(address)
    };
    for address in addresses {
        if !hits.iter().any(|hit| holds(hit, address)) {
            let all: Vec<&Hit> = hits.iter().collect();
            return Err(Error::new(Code::NoMatch, "the sequence is not at that address")
                .with("address", address)
                .with_each("at", shown(texts, known, &all)?)
                .next("nothing was changed; choose one of the places listed"));
        }
    }
    let chosen = |hit: &&Hit| addresses.iter().any(|address| holds(hit, address));
    let (sites, elsewhere) = hits.iter().partition(chosen);
    found(texts, known, sites, elsewhere)
}

/// Refuses a signature whose methods an image does not have although it names
/// methods.
///
/// # Errors
/// `NoMatch`, with the names that come nearest.
pub(super) fn refuse_missing_methods(texts: &[Text<'_, '_>], signature: &Signature) -> Result<()> {
    if signature.methods.is_empty() {
        return Ok(());
    }
    let mut nearest = Vec::new();
    for text in texts.iter().filter(|text| text.is_for(signature)) {
        let methods = text.methods()?;
        if !methods.are_named(&signature.methods) || methods.any_named(&signature.methods) {
            return Ok(());
        }
        nearest.extend(methods.nearest(&signature.methods));
    }
    Err(Error::new(Code::NoMatch, "the file has none of the methods that the signature is for")
        .with_each("wanted", &signature.methods)
        .with_each("nearest name", nearest)
        .next("add the method to the signature, or choose a place with --at ADDRESS"))
}

fn sort<'h, 'a>(
    texts: &[Text<'_, 'a>],
    signature: &Signature,
    hits: &'h [Hit],
) -> Result<Sorted<'h, 'a>> {
    let mut sorted = Sorted::default();
    for (number, text) in texts.iter().enumerate() {
        if !text.is_for(signature) {
            continue;
        }
        let here: Vec<&Hit> = hits.iter().filter(|hit| hit.text == number).collect();
        let (image, code) = text.read()?;
        if signature.methods.is_empty() || !text.methods()?.are_named(&signature.methods) {
            if here.is_empty() {
                sorted.without.push(Searched::Slice(*code));
            }
            sorted.unnamed.extend(here);
            continue;
        }
        let functions = text.methods()?.functions_named(image, &signature.methods)?;
        sort_by_function(&functions, *code, here, &mut sorted);
    }
    Ok(sorted)
}

/// Sorts the hits of a slice that names its methods.
fn sort_by_function<'h, 'a>(
    functions: &[Range<VmAddr>],
    code: signature::Code<'a>,
    mut hits: Vec<&'h Hit>,
    sorted: &mut Sorted<'h, 'a>,
) {
    for function in functions {
        let (inside, outside): (Vec<&Hit>, Vec<&Hit>) =
            hits.into_iter().partition(|hit| function.contains(&hit.found.at));
        hits = outside;
        match inside.as_slice() {
            [] => sorted.without.extend(code.part(function.clone()).map(Searched::Method)),
            [only] => sorted.sites.push(only),
            crowd => sorted.crowded.extend(crowd),
        }
    }
    sorted.elsewhere.extend(hits);
}

fn found(
    texts: &[Text<'_, '_>],
    known: Known<'_>,
    mut sites: Vec<&Hit>,
    elsewhere: Vec<&Hit>,
) -> Result<MatchResult> {
    sites.sort_by_key(|hit| (hit.text, hit.found.at));
    let sites = sites.into_iter().map(|hit| site(texts, known, hit)).collect::<Result<_>>()?;
    Ok(MatchResult::Found(Sites { sites, elsewhere: occurrences(texts, known, &elsewhere)? }))
}

fn several(texts: &[Text<'_, '_>], known: Known<'_>, mut hits: Vec<&Hit>) -> Result<MatchResult> {
    hits.sort_by_key(|hit| (hit.text, hit.found.at));
    Ok(MatchResult::Several { places: occurrences(texts, known, &hits)? })
}

/// Names longer than this, in bytes, are left out: a hostile file may have thousands
/// of places and names of megabytes.
const MAX_NAME: usize = 256;

/// The places of hits with the methods around them. The tables of an image are read
/// once however many hits there are.
fn occurrences(
    texts: &[Text<'_, '_>],
    (_, forms): Known<'_>,
    hits: &[&Hit],
) -> Result<Vec<Occurrence>> {
    let mut occurrences = Vec::with_capacity(hits.len());
    for (number, text) in texts.iter().enumerate() {
        let here: Vec<&&Hit> = hits.iter().filter(|hit| hit.text == number).collect();
        if here.is_empty() {
            continue;
        }
        let starts = text.read()?.0.function_starts()?;
        let methods = text.methods()?.by_address();
        let method = |at: VmAddr| {
            let next = starts.partition_point(|start| *start <= at);
            let start = *starts.get(next.checked_sub(1)?)?;
            let (begins, name) = methods.get(methods.partition_point(|(at, _)| *at < start))?;
            let inside = starts.get(next).is_none_or(|end| begins < end);
            Some(name.to_string()).filter(|name| inside && name.len() <= MAX_NAME)
        };
        occurrences.extend(here.into_iter().map(|hit| Occurrence {
            architecture: text.slice.architecture.to_string(),
            at: hit.found.at,
            method: method(hit.found.at),
            state: forms[hit.form].state.clone(),
        }));
    }
    Ok(occurrences)
}

/// A few hits as an error shows them.
fn shown(texts: &[Text<'_, '_>], known: Known<'_>, hits: &[&Hit]) -> Result<Vec<String>> {
    let few = &hits[..hits.len().min(MAX_PLACES)];
    Ok(occurrences(texts, known, few)?.iter().map(Occurrence::to_string).collect())
}

fn another_method(texts: &[Text<'_, '_>], known: Known<'_>, hits: &[&Hit]) -> Error {
    let places = match shown(texts, known, hits) {
        Ok(places) => places,
        Err(error) => return error,
    };
    Error::new(Code::NoMatch, "the sequence is in a different method than expected")
        .with_each("wanted", &known.0.methods)
        .with_each("at", places)
        .next("nothing was changed; add the method to the signature, or choose with --at ADDRESS")
}
