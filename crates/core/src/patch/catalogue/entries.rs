//! What a catalogue holds: signatures, patches, known builds and releases.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Deserializer, Serialize};

/// A sequence to look for.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Signature {
    /// Its name.
    pub name: String,
    /// One line on what the sequence does.
    #[serde(default)]
    pub summary: String,
    /// The architectures of slices it is looked for in, as `lipo` names them.
    pub architectures: Vec<String>,
    /// The methods it must stand in where the file names its methods, each as
    /// `-[Class selector]`; `*` stands for any letters. A file may write one of
    /// them as a string.
    #[serde(default, rename = "method", deserialize_with = "one_or_many")]
    pub methods: Vec<String>,
    /// For captured addresses, the name of the function called there. Where the
    /// image names its stubs, the call must be to that function; and a rewrite
    /// may use the name where the form that stands there does not capture it.
    #[serde(default)]
    pub functions: BTreeMap<String, String>,
    /// The sequence, in the syntax of [`crate::signature`].
    pub pattern: String,
    /// Why it is of interest, for a reader.
    #[serde(default)]
    pub essay: String,
}

impl Signature {
    /// Whether it is looked for in slices of this architecture.
    pub fn is_for(&self, architecture: &str) -> bool {
        self.architectures.iter().any(|name| name == architecture)
    }
}

/// Reads a string or a list of strings.
fn one_or_many<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "a string or a list of strings")]
    enum OneOrMany {
        One(String),
        Many(Vec<String>),
    }
    Ok(match OneOrMany::deserialize(deserializer)? {
        OneOrMany::One(one) => vec![one],
        OneOrMany::Many(many) => many,
    })
}

/// What to put in a sequence's place.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Patch {
    /// Its name.
    pub name: String,
    /// A shorter one.
    pub alias: Option<String>,
    /// The signature whose match it replaces.
    pub signature: String,
    /// One line on what it does.
    pub summary: String,
    /// Whether it is applied to a user who names none.
    #[serde(default)]
    pub default: bool,
    /// The new instructions, as many as the signature has lines; `?` keeps the
    /// one that stands there.
    pub rewrite: String,
    /// The differences in behaviour it is meant to make, for a reader.
    #[serde(default)]
    pub permits: Vec<String>,
    /// Known defects by the names the proof has for them.
    #[serde(default)]
    pub defects: Vec<String>,
    /// What stays broken, for a reader.
    #[serde(default)]
    pub does_not_fix: Vec<String>,
    /// Why it is right, for a reader.
    #[serde(default)]
    pub essay: String,
    /// The words it must make in a published build.
    pub pinned: Option<Pinned>,
}

/// The words a rewrite must make for known roles at a known address.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Pinned {
    /// Address of the first word, in hexadecimal with `0x`.
    pub at: String,
    /// What the signature's names stand for.
    pub roles: BTreeMap<String, String>,
    /// The words in hexadecimal, `?` where the old one is kept.
    pub words: String,
}

/// The state a known file is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum KnownState {
    /// As the vendor shipped it.
    Original,
    /// Patched with the published rewrite.
    LegacyPatched,
}

/// A driver file whose digest was published.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct KnownBuild {
    /// Name of the driver bundle, without its extension.
    pub driver: String,
    /// The driver's source version.
    pub version: String,
    /// The image's UUID.
    pub uuid: String,
    /// The macOS it came with.
    pub macos: String,
    /// Where it was seen.
    pub hardware: String,
    /// What the file holds.
    pub form: String,
    /// Bytes, where published.
    pub size: Option<u64>,
    /// SHA-256 of the whole file, in hexadecimal.
    pub sha256: String,
    /// What state it is in.
    pub state: KnownState,
}

/// A release of a driver, by the UUID of its image.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct KnownRelease {
    /// Name of the image.
    pub driver: String,
    /// The driver's source version.
    pub version: String,
    /// The image's UUID.
    pub uuid: String,
    /// The macOS it came with, where that is known.
    pub macos: Option<String>,
    /// Whether only the ends of that range were seen.
    #[serde(default)]
    pub inferred: bool,
    /// The signatures whose sequence it is known to hold.
    #[serde(default)]
    pub holds: Vec<String>,
    /// The signatures whose sequence it is known not to hold.
    #[serde(default)]
    pub lacks: Vec<String>,
}

impl fmt::Display for KnownRelease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.driver, self.version)?;
        match (&self.macos, self.inferred) {
            (Some(macos), true) => write!(f, " of macOS {macos} (inferred)"),
            (Some(macos), false) => write!(f, " of macOS {macos}"),
            (None, _) => Ok(()),
        }
    }
}
