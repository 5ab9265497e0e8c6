//! The program as a user to whom permissions apply.

use std::fs::{Permissions, set_permissions};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

/// A user who owns nothing here. Modes do not bind root, as which CI runs the tests.
const UNPRIVILEGED: u32 = 65534;

/// A copy of the program in `folder`, which all may enter from now on: the folder it
/// was built in may be closed to others. It starts with an empty environment.
pub fn agxpatch(folder: &Path) -> Command {
    set_permissions(folder, Permissions::from_mode(0o755)).unwrap();
    let copy = folder.join("agxpatch");
    // By another process: no child of this one then holds it open to write, which would
    // keep it from being run.
    let cp = Command::new("cp").arg(env!("CARGO_BIN_EXE_agxpatch")).arg(&copy).status();
    assert!(cp.unwrap().success());
    let mut command = Command::new(copy);
    command.env_clear();
    if rustix::process::geteuid().is_root() {
        command.uid(UNPRIVILEGED).gid(UNPRIVILEGED);
    }
    command
}
