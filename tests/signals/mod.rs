//! Programs whose signals act, however the tests were started.

use std::os::unix::process::CommandExt;
use std::process::Command;

const ALL: [i32; 9] = [
    libc::SIGHUP,
    libc::SIGINT,
    libc::SIGQUIT,
    libc::SIGTERM,
    libc::SIGUSR1,
    libc::SIGUSR2,
    libc::SIGALRM,
    libc::SIGPIPE,
    libc::SIGTSTP,
];

/// Has the program start as from a terminal's window. Who started the tests may
/// ignore SIGINT, as `cmd &` in a script does, or SIGHUP, as `nohup` does; all that
/// is started from there inherits it, and a shell cannot even trap it.
#[allow(unsafe_code, reason = "what is ignored is inherited through exec")]
pub fn acting(command: &mut Command) -> &mut Command {
    // SAFETY: system calls alone, which are allowed between fork and exec.
    unsafe {
        command.pre_exec(|| {
            for signal in ALL {
                libc::signal(signal, libc::SIG_DFL);
            }
            Ok(())
        })
    }
}
