//! Whose fault it is: which frames count, and whose image and version they are.

use agxpatch::crash::{self, Class, CrashReport as Read, Location, remedy};
use agxpatch_simulate::crash_report::{CrashReport, DRIVER, DRIVER_UUID};

use super::{SET_PIPELINE, read};

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
