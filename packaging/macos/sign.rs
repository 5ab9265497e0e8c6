//! Ad-hoc signatures with the hardened runtime.

use anyhow::Result;
use apple_codesign::{CodeSignatureFlags, MachOSigner, SettingsScope, SigningSettings};

/// `file` with every slice signed ad hoc.
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
    let mut signed = Vec::new();
    MachOSigner::new(file)?.write_signed_binary(&settings, &mut signed)?;
    Ok(signed)
}
