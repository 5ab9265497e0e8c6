//! The commands of docs/signatures.md do what the page says.

use std::path::{Path, PathBuf};
use std::process::Command;

use agxpatch_oracles::tools;

/// The compiler whose output the page shows, and its linker.
const TOOLS: [(&str, &str); 2] = [("clang", "clang-14"), ("ld64.lld", "ld64.lld-14")];

/// A folder like the root of the tree, and one for PATH.
fn prepare(root: &Path) -> Option<PathBuf> {
    let tree = Path::new(env!("CARGO_MANIFEST_DIR"));
    let link = |to: &Path, name: &Path| std::os::unix::fs::symlink(to, name).unwrap();
    for folder in ["docs", "guard"] {
        link(&tree.join(folder), &root.join(folder));
    }
    let tools = root.join("tools");
    std::fs::create_dir(&tools).unwrap();
    link(Path::new(env!("CARGO_BIN_EXE_agxpatch")), &tools.join("agxpatch"));
    for (name, versioned) in TOOLS {
        let Some(found) = tools::find(versioned) else {
            tools::skip(versioned);
            return None;
        };
        link(&found, &tools.join(name));
    }
    Some(tools)
}

/// The commands of a page, each with the lines that it prints among others.
fn commands(page: &str) -> Vec<(&str, Vec<&str>)> {
    let mut commands: Vec<(&str, Vec<&str>)> = Vec::new();
    for line in page.lines() {
        match line.strip_prefix("    $ ") {
            Some(command) => commands.push((command, Vec::new())),
            None if line.starts_with("    ") => {
                commands.last_mut().unwrap().1.push(line.trim());
            }
            None => {}
        }
    }
    commands
}

#[test]
fn every_command_of_the_page_about_signatures_prints_what_the_page_shows() {
    let root = tempfile::tempdir().unwrap();
    let Some(tools) = prepare(root.path()) else { return };
    let page = include_str!("../../docs/signatures.md");
    let commands = commands(page);
    assert!(commands.len() >= 9, "{commands:?}");
    for (command, expected) in commands {
        let path = format!("{}:/usr/bin:/bin", tools.display());
        let mut shell = Command::new("/bin/sh");
        shell.args(["-c", command]).current_dir(root.path()).env_clear().env("PATH", path);
        let output = shell.output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).replace("  ", " ");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{command}: {text}{errors}");
        // In the page's order, and with whatever between them.
        let squeezed = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        let printed = squeezed(&text);
        let mut rest = printed.as_str();
        for line in expected {
            let line = squeezed(line);
            let at = rest.find(&line).unwrap_or_else(|| panic!("{command}: no `{line}` in {rest}"));
            rest = &rest[at + line.len()..];
        }
    }
}
