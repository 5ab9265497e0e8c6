//! Drivers whose digest the catalogue lists.

use agxpatch_core::edit::sha256;
use agxpatch_core::macho::Universal;
use agxpatch_core::patch::{Catalogue, Engine, KnownBuild, KnownState};
use agxpatch_deploy::doctor::{EngineJudge, Judge, Verdict};
use agxpatch_simulate::driver::{self, Variant};

/// The verdict on the synthetic driver by a catalogue that lists it in this state.
fn listed_as(state: KnownState) -> Verdict {
    let bytes = driver::build(&Variant::PUBLISHED).unwrap();
    let file = Universal::parse(&bytes).unwrap();
    let uuid = file.slices.last().unwrap().image().unwrap().uuid().unwrap().to_string();
    let mut catalogue = Catalogue::built_in().unwrap();
    catalogue.builds.push(KnownBuild {
        driver: "AGXMetalG16X".into(),
        version: "1".into(),
        uuid,
        macos: "15.0".into(),
        hardware: "none".into(),
        form: "universal".into(),
        size: None,
        sha256: sha256(&bytes),
        state,
    });
    let engine = Engine::new(catalogue).unwrap();
    EngineJudge { engine: &engine }.judge(&bytes)
}

#[test]
fn a_driver_is_listed_only_by_the_digest_of_apples_own_file() {
    let name = "AGXMetalG16X 1 of macOS 15.0".to_owned();
    assert_eq!(listed_as(KnownState::Original), Verdict::Listed { name });
    let other = listed_as(KnownState::LegacyPatched);
    assert!(matches!(other, Verdict::Provable { .. }), "{other:?}");
}
