//! The rest of what a deployment must know of a machine, each as one question.
//!
//! A tool whose answer is in no known form is an error that shows the answer;
//! nothing here falls back to a guess.

use std::ffi::OsString;
use std::path::Path;

use plist::Value;
use serde::Serialize;

use super::{Command, Host, Tool, tool_failed, unknown_answer, volume};
use agxpatch_core::error::{Code, Error, Result};

pub use super::boot_args::{boot_args, command_without_loosening, loosening};
pub use super::filevault::{FileVault, NotOff, filevault};

/// A macOS by version and build.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Release {
    /// Such as `15.7.3`.
    pub version: String,
    /// The build of the system volume, such as `24G419`.
    pub build: String,
    /// The build of a Background Security Improvement on top of it, such as
    /// `24G4190a`, where one is installed. It leaves the system volume as it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub supplement: Option<String>,
}

impl std::fmt::Display for Release {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({})", self.version, self.build)?;
        match &self.supplement {
            Some(build) => write!(f, " with the Background Security Improvement {build}"),
            None => Ok(()),
        }
    }
}

/// Library validation for the whole machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LibraryValidation {
    /// As shipped: platform processes load only Apple's code.
    On,
    /// `DisableLibraryValidation` is set. It counts only while the debugging
    /// restrictions of System Integrity Protection are off.
    Off,
}

/// The driver bundle an accelerator asks Metal to load.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MetalPlugin {
    /// `MetalPluginName`, such as `AGXMetalG16X`.
    pub name: String,
    /// `MetalPluginClassName`, such as `AGXG16XDevice`.
    pub class: Option<String>,
}

/// Who signed a file, by `codesign`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "signer", content = "said")]
pub enum Signer {
    /// Apple, and the signature is intact.
    Apple,
    /// No signer: an intact ad-hoc signature.
    AdHoc,
    /// Another signer, with an intact signature.
    Other,
    /// The signature does not verify; what codesign said.
    Invalid(String),
}

impl std::fmt::Display for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Signer::Apple => "Apple's, and intact",
            Signer::AdHoc => "ad hoc, and intact",
            Signer::Other => "another signer's, and intact",
            Signer::Invalid(said) => said,
        })
    }
}

/// Where the switch for library validation is kept, as `defaults` wants it.
pub const LIBRARY_VALIDATION_DOMAIN: &str =
    "/Library/Preferences/com.apple.security.libraryvalidation";
/// The key of the switch.
pub const LIBRARY_VALIDATION_KEY: &str = "DisableLibraryValidation";

/// The command that switches library validation off.
pub fn library_validation_off() -> String {
    format!(
        "sudo defaults write {LIBRARY_VALIDATION_DOMAIN}.plist {LIBRARY_VALIDATION_KEY} -bool true"
    )
}

/// The macOS that runs: version and build of the system volume, by its
/// `SystemVersion.plist`. `sw_vers` names another build where a Background Security
/// Improvement is installed, and none where it cannot be asked.
pub fn release(host: &dyn Host) -> Result<Release> {
    let base = release_on(host, Path::new("/"))?;
    let said = sw_vers(host, "-buildVersion").ok();
    Ok(Release { supplement: said.filter(|said| *said != base.build), ..base })
}

/// One word of `sw_vers`.
pub fn sw_vers(host: &dyn Host, flag: &str) -> Result<String> {
    let command = Command::question(Tool::SwVers, [flag]);
    let output = host.ask(&command)?;
    let text = output.text().trim().to_owned();
    if text.is_empty() || text.contains(char::is_whitespace) {
        return Err(unknown_answer(&command, "one word", &output));
    }
    Ok(text)
}

/// The macOS on a volume mounted at `root`, from its `SystemVersion.plist`.
pub fn release_on(host: &dyn Host, root: &Path) -> Result<Release> {
    let path = root.join("System/Library/CoreServices/SystemVersion.plist");
    let file = host.read(&path)?;
    let value = Value::from_reader(std::io::Cursor::new(file.bytes)).ok();
    let pairs = value.as_ref().and_then(Value::as_dictionary);
    let get = |key| pairs.and_then(|pairs| volume::string(pairs, key)).map(str::to_owned);
    match (get("ProductVersion"), get("ProductBuildVersion")) {
        (Some(version), Some(build)) => Ok(Release { version, build, supplement: None }),
        _ => Err(Error::new(Code::UnknownAnswer, "the volume does not record its macOS version")
            .with("file", path.display())),
    }
}

/// The machine's switch for library validation.
pub fn library_validation(host: &dyn Host) -> Result<LibraryValidation> {
    let words = ["read", LIBRARY_VALIDATION_DOMAIN, LIBRARY_VALIDATION_KEY];
    let command = Command::question(Tool::Defaults, words);
    let output = host.run(&command)?;
    match (output.succeeded(), output.text().trim()) {
        (true, "1") => Ok(LibraryValidation::Off),
        (true, "0") => Ok(LibraryValidation::On),
        (true, _) => Err(unknown_answer(&command, "0 or 1", &output)),
        (false, _) if output.complaint().contains("does not exist") => Ok(LibraryValidation::On),
        (false, _) => Err(tool_failed(&command, &output)),
    }
}

/// The driver bundles the machine's accelerators ask for.
pub fn metal_plugins(host: &dyn Host) -> Result<Vec<MetalPlugin>> {
    let words = ["-a", "-r", "-c", "IOAccelerator", "-d", "1"];
    let command = Command::question(Tool::Ioreg, words);
    let output = host.ask(&command)?;
    // Without an accelerator ioreg prints nothing.
    if output.text().trim().is_empty() {
        return Ok(Vec::new());
    }
    let value = Value::from_reader(std::io::Cursor::new(&output.stdout)).ok();
    let entries = value.as_ref().and_then(Value::as_array);
    let entries = entries.ok_or_else(|| unknown_answer(&command, "a list of entries", &output))?;
    let plugin = |entry: &Value| {
        let entry = entry.as_dictionary()?;
        let name = volume::string(entry, "MetalPluginName")?.to_owned();
        Some(MetalPlugin {
            name,
            class: volume::string(entry, "MetalPluginClassName").map(Into::into),
        })
    };
    Ok(entries.iter().filter_map(plugin).collect())
}

/// The UUID of this boot: another one means that the machine was restarted.
pub fn boot_session(host: &dyn Host) -> Result<String> {
    let command = Command::question(Tool::Sysctl, ["-n", "kern.bootsessionuuid"]);
    let output = host.ask(&command)?;
    let text = output.text().trim().to_owned();
    let plain = text.len() == 36 && text.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-');
    if plain { Ok(text) } else { Err(unknown_answer(&command, "a UUID", &output)) }
}

/// Who signed a file, and whether the signature holds. The main file of a bundle is
/// to be named where it stands in the bundle: its signature covers `Info.plist` and
/// the list of resources, which a loose copy lacks, and `codesign` calls that
/// invalid.
pub fn signer(host: &dyn Host, path: &Path) -> Result<Signer> {
    let words = |flags: &[&str]| -> Vec<OsString> {
        flags.iter().map(OsString::from).chain([path.as_os_str().to_owned()]).collect()
    };
    let verified =
        host.run(&Command::question(Tool::Codesign, words(&["--verify", "--strict", "-vvv"])))?;
    if !verified.succeeded() {
        return Ok(Signer::Invalid(verified.complaint().trim().to_owned()));
    }
    let command = Command::question(Tool::Codesign, words(&["-dvvv"]));
    let output = host.ask(&command)?;
    let text = output.complaint();
    let line = |wanted: &str| text.lines().any(|line| line.trim() == wanted);
    Ok(if line("Signature=adhoc") {
        Signer::AdHoc
    } else if line("Authority=Software Signing") && line("Authority=Apple Root CA") {
        Signer::Apple
    } else {
        Signer::Other
    })
}
