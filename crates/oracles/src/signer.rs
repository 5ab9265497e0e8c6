//! Signatures made by `apple-codesign`.

use apple_codesign::cryptography::DigestType;
use apple_codesign::{
    CertificateProfile, CodeSignatureFlags, MachOSigner, SettingsScope, SigningSettings,
    create_self_signed_code_signing_certificate,
};
use x509_certificate::KeyAlgorithm;

/// The team that signs.
pub const TEAM: &str = "ABCDE12345";
/// The identifier of what is signed.
pub const IDENTIFIER: &str = "org.example.subject";

const ENTITLEMENTS: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE plist PUBLIC "-//Apple//DTD PLIST 1.0//EN" "http://www.apple.com/DTDs/PropertyList-1.0.dtd">
<plist version="1.0"><dict><key>com.apple.security.cs.allow-jit</key><true/></dict></plist>
"#;

/// How to sign.
#[derive(Clone, Copy, Debug)]
pub struct How {
    /// With a certificate, a CMS signature, a team and a designated requirement.
    pub certificate: bool,
    /// With entitlements and the hardened runtime.
    pub hardened: bool,
    /// The primary directory's digest and the alternate's.
    pub digests: (DigestType, Option<DigestType>),
}

impl How {
    /// As `rcodesign sign` does without options.
    pub const AD_HOC: How =
        How { certificate: false, hardened: false, digests: (DigestType::Sha256, None) };
}

/// `file` with every slice signed.
pub fn sign(file: &[u8], how: How) -> Vec<u8> {
    let (certificate, key) = create_self_signed_code_signing_certificate(
        KeyAlgorithm::Ed25519,
        CertificateProfile::DeveloperIdApplication,
        TEAM,
        "No one",
        "XX",
        Default::default(),
    )
    .unwrap();
    let mut settings = SigningSettings::default();
    settings.set_binary_identifier(SettingsScope::Main, IDENTIFIER);
    settings.set_digest_type(SettingsScope::Main, how.digests.0);
    if let Some(extra) = how.digests.1 {
        settings.add_extra_digest(SettingsScope::Main, extra);
    }
    if how.hardened {
        settings.set_entitlements_xml(SettingsScope::Main, ENTITLEMENTS).unwrap();
        settings.set_code_signature_flags(SettingsScope::Main, CodeSignatureFlags::RUNTIME);
    }
    if how.certificate {
        settings.set_signing_key(&key, certificate);
        settings.set_team_id(TEAM);
        settings.set_auto_designated_requirement(SettingsScope::Main);
    }
    let mut signed = Vec::new();
    MachOSigner::new(file).unwrap().write_signed_binary(&settings, &mut signed).unwrap();
    signed
}
