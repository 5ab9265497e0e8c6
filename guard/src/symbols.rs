//! What a return address is called: its image, how far into it, and the symbol before it, as far as the loader knows.

use core::ffi::{CStr, c_char, c_int, c_void};
use core::fmt::Write;

use crate::bounded::Bounded;

/// Longer names are cut.
pub const MAX_NAME: usize = 144;

/// `Dl_info`. The texts are the loader's own, and live as long as the image.
#[repr(C)]
pub struct Information {
    /// The image's path, or NULL.
    pub path: *const c_char,
    /// Where the image begins.
    pub base: *const c_void,
    /// The symbol before the address, or NULL.
    pub symbol: *const c_char,
    /// The symbol's address.
    pub address: *const c_void,
}

unsafe extern "C" {
    fn dladdr(address: *const c_void, information: *mut Information) -> c_int;
}

/// What the loader knows of an address.
pub fn look_up(address: *const c_void) -> Option<Information> {
    let mut found = Information {
        path: core::ptr::null(),
        base: core::ptr::null(),
        symbol: core::ptr::null(),
        address: core::ptr::null(),
    };
    // SAFETY: `found` is a valid Dl_info to write to.
    (unsafe { dladdr(address, &mut found) } != 0).then_some(found)
}

/// `IMAGE+0xOFFSET SYMBOL+OFFSET`, or less.
pub fn name(address: usize, buffer: &mut [u8; MAX_NAME]) -> &str {
    // A return address may lie past the end of its function, where the call is the last thing in it.
    let found = look_up((address - 1) as *const c_void);
    let text = |text: *const c_char| {
        // SAFETY: NULL, or the loader's own string, which lives as long as the image.
        let text = (!text.is_null()).then(|| unsafe { CStr::from_ptr(text) });
        text.and_then(|text| text.to_str().ok())
    };
    let image = found.as_ref().and_then(|found| text(found.path));
    let image = image.map(|path| path.rsplit('/').next().unwrap_or(path));
    let symbol = found.as_ref().and_then(|found| text(found.symbol));
    let symbol = symbol.filter(|symbol| symbol.len() < 80);
    let from = |start: fn(&Information) -> *const c_void| {
        address.wrapping_sub(found.as_ref().map_or(0, |found| start(found) as usize))
    };
    let mut line = Bounded::new(buffer);
    let _ = match (image, symbol) {
        (None, _) => write!(line, "{address:#x}"),
        (Some(image), None) => write!(line, "{image:.48}+{:#x}", from(|found| found.base)),
        (Some(image), Some(symbol)) => write!(
            line,
            "{image:.40}+{:#x} {symbol}+{}",
            from(|found| found.base),
            from(|found| found.address)
        ),
    };
    line.bytes().and_then(|bytes| core::str::from_utf8(bytes).ok()).unwrap_or("?")
}
