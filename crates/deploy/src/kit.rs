//! The kit for recoveryOS: a plain `sh` script and the original driver, on the
//! data volume where a person finds them when macOS does not come up.
//!
//! recoveryOS has no firmlinks and few tools; the script uses `cksum`, `cp`, `mv`,
//! `mount`, `bless` and the like, and nothing of this program.

use std::path::Path;

use super::manifest::Manifest;
use super::plan::Plan;
use super::{files, layout};
use agxpatch_core::error::Result;
use agxpatch_host::command::quoted;
use agxpatch_host::{Host, volume};

/// The script with `@NAME@` where facts are put in.
const TEMPLATE: &str = include_str!("restore.sh");

/// Writes the kit.
pub fn write(host: &dyn Host, manifest: &Manifest, plan: &Plan) -> Result<()> {
    files::make_directory(host, Path::new(layout::RECOVERY), 0o755)?;
    let original = layout::recovery_original(Path::new(&manifest.driver));
    files::write_whole(host, &original, &plan.original, 0o644)?;
    let script = script(manifest, &system_volume(host), &plan.original, &plan.patched.bytes);
    files::write_whole(host, &layout::recovery_script(), script.as_bytes(), 0o755)
}

/// Removes it, with the originals of whichever drivers it holds.
pub fn remove(host: &dyn Host) -> Result<()> {
    let directory = Path::new(layout::RECOVERY);
    if host.metadata(directory)?.is_none() {
        return Ok(());
    }
    let unfinished = |name: &str| name.strip_suffix(".new").unwrap_or(name).to_owned();
    let ours = |name: &String| {
        let name = unfinished(name);
        name == "restore.sh" || name.ends_with(layout::ORIGINAL)
    };
    for name in host.list(directory)?.iter().filter(|name| ours(name)) {
        files::remove_if_present(host, &directory.join(name))?;
    }
    files::remove_directory_if_empty(host, directory)
}

/// Removes what of it was being written when a run ended.
pub fn remove_unfinished(host: &dyn Host) -> Result<()> {
    let directory = Path::new(layout::RECOVERY);
    if host.metadata(directory)?.is_none() {
        return Ok(());
    }
    for name in host.list(directory)?.iter().filter(|name| name.ends_with(".new")) {
        files::remove_if_present(host, &directory.join(name))?;
    }
    Ok(())
}

/// The script that takes the patched driver back to this original.
/// `system` is the name of the system volume.
pub fn script(manifest: &Manifest, system: &str, original: &[u8], patched: &[u8]) -> String {
    let sum = |bytes: &[u8]| format!("{} {}", checksum(bytes), bytes.len());
    let facts = [
        ("@DRIVER@", manifest.driver.clone()),
        ("@BUILD@", manifest.build.clone()),
        ("@MODE@", format!("{:o}", manifest.original_mode)),
        ("@CHECKSUM@", sum(original)),
        ("@PATCHED@", sum(patched)),
        ("@MANIFEST@", layout::VOLUME_MANIFEST.to_owned()),
        ("@PLAN@", manifest.plan.clone()),
        ("@GROUP@", manifest.group.clone().unwrap_or_default()),
        ("@STATE@", layout::STATE.to_owned()),
        // It stands between apostrophes.
        ("@SYSTEM@", system.replace('\'', r"'\''")),
        ("@KIT@", layout::RECOVERY.trim_start_matches('/').to_owned()),
    ];
    facts.iter().fold(TEMPLATE.to_owned(), |text, (name, value)| text.replace(name, value))
}

/// The name that the system volume has on this Mac, or else has as a Mac is shipped.
fn system_volume(host: &dyn Host) -> String {
    name_of(host, "/", "Macintosh HD")
}

/// The same of the data volume.
fn data_volume(host: &dyn Host) -> String {
    name_of(host, "/System/Volumes/Data", "Macintosh HD - Data")
}

fn name_of(host: &dyn Host, mount: &str, as_shipped: &str) -> String {
    let named = volume::volume_name(host, mount).ok().flatten();
    named.unwrap_or_else(|| as_shipped.to_owned())
}

/// The command line that runs the script in recoveryOS.
pub fn command(host: &dyn Host) -> String {
    let script = format!("/Volumes/{}{}", data_volume(host), layout::recovery_script().display());
    format!("sh {}", quoted(&script))
}

/// How to reach and run it, for a person: with the name the data volume has on this Mac.
pub fn how_to_run(host: &dyn Host) -> Vec<String> {
    let name = data_volume(host);
    vec![
        "shut down; hold the power button until options appear; Options, then Utilities > Terminal"
            .to_owned(),
        command(host),
        format!(
            "(if it is not there: diskutil list; diskutil mount {name}; with FileVault, diskutil \
             apfs unlockVolume {name})",
            name = quoted(&name)
        ),
    ]
}

/// The checksum of POSIX `cksum`: CRC-32 with the polynomial 0x04c11db7, most
/// significant bit first, over the bytes and then the length, inverted.
pub fn checksum(bytes: &[u8]) -> u32 {
    let table = table();
    let step = |crc: u32, byte: u8| (crc << 8) ^ table[usize::from((crc >> 24) as u8 ^ byte)];
    let mut crc = bytes.iter().copied().fold(0, step);
    let mut length = bytes.len();
    while length > 0 {
        crc = step(crc, length as u8);
        length >>= 8;
    }
    !crc
}

fn table() -> [u32; 256] {
    std::array::from_fn(|index| {
        let shift = |crc: u32, _| if crc >> 31 == 1 { (crc << 1) ^ 0x04c1_1db7 } else { crc << 1 };
        (0..8).fold((index as u32) << 24, shift)
    })
}

#[cfg(test)]
mod tests {
    use super::checksum;

    #[test]
    fn the_checksum_is_that_of_posix() {
        // As printed by `printf 123456789 | cksum` and `cksum </dev/null`.
        assert_eq!(checksum(b"123456789"), 930_766_865);
        assert_eq!(checksum(b""), 4_294_967_295);
    }
}
