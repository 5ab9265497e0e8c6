//! What a workload is run under, and the environment that brings it about.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use agxpatch_core::error::{Code, Error, Result};

/// One way to run the workload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Configuration {
    /// The system as it is.
    Off,
    /// With the guard library, which guards each encoder.
    Guard,
    /// With the guard library, at most so many encoders open at a time.
    Throttle(u32),
    /// With the guard library, one encoder at a time.
    Serialize,
}

impl fmt::Display for Configuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Configuration::Off => f.pad("off"),
            Configuration::Guard => f.pad("guard"),
            Configuration::Throttle(most) => f.pad(&format!("throttle={most}")),
            Configuration::Serialize => f.pad("serialize"),
        }
    }
}

impl FromStr for Configuration {
    type Err = Error;

    fn from_str(text: &str) -> Result<Configuration> {
        let throttle = text.strip_prefix("throttle=").and_then(|most| most.parse().ok());
        match (text, throttle) {
            ("off", _) => Ok(Configuration::Off),
            ("guard", _) => Ok(Configuration::Guard),
            ("serialize", _) => Ok(Configuration::Serialize),
            (_, Some(most @ 1..)) => Ok(Configuration::Throttle(most)),
            _ => Err(Error::new(Code::BadConfiguration, "no such configuration")
                .with("configuration", text)
                .next("use off, guard, throttle=N with N of at least 1, or serialize")),
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
        text.parse().map_err(|error: Error| serde::de::Error::custom(error.message()))
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

/// Brings a configuration about; the seam at which a launcher that knows more
/// about a target takes over from [`Guarded`].
pub trait Environments {
    /// The environment for `configuration`, or why it cannot be had.
    fn environment(&self, configuration: Configuration) -> Result<Environment>;
}

/// Inserts the guard library by dyld's variable and tells it its mode.
#[derive(Clone, Debug)]
pub struct Guarded {
    /// The library; needed on macOS for any configuration but `off`.
    pub library: Option<PathBuf>,
    /// Whether children are run by dyld.
    pub macos: bool,
}

const MODE: &str = "AGX_GUARD";
const INSERT: &str = "DYLD_INSERT_LIBRARIES";

impl Environments for Guarded {
    fn environment(&self, configuration: Configuration) -> Result<Environment> {
        if configuration == Configuration::Off {
            // A guard inherited from the caller would make `off` a lie.
            let removed = vec![MODE.to_owned(), INSERT.to_owned()];
            return Ok(Environment { set: Vec::new(), removed });
        }
        let mode = (MODE.to_owned(), configuration.to_string());
        match (&self.library, self.macos) {
            (Some(library), true) => {
                let insert = (INSERT.to_owned(), library.display().to_string());
                Ok(Environment { set: vec![mode, insert], removed: Vec::new() })
            }
            (None, true) => Err(Error::new(
                Code::BadConfiguration,
                "this configuration needs the guard library",
            )
            .with("configuration", configuration)
            .next("name it with --guard-library")),
            (_, false) => Ok(Environment { set: vec![mode], removed: Vec::new() }),
        }
    }
}
