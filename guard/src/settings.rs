//! What the user asked for, read from the environment once, at load.
//!
//! | variable | value | default |
//! |---|---|---|
//! | `AGX_GUARD` | `guard`, `throttle=N`, `serialize`, `observe`, `off` | `guard` |
//! | `AGX_GUARD_QUARANTINE` | most ended encoders kept | 4096 |
//! | `AGX_GUARD_QUARANTINE_MS` | an ended encoder goes when no one else held it for this long | 500 |
//! | `AGX_GUARD_WAIT_WARN_MS` | a wait longer than this is reported | 1000 |
//! | `AGX_GUARD_WAIT_LIMIT_MS` | a wait longer than this is given up; 0 never | 0 |
//! | `AGX_GUARD_THROTTLE_MS` | an encoder waits at most this long for a place | 10000 |
//! | `AGX_GUARD_REPORT` | file for the JSON report, at exit and on SIGUSR1 | none |
//! | `AGX_GUARD_REPORTS` | folder where each process leaves a report of its own, `PID.json`, at exit and on SIGUSR1 | none |
//! | `AGX_GUARD_ON_REFUSAL` | `continue`: a refused call returns zero; `abort`: the process ends there, with both threads named | `continue` |
//! | `AGX_GUARD_QUIET` | set: nothing on standard error | unset |
//! | `AGX_GUARD_COALESCING` | `off`: the driver is told not to coalesce encoders; `system` | `system` |
//! | `AGX_GUARD_PLUGIN` | the copy of the driver that Metal is told of | none |
//! | `AGX_GUARD_PLUGIN_FOR` | the driver it stands in for | none: no answer |
//! | `AGX_GUARD_PATCHED`, `AGX_GUARD_ORIGINAL` | `ADDRESS:WORD,WORD,…` in hex: the code to look for in the driver | none |

/// What the guard does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Locks, refuses, keeps ended encoders.
    Guard,
    /// As `Guard`, with at most so many encoders open.
    Throttle(u32),
    /// As `Guard`, with one lock for all command buffers and encoders, and one encoder open.
    Serialize,
    /// Counts and changes nothing.
    Observe,
    /// Hooks nothing.
    Off,
}

/// Everything that can be set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// See [`Mode`].
    pub mode: Mode,
    /// Most ended encoders kept.
    pub quarantine: usize,
    /// How long no one else must have held one before it goes, in milliseconds.
    pub quarantine_ms: u64,
    /// A wait longer than this many milliseconds is reported.
    pub wait_warn_ms: u64,
    /// A wait longer than this many milliseconds is given up; 0 never.
    pub wait_limit_ms: u64,
    /// An encoder waits at most this many milliseconds for a place.
    pub throttle_ms: u64,
    /// A refused call ends the process instead of returning zero.
    pub abort_on_refusal: bool,
    /// Nothing is written to standard error.
    pub quiet: bool,
    /// The driver is told not to coalesce encoders, see [`crate::coalescing`].
    pub no_coalescing: bool,
}

impl Settings {
    /// What is in force when nothing is set.
    pub const DEFAULT: Settings = Settings {
        mode: Mode::Guard,
        quarantine: 4096,
        quarantine_ms: 500,
        wait_warn_ms: 1000,
        wait_limit_ms: 0,
        throttle_ms: 10_000,
        abort_on_refusal: false,
        quiet: false,
        no_coalescing: false,
    };

    /// Reads the settings through `variable`. Tells `wrong` each variable whose value is not understood, with that value; its
    /// default stands then, for a guard that is asked for in a wrong spelling still guards.
    pub fn read<'a>(
        variable: impl Fn(&'static core::ffi::CStr) -> Option<&'a [u8]>,
        mut wrong: impl FnMut(&'static core::ffi::CStr, &'a [u8]),
    ) -> Settings {
        let mut number = |name: &'static core::ffi::CStr, default: u64| match variable(name) {
            None => default,
            Some(text) => parse_number(text).unwrap_or_else(|| {
                wrong(name, text);
                default
            }),
        };
        let default = Settings::DEFAULT;
        let mut settings = Settings {
            mode: default.mode,
            quarantine: usize::try_from(number(c"AGX_GUARD_QUARANTINE", default.quarantine as u64))
                .unwrap_or(usize::MAX),
            quarantine_ms: number(c"AGX_GUARD_QUARANTINE_MS", default.quarantine_ms),
            wait_warn_ms: number(c"AGX_GUARD_WAIT_WARN_MS", default.wait_warn_ms),
            wait_limit_ms: number(c"AGX_GUARD_WAIT_LIMIT_MS", default.wait_limit_ms),
            throttle_ms: number(c"AGX_GUARD_THROTTLE_MS", default.throttle_ms),
            abort_on_refusal: false,
            quiet: variable(c"AGX_GUARD_QUIET").is_some(),
            no_coalescing: false,
        };
        match variable(c"AGX_GUARD_COALESCING") {
            None | Some(b"system") => {}
            Some(b"off") => settings.no_coalescing = true,
            Some(text) => wrong(c"AGX_GUARD_COALESCING", text),
        }
        match variable(c"AGX_GUARD_ON_REFUSAL") {
            None | Some(b"continue") => {}
            Some(b"abort") => settings.abort_on_refusal = true,
            Some(text) => wrong(c"AGX_GUARD_ON_REFUSAL", text),
        }
        if let Some(text) = variable(c"AGX_GUARD") {
            match parse_mode(text) {
                Some(mode) => settings.mode = mode,
                None => wrong(c"AGX_GUARD", text),
            }
        }
        settings
    }
}

/// A mode as it is written in `AGX_GUARD`.
pub fn parse_mode(text: &[u8]) -> Option<Mode> {
    match text {
        b"" | b"guard" => Some(Mode::Guard),
        b"serialize" => Some(Mode::Serialize),
        b"observe" => Some(Mode::Observe),
        b"off" => Some(Mode::Off),
        _ => {
            let limit = parse_number(text.strip_prefix(b"throttle=")?)?;
            u32::try_from(limit).ok().filter(|limit| *limit > 0).map(Mode::Throttle)
        }
    }
}

/// A decimal number with nothing around it.
pub fn parse_number(text: &[u8]) -> Option<u64> {
    core::str::from_utf8(text).ok()?.parse().ok()
}
