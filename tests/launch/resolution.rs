//! From words to the one program that is started.

use std::ffi::OsStr;
use std::path::Path;

use agxpatch::launch::Step;
use agxpatch_core::error::Code;

use crate::forest::Forest;

fn brew() -> Forest {
    Forest::new("/opt/homebrew/bin:/usr/bin:/bin")
        .program("/opt/homebrew/bin/python3")
        .program("/usr/bin/python3")
}

fn code(forest: &Forest, words: &[&str]) -> Code {
    forest.resolve(words).unwrap_err().code()
}

#[test]
fn a_name_is_looked_for_along_the_path_and_its_words_stay() {
    assert_eq!(
        brew().starts(&["python3", "train.py", "--lr", "-1"]),
        ["/opt/homebrew/bin/python3", "train.py", "--lr", "-1"]
    );
}

#[test]
fn files_that_are_not_executable_are_skipped_on_the_path() {
    let forest = Forest::new("/a:/b").file("/a/python3", 0o644, b"").program("/b/python3");
    assert_eq!(forest.starts(&["python3"]), ["/b/python3"]);
}

#[test]
fn a_word_with_a_slash_is_a_path_from_the_working_directory() {
    let forest = brew().program("/Users/me/project/bin/tool");
    assert_eq!(forest.starts(&["bin/tool"]), ["/Users/me/project/bin/tool"]);
    assert_eq!(code(&forest, &["tool"]), Code::CommandNotFound);
    assert_eq!(code(&forest, &["bin/other"]), Code::CommandNotFound);
}

#[test]
fn an_empty_entry_of_the_path_is_the_working_directory() {
    let forest = Forest::new("/usr/bin::/bin").program("/Users/me/project/tool");
    assert_eq!(forest.starts(&["tool"]), ["/Users/me/project/tool"]);
}

#[test]
fn a_file_without_leave_to_execute_is_told_from_one_that_is_not_there() {
    let forest = brew().file("/Users/me/project/train.py", 0o644, b"#!/usr/bin/env python3\n");
    assert_eq!(code(&forest, &["./train.py"]), Code::NotExecutable);
}

#[test]
fn a_script_behind_env_starts_the_interpreter_and_not_env() {
    let forest = brew().script("/Users/me/project/train.py", "#!/usr/bin/env python3\nimport x\n");
    let target = forest.resolve(&["./train.py", "--fast"]).unwrap();
    assert_eq!(target.program, Path::new("/opt/homebrew/bin/python3"));
    assert_eq!(target.arguments, ["/Users/me/project/./train.py", "--fast"]);
    assert!(matches!(&target.steps[..], [Step::Script { .. }, Step::Env { .. }]));
}

#[test]
fn a_hash_bang_line_is_split_at_blanks_as_the_kernel_of_macos_does() {
    let forest = brew().script("/s", "#! /opt/homebrew/bin/python3  -E\t-s # a comment\n");
    assert_eq!(forest.starts(&["/s", "x"]), ["/opt/homebrew/bin/python3", "-E", "-s", "/s", "x"]);
}

#[test]
fn env_in_a_hash_bang_line_sets_and_splits_as_env_would() {
    let forest = brew().script("/s", "#!/usr/bin/env -S MODE=fast python3 -u\n");
    let target = forest.resolve(&["/s", "x"]).unwrap();
    assert_eq!(target.program, Path::new("/opt/homebrew/bin/python3"));
    assert_eq!(target.arguments, ["-u", "/s", "x"]);
    assert_eq!(target.variables[OsStr::new("MODE")], "fast");
}

#[test]
fn env_on_the_command_line_is_done_without_env() {
    let forest = brew().variable("KEEP", "1").variable("DROP", "1");
    let target = forest.resolve(&["env", "-u", "DROP", "A=b=c", "python3", "A=1"]).unwrap();
    assert_eq!(target.program, Path::new("/opt/homebrew/bin/python3"));
    assert_eq!(target.arguments, ["A=1"]);
    let set = |name: &str| target.variables.get(OsStr::new(name)).cloned();
    assert_eq!((set("A"), set("DROP"), set("KEEP")), (Some("b=c".into()), None, Some("1".into())));
}

#[test]
fn env_that_clears_looks_for_the_program_along_the_usual_path() {
    let target = brew().resolve(&["env", "-i", "A=1", "python3"]).unwrap();
    assert_eq!(target.program, Path::new("/usr/bin/python3"));
    assert_eq!(target.variables.len(), 1);
}

#[test]
fn a_path_that_env_is_given_or_sets_is_the_one_searched() {
    let starts = |words: &[&str]| brew().starts(words).remove(0);
    assert_eq!(starts(&["env", "-P", "/usr/bin", "python3"]), "/usr/bin/python3");
    assert_eq!(starts(&["env", "PATH=/usr/bin", "python3"]), "/usr/bin/python3");
}

#[test]
fn quotes_and_escapes_of_a_split_text_are_understood() {
    let words = brew().starts(&["env", "-S", r"python3 'a b' c\ d 'e''f' # no"]);
    assert_eq!(words[1..], ["a b", "c d", "ef"]);
}

#[test]
fn an_env_that_is_not_understood_is_started_itself() {
    for words in [
        &["env", "--chdir=/", "python3"][..],
        &["env", "-S", "python3 ${HOME}"],
        &["env", "-S", "python3 'open"],
        &["env"],
        &["env", "A=1"],
    ] {
        assert_eq!(brew().starts(words)[0], "/usr/bin/env", "{words:?}");
    }
}

#[test]
fn interpreters_that_name_each_other_come_to_an_end() {
    let forest = brew().script("/a", "#!/b\n").script("/b", "#!/a\n");
    assert_eq!(code(&forest, &["/a"]), Code::ChainTooLong);
}

#[test]
fn a_script_without_its_interpreter_is_named() {
    let error = brew().script("/s", "#!/gone/python\n").resolve(&["/s"]).unwrap_err();
    assert_eq!(error.code(), Code::NotExecutable);
    assert!(error.context().iter().any(|(_, value)| value == "/gone/python"));
}

#[test]
fn links_that_lead_in_a_circle_are_not_a_program() {
    let forest = brew().link("/usr/bin/loop", "/usr/bin/pool").link("/usr/bin/pool", "loop");
    assert_eq!(code(&forest, &["loop"]), Code::CommandNotFound);
}

#[test]
fn a_virtual_environment_is_started_by_its_own_name_and_judged_by_what_is_behind() {
    let real = "/opt/homebrew/Cellar/python@3.12/3.12.9/bin/python3.12";
    let forest = Forest::new("/Users/me/project/.venv/bin:/usr/bin")
        .program(real)
        .link("/opt/homebrew/bin/python3.12", "../Cellar/python@3.12/3.12.9/bin/python3.12")
        .link("/Users/me/project/.venv/bin/python3.12", "/opt/homebrew/bin/python3.12")
        .link("/Users/me/project/.venv/bin/python", "python3.12")
        .script("/Users/me/project/.venv/bin/train", "#!/Users/me/project/.venv/bin/python\n");
    let target = forest.resolve(&["train"]).unwrap();
    assert_eq!(target.program, Path::new("/Users/me/project/.venv/bin/python"));
    assert_eq!(target.image, Path::new(real));
}

const SHIM: &str = "#!/usr/bin/env bash\nset -e\n[ -n \"$PYENV_DEBUG\" ] && set -x\n\n\
    program=\"${0##*/}\"\n\nexport PYENV_ROOT=\"/Users/me/.pyenv\"\n\
    exec \"/opt/homebrew/opt/pyenv/bin/pyenv\" exec \"$program\" \"$@\"\n";

fn pyenv() -> Forest {
    let forest = Forest::new("/Users/me/.pyenv/shims:/opt/homebrew/bin:/usr/bin:/bin")
        .script("/Users/me/.pyenv/shims/python", SHIM)
        .program("/opt/homebrew/bin/python");
    ["3.11.9", "3.12.4", "3.12.10", "3.12.1-dev", "torch"].iter().fold(forest, |forest, version| {
        forest.program(&format!("/Users/me/.pyenv/versions/{version}/bin/python"))
    })
}

fn version(forest: &Forest) -> String {
    let target = forest.resolve(&["python", "-c", "1"]).unwrap();
    assert_eq!(target.arguments, ["-c", "1"]);
    let path = target.program.to_str().unwrap();
    let inside = path.strip_prefix("/Users/me/.pyenv/versions/");
    inside.map_or(path, |inside| inside.strip_suffix("/bin/python").unwrap()).to_owned()
}

#[test]
fn a_shim_of_pyenv_is_the_selected_version_in_pyenvs_order() {
    let global = || pyenv().file("/Users/me/.pyenv/version", 0o644, b"3.11.9\n");
    assert_eq!(version(&global()), "3.11.9");
    let local = || global().file("/Users/me/.python-version", 0o644, b"# why\ntorch 3.11.9\n");
    assert_eq!(version(&local()), "torch");
    let nearer = || local().file("/Users/me/project/.python-version", 0o644, b"python-3.12.4\r\n");
    assert_eq!(version(&nearer()), "3.12.4");
    assert_eq!(version(&nearer().variable("PYENV_DIR", "/Users/me")), "torch");
    assert_eq!(version(&nearer().variable("PYENV_VERSION", "9.9:3.11.9")), "3.11.9");
}

#[test]
fn the_beginning_of_a_version_is_the_latest_of_it_by_number() {
    assert_eq!(version(&pyenv().variable("PYENV_VERSION", "3.12")), "3.12.10");
    assert_eq!(version(&pyenv().variable("PYENV_VERSION", "3")), "3.12.10");
}

#[test]
fn the_systems_version_is_the_next_on_the_path_that_is_not_a_shim() {
    assert_eq!(version(&pyenv()), "/opt/homebrew/bin/python");
    assert_eq!(version(&pyenv().variable("PYENV_VERSION", "system")), "/opt/homebrew/bin/python");
}

#[test]
fn a_version_that_is_not_there_or_climbs_out_is_refused() {
    for wanted in ["3.13", "../../evil", "..", "/tmp"] {
        let forest = pyenv().variable("PYENV_VERSION", wanted).program("/tmp/bin/python");
        assert_eq!(code(&forest, &["python"]), Code::ShimLeadsNowhere, "{wanted}");
    }
}

#[test]
fn shims_that_decide_by_more_than_files_are_named_and_not_guessed() {
    let forest = Forest::new("/Users/me/.asdf/shims:/usr/bin:/bin")
        .script("/Users/me/.asdf/shims/python", "#!/usr/bin/env bash\nexec asdf exec \"python\"\n");
    let target = forest.resolve(&["python"]).unwrap();
    assert_eq!(target.image, Path::new("/bin/bash"));
    assert!(matches!(target.steps[0], Step::Opaque { manager: "asdf", .. }));
}
