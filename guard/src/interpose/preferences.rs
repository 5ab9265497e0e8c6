//! Answers the readers of preferences for the switches of [`crate::coalescing`].
//!
//! The name of the key decides, whatever the domain: the driver reads `com.apple.Metal`, and another version that reads the same key
//! elsewhere means the same. `NSUserDefaults` reads past these functions; no version of the driver is known to use it for this.

use core::ffi::c_void;

use super::{answers, interpose};
use crate::coalescing::{self, Question, SWITCHES};
use crate::core_foundation::{self as cf, MAX_TEXT, Object};

unsafe extern "C" {
    fn CFPreferencesCopyAppValue(key: Object, application: Object) -> Object;
    fn CFPreferencesGetAppBooleanValue(key: Object, application: Object, exists: *mut u8) -> u8;
    fn CFPreferencesGetAppIntegerValue(key: Object, application: Object, exists: *mut u8) -> isize;
    fn CFPreferencesCopyValue(
        key: Object,
        application: Object,
        user: Object,
        host: Object,
    ) -> Object;
    fn CFPreferencesCopyMultiple(
        keys: Object,
        application: Object,
        user: Object,
        host: Object,
    ) -> Object;
}

/// Whether the value of `key` is this library's to tell; if so it is noted.
///
/// # Safety
/// `key` is NULL or a Core Foundation object.
unsafe fn is_ours(key: Object) -> bool {
    if !answers() || !coalescing::is_off() {
        return false;
    }
    let mut buffer = [0; MAX_TEXT];
    // SAFETY: by the caller's word.
    let key = unsafe { cf::text(key, &mut buffer) };
    let ours = key.is_some_and(|key| SWITCHES.contains(&key));
    if ours {
        coalescing::note(Question::Preference);
    }
    ours
}

unsafe extern "C" fn copy_app_value(key: Object, application: Object) -> Object {
    // SAFETY: the arguments are passed on as they came.
    unsafe {
        match is_ours(key) {
            true => cf::retained_true(),
            false => CFPreferencesCopyAppValue(key, application),
        }
    }
}

unsafe extern "C" fn copy_value(
    key: Object,
    application: Object,
    user: Object,
    host: Object,
) -> Object {
    // SAFETY: the arguments are passed on as they came.
    unsafe {
        match is_ours(key) {
            true => cf::retained_true(),
            false => CFPreferencesCopyValue(key, application, user, host),
        }
    }
}

unsafe extern "C" fn app_boolean(key: Object, application: Object, exists: *mut u8) -> u8 {
    // SAFETY: the arguments are passed on as they came; `exists` is NULL or a Boolean's place.
    unsafe {
        if !is_ours(key) {
            return CFPreferencesGetAppBooleanValue(key, application, exists);
        }
        if let Some(exists) = exists.as_mut() {
            *exists = 1;
        }
    }
    1
}

unsafe extern "C" fn app_integer(key: Object, application: Object, exists: *mut u8) -> isize {
    // SAFETY: the arguments are passed on as they came; `exists` is NULL or a Boolean's place.
    unsafe {
        if !is_ours(key) {
            return CFPreferencesGetAppIntegerValue(key, application, exists);
        }
        if let Some(exists) = exists.as_mut() {
            *exists = 1;
        }
    }
    1
}

/// The values of the keys in a list, or without a list of all that are set.
unsafe extern "C" fn copy_multiple(
    keys: Object,
    application: Object,
    user: Object,
    host: Object,
) -> Object {
    // SAFETY: the arguments are passed on as they came; what the system answers is a dictionary and this function's to release.
    unsafe {
        let original = CFPreferencesCopyMultiple(keys, application, user, host);
        if !answers() || !coalescing::is_off() || original.is_null() {
            return original;
        }
        let answer = add_switches(original, |key| match keys.is_null() {
            true => is_metal(application),
            false => cf::contains(keys, key),
        });
        answer.unwrap_or(original)
    }
}

/// Whether a domain is Metal's.
unsafe fn is_metal(application: Object) -> bool {
    let mut buffer = [0; MAX_TEXT];
    // SAFETY: NULL or a CFString, as the caller of the interposed function had it.
    unsafe { cf::text(application, &mut buffer) == Some("com.apple.Metal") }
}

/// A copy of `values` with each switch that is wanted; `None`, and `values` kept, where none is.
///
/// # Safety
/// `values` is a CFDictionary whose reference is the caller's.
unsafe fn add_switches(values: Object, is_wanted: impl Fn(Object) -> bool) -> Option<Object> {
    let mut wanted = [core::ptr::null::<c_void>(); SWITCHES.len()];
    let mut count = 0;
    for key in SWITCHES.iter().filter_map(|name| cf::string(name)) {
        if is_wanted(key)
            && let Some(place) = wanted.get_mut(count)
        {
            *place = key;
            count += 1;
        } else {
            // SAFETY: made above.
            unsafe { cf::release(key) };
        }
    }
    let wanted = wanted.get(..count).filter(|wanted| !wanted.is_empty())?;
    coalescing::note(Question::Preference);
    // SAFETY: by the caller's word; the keys were made above, and the copy has references of its own.
    unsafe {
        let answer = cf::with_true(values, wanted);
        wanted.iter().for_each(|key| cf::release(*key));
        answer
    }
}

type AppValue = unsafe extern "C" fn(Object, Object) -> Object;
type Value = unsafe extern "C" fn(Object, Object, Object, Object) -> Object;
type Boolean = unsafe extern "C" fn(Object, Object, *mut u8) -> u8;
type Integer = unsafe extern "C" fn(Object, Object, *mut u8) -> isize;

interpose! {
    APP_VALUE: AppValue = copy_app_value for CFPreferencesCopyAppValue;
    VALUE: Value = copy_value for CFPreferencesCopyValue;
    MULTIPLE: Value = copy_multiple for CFPreferencesCopyMultiple;
    BOOLEAN: Boolean = app_boolean for CFPreferencesGetAppBooleanValue;
    INTEGER: Integer = app_integer for CFPreferencesGetAppIntegerValue;
}
