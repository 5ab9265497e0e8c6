//! The driver as dyld sees it: when it is loaded its classes are hooked, and the report says which file it was.
//!
//! The classes must be hooked after the Objective-C runtime knows them and before Metal hands out a device, for from then on another
//! thread may make an encoder. dyld calls back for each image before it tells the runtime of it, and what the runtime calls back it
//! calls under its own lock. So the driver is loaded a moment earlier than Metal would load it: in the interposed question by which
//! Metal finds the bundle ([`crate::interpose`]). dlopen returns when the runtime knows the classes, and Metal, on the same thread, then
//! finds the image loaded. A driver that comes in another way is hooked by the watchdog's thread, within its period.

use core::ffi::{CStr, c_char, c_uint, c_void};

use crate::coalescing;
use crate::driver_code;
use crate::entry;
use crate::environment;
use crate::hooks;
use crate::image::{self, Expected, Told};
use crate::interpose::{lookup, plugin};
use crate::json::Json;
use crate::refusal::Refusal;
use crate::runtime::Class;
use crate::symbols;
use crate::sync::{AtomicBool, AtomicPtr, AtomicUsize, Ordering};
use crate::sys;
use crate::watchdog;

unsafe extern "C" {
    fn _dyld_register_func_for_add_image(function: unsafe extern "C" fn(*const Header, isize));
    fn dlopen(path: *const c_char, mode: i32) -> *mut c_void;
    fn dlerror() -> *const c_char;
    // The one that writes nothing where the path leads nowhere, as `stdlib.h` chooses it.
    #[link_name = "realpath$DARWIN_EXTSN"]
    fn realpath(path: *const c_char, resolved: *mut u8) -> *const c_char;
    fn objc_copyClassNamesForImage(image: *const c_char, count: *mut c_uint) -> *mut *const c_char;
}

/// `struct mach_header_64`, as far as it is read.
#[repr(C)]
struct Header {
    magic: u32,
    cpu: [u32; 2],
    kind: u32,
    commands: u32,
    size_of_commands: u32,
    flags: [u32; 2],
}

/// LC_SEGMENT_64 up to `vmsize`.
#[repr(C)]
struct Segment {
    command: u32,
    size: u32,
    name: [u8; 16],
    address: u64,
    length: u64,
}

const LC_SEGMENT_64: u32 = 0x19;
/// RTLD_LAZY | RTLD_LOCAL.
const LOCAL: i32 = 0x1 | 0x4;

static IMAGE: AtomicPtr<c_void> = AtomicPtr::new(core::ptr::null_mut());
static PATH: AtomicPtr<c_char> = AtomicPtr::new(core::ptr::null_mut());
/// How many drivers were loaded; more than one means that their classes clash.
static IMAGES: AtomicUsize = AtomicUsize::new(0);
/// What dyld said of a copy it would not load.
static REFUSAL: Refusal = Refusal::none();
/// How often the hooking of an image whose classes are not known yet is still tried; 0 when there is none.
static TRIES: AtomicUsize = AtomicUsize::new(0);
/// A minute of the watchdog's periods.
const MAX_TRIES: usize = 600;
/// Set while dyld tells of the images that were loaded before: the runtime knows those.
static REGISTERING: AtomicBool = AtomicBool::new(false);
/// Whether the classes were hooked before Metal had the driver.
static IN_TIME: AtomicBool = AtomicBool::new(false);

/// Asks dyld to call for every image, those already loaded first.
pub fn watch() {
    REGISTERING.store(true, Ordering::Relaxed);
    // SAFETY: the function has the signature and stays loaded: a library with initialisers that was inserted is not unloaded.
    unsafe { _dyld_register_func_for_add_image(loaded) };
    REGISTERING.store(false, Ordering::Relaxed);
}

fn changes_classes() -> bool {
    entry::guard().is_some() || coalescing::is_off()
}

unsafe extern "C" fn loaded(header: *const Header, _slide: isize) {
    let Some(path) = path_of(header.cast()) else { return };
    if !path.to_str().is_ok_and(image::is_driver) {
        return;
    }
    IMAGES.fetch_add(1, Ordering::Relaxed);
    IMAGE.store(header.cast_mut().cast(), Ordering::Release);
    PATH.store(path.as_ptr().cast_mut(), Ordering::Release);
    if !changes_classes() {
        return;
    }
    // Where dyld holds its lock, the runtime, which may be waiting for it under its own, is asked nothing.
    TRIES.store(MAX_TRIES, Ordering::Release);
    if REGISTERING.load(Ordering::Relaxed) {
        retry();
    }
    watchdog::start();
}

/// Loads the driver that Metal is about to load, and hooks it. A path that leads nowhere is Metal's to find out.
pub fn load_early(image: &CStr) {
    if !changes_classes() || !image.to_str().is_ok_and(image::is_driver) {
        return;
    }
    // SAFETY: the path is NUL-terminated.
    let is_loaded = !unsafe { dlopen(image.as_ptr(), LOCAL) }.is_null();
    if is_loaded && retry() {
        IN_TIME.store(true, Ordering::Relaxed);
    }
}

/// Whether a driver was loaded.
pub fn is_loaded() -> bool {
    !IMAGE.load(Ordering::Acquire).is_null()
}

/// Hooks an image whose classes were not known when it was loaded; whether there was one and they now are.
pub fn retry() -> bool {
    let path = PATH.load(Ordering::Acquire);
    let tries = TRIES.load(Ordering::Acquire);
    if tries == 0 || path.is_null() {
        return false;
    }
    // SAFETY: dyld's path of a loaded image.
    let is_hooked = hook_image(unsafe { CStr::from_ptr(path) }) != 0;
    let left = if is_hooked { 0 } else { tries - 1 };
    // An image that was loaded in between has tries of its own.
    let _ = TRIES.compare_exchange(tries, left, Ordering::AcqRel, Ordering::Relaxed);
    is_hooked
}

/// Hooks the classes of an image, and has them answer that coalescing is off where it is; how many methods.
fn hook_image(path: &CStr) -> usize {
    let mut methods = 0;
    each_class(path, |name| {
        methods += Class::named(name).map_or(0, coalescing::switch_off_in);
        if entry::guard().is_none() {
            return;
        }
        let hooked = hooks::hook_by_name(name);
        if hooked > 0 {
            trust_ancestry(name);
        }
        methods += hooked;
    });
    methods
}

/// Calls `visit` with the name of each class of an image that the runtime knows.
fn each_class(path: &CStr, mut visit: impl FnMut(&CStr)) {
    let mut count = 0;
    // SAFETY: the path is NUL-terminated; the answer is NULL or an array of `count` names, to be freed.
    unsafe {
        let names = objc_copyClassNamesForImage(path.as_ptr(), &mut count);
        for index in 0..count as usize {
            visit(CStr::from_ptr(*names.add(index)));
        }
        sys::free(names.cast());
    }
}

/// The driver's own code is that of its classes' images and of the images of the classes they descend from, below the root.
fn trust_ancestry(name: &CStr) {
    let mut class = Class::named(name);
    while let Some(known) = class {
        class = known.superclass();
        if class.is_some()
            && let Some((start, end)) = text_around(known.0.as_ptr())
        {
            driver_code::trust(start, end);
        }
    }
}

fn path_of(header: *const c_void) -> Option<&'static CStr> {
    let found = symbols::look_up(header)?;
    // SAFETY: NULL or dyld's own string, which lives as long as the image.
    (!found.path.is_null()).then(|| unsafe { CStr::from_ptr(found.path) })
}

fn text_around(address: *const c_void) -> Option<(usize, usize)> {
    let base = symbols::look_up(address)?.base;
    let length = text_length(base.cast())?;
    Some((base as usize, base as usize + length))
}

/// The size of `__TEXT`, from the load commands.
fn text_length(header: *const Header) -> Option<usize> {
    // SAFETY: the header of a loaded image, whose load commands follow it and are mapped with it.
    unsafe {
        let mut at = header.add(1).cast::<u8>();
        for _ in 0..header.as_ref()?.commands {
            let command = &*at.cast::<Segment>();
            if command.command == LC_SEGMENT_64 && command.name.starts_with(b"__TEXT\0") {
                return usize::try_from(command.length).ok();
            }
            at = at.add(command.size as usize);
        }
    }
    None
}

/// Whether dyld loads the image of the bundle that `plugin` names, and a class in it is a Metal device: Metal would take no other. It
/// stays loaded: Metal, told of it, asks for it next.
pub fn is_loadable(plugin: &str) -> bool {
    let mut buffer = [0; image::MAX_PATH];
    let Some(path) = image::of_plugin(plugin, &mut buffer) else {
        REFUSAL.note(b"its path is too long");
        return false;
    };
    // SAFETY: the path is NUL-terminated; dlerror answers NULL or a string of this thread's.
    unsafe {
        if !dlopen(path.as_ptr(), LOCAL).is_null() {
            return has_device();
        }
        let said = dlerror();
        REFUSAL.note(if said.is_null() {
            b"dyld does not say why"
        } else {
            CStr::from_ptr(said).to_bytes()
        });
    }
    false
}

/// Whether a class of the driver loaded last is a Metal device.
fn has_device() -> bool {
    let path = PATH.load(Ordering::Acquire);
    let mut found = false;
    if !path.is_null() {
        // SAFETY: dyld's path of a loaded image.
        each_class(unsafe { CStr::from_ptr(path) }, |name| {
            let mut class = Class::named(name);
            while let Some(known) = class {
                found |= known.name() == c"_MTLDevice";
                class = known.superclass();
            }
        });
    }
    if !found {
        REFUSAL.note(b"no class in it is a Metal device");
    }
    found
}

/// Says in the report which driver was loaded, by which way, and what its code is.
pub fn describe(json: &mut Json) {
    json.open("driver");
    let (named, looked_up) = (plugin::describe(json), lookup::describe(json));
    let told = match environment::text(c"AGX_GUARD_PLUGIN") {
        Some(plugin) if looked_up => Told::Lookup(plugin),
        Some(plugin) if named => Told::Name(plugin),
        _ => Told::Nothing,
    };
    if let Some(refusal) = REFUSAL.text() {
        json.text("copy_refused", refusal);
    }
    let header = IMAGE.load(Ordering::Acquire);
    let path = PATH.load(Ordering::Acquire);
    json.flag("loaded", !header.is_null());
    if !header.is_null() && !path.is_null() {
        json.number("images", IMAGES.load(Ordering::Relaxed) as u64);
        // SAFETY: dyld's path of a loaded image.
        let path = unsafe { CStr::from_ptr(path) };
        json.flag("hooked_in_time", IN_TIME.load(Ordering::Relaxed));
        describe_image(json, header.cast(), path, told);
    }
    json.close();
}

fn describe_image(json: &mut Json, header: *const Header, path: &CStr, told: Told) {
    let mut buffer = [0u8; image::MAX_PATH];
    // SAFETY: the buffer is of PATH_MAX bytes, as realpath wants it.
    let is_real = !unsafe { realpath(path.as_ptr(), buffer.as_mut_ptr()) }.is_null();
    let path = path.to_str().unwrap_or_default();
    let real = CStr::from_bytes_until_nul(&buffer).ok().and_then(|real| real.to_str().ok());
    let real = real.filter(|_| is_real).unwrap_or(path);
    json.text("path", path);
    json.text("real_path", real);
    json.text("way", image::way(real, told, environment::text(c"DYLD_LIBRARY_PATH")).name());
    let length = text_length(header).unwrap_or(0);
    let code = |at: usize, size: usize| {
        let inside = at.checked_add(size).is_some_and(|end| end <= length);
        // SAFETY: inside the image's mapped __TEXT.
        inside.then(|| unsafe { core::slice::from_raw_parts(header.cast::<u8>().add(at), size) })
    };
    let patched = environment::text(c"AGX_GUARD_PATCHED").and_then(Expected::parse);
    let original = environment::text(c"AGX_GUARD_ORIGINAL").and_then(Expected::parse);
    json.text("code", image::compare(patched, original, code).name());
}
