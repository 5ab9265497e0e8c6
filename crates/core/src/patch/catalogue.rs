//! Signatures, patches and known builds, as the text files that hold them.
//!
//! The built-in files are part of the program. A user's own are added to them;
//! one with a name that exists already replaces it. Reading directories is the
//! caller's affair.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Deserializer, Serialize};

use crate::error::{Code, Error, Result};
use crate::macho::{Universal, Uuid};

use super::provenance::{Kind, Provenance};

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

/// The architectures whose code patterns are about.
const ARCHITECTURES: [&str; 2] = ["arm64", "arm64e"];

/// A file of signatures holds one, or many as `[[signature]]`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SignaturesFile {
    signature: Vec<Signature>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BuildsFile {
    build: Vec<KnownBuild>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ReleasesFile {
    release: Vec<KnownRelease>,
}

/// The text of a file, which the catalogue keeps.
pub type Text = Cow<'static, str>;

/// Everything the tool knows by data.
#[derive(Clone, Debug, Default)]
pub struct Catalogue {
    /// Signatures, in the order they were added.
    pub signatures: Vec<Signature>,
    /// Patches, in the order they were added.
    pub patches: Vec<Patch>,
    /// Known driver files.
    pub builds: Vec<KnownBuild>,
    /// Known releases of drivers.
    pub releases: Vec<KnownRelease>,
    provenance: Provenance,
}

const SIGNATURES: &[(&str, &str)] = &[(
    "signatures/agx-encoder-release.toml",
    include_str!("../../../../signatures/agx-encoder-release.toml"),
)];

const PATCHES: &[(&str, &str)] = &[
    (
        "patches/agx-encoder-release.toml",
        include_str!("../../../../patches/agx-encoder-release.toml"),
    ),
    (
        "patches/agx-encoder-release-legacy.toml",
        include_str!("../../../../patches/agx-encoder-release-legacy.toml"),
    ),
];

const BUILDS: (&str, &str) =
    ("patches/known-builds.toml", include_str!("../../../../patches/known-builds.toml"));

const RELEASES: (&str, &str) =
    ("patches/known-releases.toml", include_str!("../../../../patches/known-releases.toml"));

impl Catalogue {
    /// The files that are part of the program.
    pub fn built_in() -> Result<Catalogue> {
        let mut catalogue = Catalogue::default();
        for &(origin, text) in SIGNATURES {
            catalogue.add_signature(text, origin)?;
        }
        for &(origin, text) in PATCHES {
            catalogue.add_patch(text, origin)?;
        }
        catalogue.add_builds(BUILDS.1, BUILDS.0)?;
        catalogue.add_releases(RELEASES.1, RELEASES.0)?;
        catalogue.provenance.seal_built_in();
        Ok(catalogue)
    }

    /// Adds the signature in the text of a file, or all of them where it holds
    /// many as `[[signature]]`; `origin` is named in errors.
    pub fn add_signature(&mut self, text: impl Into<Text>, origin: &str) -> Result<()> {
        let text = text.into();
        let added = read_signatures(&text, origin)?;
        self.provenance.add(origin, text);
        for signature in added {
            if self.provenance.define(Kind::Signature, &signature.name)? {
                self.signatures.retain(|known| known.name != signature.name);
            }
            self.signatures.push(signature);
        }
        Ok(())
    }

    /// Adds a patch from the text of its file; `origin` is named in errors.
    pub fn add_patch(&mut self, text: impl Into<Text>, origin: &str) -> Result<()> {
        let text = text.into();
        let patch: Patch = read(&text, origin)?;
        self.provenance.add(origin, text);
        if self.provenance.define(Kind::Patch, &patch.name)? {
            self.patches.retain(|known| known.name != patch.name);
        }
        self.patches.push(patch);
        Ok(())
    }

    /// Adds known builds from the text of their file.
    pub fn add_builds(&mut self, text: impl Into<Text>, origin: &str) -> Result<()> {
        let text = text.into();
        let builds: BuildsFile = read(&text, origin)?;
        self.provenance.add(origin, text);
        self.builds.extend(builds.build);
        Ok(())
    }

    /// Adds known releases from the text of their file.
    pub fn add_releases(&mut self, text: impl Into<Text>, origin: &str) -> Result<()> {
        let text = text.into();
        let releases: ReleasesFile = read(&text, origin)?;
        self.provenance.add(origin, text);
        self.releases.extend(releases.release);
        Ok(())
    }

    /// Refuses what no file can be blamed for before all are there: patches for
    /// signatures that do not exist, a name that two patches answer to, names that
    /// cannot be typed, and signatures for processors whose code is not such
    /// assembly.
    pub fn check(&self) -> Result<()> {
        for signature in &self.signatures {
            check_name(&signature.name, || self.signature_place(&signature.name, "name"))?;
            let odd =
                signature.architectures.iter().find(|name| !ARCHITECTURES.contains(&name.as_str()));
            if let Some(named) =
                odd.map(String::as_str).or(signature.architectures.is_empty().then_some("none"))
            {
                return Err(Error::new(
                    Code::CatalogueBroken,
                    "the signature names an unknown architecture",
                )
                .with("signature", &signature.name)
                .with("architecture", named)
                .with("file", self.signature_place(&signature.name, "architectures"))
                .next(format!("name some of {}", ARCHITECTURES.join(", "))));
            }
        }
        self.patches
            .iter()
            .enumerate()
            .try_for_each(|(number, patch)| self.check_patch(number, patch))
    }

    fn check_patch(&self, number: usize, patch: &Patch) -> Result<()> {
        for name in [&patch.name].into_iter().chain(&patch.alias) {
            check_name(name, || self.patch_place(&patch.name, "name"))?;
        }
        let broken = |what: &str, text: &str| {
            Error::new(Code::CatalogueBroken, what)
                .with("patch", &patch.name)
                .with("file", self.patch_place(&patch.name, text))
        };
        if !self.signatures.iter().any(|signature| signature.name == patch.signature) {
            return Err(broken("a patch is for a signature that does not exist", "signature")
                .with("signature", &patch.signature)
                .next("add the signature, or name one that `agxpatch signatures list` shows"));
        }
        for other in &self.patches[..number] {
            let taken = |name: &str| other.name == name || other.alias.as_deref() == Some(name);
            if taken(&patch.name) || patch.alias.as_deref().is_some_and(taken) {
                return Err(broken("two patches have the same name", "alias")
                    .with("and", &other.name)
                    .next("give one of them another alias"));
            }
        }
        Ok(())
    }

    /// File and line where `text` stands in a signature's definition.
    pub fn signature_place(&self, name: &str, text: &str) -> String {
        self.provenance.place(Kind::Signature, name, text).unwrap_or_default()
    }

    /// File and line where `text` stands in a patch's definition.
    pub fn patch_place(&self, name: &str, text: &str) -> String {
        self.provenance.place(Kind::Patch, name, text).unwrap_or_default()
    }

    /// SHA-256 over the files as they were added: what this catalogue is.
    pub fn digest(&self) -> String {
        self.provenance.digest()
    }

    /// The patch of that name or alias.
    pub fn patch(&self, name: &str) -> Result<&Patch> {
        let named = |patch: &&Patch| patch.name == name || patch.alias.as_deref() == Some(name);
        self.patches.iter().find(named).ok_or_else(|| {
            let known: Vec<&str> = self.patches.iter().map(|patch| patch.name.as_str()).collect();
            Error::new(Code::UnknownPatch, "there is no patch with that name")
                .with("name", name)
                .with("known", known.join(", "))
        })
    }

    /// The signature of that name.
    pub fn signature(&self, name: &str) -> Result<&Signature> {
        self.signatures.iter().find(|signature| signature.name == name).ok_or_else(|| {
            let known: Vec<&str> =
                self.signatures.iter().map(|known| known.name.as_str()).collect();
            let shown = known.iter().take(10).copied().collect::<Vec<_>>().join(", ");
            let more = if known.len() > 10 { ", …" } else { "" };
            Error::new(Code::UnknownSignature, "there is no signature with that name")
                .with("name", name)
                .with("known", shown + more)
                .next("`agxpatch signatures list` shows them all")
        })
    }

    /// The patches for a signature.
    pub fn patches_for(&self, signature: &str) -> impl Iterator<Item = &Patch> {
        self.patches.iter().filter(move |patch| patch.signature == signature)
    }

    /// The release whose image has this UUID.
    pub fn known_release(&self, uuid: &str) -> Option<&KnownRelease> {
        self.releases.iter().find(|release| release.uuid.eq_ignore_ascii_case(uuid))
    }

    /// What is known of a file with this SHA-256, in hexadecimal, if the UUID of one of
    /// its slices is the build's too: a wrong entry in a list shows that way.
    pub fn known_build(&self, sha256: &str, file: &Universal<'_>) -> Option<&KnownBuild> {
        let listed = |build: &&KnownBuild| build.sha256.eq_ignore_ascii_case(sha256);
        let build = self.builds.iter().find(listed)?;
        let searched = file.slices.iter().filter(|slice| slice.is_searched());
        let mut uuids = searched.filter_map(|slice| slice.image().ok()?.uuid());
        let same = |uuid: Uuid| build.uuid.eq_ignore_ascii_case(&uuid.to_string());
        uuids.any(same).then_some(build)
    }
}

/// Names are typed on command lines and stand in sentences.
fn check_name(name: &str, place: impl Fn() -> String) -> Result<()> {
    let plain = |c: char| c.is_alphanumeric() || "-_.".contains(c);
    if !name.is_empty() && name.chars().all(plain) && !name.starts_with('-') {
        return Ok(());
    }
    Err(Error::new(Code::CatalogueBroken, "a name has a character that is not allowed")
        .with("name", name)
        .with("file", place())
        .next(
            "use letters, digits, hyphens, underscores and full stops, not starting with a hyphen",
        ))
}

/// The signatures in the text of a file that holds one, or many.
///
/// Of many, each is read by itself: a tree of all would be built only to be taken
/// apart. That a line looks like a header proves nothing, it may be one of an
/// essay; but a text that is cut within a string or a list does not parse. Then,
/// as whenever something is wrong, the file is read as one.
fn read_signatures(text: &str, origin: &str) -> Result<Vec<Signature>> {
    let mut headers: Vec<usize> = Vec::new();
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        headers.extend((line.trim() == "[[signature]]").then_some(at));
        at += line.len();
    }
    if headers.is_empty() {
        return Ok(vec![read(text, origin)?]);
    }
    let ends = headers.into_iter().skip(1).chain([text.len()]);
    let pieces = ends.scan(0, |start, end| Some(&text[std::mem::replace(start, end)..end]));
    let each: Option<Vec<SignaturesFile>> =
        pieces.map(|piece| toml::from_str(piece).ok()).collect();
    let signatures = match each {
        Some(each) => each.into_iter().flat_map(|file| file.signature).collect(),
        None => read::<SignaturesFile>(text, origin)?.signature,
    };
    Ok(signatures)
}

fn read<T: for<'a> Deserialize<'a>>(text: &str, origin: &str) -> Result<T> {
    toml::from_str(text).map_err(|reason| {
        Error::new(Code::CatalogueBroken, "a catalogue file cannot be read")
            .with("file", origin)
            .with("reason", reason.to_string().trim_end())
            .next("correct that line; the built-in files under signatures/ and patches/ are the model")
    })
}
