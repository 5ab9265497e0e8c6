//! The two ways a report writes the time.

use jiff::Timestamp;

/// Reads `2025-12-23 10:46:40.1234 -0800`, the form of `.ips` and `.crash`
/// alike, and RFC 3339, which some tools rewrite it to.
pub fn timestamp(text: &str) -> Option<Timestamp> {
    let text = text.trim();
    if let Ok(time) = text.parse::<Timestamp>() {
        return Some(time);
    }
    jiff::fmt::strtime::parse("%Y-%m-%d %H:%M:%S%.f %z", text)
        .and_then(|broken_down| broken_down.to_timestamp())
        .ok()
}
