//! Core Foundation, as far as the interposed functions need it. IOKit, which this library is linked with, loads it anyway.

use core::ffi::{CStr, c_void};

/// A Core Foundation object, or NULL.
pub type Object = *const c_void;

/// kCFStringEncodingUTF8.
const UTF8: u32 = 0x0800_0100;
/// Longer strings are not read.
pub const MAX_TEXT: usize = 512;

#[repr(C)]
struct Range {
    location: isize,
    length: isize,
}

unsafe extern "C" {
    static kCFBooleanTrue: Object;
    fn CFGetTypeID(object: Object) -> usize;
    fn CFRetain(object: Object) -> Object;
    fn CFRelease(object: Object);
    fn CFStringGetTypeID() -> usize;
    fn CFStringGetCString(string: Object, buffer: *mut u8, size: isize, encoding: u32) -> u8;
    fn CFStringCreateWithBytes(
        allocator: *const c_void,
        bytes: *const u8,
        count: isize,
        encoding: u32,
        external: u8,
    ) -> Object;
    fn CFArrayGetCount(array: Object) -> isize;
    fn CFArrayContainsValue(array: Object, range: Range, value: Object) -> u8;
    fn CFDictionaryCreateMutableCopy(
        allocator: *const c_void,
        capacity: isize,
        dictionary: Object,
    ) -> Object;
    fn CFDictionarySetValue(dictionary: Object, key: Object, value: Object);
}

/// The value true, with a reference for the caller.
pub fn retained_true() -> Object {
    // SAFETY: the constant lives as long as the process.
    unsafe { CFRetain(kCFBooleanTrue) }
}

/// Drops a reference.
///
/// # Safety
/// The reference is the caller's to drop.
pub unsafe fn release(object: Object) {
    if !object.is_null() {
        // SAFETY: by the caller's word.
        unsafe { CFRelease(object) };
    }
}

/// The text of a CFString, if it is one and fits.
///
/// # Safety
/// `object` is NULL or a Core Foundation object.
pub unsafe fn text(object: Object, buffer: &mut [u8; MAX_TEXT]) -> Option<&str> {
    // SAFETY: an object by the caller's word; the buffer's length is passed with it.
    unsafe {
        if object.is_null()
            || CFGetTypeID(object) != CFStringGetTypeID()
            || CFStringGetCString(object, buffer.as_mut_ptr(), MAX_TEXT as isize, UTF8) == 0
        {
            return None;
        }
    }
    CStr::from_bytes_until_nul(buffer).ok()?.to_str().ok()
}

/// A new CFString; `None` where there is no memory for it.
pub fn string(text: &str) -> Option<Object> {
    // SAFETY: pointer and length are those of a live string.
    let string = unsafe {
        CFStringCreateWithBytes(core::ptr::null(), text.as_ptr(), text.len() as isize, UTF8, 0)
    };
    (!string.is_null()).then_some(string)
}

/// Whether an array holds a value.
///
/// # Safety
/// Both are Core Foundation objects, and `array` is a CFArray.
pub unsafe fn contains(array: Object, value: Object) -> bool {
    // SAFETY: by the caller's word; the range is the whole array's.
    unsafe {
        let range = Range { location: 0, length: CFArrayGetCount(array) };
        CFArrayContainsValue(array, range, value) != 0
    }
}

/// A copy of a dictionary in which each of `keys` is true. The dictionary is given back; `None`, and it is kept, where there is no
/// memory for the copy.
///
/// # Safety
/// `dictionary` is a CFDictionary whose reference is the caller's; the keys are Core Foundation objects.
pub unsafe fn with_true(dictionary: Object, keys: &[Object]) -> Option<Object> {
    // SAFETY: by the caller's word.
    unsafe {
        let copy = CFDictionaryCreateMutableCopy(core::ptr::null(), 0, dictionary);
        if copy.is_null() {
            return None;
        }
        for key in keys {
            CFDictionarySetValue(copy, *key, kCFBooleanTrue);
        }
        CFRelease(dictionary);
        Some(copy)
    }
}
