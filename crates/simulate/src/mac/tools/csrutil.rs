//! `csrutil status` and `csrutil authenticated-root status`.

use super::super::machine::{CsrutilForm, Machine, Mode};
use super::{answer, usage};
use agxpatch_host::{CsrConfig, Output, Tool};

const UNSUPPORTED: &str = "This is an unsupported configuration, likely to break in the future \
                           and leave your machine in an unknown state.";

/// The lines of a custom configuration on Apple Silicon, each with the bits that
/// switch the protection off.
const MODERN: [(&str, u32); 10] = [
    ("Apple Internal", 0x10),
    ("Kext Signing", 0x1),
    ("Filesystem Protections", 0x2),
    ("Debugging Restrictions", 0x4),
    ("DTrace Restrictions", 0x20),
    ("NVRAM Protections", 0x40),
    ("BaseSystem Verification", 0x100),
    ("Boot-arg Restrictions", 0x40),
    ("Kernel Integrity Protections", 0x21),
    ("Authenticated Root Requirement", 0x800),
];

pub(super) fn run(machine: &Machine, words: &[&str]) -> Output {
    match words {
        ["status"] => answer(0, status(machine), ""),
        ["authenticated-root", "status"] if !machine.other_installations.is_empty() => {
            answer(1, menu(machine), "")
        }
        ["authenticated-root", "status"] => {
            let off = CsrConfig(machine.active_csr).allows(CsrConfig::UNAUTHENTICATED_ROOT);
            let word = if off { "disabled" } else { "enabled" };
            answer(0, format!("Authenticated Root status: {word}\n"), "")
        }
        ["enable" | "disable" | "clear", ..] | ["authenticated-root", _]
            if machine.mode != Mode::Recovery =>
        {
            answer(
                1,
                "",
                "csrutil: failed to modify system integrity configuration. This tool needs to be \
                 executed from the Recovery OS.\n",
            )
        }
        _ => usage(Tool::Csrutil),
    }
}

/// The question which macOS is meant, of which nothing reads the answer.
fn menu(machine: &Machine) -> String {
    let others = machine.other_installations.iter().map(String::as_str);
    let names: Vec<&str> = std::iter::once(machine.system_name.as_str()).chain(others).collect();
    let mut text = "This computer has several macOS installations:\n".to_owned();
    for (number, name) in names.iter().enumerate() {
        text.push_str(&format!("  {}: {name}\n", number + 1));
    }
    text + &format!("\nPick a macOS installation (1..{}): ", names.len())
}

fn status(machine: &Machine) -> String {
    if let CsrutilForm::Fixed(text) = &machine.csrutil {
        return text.clone();
    }
    // The authenticated root has a switch and a status of its own: it does not
    // make a configuration custom.
    let bits = machine.active_csr & !CsrConfig::UNAUTHENTICATED_ROOT.0;
    let off = CsrConfig(bits).allows(CsrConfig::DISABLED);
    let word = if bits == 0 { "enabled" } else { "disabled" };
    let internal =
        if machine.csrutil == CsrutilForm::AppleInternal { " (Apple Internal)" } else { "" };
    if bits == 0 || off {
        return format!("System Integrity Protection status: {word}{internal}.\n");
    }
    let (word, lines) = match machine.csrutil {
        CsrutilForm::Older => ("enabled", &MODERN[..7]),
        _ => ("unknown", &MODERN[..]),
    };
    let mut text = format!(
        "System Integrity Protection status: {word} (Custom Configuration).\n\nConfiguration:\n"
    );
    for (name, mask) in lines {
        // Apple Internal is the one line where the word tells of the bit itself.
        let on = (machine.active_csr & mask != 0) == (*name == "Apple Internal");
        text.push_str(&format!("\t{name}: {}\n", if on { "enabled" } else { "disabled" }));
    }
    text.push_str(&format!("\n{UNSUPPORTED}\n"));
    text
}
