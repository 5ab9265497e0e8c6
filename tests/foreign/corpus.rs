//! Every Mach-O of a directory of one's own.

use std::path::{Path, PathBuf};

use agxpatch_core::codesign::EmbeddedSignature;
use agxpatch_core::error::Code;

use crate::engine::{Part, assert_sealed, one_word, parts, patch, was_sealed};
use agxpatch_oracles::{Kind, Toolchain, signature_judge as judge};

const CORPUS: &str = "AGXPATCH_CORPUS";

/// Null patch and one word in each slice's code. Other slices' code, other
/// pages and everything else outside the signatures must stay as they are.
fn exercise(path: &Path, file: &[u8]) -> Outcome {
    let slices = match parts(file) {
        Ok(slices) => slices,
        Err(error) if error.code() == Code::NotMachO => return Outcome::NotMachO,
        Err(error) => return Outcome::Refused(error.to_string()),
    };
    match patch(file, &[]) {
        Err(error) if error.code() == Code::NoSignature => return Outcome::Unsigned,
        Err(error) => return Outcome::Refused(error.to_string()),
        Ok(_) if !was_sealed(file) => return Outcome::BrokenBefore,
        Ok(after) => assert_sealed(&path.display().to_string(), file, &after, &[]),
    }
    for text in slices.iter().filter_map(|part| part.text.clone()).filter(|text| text.len() >= 4) {
        let middle = text.start + text.len() / 2 / 4 * 4;
        let changes = [one_word(file, middle.min(text.end - 4))];
        let after = patch(file, &changes).unwrap();
        assert_sealed(&path.display().to_string(), file, &after, &changes);
        let problems = judge::problems(&after);
        assert!(problems.is_empty(), "{}: {problems:#?}", path.display());
    }
    Outcome::Sealed(kind(file, &slices[0]))
}

/// Whose signature a slice carries, in words.
fn kind(file: &[u8], part: &Part) -> String {
    let seal = part.seal().unwrap_or_default();
    EmbeddedSignature::parse(&file[seal])
        .map_or_else(|error| error.to_string(), |s| s.kind().to_string())
}

#[derive(Debug, PartialEq)]
enum Outcome {
    /// All is well; this is the signature it had.
    Sealed(String),
    Unsigned,
    /// The signature did not fit before anything was done.
    BrokenBefore,
    Refused(String),
    NotMachO,
}

fn files_below(folder: &Path, files: &mut Vec<PathBuf>) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => files_below(&entry.path(), files),
            Ok(kind) if kind.is_file() => files.push(entry.path()),
            _ => (),
        }
    }
}

/// What became of every Mach-O below `folder`.
fn exercise_all(folder: &Path) -> Vec<(PathBuf, Outcome)> {
    let mut files = Vec::new();
    files_below(folder, &mut files);
    files.sort();
    let outcomes = files.into_iter().filter_map(|path| {
        let outcome = exercise(&path, &std::fs::read(&path).ok()?);
        (outcome != Outcome::NotMachO).then_some((path, outcome))
    });
    outcomes.collect()
}

#[test]
fn every_mach_o_of_the_corpus_survives_the_null_patch_and_a_one_word_patch() {
    let Some(corpus) = std::env::var_os(CORPUS) else {
        eprintln!("SKIPPED: set {CORPUS}=DIR to a directory that holds Mach-O files");
        return;
    };
    let outcomes = exercise_all(Path::new(&corpus));
    outcomes.iter().for_each(|(path, outcome)| eprintln!("{}: {outcome:?}", path.display()));
    let mut counts = std::collections::BTreeMap::new();
    for (_, outcome) in &outcomes {
        *counts.entry(format!("{outcome:?}")).or_insert(0) += 1;
    }
    counts.iter().for_each(|(outcome, count)| eprintln!("{count:>6}  {outcome}"));
    let sealed = outcomes.iter().filter(|(_, outcome)| matches!(outcome, Outcome::Sealed(_)));
    let sealed = sealed.count();
    eprintln!("{sealed} of {} files resealed", outcomes.len());
    assert!(sealed > 0, "no signed Mach-O below {}", Path::new(&corpus).display());
}

#[test]
fn a_corpus_is_walked_to_the_bottom_and_says_what_it_left_out() {
    let Some(tools) = Toolchain::find() else { return };
    let folder = tempfile::tempdir().unwrap();
    let deep = folder.path().join("a/b");
    std::fs::create_dir_all(&deep).unwrap();
    let source = "int subject(int x) { return x + 1; }";
    let signed = tools.link(source, "arm64", Kind::Library);
    let mut broken = signed.clone();
    broken[parts(&signed).unwrap()[0].text.clone().unwrap().start] ^= 1;
    std::fs::write(deep.join("signed"), signed).unwrap();
    std::fs::write(folder.path().join("broken"), broken).unwrap();
    let unsigned = tools.link(source, "x86_64", Kind::Library);
    std::fs::write(folder.path().join("unsigned"), unsigned).unwrap();
    std::fs::write(folder.path().join("text"), "no Mach-O").unwrap();
    let outcomes: Vec<_> = exercise_all(folder.path()).into_iter().map(|(_, o)| o).collect();
    let sealed = Outcome::Sealed("ad hoc, by the linker".into());
    assert_eq!(outcomes, [sealed, Outcome::BrokenBefore, Outcome::Unsigned]);
}
