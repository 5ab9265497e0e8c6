//! The NVRAM variable `boot-args`, and which of its words matter here.

use super::{Command, Host, Tool, tool_failed, unknown_answer};
use agxpatch_core::error::Result;

/// The value of `boot-args`; none where it is not set.
pub fn boot_args(host: &dyn Host) -> Result<Option<String>> {
    let command = Command::question(Tool::Nvram, ["boot-args"]);
    let output = host.run(&command)?;
    if output.succeeded() {
        let text = output.text();
        let value = text.trim_end().strip_prefix("boot-args");
        let value = value.ok_or_else(|| unknown_answer(&command, "boot-args", &output))?.trim();
        return Ok(Some(value.to_owned()).filter(|value| !value.is_empty()));
    }
    if output.complaint().contains("data was not found") {
        return Ok(None);
    }
    Err(tool_failed(&command, &output))
}

/// Words of the families below that are known not to loosen anything.
const HARMLESS: [&str; 2] = ["amfi_unrestrict_task_for_pid", "-amfi_verbose"];

/// The words of `boot_args` that loosen the checks of code signatures, or may: a word
/// about AMFI or code signing that is not known is taken for one. With such a word a
/// driver may load that would be rejected without it.
pub fn loosening(boot_args: &str) -> Vec<&str> {
    boot_args.split_whitespace().filter(|word| loosens(word)).collect()
}

fn loosens(word: &str) -> bool {
    let (name, value) = word.split_once('=').unwrap_or((word, "1"));
    let name = name.to_ascii_lowercase();
    let bare = name.trim_start_matches('-');
    let family = ["amfi", "cs_", "arm64e_preview_abi"].iter().any(|start| bare.starts_with(start));
    family && !HARMLESS.contains(&name.as_str()) && !matches!(value, "0" | "0x0")
}

/// The command that takes the loosening words out of `boot-args` and leaves all others.
pub fn command_without_loosening(boot_args: &str) -> String {
    let others: Vec<&str> = boot_args.split_whitespace().filter(|word| !loosens(word)).collect();
    if others.is_empty() {
        return "sudo nvram -d boot-args".to_owned();
    }
    format!("sudo nvram boot-args={}", super::command::quoted(&others.join(" ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_about_code_signing_are_found_also_where_they_are_not_known() {
        for word in [
            "amfi=0x80",
            "AMFI=0x80",
            "amfi_get_out_of_my_way=1",
            "amfi_get_out_of_my_way=true",
            "amfi_allow_any_signature=1",
            "cs_enforcement_disable=1",
            "-amfipassbeta",
            "-arm64e_preview_abi",
        ] {
            assert_eq!(loosening(&format!("-v {word} keepsyms=1")), [word]);
        }
        for word in ["-v", "alcid=11", "amfi=0", "amfi_unrestrict_task_for_pid=1", "debug=0x144"] {
            assert_eq!(loosening(word), [""; 0], "{word}");
        }
    }

    #[test]
    fn only_the_words_meant_are_removed() {
        let command = command_without_loosening("alcid=11 amfi=0x80 -disablegfxfirmware");
        assert_eq!(command, "sudo nvram boot-args='alcid=11 -disablegfxfirmware'");
        assert_eq!(command_without_loosening("amfi=0x80"), "sudo nvram -d boot-args");
    }
}
