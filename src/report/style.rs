//! The few styles used in text output. They are written always and stripped by
//! `anstream` where they do not belong.

use anstyle::{AnsiColor, Style};

/// Something holds, or was added.
pub const GOOD: Style = AnsiColor::Green.on_default();
/// Something failed, or was removed.
pub const BAD: Style = AnsiColor::Red.on_default().bold();
/// Something deserves a second look.
pub const WARN: Style = AnsiColor::Yellow.on_default();
/// Headings and what to type.
pub const STRONG: Style = Style::new().bold();
/// What may be skipped in reading.
pub const FAINT: Style = Style::new().dimmed();
/// Back to normal; `{:#}` of any style would do, but reads less well inline.
pub const RESET: anstyle::Reset = anstyle::Reset;

/// What the styles put into a text.
pub(super) fn sequences() -> Vec<String> {
    let styles = [GOOD, BAD, WARN, STRONG, FAINT].map(|style| style.to_string());
    styles.into_iter().chain([RESET.to_string()]).collect()
}
