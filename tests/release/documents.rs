//! Man pages and completions say what `--help` says: no option more, none less.

use std::collections::{BTreeMap, BTreeSet};

use crate::harness::prints;

/// The long options in a text, as a word of its own each.
fn options(text: &str) -> BTreeSet<String> {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '-';
    text.split(|c| !word(c))
        .filter(|word| word.starts_with("--") && word.len() > 3)
        .map(str::to_owned)
        .collect()
}

/// The options that `--help` lists at the head of a line.
fn options_of_help(help: &str) -> BTreeSet<String> {
    let listed = help.lines().map(str::trim_start).filter(|line| line.starts_with('-'));
    options(&listed.map(|line| line.split("  ").next().unwrap()).collect::<Vec<_>>().join("\n"))
}

/// The subcommands that `--help` lists.
fn commands_of_help(help: &str) -> Vec<String> {
    let listed = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let listed = listed.take_while(|line| !line.is_empty());
    // A description that wraps goes on further to the right.
    let names = listed.filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    names.filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect()
}

/// Every command that can be named, from `--help` alone, with its help.
fn helps() -> BTreeMap<Vec<String>, String> {
    let mut found = BTreeMap::new();
    let mut open = vec![Vec::<String>::new()];
    while let Some(command) = open.pop() {
        let mut words: Vec<&str> = command.iter().map(String::as_str).collect();
        words.push("--help");
        let help = prints(&words);
        for name in commands_of_help(&help) {
            open.push(command.iter().cloned().chain([name]).collect());
        }
        found.insert(command, help);
    }
    found
}

fn pages() -> BTreeMap<String, String> {
    let directory = tempfile::tempdir().unwrap();
    prints(&["generate", "man", directory.path().to_str().unwrap()]);
    let page = |entry: std::io::Result<std::fs::DirEntry>| {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        (name, without_roff(std::fs::read_to_string(path).unwrap()))
    };
    std::fs::read_dir(directory.path()).unwrap().map(page).collect()
}

/// A hyphen that is not a hyphenation point is `\-`; fonts change by `\f` and a
/// letter, of which bold is kept as `*`.
fn without_roff(text: String) -> String {
    text.replace("\\-", "-").replace("\\fB", "*").replace("\\fI", "").replace("\\fR", "")
}

#[test]
fn there_is_a_man_page_for_every_command_and_for_nothing_else() {
    let helps = helps();
    let name = |command: &Vec<String>| [&["agxpatch".to_owned()], &command[..]].concat().join("-");
    let wanted: BTreeSet<String> = helps.keys().map(name).collect();
    assert!(wanted.contains("agxpatch-inspect"));
    assert_eq!(pages().into_keys().collect::<BTreeSet<_>>(), wanted);
}

#[test]
fn a_man_page_lists_exactly_the_options_of_the_help() {
    let pages = pages();
    for (command, help) in helps() {
        let page = &pages[&[&["agxpatch".to_owned()], &command[..]].concat().join("-")];
        let heads: Vec<&str> = page.lines().filter(|line| line.starts_with("*-")).collect();
        assert_eq!(options(&heads.join("\n")), options_of_help(&help), "{command:?}");
    }
}

#[test]
fn every_shell_completes_every_command_and_option() {
    let helps = helps();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = prints(&["generate", "completions", shell]);
        for (command, help) in &helps {
            for name in command {
                assert!(script.contains(name.as_str()), "{shell} does not complete {name}");
            }
            for option in options_of_help(help) {
                let known =
                    script.contains(&option) || script.contains(&format!("-l {}", &option[2..]));
                assert!(known, "{shell} does not complete {option} of {command:?}");
            }
        }
    }
}

#[test]
fn bash_takes_the_completions_it_is_given() {
    let script = prints(&["generate", "completions", "bash"]);
    let asked = format!(
        "{script}\nCOMP_WORDS=(agxpatch ins); COMP_CWORD=1; _agxpatch agxpatch ins agxpatch; \
         echo \"${{COMPREPLY[@]}}\""
    );
    let output = std::process::Command::new("bash").args(["-c", &asked]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "inspect");
}

#[test]
fn long_help_says_more_than_the_short_help() {
    for (command, sentence) in [
        ("deploy", "Shows a plan and asks before it changes anything."),
        ("revert", "bless asks for the password of an owner of this Mac."),
        ("run", "agxpatch ends with the command's exit status"),
    ] {
        let long = prints(&[command, "--help"]).split_whitespace().collect::<Vec<_>>().join(" ");
        let short = prints(&[command, "-h"]).split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(long.contains(sentence), "{command}: {long}");
        assert!(!short.contains(sentence), "{command}: {short}");
    }
}
