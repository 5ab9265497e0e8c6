//! The bits of System Integrity Protection.
//!
//! The kernel keeps one 32-bit word; a set bit *allows* what the protection
//! otherwise forbids. Names and values are those of xnu's `bsd/sys/csr.h`. On
//! Apple Silicon the word comes from the LocalPolicy at boot, and the bit for
//! the authenticated root has a switch of its own there.

use std::fmt;
use std::ops::{BitOr, Not};

use serde::{Serialize, Serializer};

/// The active configuration, as `csr_get_active_config` gives it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct CsrConfig(pub u32);

/// One bit: its value, its name in the kernel, and the line of `csrutil status`
/// that shows it on Apple Silicon, where there is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bit {
    /// The bit itself.
    pub mask: u32,
    /// The name in `csr.h`.
    pub name: &'static str,
    /// What `csrutil` calls the protection.
    pub protection: Option<&'static str>,
}

impl CsrConfig {
    /// Everything protected.
    pub const PROTECTED: CsrConfig = CsrConfig(0);
    /// `CSR_ALLOW_UNTRUSTED_KEXTS`.
    pub const UNTRUSTED_KEXTS: CsrConfig = CsrConfig(0x1);
    /// `CSR_ALLOW_UNRESTRICTED_FS`: system files may be written.
    pub const UNRESTRICTED_FS: CsrConfig = CsrConfig(0x2);
    /// `CSR_ALLOW_TASK_FOR_PID`: `amfid` honours `DisableLibraryValidation`.
    pub const TASK_FOR_PID: CsrConfig = CsrConfig(0x4);
    /// `CSR_ALLOW_KERNEL_DEBUGGER`.
    pub const KERNEL_DEBUGGER: CsrConfig = CsrConfig(0x8);
    /// `CSR_ALLOW_APPLE_INTERNAL`.
    pub const APPLE_INTERNAL: CsrConfig = CsrConfig(0x10);
    /// `CSR_ALLOW_UNRESTRICTED_DTRACE`.
    pub const UNRESTRICTED_DTRACE: CsrConfig = CsrConfig(0x20);
    /// `CSR_ALLOW_UNRESTRICTED_NVRAM`.
    pub const UNRESTRICTED_NVRAM: CsrConfig = CsrConfig(0x40);
    /// `CSR_ALLOW_ANY_RECOVERY_OS`.
    pub const ANY_RECOVERY_OS: CsrConfig = CsrConfig(0x100);
    /// `CSR_ALLOW_UNAUTHENTICATED_ROOT`: an unsealed snapshot may be booted.
    pub const UNAUTHENTICATED_ROOT: CsrConfig = CsrConfig(0x800);

    /// What a change of the system volume needs: writing, the debugging bit that
    /// lets library validation be off, and an unsealed root. `csrutil disable`
    /// gives the first two, `csrutil authenticated-root disable` the third.
    pub const NEEDED_FOR_SYSTEM: CsrConfig = CsrConfig(0x806);

    /// What `csrutil disable` leaves on an Apple Silicon Mac a customer owns:
    /// bits 0x1 to 0x40, with Apple Internal stripped at boot.
    pub const DISABLED: CsrConfig = CsrConfig(0x6f);

    /// Every named bit, lowest first.
    pub const BITS: &'static [Bit] = &[
        bit(0x1, "CSR_ALLOW_UNTRUSTED_KEXTS", Some("Kext Signing")),
        bit(0x2, "CSR_ALLOW_UNRESTRICTED_FS", Some("Filesystem Protections")),
        bit(0x4, "CSR_ALLOW_TASK_FOR_PID", Some("Debugging Restrictions")),
        bit(0x8, "CSR_ALLOW_KERNEL_DEBUGGER", None),
        bit(0x10, "CSR_ALLOW_APPLE_INTERNAL", Some("Apple Internal")),
        bit(0x20, "CSR_ALLOW_UNRESTRICTED_DTRACE", Some("DTrace Restrictions")),
        bit(0x40, "CSR_ALLOW_UNRESTRICTED_NVRAM", Some("NVRAM Protections")),
        bit(0x80, "CSR_ALLOW_DEVICE_CONFIGURATION", None),
        bit(0x100, "CSR_ALLOW_ANY_RECOVERY_OS", Some("BaseSystem Verification")),
        bit(0x200, "CSR_ALLOW_UNAPPROVED_KEXTS", None),
        bit(0x400, "CSR_ALLOW_EXECUTABLE_POLICY_OVERRIDE", None),
        bit(0x800, "CSR_ALLOW_UNAUTHENTICATED_ROOT", Some("Authenticated Root Requirement")),
        bit(0x1000, "CSR_ALLOW_RESEARCH_GUESTS", None),
    ];

    /// Whether all of `bits` are set.
    pub fn allows(self, bits: CsrConfig) -> bool {
        self.0 & bits.0 == bits.0
    }

    /// The bits of `wanted` that are not set here.
    pub fn missing(self, wanted: CsrConfig) -> CsrConfig {
        CsrConfig(wanted.0 & !self.0)
    }

    /// The named bits that are set.
    pub fn bits(self) -> impl Iterator<Item = Bit> {
        Self::BITS.iter().copied().filter(move |bit| self.0 & bit.mask != 0)
    }
}

const fn bit(mask: u32, name: &'static str, protection: Option<&'static str>) -> Bit {
    Bit { mask, name, protection }
}

impl BitOr for CsrConfig {
    type Output = CsrConfig;

    fn bitor(self, other: CsrConfig) -> CsrConfig {
        CsrConfig(self.0 | other.0)
    }
}

impl Not for CsrConfig {
    type Output = CsrConfig;

    fn not(self) -> CsrConfig {
        CsrConfig(!self.0)
    }
}

/// In hexadecimal, as every guide to System Integrity Protection writes it.
impl fmt::Display for CsrConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

impl Serialize for CsrConfig {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// One system call of libSystem, which only a Mac has.
#[cfg(target_os = "macos")]
#[allow(unsafe_code, reason = "the kernel's answer is only to be had by this call")]
pub(super) fn active() -> Option<CsrConfig> {
    unsafe extern "C" {
        fn csr_get_active_config(config: *mut u32) -> std::ffi::c_int;
    }
    let mut config = 0;
    // SAFETY: the function writes one u32 to the address given, which is that of
    // a u32 on this stack frame, and keeps nothing.
    let failed = unsafe { csr_get_active_config(&raw mut config) };
    (failed == 0).then_some(CsrConfig(config))
}

/// Elsewhere there is no such call.
#[cfg(not(target_os = "macos"))]
pub(super) fn active() -> Option<CsrConfig> {
    None
}
