//! The kit for recoveryOS: a plain `sh` script and the original driver, on the
//! data volume where a person finds them when macOS does not come up.
//!
//! recoveryOS has no firmlinks and few tools; the script uses `cksum`, `cp`, `mv`,
//! `mount`, `bless` and the like, and nothing of this program.

use std::path::Path;

use super::record::Manifest;
use super::{files, layout};
use agxpatch_core::error::Result;
use agxpatch_host::Host;

/// The script with `@NAME@` where facts are put in.
const TEMPLATE: &str = include_str!("restore.sh");

/// Writes the kit.
pub fn write(host: &dyn Host, manifest: &Manifest, original: &[u8]) -> Result<()> {
    files::make_directory(host, Path::new(layout::RECOVERY), 0o755)?;
    files::write_whole(host, &layout::recovery_original(), original, 0o644)?;
    let script = script(manifest, original);
    files::write_whole(host, &layout::recovery_script(), script.as_bytes(), 0o755)
}

/// Removes it.
pub fn remove(host: &dyn Host) -> Result<()> {
    for path in [layout::recovery_script(), layout::recovery_original()] {
        files::remove_if_present(host, &layout::unfinished(&path))?;
        files::remove_if_present(host, &path)?;
    }
    files::remove_directory_if_empty(host, Path::new(layout::RECOVERY))
}

/// The script that puts this original back.
pub fn script(manifest: &Manifest, original: &[u8]) -> String {
    let facts = [
        ("@DRIVER@", manifest.driver.clone()),
        ("@BUILD@", manifest.build.clone()),
        ("@MODE@", format!("{:o}", manifest.original_mode)),
        ("@CHECKSUM@", format!("{} {}", checksum(original), original.len())),
        ("@MANIFEST@", layout::VOLUME_MANIFEST.to_owned()),
        ("@STATE@", layout::STATE.to_owned()),
    ];
    facts.iter().fold(TEMPLATE.to_owned(), |text, (name, value)| text.replace(name, value))
}

/// How to reach and run it, for a person.
pub fn how_to_run() -> Vec<String> {
    vec![
        "shut down; hold the power button until options appear; Options, then Utilities > Terminal"
            .to_owned(),
        format!("sh \"/Volumes/Macintosh HD - Data{}\"", layout::recovery_script().display()),
        "(the data volume may have another name: ls /Volumes)".to_owned(),
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
