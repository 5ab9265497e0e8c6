//! What a program's file says about being given a library.
//!
//! Read from the slice that would run: on Apple silicon the arm64 one, arm64e
//! where there is no other AArch64, else Intel's under Rosetta.

use std::path::Path;

use plist::Value;
use serde::Serialize;

use agxpatch_core::codesign::{CodeDirectory, EmbeddedSignature, Kind, RUNTIME};
use agxpatch_core::error::Result;
use agxpatch_core::macho::{Architecture, Image, Slice, Universal};

/// `CS_RESTRICT` of XNU's `cs_blobs.h`: no variables of dyld.
const RESTRICT: u32 = 0x800;
/// `CS_REQUIRE_LV`: library validation.
const REQUIRE_LV: u32 = 0x2000;

/// The entitlements that matter here.
const ALLOWS_VARIABLES: &str = "com.apple.security.cs.allow-dyld-environment-variables";
const WAIVES_VALIDATION: [&str; 2] = [
    "com.apple.security.cs.disable-library-validation",
    "com.apple.private.security.clear-library-validation",
];

/// Folders that System Integrity Protection guards, as far as they hold programs.
const GUARDED: [&str; 4] = ["/System", "/bin", "/sbin", "/usr"];
/// Folders in those that it leaves to others; the volumes hold every user's files
/// under a second name.
const FREE: [&str; 2] = ["/System/Volumes", "/usr/local"];

/// The facts about one program.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Facts {
    /// The architectures of the file.
    pub architectures: Vec<Architecture>,
    /// The one that would run.
    pub runs: Architecture,
    /// It lies where only macOS has programs.
    pub system_path: bool,
    /// Its signature is a platform binary's.
    pub platform: bool,
    /// Set user or group identifier.
    pub set_id: bool,
    /// It has a `__RESTRICT,__restrict` section.
    pub restrict_section: bool,
    /// Its signature says `CS_RESTRICT`.
    pub restrict_flag: bool,
    /// It has the hardened runtime.
    pub hardened: bool,
    /// Its signature asks for library validation, by itself or by the hardened
    /// runtime.
    pub library_validation: bool,
    /// It may be given variables of dyld all the same.
    pub allows_variables: bool,
    /// Library validation is waived.
    pub waives_validation: bool,
}

impl Facts {
    /// Whether macOS itself runs it as a program of its own.
    pub fn is_platform(&self) -> bool {
        self.platform || self.system_path
    }

    /// Reads the program at `path`, links followed, from its bytes.
    ///
    /// # Errors
    /// Where the bytes are not a Mach-O that this tool reads.
    pub fn read(path: &Path, mode: u32, bytes: &[u8]) -> Result<Facts> {
        let file = Universal::parse(bytes)?;
        let slice = running(&file)?;
        let image = slice.image()?;
        let signature = signature(&image);
        let directory = signature.as_ref().and_then(|signature| signature.directories.first());
        let has = |flags| directory.is_some_and(|directory: &CodeDirectory| directory.has(flags));
        let granted = Entitlements::of(signature.as_ref());
        let kind = signature.as_ref().map(EmbeddedSignature::kind);
        Ok(Facts {
            architectures: file.slices.iter().map(|slice| slice.architecture).collect(),
            runs: slice.architecture,
            system_path: GUARDED.iter().any(|folder| path.starts_with(folder))
                && !FREE.iter().any(|folder| path.starts_with(folder)),
            platform: matches!(kind, Some(Kind::Cms { platform: 1.., .. })),
            set_id: mode & 0o6000 != 0,
            restrict_section: image.section("__RESTRICT", "__restrict").is_some(),
            restrict_flag: has(RESTRICT),
            hardened: has(RUNTIME),
            library_validation: has(RUNTIME) || has(REQUIRE_LV),
            allows_variables: granted.has(ALLOWS_VARIABLES),
            waives_validation: WAIVES_VALIDATION.iter().any(|name| granted.has(name)),
        })
    }
}

/// The slice the kernel would choose on Apple silicon.
fn running<'f, 'a>(file: &'f Universal<'a>) -> Result<&'f Slice<'a>> {
    let order = [Architecture::ARM64, Architecture::ARM64E, Architecture::X86_64];
    let chosen = order.into_iter().find_map(|architecture| file.slice(architecture).ok());
    match chosen {
        Some(slice) => Ok(slice),
        None => file.slice(Architecture::ARM64),
    }
}

/// The signature, as far as it can be read: an unreadable one grants nothing.
fn signature<'a>(image: &Image<'a>) -> Option<EmbeddedSignature<'a>> {
    let range = image.code_signature()?;
    let (start, end) = (usize::try_from(range.start.0).ok()?, usize::try_from(range.end.0).ok()?);
    EmbeddedSignature::parse(image.bytes().get(start..end)?).ok()
}

struct Entitlements(Option<Value>);

impl Entitlements {
    fn of(signature: Option<&EmbeddedSignature>) -> Entitlements {
        let text = signature.and_then(EmbeddedSignature::entitlements);
        Entitlements(text.and_then(|text| Value::from_reader_xml(text.as_bytes()).ok()))
    }

    fn has(&self, name: &str) -> bool {
        let dictionary = self.0.as_ref().and_then(Value::as_dictionary);
        dictionary.and_then(|dictionary| dictionary.get(name)).and_then(Value::as_boolean)
            == Some(true)
    }
}
