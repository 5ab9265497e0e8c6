//! Classes of the driver that look like encoders and are not hooked: their objects respond to
//! `endEncoding`, and their names are not among those the library knows. Such a class is hooked
//! when a factory first returns an object of it; until then its calls are not seen, so the report
//! names it.

use crate::json::Json;
use crate::runtime::Class;
use crate::sync::{AtomicPtr, Ordering};

/// More than one driver has.
const MAX_CLASSES: usize = 16;

static CLASSES: [AtomicPtr<core::ffi::c_void>; MAX_CLASSES] =
    [const { AtomicPtr::new(core::ptr::null_mut()) }; MAX_CLASSES];

/// Notes a class that was not hooked, if it looks like an encoder's. One thread hooks at a time.
pub fn note(class: Class) {
    if !class.responds_to(c"endEncoding") {
        return;
    }
    for place in &CLASSES {
        let known = place.load(Ordering::Relaxed);
        if known == class.0.as_ptr() {
            return;
        }
        if known.is_null() {
            return place.store(class.0.as_ptr(), Ordering::Relaxed);
        }
    }
}

/// Adds their names to a report. `is_hooked` tells those that have been hooked since.
pub fn describe(json: &mut Json, is_hooked: impl Fn(Class) -> bool) {
    json.open_list("encoder_classes_not_hooked");
    for place in &CLASSES {
        if let Some(class) = core::ptr::NonNull::new(place.load(Ordering::Relaxed)).map(Class)
            && !is_hooked(class)
        {
            json.item(class.name().to_str().unwrap_or("?"));
        }
    }
    json.close_list();
}
