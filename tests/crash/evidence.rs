//! Each class by its evidence, and beside it what resembles it and is refused.

use agxpatch::crash::{
    self, Access, Assertion, Class, CommandFailure, CrashReport as Read, Family, Ground, Location,
    Sureness, remedy,
};
use agxpatch_simulate::crash_report::{CrashReport, DRIVER, DRIVER_UUID};

const SET_PIPELINE: &str = "-[AGXG16XFamilyComputeContext setComputePipelineState:]";
/// `ldr x0, [x20, #0x5e0]`.
const LOAD_THROUGH_X20: u32 = 0xf942_f280;

fn read(report: &CrashReport) -> Read {
    crash::read("a.ips", &report.ips())
}

fn bad_access(image: &str, symbol: &str, address: u64) -> CrashReport {
    CrashReport::new(1).unmapped(address).frame(image, symbol, 32).mps_callers()
}

/// As [`CrashReport::abort`], with the frames that end a process by an assertion.
fn asserted(image: &str, method: &str) -> CrashReport {
    CrashReport::abort(1)
        .frame("libsystem_kernel.dylib", "__pthread_kill", 8)
        .frame("libsystem_c.dylib", "abort", 124)
        .frame("libsystem_c.dylib", "__assert_rtn", 284)
        .frame("Metal", "MTLReportFailure.cold.1", 48)
        .frame("Metal", "MTLReportFailure", 464)
        .frame(image, method, 100)
}

#[test]
fn a_load_through_a_register_that_is_zero_is_a_null_impl_at_any_offset() {
    let report =
        bad_access(DRIVER, SET_PIPELINE, 0x5e0).instruction(LOAD_THROUGH_X20).register(20, 0);
    let found = read(&report);
    assert_eq!(found.class, Class::NullAtSetPipeline);
    assert_eq!(found.evidence.sureness, Sureness::Certain);
    assert!(found.evidence.rests_on.contains(&Ground::Instruction));
    assert!(found.evidence.because.contains("x20 was zero"), "{}", found.evidence.because);
    assert_eq!(found.evidence.access, Some(Access::Read));
}

#[test]
fn far_above_the_first_page_a_zero_register_still_decides() {
    // ldr x8, [x19, #0x4130]: an offset of the block that coalescing reads.
    let report = bad_access("AGXMetalG17P", "-[AGXG17PFamilyRenderContext setViewport:]", 0x4130)
        .instruction(0xf960_9a68)
        .register(19, 0);
    assert_eq!(read(&report).class, Class::NullAtUnknownOffset);
    assert_eq!(read(&report).evidence.sureness, Sureness::Certain);
}

#[test]
fn the_same_load_through_a_register_that_is_not_zero_is_an_invalid_pointer() {
    let report = bad_access(DRIVER, SET_PIPELINE, 0x5c8)
        .instruction(LOAD_THROUGH_X20)
        .register(20, 0xffff_ffff_ffff_ffe8);
    let found = read(&report);
    assert_eq!((found.class, found.class.family()), (Class::WildPointer, Family::FreedEncoder));
}

#[test]
fn an_offset_of_another_driver_is_a_suspicion_that_says_so() {
    for method in [SET_PIPELINE, "-[AGXG15XFamilyBlitContext fillBuffer:range:value:]"] {
        let found = read(&bad_access(DRIVER, method, 0x7a0));
        assert_eq!(found.class, Class::NullAtUnknownOffset, "{method}");
        assert_eq!(found.evidence.sureness, Sureness::Possible);
        assert!(found.evidence.because.contains("offsets of this driver are not known"));
    }
    // A method of the device works on no encoder.
    let device = bad_access(DRIVER, "-[AGXG16XFamilyDevice newBufferWithLength:]", 0x7a0);
    assert_eq!(read(&device).class, Class::OtherGpu);
}

#[test]
fn a_nil_pipeline_is_known_at_any_offset_but_those_of_impl() {
    let function = "AGX::ComputeContext<AGX::HAL300::Encoders>::setPipelineCommon(\
                    AGX::HAL300::ComputePipeline*)";
    for (address, sure) in
        [(0x124, Sureness::Likely), (0x9cc, Sureness::Likely), (0xa40, Sureness::Possible)]
    {
        let found = read(&bad_access("AGXMetalG17G", function, address));
        assert_eq!((found.class, found.evidence.sureness), (Class::NilPipeline, sure));
    }
    let found = read(&bad_access("AGXMetalG17G", function, 0x5d8));
    assert_eq!(found.class.family(), Family::NullImpl);
}

#[test]
fn a_null_met_while_coalescing_is_the_encoder_before() {
    let method = "-[AGXG17PFamilyCommandBuffer \
                  tryCoalescingPreviousComputeCommandEncoderWithConfig:nextEncoderClass:]";
    let found = read(&bad_access("AGXMetalG17P", method, 0x760));
    assert_eq!(found.class, Class::NullAtCoalescing);
    let advice = remedy::advice(&found);
    assert!(
        advice.remedies[1].text.contains("coalescing") || {
            advice.remedies.iter().any(|remedy| remedy.text.contains("without coalescing"))
        }
    );
    let far = read(&bad_access("AGXMetalG17P", method, 0x1_0000_0760));
    assert_eq!(far.class, Class::WildPointer);
}

#[test]
fn a_method_that_tests_impl_met_another_null() {
    let method = "-[AGXG16XFamilyComputeContext destroyImpl]";
    assert_eq!(read(&bad_access(DRIVER, method, 0x18)).class, Class::OtherGpu);
}

#[test]
fn encoders_of_metal_4_are_a_class_of_their_own() {
    let method = "-[AGXG16XFamilyComputeContext_mtlnext setComputePipelineState:]";
    for address in [0x5c8, 0x5a1b_a36e_2f26] {
        assert_eq!(read(&bad_access(DRIVER, method, address)).class, Class::Metal4Context);
    }
}

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
fn a_crash_of_the_shader_compiler_is_told_and_llvm_elsewhere_is_not() {
    let aborted = |process: &str, image: &str| {
        CrashReport::abort(1)
            .process(process, 77, 1)
            .frame("libsystem_kernel.dylib", "__pthread_kill", 8)
            .frame("libsystem_c.dylib", "abort", 124)
            .frame(image, "llvm::report_fatal_error(llvm::Twine const&, bool)", 100)
    };
    for image in
        ["GPUCompilerImpl", "MTLCompiler", "AGXCompilerCore", "libGPUCompilerImplLazy.dylib"]
    {
        assert_eq!(read(&aborted("Python", image)).class, Class::ShaderCompiler, "{image}");
    }
    assert_eq!(read(&aborted("Python", "libLLVM.dylib")).class, Class::Unrelated);
    // The service does nothing but compile, whichever library it dies in.
    let service = read(&aborted("MTLCompilerService", "libLLVM.dylib"));
    assert_eq!(service.class, Class::ShaderCompiler);
}

#[test]
fn an_exception_is_put_down_to_where_it_was_thrown() {
    let report = |image: &str, symbol: &str| {
        CrashReport::abort(1)
            .frame("libsystem_kernel.dylib", "__pthread_kill", 8)
            .frame("libobjc.A.dylib", "_objc_terminate()", 172)
            .frame("AppKit", "-[NSApplication run]", 4)
            .thrown("CoreFoundation", "__exceptionPreprocess", 164)
            .thrown("libobjc.A.dylib", "objc_exception_throw", 88)
            .thrown(image, symbol, 4)
    };
    for (image, symbol) in [
        (DRIVER, "-[AGXG16XFamilyDevice newBufferWithLength:options:]"),
        ("Metal", "-[MTLTextureDescriptorInternal validateWithDevice:]"),
        ("MetalPerformanceShadersGraph", "-[MPSGraphOperation initWithGraph:]"),
    ] {
        let found = read(&report(image, symbol));
        assert_eq!(found.class, Class::GpuException, "{symbol}");
        assert!(found.evidence.because.contains(symbol));
    }
    assert_eq!(read(&report("Foundation", "-[NSArray objectAtIndex:]")).class, Class::Unrelated);
    assert_eq!(read(&report("MyApp", "-[Thing load]")).class, Class::Unrelated);
}

#[test]
fn frames_below_a_signal_handler_are_those_that_count() {
    let handled = |handler: (&str, &str), below: (&str, &str)| {
        let text = String::from_utf8(
            CrashReport::abort(1)
                .frame("libsystem_kernel.dylib", "__pthread_kill", 8)
                .frame("libsystem_c.dylib", "raise", 32)
                .frame(handler.0, handler.1, 380)
                .frame("libsystem_platform.dylib", "_sigtramp", 56)
                .frame(below.0, below.1, 32)
                .frame("MyApp", "main", 4)
                .ips(),
        )
        .unwrap();
        let text = text.replace("\"signal\":\"SIGABRT\"", "\"signal\":\"SIGSEGV\"");
        crash::read("a.ips", text.as_bytes())
    };
    for handler in [
        ("Python", "faulthandler_fatal_error"),
        ("server", "runtime.sigfwd"),
        ("MyApp", "google_breakpad::ExceptionHandler::SignalHandler"),
        ("MyApp", "sentry_handle_signal"),
    ] {
        let found = handled(handler, (DRIVER, SET_PIPELINE));
        assert_eq!(found.class, Class::HandledBadAccess, "{handler:?}");
        assert!(found.evidence.frame.unwrap().starts_with(SET_PIPELINE));
        let because = found.evidence.because;
        assert!(because.contains(handler.1) && !because.contains("abort"), "{because}");
        assert_eq!(handled(handler, ("MyApp", "parse")).class, Class::Unrelated);
    }
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
fn a_trap_of_the_programs_own_under_a_callback_is_the_programs() {
    let trap = |image: &str, symbol: &str| {
        let report = CrashReport::trap(1);
        let text = String::from_utf8(report.ips()).unwrap();
        let text = text
            .replace("CFRetain.cold.1", symbol)
            .replace("\"CoreFoundation\"", &format!("\"{image}\""));
        crash::read("a.ips", text.as_bytes())
    };
    let own = trap("MyGame", "Renderer.draw(in:)");
    assert_eq!((own.class, own.class.family().counts()), (Class::ProgramCode, false));
    assert_eq!(
        trap("libswiftCore.dylib", "_assertionFailure(_:_:file:line:flags:)").class,
        Class::Trap
    );
}

#[test]
fn names_match_by_words() {
    for (image, symbol) in [
        ("libsolver.dylib", "read_mps_columns"),
        ("libsolver.dylib", "glp_write_mps"),
        ("MPStudio", "main"),
        ("MPSimulator", "main"),
        ("Metalheadz", "main"),
        ("IOGPUtil", "main"),
        ("libmlxtend.dylib", "main"),
        ("AGXMetalworks", "main"),
        ("tool", "COMPSGraph::add"),
    ] {
        let report = CrashReport::new(1).unmapped(0x10).frame(image, symbol, 40);
        assert_eq!(read(&report).class, Class::Unrelated, "{image} {symbol}");
    }
    for (image, symbol) in [
        ("MPSCore", "MPSSetResourcesOnCommandEncoder"),
        ("MetalPerformanceShaders", "f"),
        ("IOGPU", "f"),
        ("AGXMetal13_3", "f"),
        ("libmlx.dylib", "f"),
        ("libtorch_cpu.dylib", "at::native::layer_norm_mps(at::Tensor const&)"),
        ("libtorch_cpu.dylib", "at::native::mps_convolution_forward(at::Tensor const&)"),
        ("MyApp", "ggml_metal_encode_node"),
    ] {
        let report = CrashReport::new(1).unmapped(0x7f00_0000_0010).frame(image, symbol, 40);
        assert!(read(&report).class.family().counts(), "{image} {symbol}");
    }
}

#[test]
fn a_crash_inside_a_back_end_is_not_put_down_to_apple() {
    let torch = CrashReport::new(1)
        .unmapped(0x8)
        .frame("libtorch_cpu.dylib", "std::__1::__hash_table<int>::find(int const&)", 60)
        .frame("libtorch_cpu.dylib", "at::native::mps::MetalShaderLibrary::getLibrary()", 90);
    let found = read(&torch);
    assert_eq!(found.class, Class::GpuBackend);
    assert!(found.evidence.because.contains("not Apple's code"));
    // PyTorch on the CPU.
    let cpu = CrashReport::new(1).unmapped(0x8).frame(
        "libtorch_cpu.dylib",
        "at::native::add_kernel(at::TensorIterator&)",
        60,
    );
    assert_eq!(read(&cpu).class, Class::Unrelated);
}

#[test]
fn versions_of_programs_come_from_paths_or_uuids_or_are_unknown() {
    let version = |path: &str, uuid: &str| {
        let report = CrashReport::set_pipeline(1).library(path, uuid);
        let found = read(&report);
        let program = found.programs.into_iter().find(|program| program.name != "torch");
        program.map(|program| (program.name, program.version))
    };
    let none = "52f8a2ff-6a28-3b1e-8c3f-d5c4c0a7f6b1";
    let cases = [
        ("/opt/homebrew/Cellar/mlx/0.31.1/lib/libmlx.dylib", none, ("mlx", Some("0.31.1"))),
        ("/Users/USER/*/libmlx.dylib", none, ("mlx", None)),
        (
            "/Users/USER/*/libmlx.dylib",
            "A6AE64DD-5398-3214-A090-62C5301C2FA7",
            ("mlx", Some("0.31.1")),
        ),
        ("/Users/USER/*/libonnxruntime.1.23.2.dylib", none, ("onnxruntime", Some("1.23.2"))),
        (
            "/opt/homebrew/Cellar/llama.cpp/5200/lib/libllama.dylib",
            none,
            ("llama.cpp", Some("5200")),
        ),
    ];
    for (path, uuid, (name, wanted)) in cases {
        let found = version(path, uuid);
        assert_eq!(found, Some((name.into(), wanted.map(str::to_owned))), "{path}");
    }
    assert_eq!(version("/usr/lib/libmlxtend.0.1.dylib", none), None);
}

#[test]
fn conda_and_wheels_name_the_version_of_torch() {
    for (path, wanted) in [
        ("/opt/miniconda3/pkgs/pytorch-2.9.1-py3.12_0/lib/libtorch_cpu.dylib", Some("2.9.1")),
        ("/opt/homebrew/Cellar/pytorch/2.9.1_1/lib/libtorch_cpu.dylib", Some("2.9.1_1")),
        ("/venv/lib/python3.12/site-packages/torch/lib/libtorch_cpu.dylib", None),
    ] {
        let report =
            CrashReport::set_pipeline(1).library(path, "52f8a2ff-6a28-3b1e-8c3f-d5c4c0a7f6b1");
        let program = read(&report).programs.remove(0);
        assert_eq!((program.name.as_str(), program.version.as_deref()), ("torch", wanted));
    }
}

#[test]
fn a_known_fault_of_a_program_is_named_instead_of_the_driver() {
    let mlx = |version: &str| {
        let path = format!("/opt/homebrew/Cellar/mlx/{version}/lib/libmlx.dylib");
        let report = CrashReport::new(1)
            .unmapped(0x5c8)
            .frame(DRIVER, SET_PIPELINE, 32)
            .frame("libmlx.dylib", "mlx::core::metal::CommandEncoder::dispatch_threads", 90)
            .library(&path, "52f8a2ff-6a28-3b1e-8c3f-d5c4c0a7f6b1");
        remedy::advice(&read(&report))
    };
    let old = mlx("0.31.1");
    assert_eq!(old.fault, remedy::Blame::Program);
    assert_eq!(old.remedies[0].action, remedy::RemedyKind::Upgrade);
    assert!(old.remedies[0].command.as_ref().unwrap().contains("mlx>=0.31.2"));
    assert!(old.remedies[0].sources[0].starts_with("https://"));
    let new = mlx("0.31.2");
    assert_eq!(new.fault, remedy::Blame::ProgramOrDriver);
    assert!(new.remedies.iter().all(|remedy| remedy.action != remedy::RemedyKind::Upgrade));
}

#[test]
fn every_class_has_a_remedy_and_none_speaks_of_a_race_of_the_drivers() {
    for class in Class::ALL {
        let report = Read { class: *class, ..read(&CrashReport::unrelated(1)) };
        let advice = remedy::advice(&report);
        assert_eq!(advice.remedies.is_empty(), *class == Class::Unrelated, "{class}");
        let text = serde_json::to_string(&advice).unwrap();
        assert!(!text.contains("driver's race"), "{text}");
    }
}

#[test]
fn the_reports_shared_cache_bounds_tell_where_the_driver_was_loaded_from() {
    // The driver lies at 0x10c718000.
    let location = |base, size| {
        let report = CrashReport::set_pipeline(1).shared_cache(base, size);
        read(&report).driver.unwrap().location
    };
    assert_eq!(location(0x1_8000_0000, 0x1_4000_0000), Some(Location::File));
    assert_eq!(location(0x1_0000_0000, 0x1_4000_0000), Some(Location::SharedCache));
    let without = read(&CrashReport::set_pipeline(1));
    assert_eq!(without.driver.as_ref().unwrap().location, None);
    assert_eq!(without.driver.unwrap().uuid.as_deref(), Some(DRIVER_UUID));
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

fn terminated(text: &str) -> Read {
    let report = CrashReport::abort(1)
        .frame("libsystem_kernel.dylib", "__pthread_kill", 8)
        .frame("libsystem_c.dylib", "abort", 124)
        .frame("libobjc.A.dylib", "_objc_terminate()", 172);
    read(&report.message(text))
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
fn a_trap_quotes_what_the_library_said() {
    let text = "BUG IN CLIENT OF LIBPLATFORM: os_unfair_lock is corrupt";
    let found = read(&CrashReport::trap(1).message(text));
    assert_eq!(found.class, Class::Trap);
    assert!(found.evidence.because.ends_with(text), "{}", found.evidence.because);
}

#[test]
fn signals_alone_are_the_exceptions_they_come_from() {
    let text = String::from_utf8(CrashReport::set_pipeline(1).text()).unwrap();
    let signal = text
        .replace("EXC_BAD_ACCESS (SIGSEGV)", "SIGSEGV")
        .replace("KERN_INVALID_ADDRESS", "SEGV_MAPERR");
    let found = crash::read("a.crash", signal.as_bytes());
    assert_eq!(found.class, Class::NullAtSetPipeline);
    assert_eq!(found.evidence.exception.as_deref(), Some("EXC_BAD_ACCESS SIGSEGV"));
    let other = crash::read("a.crash", signal.replace("SIGSEGV", "SIGFPE").as_bytes());
    assert_eq!(other.class, Class::OtherGpu);
}

#[test]
fn apples_own_frameworks_and_other_gpus_drivers_are_not_the_program() {
    let under = |image: &str, symbol: &str| {
        read(
            &CrashReport::new(1)
                .unmapped(0x7f00_0000_0010)
                .frame(image, symbol, 40)
                .frame("Metal", "-[_MTLCommandBuffer commit]", 8)
                .frame("MyApp", "main", 4),
        )
        .class
    };
    assert_eq!(under("AMDMTLBronzeDriver", "-[BronzeMtlCmdBuffer commit]"), Class::OtherGpu);
    assert_eq!(under("QuartzCore", "CA::Transaction::commit()"), Class::OtherGpu);
    assert_eq!(under("MyLibrary", "commit"), Class::ProgramCode);
}
