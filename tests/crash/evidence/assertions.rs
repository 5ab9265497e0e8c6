//! What the driver, Metal and IOGPU assert, and command buffers that failed.

use agxpatch::crash::{Assertion, Class, CommandFailure, Sureness};
use agxpatch_simulate::crash_report::{CrashReport, DRIVER};

use super::{asserted, read, terminated};

#[test]
fn assertions_without_text_are_told_by_their_method() {
    let driver = |method: &str| (DRIVER, format!("-[AGXG16XFamilyCommandBuffer {method}]"));
    let iogpu = |method: &str| ("IOGPU", format!("-[IOGPUMetalCommandBuffer {method}]"));
    let cases = [
        (driver("blitCommandEncoderCommon:"), Assertion::AlreadyEncoding, "blit"),
        (driver("computeCommandEncoderWithConfig:"), Assertion::AlreadyEncoding, "compute"),
        (driver("renderCommandEncoderWithDescriptor:"), Assertion::AlreadyEncoding, "render"),
        (
            driver("sampledComputeCommandEncoderWithDescriptor:"),
            Assertion::AlreadyEncoding,
            "sampled compute",
        ),
        (driver("machineLearningCommandEncoder"), Assertion::AlreadyEncoding, "machine learning"),
        (driver("setCurrentCommandEncoder:"), Assertion::EncoderAfterCommit, "committed"),
        (iogpu("setCurrentCommandEncoder:"), Assertion::EncoderAfterCommit, "committed"),
        (iogpu("validate"), Assertion::EncoderNotEnded, "or committed twice"),
        (iogpu("encodeSignalEvent:value:"), Assertion::SignalWithOpenEncoder, "signalling"),
        (iogpu("encodeWaitForEvent:value:"), Assertion::SignalWithOpenEncoder, "waiting"),
        (
            ("Metal", "-[_MTLCommandBuffer addCompletedHandler:]".into()),
            Assertion::HandlerAfterCommit,
            "completion handler",
        ),
        (
            ("Metal", "-[_MTLCommandBuffer addScheduledHandler:]".into()),
            Assertion::HandlerAfterCommit,
            "scheduling handler",
        ),
        (
            ("Metal", "-[_MTLCommandEncoder dealloc]".into()),
            Assertion::ReleasedWithoutEnd,
            "freeing an encoder",
        ),
        (
            ("IOGPU", "-[IOGPUMetalCommandEncoder dealloc]".into()),
            Assertion::ReleasedWithoutEnd,
            "freeing an encoder",
        ),
    ];
    for ((image, method), assertion, part) in cases {
        let found = read(&asserted(image, &method));
        assert_eq!(found.class, Class::Assertion, "{method}");
        assert_eq!(found.evidence.assertion, Some(assertion), "{method}");
        assert!(found.evidence.because.contains(part), "{}", found.evidence.because);
        assert_eq!(found.evidence.sureness, Sureness::Likely);
    }
}

#[test]
fn the_texts_of_validate_and_of_the_status_are_told_apart() {
    let cases = [
        ("commit command buffer with uncommitted encoder", Assertion::EncoderNotEnded),
        ("commit an already committed command buffer", Assertion::CommittedTwice),
        ("encodeWaitForEvent:value: with uncommitted encoder", Assertion::SignalWithOpenEncoder),
        ("_status < MTLCommandBufferStatusCommitted", Assertion::EncoderAfterCommit),
        ("Scheduled handler provided after commit call", Assertion::HandlerAfterCommit),
    ];
    for (text, assertion) in cases {
        let report = asserted("IOGPU", "-[IOGPUMetalCommandBuffer validate]").message(&format!(
            "-[IOGPUMetalCommandBuffer validate]:209: failed assertion `{text}'"
        ));
        let found = read(&report);
        assert_eq!(found.evidence.assertion, Some(assertion), "{text}");
        assert!(found.evidence.because.contains(text), "{}", found.evidence.because);
        assert_eq!(found.evidence.sureness, Sureness::Certain);
    }
}

#[test]
fn a_method_of_metal_above_an_abort_of_the_programs_own_is_not_an_assertion() {
    let report = CrashReport::abort(1)
        .frame("libsystem_kernel.dylib", "__pthread_kill", 8)
        .frame("libsystem_c.dylib", "abort", 124)
        .frame("MyGame", "die(_:)", 20)
        .frame("Metal", "-[_MTLCommandBuffer addCompletedHandler:]", 60);
    assert_eq!(read(&report).class, Class::ProgramCode);
}

#[test]
fn storage_of_iogpu_that_finds_itself_inconsistent_is_a_class() {
    let report = |symbol: &str| {
        CrashReport::abort(1)
            .frame("libsystem_kernel.dylib", "__pthread_kill", 8)
            .frame("libsystem_c.dylib", "abort", 124)
            .frame("libsystem_c.dylib", "__assert_rtn", 284)
            .frame("IOGPU", symbol, 40)
            .frame(DRIVER, "AGX::ContextCommon<AGX::HAL200::Encoders>::newCommand", 300)
    };
    let grow = report("IOGPUMetalCommandBufferStorageGrowKernelCommandBuffer.cold.3");
    assert_eq!(read(&grow).class, Class::CommandStorage);
    assert_eq!(read(&report("IOGPUDeviceCreate.cold.1")).class, Class::OtherGpu);
}

#[test]
fn command_buffers_that_failed_are_told_with_their_reason_in_any_library() {
    let cases = [
        (
            "Insufficient Memory (00000008:kIOGPUCommandBufferCallbackErrorOutOfMemory)",
            CommandFailure::OutOfMemory,
        ),
        (
            "Caused GPU Timeout Error (00000002:kIOGPUCommandBufferCallbackErrorTimeout)",
            CommandFailure::Timeout,
        ),
        (
            "Caused GPU Hang Error (00000003:kIOGPUCommandBufferCallbackErrorHang)",
            CommandFailure::Timeout,
        ),
        (
            "Caused GPU Address Fault Error (0000000b:kIOGPUCommandBufferCallbackErrorPageFault)",
            CommandFailure::PageFault,
        ),
        (
            "Discarded (victim of GPU error/recovery) \
          (00000005:kIOGPUCommandBufferCallbackErrorInnocentVictim)",
            CommandFailure::InnocentVictim,
        ),
        (
            "Ignored (for causing prior/excessive GPU errors) \
          (00000004:kIOGPUCommandBufferCallbackErrorSubmissionsIgnored)",
            CommandFailure::Ignored,
        ),
    ];
    let throwers = [
        ("libmlx.dylib", "mlx::core::gpu::check_error(MTL::CommandBuffer*)"),
        ("llama-server", "ggml_metal_synchronize"),
        ("MyApp", "mlx::core::gpu::check_error(MTL::CommandBuffer*)"),
        ("libGPUSupportMercury.dylib", "gpusGenerateCrashLog.cold.1"),
    ];
    for (text, failure) in cases {
        for (image, symbol) in throwers {
            let report = CrashReport::abort(1)
                .frame("libsystem_kernel.dylib", "__pthread_kill", 8)
                .frame("libsystem_c.dylib", "abort", 124)
                .frame(image, symbol, 244)
                .message(&format!("[METAL] Command buffer execution failed: {text}"));
            let found = read(&report);
            assert_eq!(found.class, Class::CommandFailed, "{symbol}: {text}");
            assert_eq!(found.evidence.failure, Some(failure), "{text}");
        }
    }
}

#[test]
fn a_failure_without_a_text_is_told_by_who_ended_the_process_and_not_by_words_alone() {
    let opengl = CrashReport::abort(1).frame("libsystem_c.dylib", "abort", 124).frame(
        "libGPUSupportMercury.dylib",
        "gpusKillClientExt",
        20,
    );
    let found = read(&opengl);
    assert_eq!(found.class, Class::CommandFailed);
    assert_eq!(found.evidence.failure, Some(CommandFailure::Unnamed));
    // Memory that lacked elsewhere.
    let other = CrashReport::abort(1)
        .frame("libsystem_c.dylib", "abort", 124)
        .frame("MyDatabase", "grow", 20)
        .message("Insufficient Memory");
    assert_eq!(read(&other).class, Class::Unrelated);
}

#[test]
fn errors_of_command_buffers_are_known_by_their_number() {
    let failed = |code: u32| {
        terminated(&format!("Error Domain=MTLCommandBufferErrorDomain Code={code} UserInfo={{}}"))
    };
    for (code, failure) in [
        (2, CommandFailure::Timeout),
        (3, CommandFailure::PageFault),
        (7, CommandFailure::NotPermitted),
        (8, CommandFailure::OutOfMemory),
        (9, CommandFailure::InvalidResource),
        (1, CommandFailure::Unnamed),
    ] {
        assert_eq!(failed(code).evidence.failure, Some(failure), "{code}");
    }
    let other = terminated("Error Domain=NSCocoaErrorDomain Code=2 UserInfo={}");
    assert_eq!((other.class, other.evidence.failure), (Class::Unrelated, None));
}

#[test]
fn an_assertion_below_a_signal_handler_stays_an_assertion() {
    let report = CrashReport::abort(1)
        .frame("libsystem_kernel.dylib", "__pthread_kill", 8)
        .frame("MyApp", "on_signal", 20)
        .frame("libsystem_platform.dylib", "_sigtramp", 56)
        .frame("libsystem_kernel.dylib", "__pthread_kill", 8)
        .frame("libsystem_c.dylib", "abort", 124)
        .frame("Metal", "MTLReportFailure", 464)
        .frame(DRIVER, "-[AGXG16XFamilyCommandBuffer blitCommandEncoderCommon:]", 100);
    assert_eq!(read(&report).class, Class::Assertion);
}

#[test]
fn a_trap_quotes_what_the_library_said() {
    let text = "BUG IN CLIENT OF LIBPLATFORM: os_unfair_lock is corrupt";
    let found = read(&CrashReport::trap(1).message(text));
    assert_eq!(found.class, Class::Trap);
    assert!(found.evidence.because.ends_with(text), "{}", found.evidence.because);
}
