//! Signatures, patches and known builds, as the text files that hold them.
//!
//! The built-in files are part of the program. A user's own are added to them;
//! one with a name that exists already replaces it. Reading directories is the
//! caller's affair.

mod entries;
mod files;

use std::borrow::Cow;

use crate::error::{Code, Error, Result};
use crate::macho::{Universal, Uuid};
use files::{BuildsFile, ReleasesFile, read, read_signatures};

pub use entries::{KnownBuild, KnownRelease, KnownState, Patch, Pinned, Signature};

use super::provenance::{Kind, Provenance};

/// The architectures whose code patterns are about.
const ARCHITECTURES: [&str; 2] = ["arm64", "arm64e"];

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
