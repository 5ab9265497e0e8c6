//! The published build: what the finder says about the method that the catalogue knows,
//! and the rewrite that it makes of it.

use std::sync::OnceLock;

use agxpatch_core::finder::{Verdict, Way, rewrite};
use agxpatch_core::macho::{Image, Universal};
use agxpatch_core::patch::{Engine, Examined, Extent, MatchResult};
use agxpatch_simulate::driver::{self, Variant};

use super::verdicts::proven;

const METHOD: &str = "-[AGXG16XFamilyComputeContext destroyImpl]";

fn published() -> &'static [u8] {
    static BUILT: OnceLock<Vec<u8>> = OnceLock::new();
    BUILT.get_or_init(|| driver::build(Variant::named("published").unwrap()).unwrap())
}

fn examined(engine: &Engine) -> Examined {
    let file = Universal::parse(published()).unwrap();
    let found = engine.examine(&file, Extent::Named).unwrap();
    assert_eq!(found.not_examined, 0);
    let named = |one: &Examined| one.name.as_deref() == Some(METHOD);
    found.functions.into_iter().find(named).unwrap()
}

#[test]
fn the_verdict_about_the_published_method_names_the_catalogues_site() {
    let engine = Engine::built_in().unwrap();
    let file = Universal::parse(published()).unwrap();
    let sites = engine.find_any(&file).and_then(MatchResult::sites).unwrap();
    let [site] = sites.sites.as_slice() else { panic!("{:?}", sites.sites) };
    let window = site.place.window.clone();
    let found = examined(&engine);
    let Verdict::ClearsLate { witnesses } = &found.verdict else { panic!("{:?}", found.verdict) };
    let [witness] = witnesses.as_slice() else { panic!("{witnesses:?}") };
    assert_eq!(found.field.as_deref(), Some("_impl"));
    // The push, the unlock behind it and the last instruction before `done`.
    assert!(window.contains(&witness.given) && window.contains(&witness.unlocked));
    assert_eq!(witness.cleared.instruction(1), window.end);
    assert_eq!(witness.unlocked, witness.given.instruction(2));
}

#[test]
fn the_finders_own_rewrite_of_the_published_method_is_proven() {
    let entry = examined(&Engine::built_in().unwrap()).function;
    let file = Universal::parse(published()).unwrap();
    let slice = file.slices.iter().find(|slice| slice.architecture.is_aarch64()).unwrap();
    let image = slice.image().unwrap();
    let mut prove = |before: &Image<'_>, after: &Image<'_>| proven(before, after, entry.0);
    let rewritten = rewrite(&image, entry.0, &mut prove).unwrap().unwrap();
    // A jump table keeps the code from moving.
    assert_eq!(rewritten.ways, [Way::Padding]);
}
