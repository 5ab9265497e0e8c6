//! Lines for the user, on standard error: each starts with `agx-guard:`, is written whole, and needs no allocation.

use core::fmt::{self, Write};

use crate::sync::{AtomicBool, Ordering};
use crate::sys;

static QUIET: AtomicBool = AtomicBool::new(false);

/// Has [`say`] write nothing from now on: AGX_GUARD_QUIET is set. The environment is read at load alone, for other threads may
/// change it later.
pub fn be_quiet() {
    QUIET.store(true, Ordering::Relaxed);
}

/// Writes a line, unless asked to be quiet.
pub fn say(text: fmt::Arguments) {
    if !QUIET.load(Ordering::Relaxed) {
        say_always(text);
    }
}

/// Writes a line: what is said before the process is ended.
pub fn say_always(text: fmt::Arguments) {
    let mut line = Line { buffer: [0; 320], length: 0 };
    let _ = line.write_fmt(format_args!("agx-guard: {text}"));
    line.end();
    sys::write_all(2, line.buffer.get(..line.length).unwrap_or_default());
}

/// A line that is cut where the buffer ends.
struct Line {
    buffer: [u8; 320],
    length: usize,
}

impl Line {
    fn end(&mut self) {
        let last = self.length.min(self.buffer.len() - 1);
        self.buffer[last] = b'\n';
        self.length = last + 1;
    }
}

impl Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            let Some(place) = self.buffer.get_mut(self.length) else { return Ok(()) };
            *place = byte;
            self.length += 1;
        }
        Ok(())
    }
}
