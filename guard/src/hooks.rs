//! Puts the thunks in place of the methods of the driver's classes, when the driver is loaded.
//!
//! An encoder class gets a thunk for every method of its own and for every method it inherits from
//! a class below the root (IOGPU's and Metal's command encoder classes), the latter as an override,
//! so that those classes themselves stay as they are for everybody else. `dealloc` is guarded
//! wherever it comes from. A command buffer's class gets thunks in the same way for the methods
//! that make, end or read encoders. An encoder class whose name is not known is hooked when a
//! factory first returns an object of it. [`crate::selectors`] names what is left alone.

use core::ffi::{CStr, c_char, c_int};

use crate::call::Kind;
use crate::encoding;
use crate::refused;
use crate::runtime::{Class, Method};
use crate::say::say;
use crate::selectors::{self, Role};
use crate::slot::SLOTS;
use crate::sync::{AtomicUsize, Lock, Ordering};
use crate::thunk;
use crate::unknown;

/// How many thunks of each kind are in use: those with an ordinary frame, which come first, and the others.
static USED: [AtomicUsize; 2] = [const { AtomicUsize::new(0) }; 2];
const ROOM: [usize; 2] = [thunk::FRAMED, thunk::SLOTS - thunk::FRAMED];
static WITHOUT_ROOM: AtomicUsize = AtomicUsize::new(0);
static NOT_UNDERSTOOD: AtomicUsize = AtomicUsize::new(0);
static HOOKED_CLASSES: AtomicUsize = AtomicUsize::new(0);
static HOOKING: Lock = Lock::new();

/// How many classes are hooked.
pub fn classes() -> usize {
    HOOKED_CLASSES.load(Ordering::Relaxed)
}

/// How many methods are hooked.
pub fn methods() -> usize {
    USED.iter().map(|used| used.load(Ordering::Relaxed)).sum()
}

/// How many methods were left unguarded because there were no thunks left.
pub fn methods_without_room() -> usize {
    WITHOUT_ROOM.load(Ordering::Relaxed)
}

/// How many methods were left alone because the type they return is not understood.
pub fn methods_not_understood() -> usize {
    NOT_UNDERSTOOD.load(Ordering::Relaxed)
}

/// Keeps other threads from hooking, for a fork: what is half done would stay so in the child.
pub fn lock() {
    HOOKING.lock();
}

/// Lets them again.
pub fn unlock() {
    HOOKING.unlock();
}

/// The same in a forked child, where the lock's holder is gone.
pub fn reset_lock() {
    HOOKING.reset();
}

/// Hooks a class for what its name says it is; how many methods were hooked.
pub fn hook_by_name(name: &CStr) -> usize {
    let role = name.to_str().ok().and_then(selectors::role_of_class);
    match (role, Class::named(name)) {
        (Some(role), Some(class)) => hook(class, role),
        (None, Some(class)) => {
            HOOKING.with(|| unknown::note(class));
            0
        }
        (_, None) => 0,
    }
}

/// Whether the calls of a class that responds to `endEncoding` are guarded: that one's are.
pub fn is_hooked(class: Class) -> bool {
    let mut found = false;
    class.each_method(|method| {
        found |= method.selector() == "endEncoding" && thunk::is_thunk(method.code());
    });
    found
}

/// Hooks a class; how many methods were hooked. A class already hooked has no method left to hook.
pub fn hook(class: Class, role: Role) -> usize {
    let before = methods();
    HOOKING.with(|| match role {
        Role::Encoder => hook_encoder(class),
        Role::CommandBuffer => hook_command_buffer(class),
    });
    let count = methods() - before;
    if count > 0 {
        HOOKED_CLASSES.fetch_add(1, Ordering::Relaxed);
    }
    if methods_without_room() > 0 {
        say(format_args!(
            "{} methods stay unguarded, there is no room for more",
            methods_without_room()
        ));
    }
    count
}

fn hook_encoder(class: Class) {
    let impl_offset = class.offset_of_pointer(c"_impl").unwrap_or(0);
    hook_methods(class, impl_offset, |method| selectors::encoder_method(method.selector()));
}

fn hook_command_buffer(class: Class) {
    hook_methods(class, 0, |method| {
        selectors::command_buffer_method(method.selector(), method.encoding())
    });
}

/// Gives a class a thunk for each method of its own, and for each it inherits from a class below
/// the root, that has a kind.
fn hook_methods(class: Class, impl_offset: u32, kind_of: impl Fn(Method) -> Option<Kind>) {
    class.each_method(|method| {
        if let Some(thunk) =
            kind_of(method).and_then(|kind| prepare(class, method, kind, impl_offset))
        {
            class.replace(method, thunk);
        }
    });
    let mut above = class.superclass();
    while let Some(ancestor) = above {
        above = ancestor.superclass();
        let is_root = above.is_none();
        ancestor.each_method(|method| {
            let selector = method.selector();
            let wanted = !is_root || selector == "dealloc";
            if wanted
                && !class.has_own(selector)
                && let Some(kind) = kind_of(method)
                && let Some(thunk) = prepare(class, method, kind, impl_offset)
            {
                class.override_with(method, thunk);
            }
        });
    }
}

/// Classes that were met as results of factories, by address: hooked by name before, or hooked on sight.
static MET: [AtomicUsize; MAX_MET] = [const { AtomicUsize::new(0) }; MAX_MET];
const MAX_MET: usize = 64;
static HOOKED_ON_SIGHT: AtomicUsize = AtomicUsize::new(0);

/// How many classes were hooked because a factory returned an object of theirs, and not by their name.
pub fn hooked_on_sight() -> usize {
    HOOKED_ON_SIGHT.load(Ordering::Relaxed)
}

/// Hooks the class of what a factory returned, unless it is known; whether it was hooked now. No
/// list of names has to be complete then.
pub fn hook_on_sight(object: usize) -> bool {
    let Some(class) = Class::of(object) else { return false };
    let address = class.0.as_ptr() as usize;
    for place in &MET {
        let known = place.load(Ordering::Relaxed);
        if known == address {
            return false;
        }
        if known == 0 {
            place.store(address, Ordering::Relaxed);
            break;
        }
    }
    let count = if class.responds_to(c"endEncoding") { hook(class, Role::Encoder) } else { 0 };
    if count > 0 {
        HOOKED_ON_SIGHT.fetch_add(1, Ordering::Relaxed);
        let name = class.name().to_str().unwrap_or("?");
        say(format_args!(
            "{name} is an encoder class this library does not know by name; guarded from now on"
        ));
    }
    count > 0
}

/// Fills a slot for a method and answers its thunk; `None` when the method runs a thunk already, or
/// none is left.
fn prepare(class: Class, method: Method, kind: Kind, impl_offset: u32) -> Option<usize> {
    let original = method.code();
    if thunk::is_thunk(original) {
        return None;
    }
    // A refused call has to clear what the method returns: one of which it is not known how much
    // that is stays as it is.
    let Some(bytes) = encoding::returned_through_memory(method.encoding()) else {
        NOT_UNDERSTOOD.fetch_add(1, Ordering::Relaxed);
        return None;
    };
    let has_frame = selectors::may_have_frame(method.selector())
        && encoding::passes_in_registers(method.encoding());
    let index = take_thunk(has_frame);
    let Some((index, slot)) = index.and_then(|index| Some((index, SLOTS.get(index)?))) else {
        WITHOUT_ROOM.fetch_add(1, Ordering::Relaxed);
        return None;
    };
    let part = selectors::part_of(method.selector());
    slot.fill(original, (kind, part), impl_offset, bytes);
    refused::name(index, class.name(), method.selector_name());
    Some(thunk::address(index))
}

/// The number of a thunk that is not in use. A method that may have a frame does without where
/// there is no room.
fn take_thunk(has_frame: bool) -> Option<usize> {
    let take = |kind: usize| {
        let index = USED.get(kind)?.load(Ordering::Relaxed);
        let is_free = index < *ROOM.get(kind)?;
        if is_free {
            USED.get(kind)?.store(index + 1, Ordering::Relaxed);
        }
        is_free.then_some(index)
    };
    let framed = if has_frame { take(0) } else { None };
    framed.or_else(|| take(1).map(|index| index + thunk::FRAMED))
}

/// Hooks the class of this name: 0 as an encoder class, 1 as a command buffer class, -1 as what its
/// name says it is. Answers how many methods were hooked.
///
/// # Safety
/// `name` is a NUL-terminated string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn agx_guard_hook_class(name: *const c_char, role: c_int) -> c_int {
    if name.is_null() {
        return 0;
    }
    // SAFETY: by the caller's word.
    let name = unsafe { CStr::from_ptr(name) };
    if let Some(class) = Class::named(name) {
        crate::coalescing::switch_off_in(class);
    }
    if crate::entry::guard().is_none() {
        return 0;
    }
    let count = match (role, Class::named(name)) {
        (0, Some(class)) => hook(class, Role::Encoder),
        (1, Some(class)) => hook(class, Role::CommandBuffer),
        _ => hook_by_name(name),
    };
    crate::watchdog::start();
    count as c_int
}
