//! What a return address is called: its image, how far into it, and the symbol before it, as far as the loader knows.

use core::ffi::{CStr, c_char, c_int, c_void};
use core::fmt::Write;

use crate::bounded::Bounded;

/// Longer names are cut.
pub const MAX_NAME: usize = 144;

/// `Dl_info`.
#[repr(C)]
struct Information {
    path: *const c_char,
    base: *const c_void,
    symbol: *const c_char,
    address: *const c_void,
}

unsafe extern "C" {
    fn dladdr(address: *const c_void, information: *mut Information) -> c_int;
}

/// `IMAGE+0xOFFSET SYMBOL+OFFSET`, or less.
pub fn name(address: usize, buffer: &mut [u8; MAX_NAME]) -> &str {
    let mut found = Information {
        path: core::ptr::null(),
        base: core::ptr::null(),
        symbol: core::ptr::null(),
        address: core::ptr::null(),
    };
    // A return address may lie past the end of its function, where the call is the last thing in it.
    // SAFETY: `found` is a valid place for the answer.
    let known = unsafe { dladdr((address - 1) as *const c_void, &mut found) } != 0;
    let text = |text: *const c_char| {
        // SAFETY: NULL, or the loader's own string, which lives as long as the image.
        let text = (!text.is_null()).then(|| unsafe { CStr::from_ptr(text) });
        text.and_then(|text| text.to_str().ok())
    };
    let image = text(found.path).filter(|_| known);
    let image = image.map(|path| path.rsplit('/').next().unwrap_or(path));
    let symbol = text(found.symbol).filter(|symbol| known && symbol.len() < 80);
    let mut line = Bounded::new(buffer);
    let _ = match (image, symbol) {
        (None, _) => write!(line, "{address:#x}"),
        (Some(image), None) => write!(line, "{image:.48}+{:#x}", address - found.base as usize),
        (Some(image), Some(symbol)) => write!(
            line,
            "{image:.40}+{:#x} {symbol}+{}",
            address - found.base as usize,
            address - found.address as usize
        ),
    };
    line.bytes().and_then(|bytes| core::str::from_utf8(bytes).ok()).unwrap_or("?")
}
