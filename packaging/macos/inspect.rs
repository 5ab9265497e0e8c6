//! What must hold of a file that is released for macOS, as far as the file
//! itself can show it.
//!
//! The signature is judged twice, by the reader of this project and by
//! `apple-codesign`, which share no code.

use agxpatch_core::check::Check;
use agxpatch_core::codesign::{self, EmbeddedSignature};
use agxpatch_core::macho::{Image, Slice, Universal};
use anyhow::{Context, Result};
use apple_codesign::{MachFile, cryptography::DigestType};
use goblin::mach::MachO;
use goblin::mach::load_command::CommandVariant;

/// What is promised of a file.
#[derive(Clone, Copy)]
pub struct Expected {
    /// Its slices, in their order.
    pub architectures: &'static [&'static str],
    /// The libraries it may use. Everything else is linked into it.
    pub libraries: &'static [&'static str],
    /// The name it is loaded by, if it is a library.
    pub install_name: Option<&'static str>,
    /// Whether the hardened runtime is asked for, with these entitlements and no
    /// others. It is a matter of the program; a library runs under the rules of
    /// its process.
    pub hardened: Option<&'static [&'static str]>,
    /// Bytes it must stay below.
    pub bytes: usize,
}

impl Expected {
    /// The universal `agxpatch`. The limit is for what must not happen: symbols
    /// left in, or the eight unused instruction sets of keystone, add 4 MB and
    /// more. The program had 14.6 MB when there was neither a finder nor proofs of
    /// other shapes, and 18.8 MB with them, in `prove` and `deploy` too; going back
    /// under 17.5 is open.
    pub const PROGRAM: Expected = Expected {
        architectures: &["x86_64", "arm64"],
        // Apple's toolchain has no libc++ to link in; zig has none to link to.
        libraries: if cfg!(target_os = "macos") {
            &["/usr/lib/libSystem.B.dylib", "/usr/lib/libc++.1.dylib"]
        } else {
            &["/usr/lib/libSystem.B.dylib"]
        },
        install_name: None,
        hardened: Some(&["com.apple.security.cs.disable-library-validation"]),
        bytes: 19_500_000,
    };

    /// `libagx_guard.dylib`. Its tables are zero-filled and not in the file, so
    /// that a standard library linked into it would be over the limit.
    pub const LIBRARY: Expected = Expected {
        architectures: &["x86_64", "arm64", "arm64e"],
        libraries: &[
            "/usr/lib/libSystem.B.dylib",
            "/usr/lib/libobjc.A.dylib",
            "/System/Library/Frameworks/IOKit.framework/Versions/A/IOKit",
            // IOKit loads it in any case; the guard answers its preferences.
            "/System/Library/Frameworks/CoreFoundation.framework/Versions/A/CoreFoundation",
        ],
        install_name: Some("@rpath/libagx_guard.dylib"),
        hardened: None,
        bytes: 450_000,
    };
}

/// The oldest macOS it is for: 13.0 as `X.Y.Z` in nibbles.
const MINIMUM: u32 = 0x000d_0000;

/// Every check of the file, slice by slice.
///
/// # Errors
/// If it is no Mach-O at all.
pub fn all(bytes: &[u8], expected: &Expected) -> Result<Vec<Check>> {
    let file = Universal::parse(bytes)?;
    let mut checks = vec![architectures(&file, expected), size(bytes, expected), no_paths(bytes)];
    for slice in &file.slices {
        let image = slice.image()?;
        let macho = MachO::parse(slice.bytes, 0).context("goblin")?;
        checks.push(minimum(slice, &macho));
        checks.push(libraries(slice, &macho, expected));
        checks.push(flags(slice, &macho, expected));
        checks.push(sealed(slice, &image, expected));
    }
    checks.push(second_opinion(bytes)?);
    Ok(checks)
}

fn architectures(file: &Universal<'_>, expected: &Expected) -> Check {
    let mut found: Vec<String> = file.slices.iter().map(|s| s.architecture.to_string()).collect();
    let shown = found.join(", ");
    let mut wanted: Vec<String> = expected.architectures.iter().map(ToString::to_string).collect();
    found.sort();
    wanted.sort();
    Check::from("architectures", found == wanted, shown)
}

fn size(bytes: &[u8], expected: &Expected) -> Check {
    let detail = format!("{} bytes; the limit is {}", bytes.len(), expected.bytes);
    Check::from("size", bytes.len() < expected.bytes, detail)
}

/// Parts of paths that occur only on a build machine.
const PRIVATE: [&str; 5] = ["/.cargo/", "/.rustup/", "/.cache/", "/home/", "/tmp/tmp."];

fn no_paths(bytes: &[u8]) -> Check {
    const NAME: &str = "no-build-paths";
    let mut private: Vec<String> = PRIVATE.map(str::to_owned).to_vec();
    let here = std::env::current_dir().ok().and_then(|path| path.to_str().map(str::to_owned));
    private.extend(here.into_iter().chain(std::env::var("HOME")).map(|path| path + "/"));
    let found = strings(bytes).find_map(|text| {
        private.iter().find_map(|path| {
            // A path goes on below it, with a folder or a file that has an
            // extension. Two strings that the linker placed side by side do not.
            let below = |at: usize| {
                let rest = &text[at + path.len()..];
                let name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
                let end = rest.find(|c: char| !name(c)).unwrap_or(rest.len());
                end > 0 && (rest[end..].starts_with('/') || rest[..end].contains('.'))
            };
            let mut all = text.match_indices(path.as_str());
            let at = all.find(|(at, _)| below(*at) && !text[..*at].ends_with("/var"));
            at.map(|(at, _)| text[at..].chars().take(100).collect::<String>())
        })
    });
    match found {
        None => Check::pass(NAME, format!("none of {}", private.join(" "))),
        Some(path) => Check::fail(NAME, path),
    }
}

/// Runs of printable characters, eight or more.
fn strings(bytes: &[u8]) -> impl Iterator<Item = &str> {
    bytes
        .split(|byte| !matches!(byte, b' '..=b'~'))
        .filter(|run| run.len() >= 8)
        .filter_map(|run| std::str::from_utf8(run).ok())
}

fn minimum(slice: &Slice<'_>, macho: &MachO<'_>) -> Check {
    const MACOS: u32 = 1;
    let named = macho.load_commands.iter().find_map(|command| match &command.command {
        CommandVariant::BuildVersion(version) => Some((version.platform, version.minos)),
        CommandVariant::VersionMinMacosx(version) => Some((MACOS, version.version)),
        _ => None,
    });
    let detail = match named {
        Some((_, os)) => format!("{}: macOS {}.{}", slice.architecture, os >> 16, os >> 8 & 0xff),
        None => format!("{}: not said", slice.architecture),
    };
    Check::from("minimum-os", named == Some((MACOS, MINIMUM)), detail)
}

fn libraries(slice: &Slice<'_>, macho: &MachO<'_>, expected: &Expected) -> Check {
    // goblin's first is the image itself.
    let used: Vec<&str> = macho.libs.iter().copied().skip(1).collect();
    let allowed = used.iter().all(|name| expected.libraries.contains(name));
    let detail = format!("{}: {}", slice.architecture, used.join(", "));
    Check::from("libraries", allowed && !used.is_empty(), detail)
}

/// A program must be movable in memory, a library have the name it is found by,
/// and neither may run code on its stack or look for libraries along a path.
fn flags(slice: &Slice<'_>, macho: &MachO<'_>, expected: &Expected) -> Check {
    const MH_TWOLEVEL: u32 = 0x80;
    const MH_ALLOW_STACK_EXECUTION: u32 = 0x2_0000;
    const MH_PIE: u32 = 0x20_0000;
    let has = |flag: u32| macho.header.flags & flag != 0;
    let movable = expected.install_name.is_some() || has(MH_PIE);
    let strict = has(MH_TWOLEVEL) && !has(MH_ALLOW_STACK_EXECUTION) && macho.rpaths.is_empty();
    let named = macho.name == expected.install_name;
    let detail = format!(
        "{}: flags {:#x}, {} run paths, {}",
        slice.architecture,
        macho.header.flags,
        macho.rpaths.len(),
        macho.name.unwrap_or("no install name")
    );
    Check::from("image-flags", movable && strict && named, detail)
}

fn sealed(slice: &Slice<'_>, image: &Image<'_>, expected: &Expected) -> Check {
    const NAME: &str = "signature";
    let Some(range) = image.code_signature() else {
        return Check::fail(NAME, format!("{}: unsigned", slice.architecture));
    };
    let findings = codesign::check(slice.bytes, range.clone());
    if let Some(first) = findings.first() {
        return Check::fail(NAME, format!("{}: {first}", slice.architecture));
    }
    let blob = &slice.bytes[range.start.0 as usize..range.end.0 as usize];
    let parsed = match EmbeddedSignature::parse(blob) {
        Ok(parsed) => parsed,
        Err(error) => return Check::fail(NAME, error.to_string()),
    };
    let hardened = parsed.directories.iter().all(|directory| directory.has(codesign::RUNTIME));
    let entitlements = entitlements(&parsed);
    let identifier = parsed.directories.first().map(|d| d.identifier.to_string());
    let detail = format!(
        "{}: {}, {}, {}, entitled to {}",
        slice.architecture,
        identifier.unwrap_or_default(),
        parsed.kind(),
        if hardened { "hardened runtime" } else { "no hardened runtime" },
        if entitlements.is_empty() { "nothing".to_owned() } else { entitlements.join(", ") },
    );
    let holds = match expected.hardened {
        Some(wanted) => hardened && entitlements == wanted,
        None => entitlements.is_empty(),
    };
    Check::from(NAME, holds, detail)
}

/// The names of what the signature asks for; one that cannot be read is a name
/// nobody expects.
fn entitlements(signature: &EmbeddedSignature<'_>) -> Vec<String> {
    let Some(text) = signature.entitlements() else { return Vec::new() };
    match plist::Value::from_reader_xml(text.as_bytes()) {
        Ok(plist::Value::Dictionary(pairs)) => pairs.into_iter().map(|(name, _)| name).collect(),
        _ => vec!["what cannot be read".to_owned()],
    }
}

/// `apple-codesign` reads each signature and digests every page itself.
fn second_opinion(bytes: &[u8]) -> Result<Check> {
    const NAME: &str = "second-reader";
    let mut pages = 0;
    for macho in MachFile::parse(bytes)?.iter_macho() {
        let Some(signature) = macho.code_signature()? else {
            return Ok(Check::fail(NAME, "apple-codesign finds no signature"));
        };
        let Some(directory) = signature.code_directory()? else {
            return Ok(Check::fail(NAME, "apple-codesign finds no code directory"));
        };
        let digests = macho.code_digests(DigestType::Sha256, directory.page_size as usize)?;
        let same = digests.iter().eq(directory.code_digests.iter().map(|digest| &digest.data[..]));
        if !same {
            return Ok(Check::fail(NAME, "apple-codesign computes other page digests"));
        }
        pages += digests.len();
    }
    Ok(Check::pass(NAME, format!("apple-codesign computes the same {pages} page digests")))
}
