//! `lsof` and `log`: who uses the driver, and who was kept from it.

use super::super::files;
use super::super::loader::NOT_PLATFORM;
use super::super::machine::Machine;
use super::{answer, usage};
use agxpatch_host::{Output, Tool};

/// Programs of Apple's that use the GPU as soon as windows are drawn.
const USERS: [(u32, &str); 3] = [(163, "WindowServer"), (412, "loginwindow"), (431, "Dock")];

pub(super) fn lsof(machine: &Machine, words: &[&str]) -> Output {
    let ["-n", "-P", "-F", "pc", "--", path] = words else { return usage(Tool::Lsof) };
    let volume = machine.snapshot(&machine.booted).map(|snapshot| &*snapshot.volume);
    if volume.and_then(|volume| files::object_on(volume, path)).is_none() {
        let text = format!("lsof: status error on {path}: No such file or directory\n");
        return answer(1, "", text);
    }
    // Only root is shown the processes of others.
    if !machine.gui || machine.user != 0 || *path != machine.driver_path() {
        return answer(1, "", "");
    }
    let shown = USERS.map(|(process, name)| format!("p{process}\nc{name}\nftxt\n"));
    answer(0, shown.concat(), "")
}

pub(super) fn log(machine: &Machine, words: &[&str]) -> Output {
    let ["show", "--last", "boot", "--style", "compact", "--predicate", predicate] = words else {
        return usage(Tool::Log);
    };
    let mut text = "Timestamp               Ty Process[PID:TID]\n".to_owned();
    if !machine.gui && predicate.contains("Library Validation failed") {
        for (process, name) in USERS {
            text.push_str(&format!(
                "2026-01-01 09:00:01.000 Df kernel[0:1a] Library Validation failed: Rejecting \
                 '{}' (Team ID: none, platform: no) for process '{name}({process})' (Team ID: \
                 N/A, platform: yes), reason: {NOT_PLATFORM}\n",
                machine.driver_path()
            ));
        }
    }
    answer(0, text, "")
}
