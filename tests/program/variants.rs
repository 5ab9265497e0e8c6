//! Every variant of the synthetic driver has its outcome.

use agxpatch_simulate::driver::{self, Variant};

use crate::harness::{Place, Ran, read, run};

/// Patches the variant and returns the run and the place it ran in.
fn patch(name: &str) -> (Place, Ran) {
    let place = Place::new();
    let d = place.file("d", &driver::build(Variant::named(name).unwrap()).unwrap());
    let p = place.path("p");
    let ran = run(["patch".as_ref(), d.as_os_str(), "-o".as_ref(), p.as_os_str()]);
    (place, ran)
}

fn is_patched_and_verifies(name: &str) {
    let (place, ran) = patch(name);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let p = place.path("p");
    let verified = run(["verify".as_ref(), "--file".as_ref(), p.as_os_str()]);
    assert_eq!(verified.code, 0, "{}", verified.stdout);
}

fn is_refused(name: &str, exit: i32, code: &str) -> String {
    let (place, ran) = patch(name);
    assert_eq!((ran.code, ran.error_code()), (exit, code), "{}{}", ran.stdout, ran.stderr);
    assert_eq!(place.names(), ["d"], "nothing is written");
    assert!(ran.stderr.contains("\n  next: "), "{}", ran.stderr);
    ran.stderr
}

macro_rules! patched {
    ($($test:ident $name:literal)*) => {$(
        #[test]
        fn $test() {
            is_patched_and_verifies($name);
        }
    )*};
}

patched! {
    the_published_build_is_patched "published"
    other_registers_and_addresses_are_patched "renamed"
    a_build_that_calls_the_destructor_is_patched "destructor-called"
    a_legacy_patched_driver_is_upgraded "legacy-patched"
    a_driver_without_symbols_is_patched "stripped-symbols"
    a_fat64_driver_is_patched "fat64"
    a_thin_driver_is_patched "thin"
    an_arm64e_only_driver_is_patched "arm64e-only"
    a_driver_with_two_digest_kinds_is_patched "sha1-sha256"
    a_driver_with_large_pages_is_patched "large-pages"
    a_linker_signed_driver_is_patched "linker-signed"
}

#[test]
fn two_hits_are_refused_and_both_are_named() {
    let said = is_refused("two-hits", 4, "AGX-0203");
    assert_eq!(said.matches("in arm64e, original").count(), 2, "{said}");
}

#[test]
fn both_methods_that_hold_the_sequence_are_patched_together() {
    let (place, ran) = patch("sibling-hit");
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    for class in ["ComputeContext", "RenderContext"] {
        let site = format!("agx-encoder-release in arm64e, -[AGXG16XFamily{class} destroyImpl]");
        assert!(ran.stdout.contains(&site), "{}", ran.stdout);
    }
    let p = place.path("p");
    let verified = run(["verify".as_ref(), "--file".as_ref(), p.as_os_str()]);
    assert_eq!(verified.code, 0, "{}", verified.stdout);
    assert_eq!(verified.stdout.matches("rewrite-in-place").count(), 2, "{}", verified.stdout);
}

#[test]
fn a_file_with_only_one_of_the_methods_patched_does_not_verify() {
    let (place, ran) = patch("sibling-hit");
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let (d, p) = (place.path("d"), place.path("p"));
    let [compute, _] = sites(&d).try_into().unwrap();
    let mut half = read(&p);
    let original = read(&d);
    half[compute..compute + 52].copy_from_slice(&original[compute..compute + 52]);
    let half = place.file("half", &half);
    let verified = run(["verify".as_ref(), "--file".as_ref(), half.as_os_str()]);
    assert!(verified.stdout.contains("FAIL    rewrite-in-place"), "{}", verified.stdout);
}

/// The file offsets of the places that `inspect` lists for patching.
fn sites(file: &std::path::Path) -> Vec<usize> {
    let ran = run(["--json".as_ref(), "inspect".as_ref(), file.as_os_str()]).json();
    let sites = ran["result"]["sites"].as_array().unwrap().iter();
    let offset = |site: &serde_json::Value| {
        let offset = site["offset"].as_str().unwrap().trim_start_matches("0x").to_owned();
        usize::from_str_radix(&offset, 16).unwrap()
    };
    sites.map(offset).collect()
}

#[test]
fn two_hits_are_told_in_json_and_one_is_chosen_by_its_address() {
    let place = Place::new();
    let d = place.file("d", &driver::build(Variant::named("two-hits").unwrap()).unwrap());
    let inspected = run(["--json".as_ref(), "inspect".as_ref(), d.as_os_str()]);
    assert_eq!(inspected.code, 0, "{}", inspected.stdout);
    let result = &inspected.json()["result"];
    let places: Vec<String> = result["places"]
        .as_array()
        .unwrap()
        .iter()
        .map(|place| place["at"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(places.len(), 2);
    assert_eq!(result["reason"]["context"]["at"].as_array().unwrap().len(), 2);

    let p = place.path("p");
    let patch = |at: &str| {
        let arguments = ["patch".as_ref(), d.as_os_str(), "-o".as_ref(), p.as_os_str()];
        run(arguments.into_iter().chain(["--at".as_ref(), at.as_ref()]))
    };
    let nowhere = patch("0x1000");
    assert_eq!((nowhere.code, nowhere.error_code()), (4, "AGX-0202"), "{}", nowhere.stderr);
    assert!(places.iter().all(|place| nowhere.stderr.contains(place)), "{}", nowhere.stderr);
    assert_eq!(patch(&places[1]).code, 0);
    let verify = ["verify".as_ref(), "--file".as_ref(), p.as_os_str()];
    assert_eq!(run(verify).code, 2, "two places are two places");
    let chosen = run(verify.into_iter().chain(["--at".as_ref(), places[1].as_ref()]));
    assert_eq!(chosen.code, 0, "{}", chosen.stdout);
}

#[test]
fn two_blocks_given_back_in_one_method_are_refused() {
    is_refused("two-blocks", 4, "AGX-0203");
}

#[test]
fn the_same_tail_in_dealloc_is_listed_and_left_alone() {
    let (place, ran) = patch("published");
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    let d = place.path("d");
    let inspected = run(["inspect".as_ref(), d.as_os_str()]);
    let dealloc = "-[AGXG16XFamilyCommandBuffer dealloc]";
    assert!(inspected.stdout.contains(dealloc), "{}", inspected.stdout);
    let words = |name: &str| read(&place.path(name))[0xa6_4000 + 0x25_0440..][..0x400].to_vec();
    assert!(words("d") == words("p"));
}

#[test]
fn a_driver_without_names_is_patched_at_the_chosen_place() {
    let said = is_refused("stripped-metadata", 4, "AGX-0203");
    assert_eq!(said.matches("in arm64e, original").count(), 2, "{said}");
    let place = Place::new();
    let d = place.file("d", &driver::build(Variant::named("stripped-metadata").unwrap()).unwrap());
    let p = place.path("p");
    let at = ["--at".as_ref(), "0x2be05c".as_ref()];
    let patch = ["patch".as_ref(), d.as_os_str(), "-o".as_ref(), p.as_os_str()];
    assert_eq!(run(patch.into_iter().chain(at)).code, 0);
    let verify = ["verify".as_ref(), "--file".as_ref(), p.as_os_str()];
    assert_eq!(run(verify.into_iter().chain(at)).code, 0);
}

#[test]
fn a_driver_that_clears_under_the_lock_is_left_alone() {
    let (place, ran) = patch("no-hit");
    assert_eq!(ran.code, 0, "{}{}", ran.stdout, ran.stderr);
    assert!(ran.stdout.contains("clears under the lock; nothing written"), "{}", ran.stdout);
    assert_eq!(place.names(), ["d"], "nothing is written");
}

#[test]
fn a_partly_patched_driver_is_refused_as_that() {
    is_refused("partly-patched", 2, "AGX-0304");
}

#[test]
fn an_unsigned_driver_is_refused() {
    is_refused("unsigned", 5, "AGX-0402");
}

#[test]
fn a_branch_into_the_window_is_refused_by_the_proof() {
    let said = is_refused("branch-into-window", 7, "AGX-0501");
    assert!(said.contains("null-entry-only"), "{said}");
}

#[test]
fn a_call_between_the_load_and_the_test_is_refused_by_the_proof() {
    let said = is_refused("call-before-test", 7, "AGX-0501");
    assert!(said.contains("null-entry-only"), "{said}");
}

#[test]
fn a_register_that_is_read_after_the_window_is_refused_by_the_proof() {
    let said = is_refused("impl-live", 7, "AGX-0501");
    assert!(said.contains("clobbered-dead"), "{said}");
}

#[test]
fn every_variant_has_a_test() {
    let source = include_str!("variants.rs");
    for variant in Variant::ALL {
        assert!(source.contains(&format!("\"{}\"", variant.name)), "{}", variant.name);
    }
}
