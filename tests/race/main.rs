//! The race itself, seen to happen: code that compilers wrote for macOS runs with two
//! threads on an emulated aarch64 Linux, before and after `agxpatch patch`.
//!
//! `loader.c` maps the Mach-O, binds its stubs to functions of its own, and lets a
//! second thread look wherever the lock is dropped or the block freed. Nothing depends
//! on speed.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

use agxpatch_core::macho::Universal;
use agxpatch_oracles::shapes::{self, Compiled};
use agxpatch_oracles::tools;

const QEMU: &str = "qemu-aarch64-static";
const CLANG: &str = "clang-22";

/// The functions of `shapes/plain.c` that are run, and with how many blocks in the pool.
const RUNS: [(&str, &[&str]); 2] =
    [("_late_plain", &["0", "3", "8"]), ("_late_by_pointer", &["2"])];

/// Those of which only the default is made: they do not ask whether there is a block, or
/// room for it.
const RESTRICTED: [&str; 1] = ["_late_by_pointer"];

/// Why the race cannot be run here, if it cannot.
fn missing() -> Option<&'static str> {
    [QEMU, CLANG, "ld.lld-22"].into_iter().find(|tool| tools::find(tool).is_none())
}

fn loader(folder: &Path) -> PathBuf {
    let program = folder.join("loader");
    let output = Command::new(CLANG)
        .args(["-target", "aarch64-linux-gnu", "-O1", "-ffreestanding", "-fno-builtin"])
        .args(["-fno-stack-protector", "-mno-outline-atomics", "-nostdlib", "-static"])
        .args(["-fuse-ld=lld-22", "-fno-pic", "-Wall", "-Werror", "-o"])
        .arg(&program)
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/race/loader.c"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    program
}

/// Runs a function of an image; whether a block was handed out to which the field still
/// pointed.
fn races(loader: &Path, path: &Path, function: &str, count: &str) -> bool {
    let bytes = std::fs::read(path).unwrap();
    let file = Universal::parse(&bytes).unwrap();
    let image = file.slices[0].image().unwrap();
    let symbols = image.symbols().unwrap();
    let entry = symbols.iter().find(|symbol| symbol.name == function).unwrap().address;
    let pointers = image.pointers().unwrap();
    let cells = pointers.iter().map(|cell| format!("{:x}={}", cell.address.0, cell.name));
    let output = Command::new(QEMU)
        .arg(loader)
        .arg(path)
        .arg(format!("{:x}", entry.0))
        .arg(count)
        .args(cells)
        .output()
        .unwrap();
    match output.status.code() {
        Some(0) => false,
        Some(1) => true,
        other => panic!("{function} with {count} in the pool ended with {other:?}: {output:?}"),
    }
}

/// What `agxpatch patch` writes; nothing where it refuses, which tests/finder counts.
fn patched(path: &Path, patch: &str) -> Option<PathBuf> {
    let to = path.with_extension(patch);
    let mut agxpatch = Command::new(env!("CARGO_BIN_EXE_agxpatch"));
    agxpatch.arg("patch").arg(path).arg("-o").arg(&to).args(["--patch", patch]);
    let output = agxpatch.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() || said.contains("[AGX-0303]"), "{said}");
    output.status.success().then_some(to)
}

/// The rewrites by meaning.
const PATCHES: [&str; 3] = [DEFAULT, "take", "reread"];
const DEFAULT: &str = "clear-under-lock";

#[test]
fn the_original_hands_out_a_block_that_is_in_use_and_the_rewrite_never() {
    if let Some(tool) = missing() {
        return tools::skip(tool);
    }
    let folder = tempfile::tempdir().unwrap();
    let loader = loader(folder.path());
    let mut jobs = shapes::jobs();
    jobs.retain(|job| job.source.ends_with("plain.c"));
    // Each set of flags is one form of the code; all of them take a minute.
    let every = if tools::is_full() { 1 } else { 5 };
    let jobs = jobs.into_iter().step_by(every).collect();
    let number = Mutex::new(0);
    let written: Mutex<BTreeSet<&str>> = Mutex::default();
    shapes::each(jobs, |Compiled { job, image }| {
        let number = {
            let mut number = number.lock().unwrap();
            *number += 1;
            *number
        };
        let original = folder.path().join(format!("image{number}"));
        std::fs::write(&original, image).unwrap();
        let rewritten: Vec<(&str, PathBuf)> = PATCHES
            .into_iter()
            .filter_map(|patch| Some((patch, patched(&original, patch)?)))
            .collect();
        written.lock().unwrap().extend(rewritten.iter().map(|(patch, _)| *patch));
        for (function, counts) in RUNS {
            for count in counts {
                let raced = races(&loader, &original, function, count);
                assert!(raced, "{function} with {count} in the pool does not race: {job:?}");
                for (patch, file) in &rewritten {
                    if RESTRICTED.contains(&function) && *patch != DEFAULT {
                        continue;
                    }
                    let raced = races(&loader, file, function, count);
                    assert!(
                        !raced,
                        "{function} with {count} in the pool still races under {patch}: {job:?}"
                    );
                }
            }
        }
    });
    assert_eq!(written.into_inner().unwrap(), PATCHES.into(), "not every rewrite was written");
}
