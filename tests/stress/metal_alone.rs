//! The workload that is Metal alone: what can be seen of it without a Mac. Its syntax and
//! types are checked against headers of our own, and everything in it but Metal is run as C.

use std::path::PathBuf;
use std::process::{Command, Output};

use agxpatch::stress::Measurement;

const SOURCE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/workloads/metal.m");
const HEADERS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/stress/metal");

/// Runs a compiler; `None` where it is missing and may be.
fn compile(compiler: &str, arguments: &[&str]) -> Option<Output> {
    match Command::new(compiler).args(arguments).output() {
        Ok(output) => Some(output),
        Err(error) => {
            assert!(std::env::var_os("AGXPATCH_REQUIRE_TOOLS").is_none(), "{compiler}: {error}");
            eprintln!("SKIPPED: {compiler} is missing");
            None
        }
    }
}

/// The workload as C, with `define` of the preprocessor.
fn as_c(define: &str) -> Option<(tempfile::TempDir, PathBuf)> {
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("metal");
    let output = ["-o", program.to_str().unwrap(), SOURCE, "-lm"];
    let flags = ["-x", "c", "-pthread", "-O2", "-Wall", "-Wextra", "-Werror", define];
    let compiled = compile("cc", &[&flags[..], &output].concat())?;
    assert!(compiled.status.success(), "{compiled:?}");
    Some((folder, program))
}

fn measured(output: &Output) -> Measurement {
    Measurement::find(&String::from_utf8_lossy(&output.stdout)).unwrap()
}

#[test]
fn it_uses_metal_as_the_headers_have_it() {
    let flags = ["-fsyntax-only", "-x", "objective-c", "-fobjc-arc", "-fobjc-runtime=macosx-13"];
    let rest = ["-Wall", "-Wextra", "-Werror", "-I", HEADERS, SOURCE];
    let Some(output) = compile("clang", &[&flags[..], &rest].concat()) else { return };
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn every_operation_of_every_thread_is_counted_in_every_configuration() {
    let Some((_folder, program)) = as_c("-DPLAIN") else { return };
    for more in [&[][..], &["--permits", "1"], &["--batched"], &["--device", "mps"]] {
        let options = ["--threads", "4", "--iterations", "7", "--batch", "2"];
        let output = Command::new(&program).args(options).args(more).output().unwrap();
        let measured = measured(&output);
        assert_eq!(output.status.code(), Some(0), "{more:?}");
        assert_eq!((measured.operations, measured.expected), (28, Some(28)), "{more:?}");
        assert_eq!((measured.fault(), measured.threads), (None, 4), "{more:?}");
        assert!(measured.rate().unwrap() > 0.0);
    }
}

#[test]
fn wrong_results_fail_it() {
    for (pass, said) in
        [("value+1", "more than"), ("(value-value)/(value-value)", "no finite difference")]
    {
        let Some((_folder, program)) = as_c(&format!("-DPASS(value)=({pass})")) else { return };
        let output = Command::new(&program).args(["--iterations", "2"]).output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        let fault = measured(&output).fault().unwrap();
        assert!(fault.contains(said), "{fault}");
    }
}

#[test]
fn wrong_options_are_refused() {
    let Some((_folder, program)) = as_c("-DPLAIN") else { return };
    for wrong in [&["--threads"][..], &["--threads", "0"], &["--batch", "x"], &["--unknown", "1"]] {
        let output = Command::new(&program).args(wrong).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{wrong:?}");
        assert!(output.stdout.is_empty());
    }
    let check = Command::new(&program).arg("--check").output().unwrap();
    assert_eq!((check.status.code(), &check.stdout[..]), (Some(0), &b"processor\n"[..]));
}

#[cfg(not(target_os = "macos"))]
#[test]
fn stress_says_that_it_needs_a_mac() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_agxpatch"));
    command.current_dir(&folder).args(["stress", "--workload", "metal", "--settle", "0"]);
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(8), "{said}");
    assert!(said.contains("Metal exists on macOS only") && said.contains("--device cpu"), "{said}");
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 0, "no report of a run that was not");
}
