//! The Objective-C runtime, as far as the guard needs it: Apple's on macOS, GNU's in the tests on Linux.
//!
//! Both offer the same functions under the same names for looking at classes and replacing methods; they differ in how a
//! message is sent from C, and so in how an object is retained.

use core::ffi::{CStr, c_char, c_uint, c_void};
use core::ptr::NonNull;

use crate::sys;

#[allow(missing_docs)]
unsafe extern "C" {
    fn objc_getClass(name: *const c_char) -> *mut c_void;
    fn class_getSuperclass(class: *mut c_void) -> *mut c_void;
    fn class_getName(class: *mut c_void) -> *const c_char;
    fn class_copyMethodList(class: *mut c_void, count: *mut c_uint) -> *mut *mut c_void;
    fn class_replaceMethod(
        class: *mut c_void,
        selector: *const c_void,
        code: usize,
        types: *const c_char,
    ) -> usize;
    fn class_respondsToSelector(class: *mut c_void, selector: *const c_void) -> u8;
    #[cfg(target_os = "macos")]
    fn object_getClass(object: *mut c_void) -> *mut c_void;
    fn sel_registerName(name: *const c_char) -> *const c_void;
    fn class_addMethod(
        class: *mut c_void,
        selector: *const c_void,
        code: usize,
        types: *const c_char,
    ) -> u8;
    fn class_getInstanceVariable(class: *mut c_void, name: *const c_char) -> *mut c_void;
    fn ivar_getOffset(variable: *mut c_void) -> isize;
    fn ivar_getTypeEncoding(variable: *mut c_void) -> *const c_char;
    fn method_getName(method: *mut c_void) -> *const c_void;
    fn method_getImplementation(method: *mut c_void) -> usize;
    fn method_getTypeEncoding(method: *mut c_void) -> *const c_char;
    fn sel_getName(selector: *const c_void) -> *const c_char;
}

/// A class.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Class(pub NonNull<c_void>);

/// A method of a class.
#[derive(Clone, Copy)]
pub struct Method(NonNull<c_void>);

/// A NUL-terminated string of the runtime, which lives as long as the class it came from.
///
/// # Safety
/// `text` is NULL or such a string.
unsafe fn string<'a>(text: *const c_char) -> &'a CStr {
    if text.is_null() {
        return c"";
    }
    // SAFETY: by the caller's word.
    unsafe { CStr::from_ptr(text) }
}

impl Class {
    /// The class of this name, if it is loaded.
    pub fn named(name: &CStr) -> Option<Class> {
        // SAFETY: the name is NUL-terminated.
        NonNull::new(unsafe { objc_getClass(name.as_ptr()) }).map(Class)
    }

    /// The class of an object.
    pub fn of(object: usize) -> Option<Class> {
        #[cfg(target_os = "macos")]
        // SAFETY: the callers have an object that is alive.
        let class = unsafe { object_getClass(object as *mut c_void) };
        #[cfg(not(target_os = "macos"))]
        // SAFETY: as above; GNU's objects begin with their class, and its function is inline.
        let class = unsafe { *(object as *const *mut c_void) };
        NonNull::new(class).map(Class)
    }

    /// Whether its objects respond to the selector.
    pub fn responds_to(self, selector: &CStr) -> bool {
        // SAFETY: `self` is a class of the runtime and the name is NUL-terminated.
        unsafe {
            class_respondsToSelector(self.0.as_ptr(), sel_registerName(selector.as_ptr())) != 0
        }
    }

    /// Its name.
    pub fn name(self) -> &'static CStr {
        // SAFETY: `self` is a class of the runtime.
        unsafe { string(class_getName(self.0.as_ptr())) }
    }

    /// Its superclass; `None` for a root class.
    pub fn superclass(self) -> Option<Class> {
        // SAFETY: `self` is a class of the runtime.
        NonNull::new(unsafe { class_getSuperclass(self.0.as_ptr()) }).map(Class)
    }

    /// Where an instance variable that is a pointer lies, in bytes from the object's start; `None` when it is not a pointer, for then
    /// its first bytes may well be zero.
    pub fn offset_of_pointer(self, variable: &CStr) -> Option<u32> {
        // SAFETY: `self` is a class and the name is NUL-terminated; a non-NULL answer is an ivar.
        unsafe {
            let variable =
                NonNull::new(class_getInstanceVariable(self.0.as_ptr(), variable.as_ptr()))?;
            let encoding = string(ivar_getTypeEncoding(variable.as_ptr())).to_bytes();
            let is_pointer = matches!(encoding.first(), Some(b'^' | b'*' | b'@'));
            is_pointer.then(|| u32::try_from(ivar_getOffset(variable.as_ptr())).ok())?
        }
    }

    /// Calls `visit` with each method the class itself has.
    pub fn each_method(self, mut visit: impl FnMut(Method)) {
        let mut count = 0;
        // SAFETY: `self` is a class; the answer is NULL or an array of `count` methods, to be freed.
        unsafe {
            let list = class_copyMethodList(self.0.as_ptr(), &mut count);
            for index in 0..count as usize {
                if let Some(method) = NonNull::new(*list.add(index)) {
                    visit(Method(method));
                }
            }
            sys::free(list.cast());
        }
    }

    /// Whether the class itself, not one above it, has a method for the selector.
    pub fn has_own(self, selector: &str) -> bool {
        let mut found = false;
        self.each_method(|method| found |= method.selector() == selector);
        found
    }

    /// Has a method of the class's own run other code. `class_replaceMethod` flushes the caches of this class and those below it;
    /// `method_setImplementation` would flush those of every class.
    pub fn replace(self, own: Method, code: usize) {
        // SAFETY: class, selector and encoding are the runtime's; `code` has the method's calling convention.
        unsafe {
            let (selector, types) =
                (method_getName(own.0.as_ptr()), method_getTypeEncoding(own.0.as_ptr()));
            class_replaceMethod(self.0.as_ptr(), selector, code, types);
        }
    }

    /// Gives the class a method of its own in the place of an inherited one.
    pub fn override_with(self, inherited: Method, code: usize) -> bool {
        // SAFETY: class, selector and encoding are the runtime's; `code` has the method's calling convention.
        unsafe {
            let selector = method_getName(inherited.0.as_ptr());
            class_addMethod(
                self.0.as_ptr(),
                selector,
                code,
                method_getTypeEncoding(inherited.0.as_ptr()),
            ) != 0
        }
    }
}

impl Method {
    /// The selector's name.
    pub fn selector(self) -> &'static str {
        self.selector_name().to_str().unwrap_or_default()
    }

    /// The selector's name, as the runtime has it.
    pub fn selector_name(self) -> &'static CStr {
        // SAFETY: `self` is a method of the runtime.
        unsafe { string(sel_getName(method_getName(self.0.as_ptr()))) }
    }

    /// The type encoding.
    pub fn encoding(self) -> &'static [u8] {
        // SAFETY: as above.
        unsafe { string(method_getTypeEncoding(self.0.as_ptr())) }.to_bytes()
    }

    /// The code it runs.
    pub fn code(self) -> usize {
        // SAFETY: as above.
        unsafe { method_getImplementation(self.0.as_ptr()) }
    }
}

#[cfg(target_os = "macos")]
mod counting {
    use super::{c_void, sel_registerName};

    unsafe extern "C" {
        fn objc_retain(object: *mut c_void) -> *mut c_void;
        fn objc_release(object: *mut c_void);
        fn objc_autoreleasePoolPush() -> *mut c_void;
        fn objc_autoreleasePoolPop(pool: *mut c_void);
        fn objc_msgSend();
    }

    /// Runs `work` under an autorelease pool, for what the driver autoreleases in it.
    pub fn with_autorelease_pool(work: impl FnOnce()) {
        // SAFETY: the pool is popped by the thread that pushed it, innermost first.
        unsafe {
            let pool = objc_autoreleasePoolPush();
            work();
            objc_autoreleasePoolPop(pool);
        }
    }

    /// How many references there are, as `-retainCount` says.
    pub fn references(object: usize) -> usize {
        type RetainCount = unsafe extern "C" fn(*mut c_void, *const c_void) -> usize;
        // SAFETY: the guard holds a reference, so the object is alive; objc_msgSend is called as a function of the method's type.
        unsafe {
            let send: RetainCount = core::mem::transmute(objc_msgSend as unsafe extern "C" fn());
            send(object as *mut c_void, sel_registerName(c"retainCount".as_ptr()))
        }
    }

    /// Adds a reference.
    pub fn retain(object: usize) {
        // SAFETY: called for objects whose method is being called right now, so they are alive.
        unsafe { objc_retain(object as *mut c_void) };
    }

    /// Drops a reference.
    pub fn release(object: usize) {
        // SAFETY: called once for each `retain`.
        unsafe { objc_release(object as *mut c_void) };
    }
}

#[cfg(not(target_os = "macos"))]
mod counting {
    use super::{c_void, sel_registerName};
    use crate::sync::{AtomicPtr, Ordering};

    type Code = unsafe extern "C" fn(*mut c_void, *const c_void) -> *mut c_void;

    unsafe extern "C" {
        fn objc_msg_lookup(object: *mut c_void, selector: *const c_void) -> Option<Code>;
    }

    /// A selector, looked up once: Apple's runtime has functions for these.
    struct Selector(&'static core::ffi::CStr, AtomicPtr<c_void>);

    impl Selector {
        const fn new(name: &'static core::ffi::CStr) -> Selector {
            Selector(name, AtomicPtr::new(core::ptr::null_mut()))
        }

        fn get(&self) -> *const c_void {
            let known = self.1.load(Ordering::Relaxed);
            if !known.is_null() {
                return known;
            }
            // SAFETY: the name is NUL-terminated.
            let selector = unsafe { sel_registerName(self.0.as_ptr()) };
            self.1.store(selector.cast_mut(), Ordering::Relaxed);
            selector
        }
    }

    static RETAIN: Selector = Selector::new(c"retain");
    static RELEASE: Selector = Selector::new(c"release");
    static RETAIN_COUNT: Selector = Selector::new(c"retainCount");

    fn send(object: usize, selector: &Selector) -> usize {
        let object = object as *mut c_void;
        let selector = selector.get();
        // SAFETY: the object is alive, see the callers; the methods take no argument.
        unsafe {
            objc_msg_lookup(object, selector).map_or(0, |code| code(object, selector) as usize)
        }
    }

    /// Runs `work`; the tests' objects are not autoreleased.
    pub fn with_autorelease_pool(work: impl FnOnce()) {
        work();
    }

    /// How many references there are; the fake's count has 32 bits.
    pub fn references(object: usize) -> usize {
        send(object, &RETAIN_COUNT) as u32 as usize
    }

    /// Adds a reference.
    pub fn retain(object: usize) {
        send(object, &RETAIN);
    }

    /// Drops a reference.
    pub fn release(object: usize) {
        send(object, &RELEASE);
    }
}

pub use counting::{references, release, retain, with_autorelease_pool};
