//! Every form in which the protections are told.

use agxpatch_core::error::Code;
use agxpatch_host::sip::{Sip, Word};
use agxpatch_host::{Command, CsrConfig, Host, Tool};
use agxpatch_simulate::mac::{CsrutilForm, SimulatedMac};

use super::DRIVER;

/// A Mac with these bits, whose kernel can be asked or not.
fn mac(bits: u32, kernel: bool) -> SimulatedMac {
    let mac = SimulatedMac::in_memory(DRIVER);
    mac.set_protections(CsrConfig(bits)).unwrap();
    mac.change(|machine| machine.csr_syscall = kernel).unwrap();
    mac
}

fn saying(text: &str) -> SimulatedMac {
    let mac = mac(0, false);
    mac.change(|machine| machine.csrutil = CsrutilForm::Fixed(text.to_owned())).unwrap();
    mac
}

const CUSTOM: &str = "System Integrity Protection status: unknown (Custom Configuration).\n\n\
    Configuration:\n\tApple Internal: disabled\n\tKext Signing: enabled\n\
    \tFilesystem Protections: disabled\n\tDebugging Restrictions: disabled\n\
    \tDTrace Restrictions: enabled\n\tNVRAM Protections: disabled\n\
    \tBaseSystem Verification: enabled\n\tBoot-arg Restrictions: disabled\n\
    \tKernel Integrity Protections: enabled\n\tAuthenticated Root Requirement: enabled\n\n\
    This is an unsupported configuration, likely to break in the future and leave your machine \
    in an unknown state.\n";

#[test]
fn the_text_alone_gives_the_bits_where_the_kernel_cannot_be_asked() {
    let older = CUSTOM.replace("unknown (", "enabled (");
    for (text, bits) in [
        ("System Integrity Protection status: enabled.\n", 0),
        ("System Integrity Protection status: disabled.\n", 0x6f),
        ("System Integrity Protection status: enabled (Apple Internal).\n", 0),
        ("System Integrity Protection status: disabled (Apple Internal).\n", 0x6f),
        (CUSTOM, 0x46),
        (&CUSTOM.replace('\t', "    "), 0x46),
        (&CUSTOM.replace("Apple Internal: disabled", "Apple Internal: enabled"), 0x56),
        (&older, 0x46),
    ] {
        let sip = Sip::ask(&saying(text)).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(sip.bits, CsrConfig(bits), "{text}");
        assert!(!sip.from_kernel);
    }
}

#[test]
fn an_unknown_form_is_an_error_that_shows_it() {
    for text in [
        "",
        "System Integrity Protection status: enabled (Sometimes).\n",
        "System Integrity Protection status: on.\n",
        "System Integrity Protection status: unknown.\n",
        "System Integrity Protection status: unknown (Custom Configuration).\n",
        "csrutil: something else\n",
        &CUSTOM.replace("Kext Signing: enabled", "Kext Signing: perhaps"),
        "System Integrity Protection status: enabled.\nand then some\n",
    ] {
        let error = Sip::ask(&saying(text)).unwrap_err();
        assert_eq!(error.code(), Code::UnknownAnswer, "{text}");
        assert!(error.context().iter().any(|(_, value)| value == text.trim_end()), "{error:?}");
    }
}

#[test]
fn kernel_and_text_agree_on_every_combination_of_bits() {
    let named = CsrConfig::BITS.iter().filter(|bit| bit.protection.is_some());
    let masks: Vec<u32> = named.map(|bit| bit.mask).collect();
    for chosen in 0..1_u32 << masks.len() {
        let set = masks.iter().enumerate().filter(|(at, _)| chosen & (1 << at) != 0);
        let bits = set.map(|(_, mask)| mask).sum::<u32>();
        let mac = SimulatedMac::in_memory(DRIVER);
        mac.change(|machine| machine.active_csr = bits).unwrap();
        let sip = Sip::ask(&mac).unwrap();
        assert_eq!(sip.disagreements, [], "{bits:#x}");
        assert_eq!(sip.bits, CsrConfig(bits));
    }
}

#[test]
fn a_contradiction_names_the_bits() {
    let mac = mac(0x86f, true);
    let enabled = "System Integrity Protection status: enabled.\n".to_owned();
    mac.change(|machine| machine.csrutil = CsrutilForm::Fixed(enabled)).unwrap();
    let sip = Sip::ask(&mac).unwrap();
    assert_eq!(sip.bits, CsrConfig(0x86f));
    assert_eq!(sip.csrutil.as_ref().unwrap().word, Word::Enabled);
    let names: Vec<&str> = sip.disagreements.iter().map(|one| one.bit).collect();
    assert!(names.contains(&"CSR_ALLOW_UNRESTRICTED_FS"), "{names:?}");
    assert!(!names.contains(&"CSR_ALLOW_UNAUTHENTICATED_ROOT"), "{names:?}");
}

#[test]
fn apple_internal_is_stripped_at_boot_and_older_forms_are_spoken() {
    let mac = mac(0x87f, true);
    assert_eq!(mac.csr_active_config().unwrap(), Some(CsrConfig(0x86f)));
    mac.set_protections(CsrConfig(0x2)).unwrap();
    mac.change(|machine| machine.csrutil = CsrutilForm::Older).unwrap();
    let sip = Sip::ask(&mac).unwrap();
    assert_eq!(sip.csrutil.unwrap().items.len(), 7);
    assert_eq!(sip.disagreements, []);
}

#[test]
fn protections_cannot_be_changed_outside_recovery() {
    let command = Command::effect(Tool::Csrutil, ["disable"]);
    let output = mac(0, true).run(&command).unwrap();
    assert!(output.complaint().contains("needs to be executed from the Recovery OS"));
}

#[test]
fn the_kernels_bits_decide_where_csrutil_asks_which_macos_is_meant() {
    let mac = mac(0x86f, true);
    mac.change(|machine| machine.other_installations = vec!["Pirates".into()]).unwrap();
    let sip = Sip::ask(&mac).unwrap();
    assert_eq!(sip.bits, CsrConfig(0x86f));
    assert!(!sip.authenticated_root);
    assert_eq!(sip.disagreements, []);
    assert!(sip.unanswered[0].contains("several macOS installations"), "{:?}", sip.unanswered);
    // Without the kernel there is nothing else to ask.
    mac.change(|machine| machine.csr_syscall = false).unwrap();
    assert_eq!(Sip::ask(&mac).unwrap_err().code(), Code::ToolFailed);
}

#[test]
fn a_kernel_that_may_be_debugged_because_of_another_bit_contradicts_nothing() {
    let mac = mac(0, true);
    mac.change(|machine| {
        machine.active_csr = 0x867;
        let text = "System Integrity Protection status: disabled.\n";
        machine.csrutil = CsrutilForm::Fixed(text.into());
    })
    .unwrap();
    assert_eq!(Sip::ask(&mac).unwrap().disagreements, []);
}
