//! The tools that have only one thing to say.

use std::path::Path;

use plist::{Dictionary, Value};

use super::super::factory::LIBRARY_VALIDATION;
use super::super::machine::{FileVault, Machine, Signer};
use super::super::store::{self, Held};
use super::super::{SignatureJudge, files};
use super::{answer, usage};
use agxpatch_core::error::Result;
use agxpatch_host::{Output, Tool};

pub(super) fn sw_vers(machine: &Machine, words: &[&str]) -> Output {
    let release = &machine.release;
    match words {
        ["-productVersion"] | ["--productVersion"] => {
            answer(0, format!("{}\n", release.version), "")
        }
        ["-buildVersion"] | ["--buildVersion"] => answer(0, format!("{}\n", release.build), ""),
        [] => answer(
            0,
            format!(
                "ProductName:\t\tmacOS\nProductVersion:\t\t{}\nBuildVersion:\t\t{}\n",
                release.version, release.build
            ),
            "",
        ),
        _ => usage(Tool::SwVers),
    }
}

pub(super) fn fdesetup(machine: &Machine, words: &[&str]) -> Output {
    if words != ["status"] {
        return usage(Tool::Fdesetup);
    }
    let text = match machine.filevault {
        FileVault::Off => "FileVault is Off.\n".to_owned(),
        FileVault::On => "FileVault is On.\n".to_owned(),
        FileVault::Encrypting(done) => {
            format!("FileVault is On.\nEncryption in progress: Percent completed = {done}\n")
        }
        FileVault::OnAfterRestart => {
            "FileVault is Off, but will be enabled after the next restart.\n".to_owned()
        }
        FileVault::OffAfterRestart => {
            "FileVault is Off, but needs to be restarted to finish.\n".to_owned()
        }
        FileVault::Deferred => format!(
            "FileVault is Off.\nDeferred enablement appears to be active for user '{}'.\n",
            machine.login
        ),
        FileVault::MasterKeychain => {
            "FileVault is Off.\nFileVault master keychain appears to be installed.\n".to_owned()
        }
        FileVault::Decrypting(done) => {
            format!("Decryption in progress: Percent completed = {done}.0\n")
        }
    };
    answer(0, text, "")
}

pub(super) fn nvram(machine: &Machine, words: &[&str]) -> Output {
    match (words, &machine.boot_args) {
        (["boot-args"], Some(value)) => answer(0, format!("boot-args\t{value}\n"), ""),
        ([name], _) => answer(
            1,
            "",
            format!(
                "nvram: Error getting variable - '{name}': (iokit/common) data was not found\n"
            ),
        ),
        _ => usage(Tool::Nvram),
    }
}

pub(super) fn sysctl(machine: &Machine, words: &[&str]) -> Output {
    match words {
        ["-n", "kern.bootsessionuuid"] => answer(0, format!("{}\n", machine.boot_session()), ""),
        ["-n", "hw.model", "machdep.cpu.brand_string"] => answer(0, "Mac16,5\nApple M4 Max\n", ""),
        ["-n", name] => answer(1, "", format!("sysctl: unknown oid '{name}'\n")),
        _ => usage(Tool::Sysctl),
    }
}

pub(super) fn ioreg(machine: &Machine, words: &[&str]) -> Output {
    if words != ["-a", "-r", "-c", "IOAccelerator", "-d", "1"] {
        return usage(Tool::Ioreg);
    }
    // Without a match ioreg prints nothing at all, not an empty list.
    let Some(plugin) = &machine.metal_plugin else { return answer(0, "", "") };
    // Each accelerator asks for one: `AGXMetalG16X,AGXMetalG17P` are two.
    let entries = plugin.split(',').map(|name| accelerator(&machine.metal_class, name));
    let mut bytes = Vec::new();
    // Writing plain values to memory cannot fail.
    drop(Value::Array(entries.collect()).to_writer_xml(&mut bytes));
    answer(0, bytes, "")
}

fn accelerator(class: &str, plugin: &str) -> Value {
    let mut entry = Dictionary::new();
    let object = class.replace("Device", "").replace("AGX", "AGXAccelerator");
    entry.insert("IOObjectClass".into(), object.into());
    entry.insert("MetalPluginClassName".into(), class.into());
    entry.insert("MetalPluginName".into(), plugin.into());
    Value::Dictionary(entry)
}

pub(super) fn defaults(held: &mut Held, words: &[&str]) -> Result<Output> {
    let ["read", domain, key] = words else { return Ok(usage(Tool::Defaults)) };
    let path = format!("{}.plist", domain.trim_end_matches(".plist"));
    let missing = || {
        let domain = domain.trim_end_matches(".plist");
        answer(1, "", format!("The domain/default pair of ({domain}, {key}) does not exist\n"))
    };
    if path != LIBRARY_VALIDATION {
        return Ok(missing());
    }
    let Some(object) = files::object_on(&held.machine.data, &path) else { return Ok(missing()) };
    let bytes = held.content(&object)?;
    let value = Value::from_reader_xml(&bytes[..]).ok();
    let value = value.as_ref().and_then(Value::as_dictionary).and_then(|pairs| pairs.get(key));
    Ok(match value {
        Some(Value::Boolean(on)) => answer(0, format!("{}\n", u8::from(*on)), ""),
        Some(Value::Integer(number)) => answer(0, format!("{number}\n"), ""),
        Some(Value::String(text)) => answer(0, format!("{text}\n"), ""),
        _ => missing(),
    })
}

/// `codesign --verify --strict -vvv` and `codesign -dvvv`: everything is said on
/// standard error.
pub(super) fn codesign(held: &mut Held, words: &[&str], judge: &SignatureJudge) -> Result<Output> {
    let Some(path) = words.last().filter(|word| word.starts_with('/')) else {
        return Ok(usage(Tool::Codesign));
    };
    let file = match files::read(held, Path::new(path)) {
        Ok(file) => file,
        Err(_) => return Ok(answer(1, "", format!("{path}: No such file or directory\n"))),
    };
    // The signature of a bundle's main file covers the bundle's Info.plist, so a
    // loose copy of it never verifies.
    if words.contains(&"--verify") && !path.contains(".bundle/Contents/MacOS/") {
        let text = format!("{path}: invalid Info.plist (plist or signature have been modified)\n");
        return Ok(answer(1, "", text));
    }
    let object = store::name_of(&file.bytes);
    let signer = held.machine.signed.get(&object).copied();
    let signer = signer.unwrap_or_else(|| judge(&file.bytes));
    let verify = words.contains(&"--verify");
    let name = path.rsplit('/').next().unwrap_or_default();
    let identifier = format!("com.apple.{}", name.replace('_', "-"));
    Ok(match (verify, signer) {
        (true, Signer::Broken) => answer(
            1,
            "",
            format!("{path}: invalid signature (code or signature have been modified)\n"),
        ),
        (true, _) => answer(
            0,
            "",
            format!("{path}: valid on disk\n{path}: satisfies its Designated Requirement\n"),
        ),
        (false, Signer::Apple) => answer(
            0,
            "",
            format!(
                "Executable={path}\nIdentifier={identifier}\nCodeDirectory v=20400 \
                 flags=0x0(none)\nAuthority=Software Signing\nAuthority=Apple Code Signing \
                 Certification Authority\nAuthority=Apple Root CA\nTeamIdentifier=not set\n"
            ),
        ),
        (false, Signer::AdHoc) => answer(
            0,
            "",
            format!(
                "Executable={path}\nIdentifier={identifier}\nCodeDirectory v=20400 \
                 flags=0x2(adhoc)\nSignature=adhoc\nTeamIdentifier=not set\n"
            ),
        ),
        (false, Signer::Broken) => {
            answer(1, "", format!("{path}: code object is not signed at all\n"))
        }
    })
}
