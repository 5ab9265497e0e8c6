//! What the guard is to do, as people write it and as the library reads it.

use std::fmt;
use std::str::FromStr;

use serde::{Serialize, Serializer};

use agxpatch_core::error::{Code, Error, Result};

/// A mode of the guard library; the text form is the value of `AGX_GUARD`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Mode {
    /// Locks each encoder, refuses ended ones, keeps them for a while.
    #[default]
    Guard,
    /// That, with at most so many encoders open at a time.
    Throttle(u32),
    /// One encoder at a time.
    Serialize,
    /// Counts and changes nothing.
    Observe,
    /// Hooks nothing.
    Off,
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Mode::Guard => f.pad("guard"),
            Mode::Throttle(most) => f.pad(&format!("throttle={most}")),
            Mode::Serialize => f.pad("serialize"),
            Mode::Observe => f.pad("observe"),
            Mode::Off => f.pad("off"),
        }
    }
}

impl FromStr for Mode {
    type Err = Error;

    fn from_str(text: &str) -> Result<Mode> {
        let throttle = text.strip_prefix("throttle=").and_then(|most| most.parse().ok());
        match (text, throttle) {
            ("guard", _) => Ok(Mode::Guard),
            ("serialize", _) => Ok(Mode::Serialize),
            ("observe", _) => Ok(Mode::Observe),
            ("off", _) => Ok(Mode::Off),
            (_, Some(most @ 1..)) => Ok(Mode::Throttle(most)),
            _ => Err(Error::new(Code::BadArgument, "the guard has no such mode")
                .with("mode", text)
                .next("use guard, throttle=N with N of at least 1, serialize, observe or off")),
        }
    }
}

impl Serialize for Mode {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
