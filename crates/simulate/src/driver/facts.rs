//! What is published about the driver of macOS 15.7.3, as numbers.
//!
//! Build 329.2, arm64e slice. Within the slice an address of `__TEXT` equals
//! its file offset. Everything the synthetic driver holds beyond these numbers
//! is invented.

use agxpatch_core::address::{FileOffset, VmAddr, Word};

/// Size of the universal file in bytes.
pub const FILE_SIZE: u64 = 20_490_752;
/// Where its arm64e slice begins; the slice ends with the file.
pub const ARM64E_AT: FileOffset = FileOffset(0xa6_4000);
/// Where the first slice of any universal file here begins.
pub const FIRST_SLICE_AT: FileOffset = FileOffset(0x4000);
/// LC_UUID of the arm64e slice, 0ce453ff-9f17-321f-bc18-383573a48221.
pub const UUID: [u8; 16] = [
    0x0c, 0xe4, 0x53, 0xff, 0x9f, 0x17, 0x32, 0x1f, 0xbc, 0x18, 0x38, 0x35, 0x73, 0xa4, 0x82, 0x21,
];
/// LC_SOURCE_VERSION 329.2: the first number has 24 bits, each further one 10.
pub const SOURCE_VERSION: u64 = 329 << 40 | 2 << 30;

/// First instruction of `-[AGXG16XFamilyComputeContext destroyImpl]`.
pub const ENTRY: VmAddr = VmAddr(0x2b_dd1c);
/// The first published word of it, `b.hi` on a full freelist.
pub const WINDOW: VmAddr = VmAddr(0x2b_e05c);
/// First instruction of the epilogue.
pub const EPILOGUE: VmAddr = VmAddr(0x2b_e090);
/// The next method, `initWithCommandBuffer:config:`.
pub const NEXT_METHOD: VmAddr = VmAddr(0x2b_e1f4);
/// Stub of `free`.
pub const FREE_STUB: VmAddr = VmAddr(0x6d_46c4);
/// Stub of `os_unfair_lock_unlock`.
pub const UNLOCK_STUB: VmAddr = VmAddr(0x6d_49e4);
/// Offset cell of `AGXG16XFamilyComputeContext._impl`.
pub const IMPL_CELL: VmAddr = VmAddr(0x75_8300);
/// Offset cell of `AGXG16XFamilyCommandBuffer._previousComputeCommandEncoder`.
pub const PREVIOUS_ENCODER_CELL: VmAddr = VmAddr(0x75_8098);

/// The published words and their addresses. Between the first and the second
/// stand three that are not published.
pub const WORDS: [(VmAddr, Word); 11] = [
    (VmAddr(0x2b_e05c), Word(0x5400_0108)),
    (VmAddr(0x2b_e06c), Word(0xf90d_3534)),
    (VmAddr(0x2b_e070), Word(0x8b15_0320)),
    (VmAddr(0x2b_e074), Word(0x9410_5a5c)),
    (VmAddr(0x2b_e078), Word(0x1400_0005)),
    (VmAddr(0x2b_e07c), Word(0x8b15_0320)),
    (VmAddr(0x2b_e080), Word(0x9410_5a59)),
    (VmAddr(0x2b_e084), Word(0xaa14_03e0)),
    (VmAddr(0x2b_e088), Word(0x9410_598f)),
    (VmAddr(0x2b_e08c), Word(0xf838_6a7f)),
    (VmAddr(0x2b_e090), Word(0xa949_7bfd)),
];

/// The words of the published nine-word rewrite, which leaks on a full freelist.
pub const LEGACY_WORDS: [(VmAddr, Word); 9] = [
    (VmAddr(0x2b_e05c), Word(0x5400_0128)),
    (VmAddr(0x2b_e070), Word(0xf838_6a7f)),
    (VmAddr(0x2b_e074), Word(0x8b15_0320)),
    (VmAddr(0x2b_e078), Word(0x9410_5a5b)),
    (VmAddr(0x2b_e07c), Word(0x1400_0005)),
    (VmAddr(0x2b_e080), Word(0xf838_6a7f)),
    (VmAddr(0x2b_e084), Word(0x8b15_0320)),
    (VmAddr(0x2b_e088), Word(0x9410_5a57)),
    (VmAddr(0x2b_e08c), Word(0x1400_0001)),
];
