//! Objects and memory that were freed.

use agxpatch::crash::{self, Class, CrashReport as Read};
use agxpatch_simulate::crash_report::{CrashReport, DRIVER};

use super::{read, terminated};

#[test]
fn freed_objects_are_told_by_the_runtime_function_and_its_caller() {
    let cases = [
        ("objc_msgSend", Class::FreedEncoder),
        ("objc_release", Class::FreedObject),
        ("objc_release_x8", Class::FreedObject),
        ("objc_retain", Class::FreedObject),
        ("objc_retain_x20", Class::FreedObject),
        ("objc_storeStrong", Class::FreedObject),
        ("_objc_msgSend_uncached", Class::FreedEncoder),
        ("lookUpImpOrForward", Class::FreedEncoder),
        ("objc_opt_isKindOfClass", Class::FreedObject),
        ("object_getClass", Class::FreedObject),
        ("objc_loadWeakRetained", Class::FreedObject),
        ("weak_clear_no_lock", Class::FreedObject),
        ("-[NSObject release]", Class::FreedObject),
        ("_CFRelease", Class::FreedObject),
        (
            "(anonymous namespace)::AutoreleasePoolPage::releaseUntil(objc_object**)",
            Class::FreedObject,
        ),
    ];
    for (function, class) in cases {
        let under = |image: &str, symbol: &str| {
            CrashReport::new(1)
                .unmapped(0x5a1b_a36e_2f26)
                .frame("libobjc.A.dylib", function, 16)
                .frame(image, symbol, 124)
                .frame("Metal", "-[_MTLCommandBuffer didCompleteWithStartTime:endTime:error:]", 9)
        };
        let found = read(&under("IOGPU", "IOGPUMetalCommandBufferStorageDealloc"));
        assert_eq!(found.class, class, "{function}");
        assert!(found.evidence.because.contains("IOGPUMetalCommandBufferStorageDealloc"));
        // A completion handler of the program's.
        let own = read(&under("MyGame", "Renderer.finished(_:)"));
        assert_eq!(own.class, Class::ProgramCode, "{function}");
        let none = CrashReport::new(1)
            .unmapped(0x5a1b_a36e_2f26)
            .frame("libobjc.A.dylib", function, 16)
            .frame("AppKit", "-[NSView drawRect:]", 40);
        assert_eq!(read(&none).class, Class::Unrelated, "{function}");
    }
}

#[test]
fn a_class_pointer_of_zeros_is_of_freed_memory() {
    let report = CrashReport::new(1)
        .unmapped(0x10)
        .frame("libobjc.A.dylib", "objc_msgSend", 24)
        .mps_callers();
    let found = read(&report);
    assert_eq!(found.class, Class::FreedEncoder);
    assert!(found.evidence.because.contains("memory is zero"), "{}", found.evidence.because);
}

/// An abort by malloc, which was called by `image` and `symbol`.
fn heap_damage(exception: &str, image: &str, symbol: &str) -> Read {
    let report = CrashReport::abort(1)
        .frame("libsystem_kernel.dylib", "__pthread_kill", 8)
        .frame("libsystem_c.dylib", "abort", 124)
        .frame("libsystem_malloc.dylib", "malloc_report", 64)
        .frame(
            "libsystem_malloc.dylib",
            "___BUG_IN_CLIENT_OF_LIBMALLOC_POINTER_BEING_FREED_WAS_NOT_ALLOCATED",
            24,
        )
        .frame(image, symbol, 160);
    let text = String::from_utf8(report.ips()).unwrap().replace("EXC_CRASH", exception);
    crash::read("a.ips", text.as_bytes())
}

#[test]
fn memory_that_gpu_code_freed_twice_is_a_freed_object_and_that_of_a_program_is_not() {
    for exception in ["EXC_CRASH", "EXC_BREAKPOINT"] {
        let found = heap_damage(exception, DRIVER, "-[AGXG16XFamilyComputeContext destroyImpl]");
        assert_eq!(found.class, Class::FreedObject);
        assert!(found.evidence.because.contains("freed twice"), "{}", found.evidence.because);
        let own = heap_damage(exception, "MyApp", "Buffer.deinit");
        assert_eq!(own.class, Class::Unrelated);
    }
}

#[test]
fn a_message_that_reached_another_object_or_none_is_a_freed_encoder() {
    let unknown = |receiver: &str, selector: &str| {
        terminated(&format!(
            "*** Terminating app due to uncaught exception 'NSInvalidArgumentException', reason: \
             '-[{receiver} {selector}]: unrecognized selector sent to instance 0x600000c04a80'"
        ))
    };
    let found = unknown("__NSCFString", "setComputePipelineState:");
    assert_eq!(found.class, Class::FreedEncoder);
    assert!(found.evidence.because.contains("stands where an encoder"));
    assert_eq!(unknown("NSNull", "length").class, Class::Unrelated);
    // A method that this macOS does not have yet.
    let newer = unknown("AGXG16XFamilyComputeContext", "barrierAfterQueueStages:beforeStages:");
    assert_eq!(newer.class, Class::GpuException);

    let zombie = |receiver: &str| {
        terminated(&format!("*** -[{receiver} retain]: message sent to deallocated instance 0x1"))
    };
    assert_eq!(zombie("AGXG16XFamilyComputeContext").class, Class::FreedEncoder);
    assert_eq!(zombie("MyView").class, Class::Unrelated);
}
