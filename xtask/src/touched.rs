//! From paths to what is to be linted and tested.

use std::collections::BTreeSet;
use std::fmt;

/// The package of the program, whose tests are those at the root.
pub const PROGRAM: &str = "agxpatch";

/// What was touched.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Touched {
    /// Packages, by name.
    pub packages: BTreeSet<String>,
    /// The program's test programs, by name.
    pub test_programs: BTreeSet<String>,
}

impl Touched {
    /// These crates, by their names or by those of their folders.
    pub fn named(names: &[String]) -> Touched {
        let full = |name: &String| match name.as_str() {
            "core" | "host" | "deploy" | "oracles" | "simulate" | "fuzz" => {
                format!("agxpatch-{name}")
            }
            _ => name.clone(),
        };
        Touched { packages: names.iter().map(full).collect(), ..Touched::default() }
    }

    /// What these files belong to. A file of no crate touches nothing.
    pub fn of<'a>(paths: impl IntoIterator<Item = &'a str>) -> Touched {
        let mut touched = Touched::default();
        for path in paths {
            touched.add(path);
        }
        touched
    }

    fn add(&mut self, path: &str) {
        let mut parts = path.split('/');
        match (parts.next(), parts.next(), parts.next()) {
            (Some("crates"), Some(name), _) => self.add_package(&format!("agxpatch-{name}")),
            (Some("fuzz"), Some("src" | "tests"), _) => self.add_package("agxpatch-fuzz"),
            (Some("xtask"), ..) => self.add_package("xtask"),
            (Some("src"), ..) => self.add_package(PROGRAM),
            (Some("tests"), Some(name), Some(file)) if file.ends_with(".rs") => {
                self.test_programs.insert(name.to_owned());
            }
            _ => {}
        }
    }

    fn add_package(&mut self, name: &str) {
        self.packages.insert(name.to_owned());
    }

    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.packages.is_empty() && self.test_programs.is_empty()
    }
}

impl fmt::Display for Touched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let programs = self.test_programs.iter().map(|name| format!("tests/{name}"));
        let all: Vec<String> = self.packages.iter().cloned().chain(programs).collect();
        f.write_str(&all.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn a_file_touches_the_crate_or_the_test_program_it_is_in() {
        let touched = Touched::of([
            "crates/core/src/macho/image.rs",
            "crates/core/Cargo.toml",
            "src/cli/mod.rs",
            "tests/deploy/life.rs",
            "fuzz/src/lib.rs",
            "fuzz/coverage/src/main.rs",
            "README.md",
            "tests/python/test_lock.py",
        ]);
        assert_eq!(touched.packages, set(&["agxpatch", "agxpatch-core", "agxpatch-fuzz"]));
        assert_eq!(touched.test_programs, set(&["deploy"]));
    }

    #[test]
    fn documents_touch_nothing() {
        assert!(Touched::of(["docs/running.md", "scripts/test"]).is_empty());
    }

    #[test]
    fn crates_are_named_as_their_folders_are() {
        let named = Touched::named(&["core".to_owned(), "xtask".to_owned()]);
        assert_eq!(named.packages, set(&["agxpatch-core", "xtask"]));
    }
}
