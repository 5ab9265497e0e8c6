//! The question of `bless`, asked at the terminal of this process.

use std::io::{self, Read, Write};

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};

/// What Ctrl-C sends.
const INTERRUPT: u8 = 3;

/// The password that is typed, which is not shown. None where they press Ctrl-C
/// or go away, either of which interrupts the real `bless`.
pub(super) fn ask(user: &str) -> Option<String> {
    let shown = tcgetattr(rustix::stdio::stdin()).ok()?;
    let mut hidden = shown.clone();
    hidden.local_modes.remove(LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG);
    set(&hidden)?;
    write!(io::stderr(), "Password for {user}: ").ok()?;
    let typed = read();
    set(&shown)?;
    writeln!(io::stderr()).ok()?;
    typed
}

fn set(modes: &Termios) -> Option<()> {
    tcsetattr(rustix::stdio::stdin(), OptionalActions::Now, modes).ok()
}

fn read() -> Option<String> {
    let mut typed = Vec::new();
    for byte in io::stdin().lock().bytes() {
        match byte.ok()? {
            INTERRUPT => return None,
            b'\n' | b'\r' => return String::from_utf8(typed).ok(),
            byte => typed.push(byte),
        }
    }
    None
}
