//! Crash texts that other tools write, told by what only they say.
//!
//! They lack what a class is decided by (the exception's address, the images), so
//! they are named, and with the name comes what to ask for instead.

/// Text that only one tool writes, all parts of a row together, and the tool.
const TOOLS: [(&[&str], &str); 32] = [
    (&["stop reason = EXC_"], "an lldb backtrace"),
    (&["stop reason = signal "], "an lldb backtrace"),
    (&["* thread #", "frame #"], "an lldb backtrace"),
    (&["EXC_BAD_ACCESS (code="], "a stop of Xcode's debugger"),
    (&["received signal SIG", "(gdb)"], "a gdb backtrace"),
    (&["Fatal Python error:", "most recent call first"], "Python's faulthandler"),
    (&["Fatal Python error: "], "Python's faulthandler"),
    (&["Crash reason:", "Crash address:"], "a Breakpad stack walk"),
    (&["Operating system: Mac OS X", "(crashed)"], "a Breakpad stack walk"),
    (&["Crashlytics"], "a Crashlytics stack trace"),
    (&["# Platform: apple", "# Date:"], "a Crashlytics stack trace"),
    (&["Crashed: ", "EXC_BAD_ACCESS KERN_"], "a Crashlytics stack trace"),
    (&["Fatal Exception: ", "(Missing)"], "a Crashlytics stack trace"),
    (&["\"event_id\"", "sentry."], "a Sentry event"),
    (&["\"event_id\"", "\"stacktrace\""], "a Sentry event"),
    (&["EXC_", "Sentry", "Raw Stacktrace"], "a Sentry event"),
    (&["\"errorClass\"", "Bugsnag"], "a Bugsnag event"),
    (&["\"system\"", "\"crash\"", "\"binary_images\""], "a KSCrash report"),
    (&["ERROR: AddressSanitizer"], "an AddressSanitizer report"),
    (&["WARNING: ThreadSanitizer"], "a ThreadSanitizer report"),
    (&["detected by the Java Runtime Environment"], "a fatal error log of Java"),
    (&["SIGSEGV: segmentation violation", "goroutine "], "a Go traceback"),
    (&["fatal error: unexpected signal", "goroutine "], "a Go traceback"),
    (&["' panicked at ", "stack backtrace:"], "a Rust backtrace"),
    (&["Traceback (most recent call last):", "MPS"], "a traceback of Python's"),
    (&["Traceback (most recent call last):", "[METAL]"], "a traceback of Python's"),
    (&[": segmentation fault  "], "the message of a shell"),
    (&["Invalid read of size", "== "], "a Valgrind report"),
    (&["Heaviest stack for the target process"], "a report of a hang"),
    (&["Data Source:", "Steps:"], "a report of a hang"),
    (&["Call graph:", "Sort by top of stack"], "a sample of a running process"),
    (&["Event:", "cpu usage", "Steps:"], "a report of the processor's use"),
];

/// Which other tool wrote `text`, if one did.
pub fn tool(text: &str) -> Option<&'static str> {
    let held = |parts: &&(&[&str], &'static str)| parts.0.iter().all(|part| text.contains(part));
    TOOLS.iter().find(held).map(|(_, tool)| *tool)
}

/// The tool that wrote a file that is not text, by how it begins.
pub fn binary(bytes: &[u8]) -> Option<&'static str> {
    match bytes {
        [0x1f, 0x8b, ..] => Some("compressed: unpack it with gunzip first"),
        [b'P', b'K', 3, 4, ..] => Some("a zip archive: unpack it first"),
        [b'M', b'D', b'M', b'P', ..] => Some(
            "a Breakpad minidump: ask for the report that macOS wrote, an .ips file in \
             ~/Library/Logs/DiagnosticReports",
        ),
        [0xfd, b'7', b'z', b'X', b'Z', ..]
        | [b'B', b'Z', b'h', b'1'..=b'9', ..]
        | [0x28, 0xb5, 0x2f, 0xfd, ..]
        | [b'7', b'z', 0xbc, 0xaf, ..] => Some("compressed: unpack it first"),
        [b'%', b'P', b'D', b'F', ..] => Some("a PDF: copy its text into a file"),
        [0x89, b'P', b'N', b'G', ..] | [0xff, 0xd8, 0xff, ..] => {
            Some("a picture: ask for the report's text or its .ips file")
        }
        [b'b', b'p', b'l', b'i', b's', b't', ..] => {
            Some("a binary property list, as Safari's web archives are: save the page as text")
        }
        [b'{', b'\\', b'r', b't', b'f', ..] => {
            Some("rich text: open it and save it as plain text first")
        }
        _ => None,
    }
}

/// Why a text of `tool` is not read, and what to ask for.
pub fn advice(tool: &str) -> String {
    format!(
        "{tool}, not a report of macOS: ask for the .ips file of the same time in \
         ~/Library/Logs/DiagnosticReports (in Console: Crash Reports, Reveal in Finder)"
    )
}
