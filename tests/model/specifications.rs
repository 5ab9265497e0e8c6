//! Every specification in `tla/`, checked by `tla-checker`, an implementation
//! of TLA+ that shares nothing with the library.
//!
//! `<name>_holds.cfg` must hold and `<name>_fails_<Invariant>.cfg` must violate
//! that invariant; both check `<name>.tla`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use agxpatch_core::proof::interleaving::{Readers, Scene, explore};
use agxpatch_core::proof::tla;
use tla_checker::checker::{CheckResult, check};
use tla_checker::load::prepare_from_path;

use crate::published::{VERSIONS, listing, steps};

/// What a configuration claims.
struct Claim {
    specification: PathBuf,
    configuration: PathBuf,
    /// The invariant that must be violated, or none if all must hold.
    fails: Option<String>,
}

fn tla_directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tla")
}

fn claims() -> Vec<Claim> {
    let mut files: Vec<PathBuf> =
        fs::read_dir(tla_directory()).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
        .into_iter()
        .filter(|path| path.extension().is_some_and(|e| e == "cfg"))
        .map(claim)
        .collect()
}

fn claim(configuration: PathBuf) -> Claim {
    let stem = configuration.file_stem().unwrap().to_str().unwrap();
    let (name, fails) = match stem.split_once("_fails_") {
        Some((name, invariant)) => (name, Some(invariant.to_owned())),
        None => (stem.strip_suffix("_holds").expect("_holds or _fails_<Invariant>"), None),
    };
    Claim {
        specification: configuration.with_file_name(format!("{name}.tla")),
        fails,
        configuration,
    }
}

/// The number of distinct states, or the invariant that is violated.
fn run(specification: &Path, configuration: &Path) -> Result<usize, String> {
    let prepared = prepare_from_path(specification, Some(configuration), &[])
        .unwrap_or_else(|error| panic!("{}: {error}", configuration.display()));
    match check(&prepared.spec, &prepared.domains, &prepared.checker_config) {
        CheckResult::Ok(stats) => Ok(stats.states_explored),
        CheckResult::InvariantViolation(found, _) => {
            let name = prepared.spec.invariant_names.get(found.violated_invariant).cloned();
            Err(name.flatten().map(|name| name.to_string()).unwrap_or_default())
        }
        other => panic!("{}: {other:?}", configuration.display()),
    }
}

#[test]
fn every_configuration_comes_out_as_its_name_says() {
    for claim in claims() {
        let outcome = run(&claim.specification, &claim.configuration);
        println!(
            "{:60} {outcome:?}",
            claim.configuration.file_name().unwrap().display().to_string()
        );
        match claim.fails {
            None => assert!(outcome.is_ok(), "{}: {outcome:?}", claim.configuration.display()),
            Some(name) => assert_eq!(outcome, Err(name), "{}", claim.configuration.display()),
        }
    }
}

/// The invariants a configuration names.
fn invariants(configuration: &Path) -> Vec<String> {
    let text = fs::read_to_string(configuration).unwrap();
    let mut lines = text.lines().skip_while(|line| !line.starts_with("INVARIANT"));
    let first = lines.next().unwrap_or_default();
    first
        .split_whitespace()
        .skip(1)
        .chain(lines.flat_map(str::split_whitespace))
        .map(str::to_owned)
        .collect()
}

#[test]
fn no_invariant_is_vacuous() {
    let mut held: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut failed: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for claim in claims() {
        // The versions of the window are one specification.
        let stem = claim.specification.file_stem().unwrap().to_str().unwrap();
        let family = if stem.starts_with("window") { "window" } else { stem }.to_owned();
        let names = invariants(&claim.configuration);
        assert!(!names.is_empty(), "{} checks nothing", claim.configuration.display());
        let known = if claim.fails.is_some() { &mut failed } else { &mut held };
        known.entry(family).or_default().extend(names);
    }
    for (family, names) in &held {
        let never: Vec<_> = names.difference(failed.get(family).expect(family)).collect();
        assert!(never.is_empty(), "nothing violates {never:?} of {family}");
    }
    assert_eq!(held.keys().collect::<Vec<_>>(), failed.keys().collect::<Vec<_>>());
}

fn generated() -> Vec<tla::File> {
    let instance = |(name, words): (&str, [u32; 13])| {
        tla::instance(name, &steps(&words), &listing(&words)).unwrap()
    };
    [tla::parametric()].into_iter().chain(VERSIONS.into_iter().flat_map(instance)).collect()
}

#[test]
fn the_committed_instances_are_what_the_bytes_give() {
    let update = std::env::var_os("UPDATE_TLA").is_some();
    let mut expected = BTreeSet::from(["window_broken".to_owned()]);
    for file in generated() {
        let path = tla_directory().join(&file.name);
        if update {
            fs::write(&path, &file.text).unwrap();
        }
        let committed = fs::read_to_string(&path).unwrap_or_default();
        assert!(committed == file.text, "{} differs; UPDATE_TLA=1 rewrites it", file.name);
        expected.insert(file.name);
    }
    for entry in fs::read_dir(tla_directory()).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let known = expected.contains(&name) || name.starts_with("window_broken");
        assert!(known || !name.starts_with("window"), "{name} is generated from nothing");
    }
}

#[test]
fn both_checkers_count_the_same_states() {
    let directory = tempfile::tempdir().unwrap();
    for file in generated() {
        fs::write(directory.path().join(&file.name), &file.text).unwrap();
    }
    let kinds = [(Readers::TakeTheLock, "TRUE"), (Readers::TakeNoLock, "FALSE")];
    for (name, words) in VERSIONS {
        let read = |file: &str| fs::read_to_string(directory.path().join(file)).unwrap();
        let all = read(&format!("window_{name}_holds.cfg"));
        let (constants, _) = all.split_once("INVARIANTS").unwrap();
        for (threads, (kind, lock)) in [2, 3].into_iter().flat_map(|n| kinds.map(|kind| (n, kind)))
        {
            let scene = Scene::of_threads(threads, kind);
            let ours = explore(&steps(&words), scene).unwrap().states;
            let constants = constants
                .replace("ReadersLock = TRUE", &format!("ReadersLock = {lock}"))
                .replace("Destroyers = 2", &format!("Destroyers = {}", scene.destroyers));
            let configuration = directory.path().join("count.cfg");
            fs::write(&configuration, constants).unwrap();
            let theirs = run(&directory.path().join(format!("window_{name}.tla")), &configuration);
            assert_eq!(theirs, Ok(ours), "{name}, {threads} threads, {kind:?}");
        }
    }
}
