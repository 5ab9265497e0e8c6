//! Faults of programs by version, read from `known-faults.toml`.
//!
//! Whose fault a crash is depends on what had called the driver: a program known to
//! share an encoder between threads explains a NULL `_impl` alone. The data file
//! gives each fault with its source.

use std::sync::LazyLock;

use serde::{Deserialize, Serialize};

use super::class::Family;
use super::facts::Program;

/// A published fault of a program.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KnownFault {
    /// The program.
    pub program: String,
    /// The first version without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<String>,
    /// The last version known to have it, where none without it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub through: Option<String>,
    /// The kinds of crash it explains.
    pub families: Vec<Family>,
    /// Parts of symbols of which one must be on the stack; empty where any will do.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub when: Vec<String>,
    /// What is wrong.
    pub summary: String,
    /// What to do.
    pub remedy: String,
    /// A variable of the environment that avoids it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub setting: Option<String>,
    /// Where this is published.
    pub sources: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct KnownImage {
    program: String,
    version: String,
    uuid: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Data {
    fault: Vec<KnownFault>,
    image: Vec<KnownImage>,
}

static DATA: LazyLock<Data> =
    // The tests below parse the file; what does not parse is not data.
    LazyLock::new(|| toml::from_str(include_str!("known-faults.toml")).unwrap_or_default());

/// All faults, in the order of the file.
pub fn all() -> &'static [KnownFault] {
    &DATA.fault
}

/// The version of `program` whose image has this UUID.
pub fn version_by_uuid(program: &str, uuid: &str) -> Option<&'static str> {
    let found = DATA
        .image
        .iter()
        .find(|image| image.program == program && image.uuid.eq_ignore_ascii_case(uuid));
    found.map(|image| image.version.as_str())
}

impl KnownFault {
    /// The versions that have it, in words.
    pub fn range(&self) -> String {
        match (&self.before, &self.through) {
            (Some(version), _) => format!("older than {version}"),
            (None, Some(version)) => format!("{version} or older"),
            (None, None) => "any version".to_owned(),
        }
    }

    /// Whether `program` has it, as far as the version is known.
    pub fn affects(&self, program: &Program) -> bool {
        if program.name != self.program {
            return false;
        }
        let Some(version) = program.version.as_deref().map(numbers) else { return true };
        let before = self.before.as_deref().map(numbers);
        let through = self.through.as_deref().map(numbers);
        before.is_none_or(|before| version < before)
            // 2.14.1 is of 2.14.
            && through.is_none_or(|last| version[..version.len().min(last.len())] <= last[..])
    }
}

/// The numbers of a version: `2.14.0.dev2026` is 2, 14, 0.
fn numbers(version: &str) -> Vec<u64> {
    version.split(['.', '+', '-', '_']).map_while(|part| part.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn program(name: &str, version: &str) -> Program {
        Program { name: name.into(), version: Some(version.into()), source: None, on_stack: true }
    }

    #[test]
    fn the_data_file_parses_and_names_its_sources() {
        let data: Data = toml::from_str(include_str!("known-faults.toml")).unwrap();
        assert!(data.fault.len() >= 3);
        for fault in &data.fault {
            assert!(!fault.sources.is_empty(), "{}", fault.summary);
            assert!(fault.before.is_some() != fault.through.is_some(), "{}", fault.summary);
        }
        for image in &data.image {
            assert_eq!(image.uuid.len(), 36, "{} {}", image.program, image.version);
        }
    }

    #[test]
    fn versions_compare_by_their_numbers() {
        let mlx = all().iter().find(|fault| fault.program == "mlx").unwrap();
        assert!(mlx.affects(&program("mlx", "0.31.1")));
        assert!(mlx.affects(&program("mlx", "0.9.0")));
        assert!(!mlx.affects(&program("mlx", "0.31.2")));
        assert!(!mlx.affects(&program("mlx", "0.100.0")));
        assert!(!mlx.affects(&program("torch", "0.1")));
        let torch = all().iter().find(|fault| fault.program == "torch").unwrap();
        assert!(torch.affects(&program("torch", "2.14.1")));
        assert!(torch.affects(&program("torch", "2.9.0")));
        assert!(!torch.affects(&program("torch", "2.15.0")));
        let unknown = Program { version: None, ..program("torch", "") };
        assert!(torch.affects(&unknown));
    }
}
