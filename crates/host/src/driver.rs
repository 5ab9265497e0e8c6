//! Which driver bundle this Mac's GPU asks for, and where its files are.
//!
//! The I/O registry names the bundle of each accelerator (`MetalPluginName`). Apple's
//! GPUs ask for `AGXMetal…`, from the M1's `AGXMetalG13G` to the M5's; other GPUs of
//! the same Mac have bundles of their own, which are left out of account here.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::Host;
use super::machine::{self, MetalPlugin};
use agxpatch_core::error::{Code, Error, Result};

/// How the bundles of Apple's GPUs are named.
const PREFIX: &str = "AGXMetal";
/// Where driver bundles are on a system volume.
const FOLDER: &str = "/System/Library/Extensions";

/// The name of a driver bundle of Apple's, such as `AGXMetalG16X`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct DriverBundle {
    name: String,
}

impl DriverBundle {
    /// The bundle of this name, if a bundle of Apple's GPUs can have it.
    pub fn named(name: &str) -> Option<DriverBundle> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        let ours = name.len() > PREFIX.len() && name.starts_with(PREFIX);
        (ours && name.bytes().all(plain)).then(|| DriverBundle { name: name.to_owned() })
    }

    /// The bundle whose executable is at this path.
    pub fn of_executable(path: &Path) -> Option<DriverBundle> {
        let bundle = DriverBundle::named(path.file_name()?.to_str()?)?;
        (bundle.executable() == path).then_some(bundle)
    }

    /// The one that this Mac's GPU asks for.
    ///
    /// # Errors
    /// [`Code::NoDriver`] where no accelerator asks for one, or several ask for
    /// different ones.
    pub fn installed(host: &dyn Host) -> Result<DriverBundle> {
        DriverBundle::the_one(&machine::metal_plugins(host)?)
    }

    /// Apple's drivers among those that GPUs ask for, each once.
    pub fn among(plugins: &[MetalPlugin]) -> Vec<DriverBundle> {
        let mut bundles: Vec<DriverBundle> =
            plugins.iter().filter_map(|plugin| DriverBundle::named(&plugin.name)).collect();
        bundles.dedup();
        bundles
    }

    /// The only one of Apple's drivers among those that GPUs ask for.
    ///
    /// # Errors
    /// As [`DriverBundle::installed`].
    pub fn the_one(plugins: &[MetalPlugin]) -> Result<DriverBundle> {
        let asked: Vec<&str> = plugins.iter().map(|plugin| plugin.name.as_str()).collect();
        let asked = if asked.is_empty() { "nothing".to_owned() } else { asked.join(", ") };
        let no_driver = |message| Error::new(Code::NoDriver, message).with("asked for", &asked);
        match <[DriverBundle; 1]>::try_from(DriverBundle::among(plugins)) {
            Ok([bundle]) => Ok(bundle),
            Err(none) if none.is_empty() => {
                Err(no_driver("no GPU of this Mac asks for a driver of Apple's (AGXMetal…)"))
            }
            Err(_) => Err(no_driver("the GPUs of this Mac ask for different drivers of Apple's")),
        }
    }

    /// The bundle's name, which is the executable's, too.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The bundle itself.
    pub fn path(&self) -> PathBuf {
        PathBuf::from(format!("{FOLDER}/{}.bundle", self.name))
    }

    /// The executable: the one file that a deployment replaces.
    pub fn executable(&self) -> PathBuf {
        self.path().join("Contents/MacOS").join(&self.name)
    }
}

impl fmt::Display for DriverBundle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_apples_gpus_are_taken() {
        for name in ["AGXMetalG16X", "AGXMetalG13G", "AGXMetalG16G_B0", "AGXMetal13_3"] {
            let bundle = DriverBundle::named(name).unwrap();
            assert_eq!(DriverBundle::of_executable(&bundle.executable()), Some(bundle), "{name}");
        }
        for name in ["", "AGXMetal", "AMDMTLBronzeDriver", "AGXMetal/../x", "AGXMetalG16G-B0"] {
            assert_eq!(DriverBundle::named(name), None, "{name}");
        }
    }
}
