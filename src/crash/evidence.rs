//! What a class rests on, and how sure it is.

use serde::{Deserialize, Serialize};

use super::address::Access;
use super::assertion::Assertion;
use super::command_failure::CommandFailure;

/// How sure a class is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Sureness {
    /// The report shows it: the instruction and its registers, or Metal's own text.
    Certain,
    /// Frame and address fit what is published.
    Likely,
    /// The frame alone fits.
    #[default]
    Possible,
}

/// A part of a report that a class rests on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ground {
    /// The instruction that faulted.
    Instruction,
    /// The registers of the thread.
    Registers,
    /// The faulting address.
    Address,
    /// The frame.
    Frame,
    /// Frames further out.
    Callers,
    /// A text that the process or the system wrote.
    Text,
    /// Where an exception was thrown.
    Thrown,
}

impl Ground {
    /// As shown to people.
    pub fn title(self) -> &'static str {
        match self {
            Ground::Instruction => "instruction",
            Ground::Registers => "registers",
            Ground::Address => "address",
            Ground::Frame => "frame",
            Ground::Callers => "callers",
            Ground::Text => "text",
            Ground::Thrown => "exception",
        }
    }
}

impl Sureness {
    /// As shown to people.
    pub fn title(self) -> &'static str {
        match self {
            Sureness::Certain => "certain",
            Sureness::Likely => "likely",
            Sureness::Possible => "possible",
        }
    }
}

/// What a class rests on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    /// One sentence, for people.
    pub because: String,
    /// How sure the class is.
    #[serde(default)]
    pub sureness: Sureness,
    /// What it rests on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rests_on: Vec<Ground>,
    /// Exception and signal.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub exception: Option<String>,
    /// The faulting address in hexadecimal.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub address: Option<String>,
    /// The address without the bits of a failed pointer authentication.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub authentic_address: Option<String>,
    /// Whether it was read or written.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub access: Option<Access>,
    /// The frame the crash is put down to; the innermost one unless a signal handler
    /// or a runtime stands above it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub frame: Option<String>,
    /// The image it lies in.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub image: Option<String>,
    /// The frame of GPU code that called it, if another.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub called_by: Option<String>,
    /// The thread that died, and its dispatch queue.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub thread: Option<String>,
    /// Which assertion, for [`super::Class::Assertion`].
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub assertion: Option<Assertion>,
    /// Why the command buffer failed, for [`super::Class::CommandFailed`].
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub failure: Option<CommandFailure>,
}

impl Evidence {
    /// Evidence that is a sentence and nothing else.
    pub fn because(reason: impl Into<String>) -> Evidence {
        let sureness = Sureness::Certain;
        Evidence { because: reason.into(), sureness, ..Evidence::default() }
    }
}
