//! Every specification in `tla/`, checked by `tla-checker`, an implementation
//! of TLA+ that shares nothing with the library.
//!
//! `<name>_holds.cfg` and `<name>_holds_<scene>.cfg` must hold, and
//! `<name>_fails_<Invariant>.cfg` must violate that invariant; all check
//! `<name>.tla`. Where `TLA2TOOLS` names the jar of TLC, TLC judges them too.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use agxpatch_core::arm64::Instruction;
use agxpatch_core::macho::Universal;
use agxpatch_core::patch::{Engine, Selection};
use agxpatch_core::proof::abstract_rewrite::AbstractRewrite;
use agxpatch_core::proof::interleaving::check as check_interleavings;
use agxpatch_core::proof::steps::Steps;
use agxpatch_core::proof::{Version, examine, rewrites, tla};
use agxpatch_simulate::driver::{self, Variant};
use tla_checker::checker::{CheckResult, check};
use tla_checker::load::prepare_from_path;

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
        None => (stem.split_once("_holds").expect("_holds or _fails_<Invariant>").0, None),
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
    let claims = claims();
    let counted: usize = std::thread::scope(|scope| {
        let halves = [0, 1].map(|half| {
            let of_half = claims.iter().skip(half).step_by(2);
            scope.spawn(move || of_half.filter(|claim| comes_out(claim)).count())
        });
        halves.map(|half| half.join().unwrap()).iter().sum()
    });
    assert_eq!(counted, 15, "three scenes of five versions");
}

/// Checks a claim; whether it names a number of states.
fn comes_out(claim: &Claim) -> bool {
    let outcome = run(&claim.specification, &claim.configuration);
    let name = claim.configuration.display();
    // The library's own checker wrote the number.
    let promised = promised(&claim.configuration);
    match (&claim.fails, promised) {
        (None, Some(states)) => assert_eq!(outcome, Ok(states), "{name}"),
        (None, None) => assert!(outcome.is_ok(), "{name}: {outcome:?}"),
        (Some(invariant), _) => assert_eq!(outcome.as_ref(), Err(invariant), "{name}"),
    }
    promised.is_some()
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

/// The versions of the synthetic driver's function, and the rewrites that are
/// not emitted, by the names of their modules.
fn versions() -> &'static [(&'static str, Steps, Vec<Instruction>)] {
    static VERSIONS: OnceLock<Vec<(&str, Steps, Vec<Instruction>)>> = OnceLock::new();
    VERSIONS.get_or_init(|| {
        let bytes = driver::build(&Variant::PUBLISHED).unwrap();
        let file = Universal::parse(&bytes).unwrap();
        let engine = Engine::built_in().unwrap();
        let prove = |patch| {
            let plans = rewrites(&engine, &file, Some(patch), &Selection::ByMethod).unwrap();
            examine(&engine, &file, &plans[0], 3).unwrap().versions.unwrap()
        };
        let (default, legacy) = (prove("agx-encoder-release"), prove("legacy"));
        let of = |name, version: &Version| {
            let listing = [&version.approach[..], &version.listing].concat();
            (name, version.steps.clone(), listing)
        };
        let mut all = vec![
            of("original", &default.before),
            of("legacy", &legacy.after),
            of("default", &default.after),
        ];
        let original = &default.before.steps;
        all.extend(AbstractRewrite::STRONGER.map(|r| (r.name, r.of(original), Vec::new())));
        all
    })
}

fn generated() -> Vec<tla::File> {
    let mut all = vec![tla::parametric()];
    for (name, steps, listing) in versions() {
        let found = check_interleavings(steps, 3).unwrap();
        all.extend(tla::instance(name, steps, listing, &found));
    }
    all
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

/// The number of states that a configuration names.
fn promised(configuration: &Path) -> Option<usize> {
    let text = fs::read_to_string(configuration).unwrap();
    let line = text.lines().next()?.strip_prefix("\\* ")?;
    line.strip_suffix(" distinct states")?.parse().ok()
}

#[test]
fn the_configurations_give_every_state_count() {
    for (name, steps, _) in versions() {
        let found = check_interleavings(steps, 3).unwrap();
        for (scene, found) in found.scenes() {
            let configuration = tla_directory().join(format!("window_{name}_holds_{scene}.cfg"));
            assert_eq!(promised(&configuration), Some(found.states), "{name}, {scene}");
        }
    }
}

#[test]
fn tlc_agrees() {
    let Some(jar) = std::env::var_os("TLA2TOOLS") else {
        println!("SKIPPED: TLA2TOOLS does not name the jar of TLC");
        return;
    };
    for claim in claims() {
        let scratch = tempfile::tempdir().unwrap();
        // Releases of TLC before 1.7 look for the files in the working directory only.
        let file = |path: &PathBuf| path.file_name().unwrap().to_owned();
        let output = Command::new("java")
            .current_dir(tla_directory())
            .args(["-XX:+UseParallelGC", "-cp"])
            .arg(&jar)
            .args(["tlc2.TLC", "-deadlock", "-workers", "1", "-metadir"])
            .arg(scratch.path())
            .arg("-config")
            .args([file(&claim.configuration), file(&claim.specification)])
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        let name = claim.configuration.display();
        match &claim.fails {
            Some(invariant) => {
                let violated = format!("Invariant {invariant} is violated");
                assert!(said.contains(&violated), "{name}: {said}");
            }
            None => assert!(said.contains("No error has been found"), "{name}: {said}"),
        }
        if let Some(states) = promised(&claim.configuration) {
            assert!(said.contains(&format!(" {states} distinct states found")), "{name}: {said}");
        }
    }
}
