//! What a workload is run under, and the environment that brings it about.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::launch::Mode;
use agxpatch_core::error::{Code, Error, Result};

/// One way to run the workload.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Configuration {
    /// The system as it is.
    Off,
    /// One thread at a time inside an operation, by a lock in the workload.
    Lock,
    /// The operations of all threads are made by one worker, in batches.
    Batched,
    /// With the guard library in this mode, which is another than off.
    Guarded(Mode),
    /// With the guard library, which tells the driver not to coalesce encoders and
    /// changes nothing else.
    NoCoalescing,
    /// With the patched copy of the driver.
    Patched,
    /// With a variable set, such as a switch of the program's own.
    Env(String, String),
}

impl Configuration {
    /// A configuration that sets the variable of `NAME=VALUE`.
    pub fn env(text: &str) -> Result<Configuration> {
        let is_name = |name: &str| {
            let mut bytes = name.bytes();
            let first = bytes.next().is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_');
            first && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        };
        match text.split_once('=') {
            Some((name, value)) if is_name(name) && !value.contains('\0') => {
                Ok(Configuration::Env(name.to_owned(), value.to_owned()))
            }
            _ => Err(Error::new(Code::BadConfiguration, "this is not a variable and its value")
                .with("text", text)
                .next("write NAME=VALUE")),
        }
    }

    /// What is added to a workload's command line.
    ///
    /// # Errors
    /// `BadConfiguration` where the command is not a workload and would not know it.
    pub fn arguments(&self, is_workload: bool) -> Result<Vec<String>> {
        let words: &[&str] = match self {
            Configuration::Lock => &["--permits", "1"],
            Configuration::Batched => &["--batched"],
            _ => &[],
        };
        if !words.is_empty() && !is_workload {
            return Err(Error::new(
                Code::BadConfiguration,
                "this configuration is for the built-in workloads",
            )
            .with("configuration", self)
            .next("put the lock into the program, behind a variable, and name that with --env"));
        }
        Ok(words.iter().map(|&word| word.to_owned()).collect())
    }

    /// The mode of the guard library, where that is inserted and nothing else differs.
    fn guard_mode(&self) -> Option<Mode> {
        match self {
            Configuration::Guarded(mode) => Some(*mode),
            _ => None,
        }
    }
}

impl fmt::Display for Configuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Configuration::Off => f.pad("off"),
            Configuration::Lock => f.pad("lock"),
            Configuration::Batched => f.pad("batched"),
            Configuration::Guarded(mode) => mode.fmt(f),
            Configuration::NoCoalescing => f.pad("no-coalescing"),
            Configuration::Patched => f.pad("patched"),
            Configuration::Env(name, value) => f.pad(&format!("{name}={value}")),
        }
    }
}

impl FromStr for Configuration {
    type Err = Error;

    fn from_str(text: &str) -> Result<Configuration> {
        match (text, text.parse()) {
            (_, Ok(Mode::Off)) => Ok(Configuration::Off),
            (_, Ok(mode)) => Ok(Configuration::Guarded(mode)),
            ("lock", _) => Ok(Configuration::Lock),
            ("batched", _) => Ok(Configuration::Batched),
            ("no-coalescing", _) => Ok(Configuration::NoCoalescing),
            ("patched", _) => Ok(Configuration::Patched),
            _ => Err(Error::new(Code::BadConfiguration, "no such configuration")
                .with("configuration", text)
                .next(
                    "use off, lock, batched, guard, throttle=N with N of at least 1, serialize, \
                     observe, no-coalescing or patched; name a variable with --env",
                )),
        }
    }
}

impl Serialize for Configuration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Configuration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let named = text.parse();
        // A variable may be called throttle, but its value is no number then.
        let read = named.or_else(|error| Configuration::env(&text).map_err(|_| error));
        read.map_err(|error: Error| serde::de::Error::custom(error.message()))
    }
}

/// Variables to set and to remove for a child.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Environment {
    /// Set to a value.
    pub set: Vec<(String, String)>,
    /// Removed if inherited.
    pub removed: Vec<String>,
}

impl Environment {
    /// Sets the variable that a configuration consists of, if it does.
    #[must_use]
    pub fn with(mut self, configuration: &Configuration) -> Environment {
        if let Configuration::Env(name, value) = configuration {
            self.removed.retain(|other| other != name);
            self.set.retain(|(other, _)| other != name);
            self.set.push((name.clone(), value.clone()));
        }
        self
    }
}

/// Brings a configuration about; the seam at which a launcher that knows more
/// about a target takes over from [`Guarded`].
pub trait Environments {
    /// The environment for `configuration`, or why it cannot be had.
    fn environment(&self, configuration: &Configuration) -> Result<Environment>;
}

/// Inserts the guard library by dyld's variable and tells it its mode.
#[derive(Clone, Debug)]
pub struct Guarded {
    /// The library; needed on macOS for any configuration with the guard.
    pub library: Option<PathBuf>,
    /// Whether children are run by dyld.
    pub macos: bool,
}

const MODE: &str = "AGX_GUARD";
const INSERT: &str = "DYLD_INSERT_LIBRARIES";

impl Environments for Guarded {
    fn environment(&self, configuration: &Configuration) -> Result<Environment> {
        let unavailable = |message: &str, advice: &str| {
            Err(Error::new(Code::BadConfiguration, message)
                .with("configuration", configuration)
                .next(advice))
        };
        if matches!(configuration, Configuration::NoCoalescing | Configuration::Patched) {
            return unavailable(
                "this configuration needs a Mac",
                "run it on a Mac, or on a simulated one with --simulate",
            );
        }
        let Some(mode) = configuration.guard_mode() else {
            // A guard inherited from the caller would make `off` a lie.
            let removed = vec![MODE.to_owned(), INSERT.to_owned()];
            return Ok(Environment { set: Vec::new(), removed }.with(configuration));
        };
        let mode = (MODE.to_owned(), mode.to_string());
        match (&self.library, self.macos) {
            (Some(library), true) => {
                let insert = (INSERT.to_owned(), library.display().to_string());
                Ok(Environment { set: vec![mode, insert], removed: Vec::new() })
            }
            (None, true) => unavailable(
                "this configuration needs the guard library",
                "name it with --guard-library",
            ),
            (_, false) => Ok(Environment { set: vec![mode], removed: Vec::new() }),
        }
    }
}
