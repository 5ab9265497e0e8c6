//! What stands in front of a Python and is not a plain `#!` line.

use agxpatch::launch::verdict::{Outcome, Surroundings};
use agxpatch::launch::{Step, instead, judge_target};
use agxpatch_core::macho::Architecture;

use crate::forest::Forest;
use crate::programs;

const VENV: &str = "/Users/me/my project/.venv/bin";

fn console(second: &str) -> Forest {
    Forest::new(VENV)
        .script(&format!("{VENV}/torchrun"), &format!("#!/bin/sh\n{second}\n' '''\nimport sys\n"))
        .program(&format!("{VENV}/python3"))
}

#[test]
fn a_console_script_of_an_environment_with_a_blank_in_its_path_is_pythons_and_not_the_shells() {
    let python = format!("{VENV}/python3");
    let script = format!("{VENV}/torchrun");
    for second in [
        format!(r#"'''exec' "{python}" "$0" "$@""#),
        format!(r#"'''exec' '{python}' "$0" "$@""#),
        r#"'''exec' "$(dirname -- "$(realpath -- "$0")")"/'python3' "$0" "$@""#.to_owned(),
    ] {
        let forest = console(&second);
        let started = forest.starts(&["torchrun", "train.py"]);
        assert_eq!(started, [&python, &script, "train.py"], "{second}");
    }
    let options = console(&format!(r#"'''exec' "{python}" -E "$0" "$@""#));
    assert_eq!(options.starts(&["torchrun"]), [&python, "-E", &script]);
}

#[test]
fn a_script_that_only_looks_like_one_stays_the_shells() {
    for second in [
        r#"'''exec' "$PYTHON" "$0" "$@""#,
        r#"'''exec' relative/python "$0" "$@""#,
        r#"exec "/Users/me/my project/.venv/bin/python3" "$0" "$@""#,
        r#"'''exec' "/Users/me/my project/.venv/bin/python3" "$0" more"#,
    ] {
        assert_eq!(console(second).starts(&["torchrun"])[0], "/bin/sh", "{second}");
    }
}

#[test]
fn text_without_an_interpreter_is_run_by_the_callers_shell() {
    let text = Forest::new("/b").script("/b/tool", "exec python train.py\n");
    assert_eq!(text.starts(&["tool", "x"]), ["/bin/sh", "/b/tool", "x"]);
    for binary in [&b"\x7fELF\x02\x01\x01\0"[..], b"\xcf\xfa\xed\xfe", b"\xca\xfe\xba\xbe", b"a\0b"]
    {
        let forest = Forest::new("/b").file("/b/tool", 0o755, binary);
        assert_eq!(forest.starts(&["tool"]), ["/b/tool"]);
    }
}

#[test]
fn behind_a_shim_of_pyenv_programs_started_by_name_are_of_the_version_too() {
    let shim = "#!/usr/bin/env bash\nexport PYENV_ROOT=\"/Users/me/.pyenv\"\nexec \"/opt/pyenv\" exec \"$program\" \"$@\"\n";
    let python = "/Users/me/.pyenv/versions/3.12.4/bin/python";
    let forest = Forest::new("/Users/me/.pyenv/shims:/usr/bin")
        .script("/Users/me/.pyenv/shims/python", shim)
        .program(python)
        .variable("PYENV_VERSION", "3.12");
    let target = forest.resolve(&["python", "train.py"]).unwrap();
    assert_eq!(target.program.to_str(), Some(python));
    let get = |name: &str| target.variables[std::ffi::OsStr::new(name)].to_str().unwrap();
    assert_eq!(get("PATH"), "/Users/me/.pyenv/versions/3.12.4/bin:/Users/me/.pyenv/shims:/usr/bin");
    assert_eq!(get("PYENV_VERSION"), "3.12.4");
    assert_eq!(get("PYENV_ROOT"), "/Users/me/.pyenv");
    assert!(matches!(&target.steps[0], Step::Pyenv { version, .. } if version == "3.12"));
}

fn protected() -> Surroundings {
    let library = vec![Architecture::ARM64, Architecture::X86_64];
    Surroundings { sip: true, validation_off: false, library }
}

fn advised(forest: &Forest, words: &[&str]) -> (Outcome, String) {
    let target = forest.resolve(words).unwrap();
    let outcome = judge_target(forest, &target, &protected()).outcome;
    (outcome, instead(&forest.scene(), &target, &protected()))
}

#[test]
fn conda_run_is_not_taken_for_a_python_that_has_the_guard() {
    let forest = Forest::new("/opt/conda/bin")
        .script("/opt/conda/bin/conda", "#!/opt/conda/bin/python\n")
        .file("/opt/conda/bin/python", 0o755, &programs::plain())
        .file("/opt/conda/bin/micromamba", 0o755, &programs::plain());
    for conda in ["conda", "micromamba"] {
        let (outcome, advice) = advised(&forest, &[conda, "run", "-n", "ml", "python"]);
        assert_eq!(outcome, Outcome::Dropped);
        assert!(advice.ends_with(&format!("{conda} run … agxpatch run -- PROGRAM")), "{advice}");
        assert_eq!(advised(&forest, &[conda, "info"]).0, Outcome::Fine);
    }
    assert_eq!(advised(&forest, &["python", "train.py", "run"]).0, Outcome::Fine);
}

#[test]
fn a_wrapper_is_named_with_the_program_behind_it() {
    let forest =
        Forest::new("/usr/bin:/bin:/b").program("/usr/bin/nohup").program("/usr/bin/caffeinate");
    let forest = forest.script("/b/wrapper", "#!/bin/bash\npython \"$@\"\n");
    let advice = |words: &[&str]| advised(&forest, words).1;
    assert!(
        advice(&["nohup", "python", "a b.py"]).ends_with("nohup agxpatch run -- python 'a b.py'")
    );
    assert!(
        advice(&["caffeinate", "-i", "python"]).ends_with("caffeinate … agxpatch run -- PROGRAM")
    );
    assert_eq!(
        advice(&["wrapper", "train.py"]),
        "/b/wrapper is a shell script: put `agxpatch run --` inside it, before the program that \
         uses the GPU"
    );
    assert!(advice(&["sh", "-c", "python x"]).ends_with("sh … agxpatch run -- PROGRAM"));
}
