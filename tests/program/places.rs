//! Where an author's signature is found: which places count, and which are only listed.

use agxpatch_core::macho::{Architecture, Universal};
use agxpatch_core::patch::{Catalogue, Engine};

use crate::authors::{Catalog, SOUND};
use crate::harness::driver;

/// Code is read in pieces, and its halves are searched at once: a match may lie
/// across any border of them.
#[test]
fn matches_are_found_once_wherever_they_lie() {
    const WORDS: [u32; 5] = [0x0123_4567, 0x89ab_cdef, 0x0246_8ace, 0x1357_9bdf, 0x0f1e_2d3c];
    const STEP: usize = 4096;
    let mut bytes = driver().to_vec();
    let file = Universal::parse(driver()).unwrap();
    let slice = file.slice(Architecture::ARM64E).unwrap();
    let text = slice.image().unwrap().text().unwrap().clone();
    let (first, size) = (slice.offset.0 as usize + text.offset.0 as usize, text.bytes.len());
    let middle = size / 8 * 4;
    let steps = |from: usize, to: usize| (from..to).step_by(STEP).enumerate();
    let mut planted: Vec<usize> = Vec::new();
    for (number, border) in steps(0, middle).chain(steps(middle, size)) {
        let at = border.saturating_sub(4 * ((number + number / 16) % WORDS.len()));
        if at >= planted.last().map_or(0, |last| last + 4 * WORDS.len()) {
            let words: Vec<u8> = WORDS.iter().flat_map(|word| word.to_le_bytes()).collect();
            bytes[first + at..first + at + words.len()].copy_from_slice(&words);
            planted.push(at);
        }
    }
    let pattern: String = WORDS.iter().map(|word| format!("word {word:08x}/ffffffff\n")).collect();
    let pattern = SOUND.replace("str xzr, [{self}, {ivar}]\nldp x29, x30, [sp, #0x90]\n", &pattern);
    let catalog = Catalog::new(&[("mine.toml", &pattern)], &[]);
    std::fs::write(catalog.0.path().join("d"), bytes).unwrap();
    let found =
        catalog.run(&["--json", "signatures", "test", "d"]).json()["result"]["found"].clone();
    let mine = found.as_array().unwrap().iter().filter(|hit| hit["signature"] == "clear");
    let mine: Vec<String> = mine.map(|hit| hit["at"].as_str().unwrap().to_owned()).collect();
    let planted = planted.iter().map(|at| text.address.plus(*at as u64).to_string());
    assert_eq!(mine, planted.collect::<Vec<_>>());
}

/// A signature for a line that occurs in many functions, in the methods `method`.
fn frequent(method: &str) -> String {
    format!(
        "name = \"frequent\"\narchitectures = [\"arm64e\"]\nmethod = {method}\npattern = \"\"\"\nldp x29, x30, [sp, #{{n}}]\n\"\"\"\n"
    )
}

#[test]
fn the_method_chooses_among_places_and_the_others_are_listed() {
    let text = frequent("\"-[AGX*FamilyComputeContext destroyImpl]\"");
    let engine = Engine::new(with(&text)).unwrap();
    let file = Universal::parse(driver()).unwrap();
    let signature = engine.catalogue().signature("frequent").unwrap();
    let found = engine.find(&file, signature).unwrap().sites().unwrap();
    assert_eq!(found.sites.len(), 1);
    let method = found.sites[0].place.method.as_deref();
    assert_eq!(method, Some("-[AGXG16XFamilyComputeContext destroyImpl]"));
    assert!(found.elsewhere.len() > 1);
    assert!(found.elsewhere.iter().all(|place| place.method.as_deref() != method));
}

#[test]
fn a_list_of_methods_that_the_file_does_not_have_is_refused_with_the_nearest_names() {
    let text = frequent("[\"-[AGX*FamilyComputeContext destroyIt]\", \"-[Nothing at:all:]\"]");
    let engine = Engine::new(with(&text)).unwrap();
    let file = Universal::parse(driver()).unwrap();
    let signature = engine.catalogue().signature("frequent").unwrap();
    let error = engine.find(&file, signature).unwrap_err();
    assert_eq!(error.code().as_str(), "AGX-0202");
    let nearest: Vec<&str> = error
        .context()
        .iter()
        .filter(|(name, _)| *name == "nearest name")
        .map(|(_, name)| name.as_str())
        .collect();
    assert_eq!(nearest.len(), 3);
    assert!(nearest.contains(&"-[AGXG16XFamilyComputeContext destroyImpl]"), "{nearest:?}");
}

#[test]
fn a_sequence_that_stands_only_in_other_methods_is_refused_with_their_names() {
    let text = SOUND.replace("pattern =", "method = \"-[AGX*FamilyBlitContext *]\"\npattern =");
    let engine = Engine::new(with(&text)).unwrap();
    let file = Universal::parse(driver()).unwrap();
    let signature = engine.catalogue().signature("clear").unwrap();
    let error = engine.find(&file, signature).unwrap_err();
    assert_eq!(error.message(), "the sequence is in a different method than expected");
    let told = |(name, value): &(&str, String)| *name == "at" && value.contains("destroyImpl]");
    assert!(error.context().iter().any(told), "{error:?}");
}

/// The built-in catalogue with one more signature.
fn with(signature: &str) -> Catalogue {
    let mut catalogue = Catalogue::built_in().unwrap();
    catalogue.add_signature(signature.to_owned(), "mine.toml").unwrap();
    catalogue
}
