//! Ad-hoc signatures with the hardened runtime.

use agxpatch_core::codesign::HashType;
use agxpatch_core::macho::Universal;
use anyhow::{Context, Result};
use apple_codesign::{CodeSignatureFlags, MachOSigner, SettingsScope, SigningSettings};
use goblin::mach::MachO;
use goblin::mach::load_command::CommandVariant;

/// `file` with every slice signed ad hoc, under a UUID of its content.
pub fn ad_hoc(file: &[u8], identifier: &str, entitlements: Option<&str>) -> Result<Vec<u8>> {
    let mut settings = SigningSettings::default();
    settings.set_binary_identifier(SettingsScope::Main, identifier);
    settings.set_code_signature_flags(
        SettingsScope::Main,
        CodeSignatureFlags::ADHOC | CodeSignatureFlags::RUNTIME,
    );
    if let Some(entitlements) = entitlements {
        settings.set_entitlements_xml(SettingsScope::Main, entitlements)?;
    }
    let file = named_by_content(file)?;
    let mut signed = Vec::new();
    MachOSigner::new(&file)?.write_signed_binary(&settings, &mut signed)?;
    Ok(signed)
}

/// `file` with the UUID of every slice made from what the slice holds. The linker
/// makes it from symbols, too, whose names hold where the sources lay, and which
/// are stripped afterwards: the same program would differ by it alone.
fn named_by_content(file: &[u8]) -> Result<Vec<u8>> {
    let mut named = file.to_vec();
    for slice in &Universal::parse(file)?.slices {
        let macho = MachO::parse(slice.bytes, 0).context("goblin")?;
        let uuid = |command: &CommandVariant| matches!(command, CommandVariant::Uuid(_));
        let command = macho.load_commands.iter().find(|one| uuid(&one.command));
        let at = command.context("a slice without a UUID")?.offset + 8;
        let signature = slice.image()?.code_signature();
        let end = signature.map_or(slice.bytes.len(), |range| range.start.0 as usize);
        let content = [&slice.bytes[..at], &[0; 16], &slice.bytes[at + 16..end]];
        let digest = HashType::Sha256.digest(content);
        let mut uuid: [u8; 16] = digest.as_bytes()[..16].try_into()?;
        // RFC 9562: version 8, of one's own making, and the variant.
        uuid[6] = 0x80 | uuid[6] & 0x0f;
        uuid[8] = 0x80 | uuid[8] & 0x3f;
        let at = slice.offset.0 as usize + at;
        named[at..at + 16].copy_from_slice(&uuid);
    }
    Ok(named)
}
