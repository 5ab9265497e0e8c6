//! The differences that are permitted between a function and its rewrite.

use serde::Serialize;

/// A difference that is permitted and was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Permission {
    /// A field of the receiver is cleared earlier.
    ClearsEarlier,
    /// A field of the receiver is cleared before the lock is taken.
    ClearsBeforeLock,
    /// `free(NULL)` is left out.
    SkipsNullFree,
    /// A clear is left out where the field was found to be NULL, and nothing was done since
    /// that may touch it but to wait for a lock.
    SkipsNullClear,
    /// What a block captured is taken not to change while the block runs.
    TakesCapturesAsConstant,
    /// Functions that are called after the block was given away, and that do not get the
    /// receiver, find its field NULL already.
    ClearsBeforeCalls,
    /// What a field of the receiver held is kept and not read again: it is taken not to
    /// change but for the clear.
    ReadsOnce,
    /// A clear that was a release store, or an exchange whose outcome nothing uses, comes
    /// earlier as a plain store: the lock orders it.
    ClearsWithoutRelease,
    /// A field of the receiver is exchanged with NULL where it was loaded.
    TakesByExchange,
    /// A field of the receiver is loaded once more, where it still holds what the register
    /// has.
    ReadsAgain,
    /// A fill with zeroes, by a function or by one instruction, leaves out a field that was
    /// cleared before: stores to the rest take its place.
    NarrowsFill,
    /// A lock in what one argument points to is taken not to be a field of what another
    /// points to: the field holds a block.
    TakesLockApart,
}

impl Permission {
    /// Its name in reports.
    pub fn as_str(self) -> &'static str {
        match self {
            Permission::ClearsEarlier => "clears-earlier",
            Permission::ClearsBeforeLock => "clears-before-lock",
            Permission::SkipsNullFree => "skips-null-free",
            Permission::SkipsNullClear => "skips-null-clear",
            Permission::TakesCapturesAsConstant => "takes-captures-as-constant",
            Permission::ClearsBeforeCalls => "clears-before-calls",
            Permission::ReadsOnce => "reads-once",
            Permission::ClearsWithoutRelease => "clears-without-release",
            Permission::TakesByExchange => "takes-by-exchange",
            Permission::ReadsAgain => "reads-again",
            Permission::NarrowsFill => "narrows-fill",
            Permission::TakesLockApart => "takes-lock-apart",
        }
    }
}
