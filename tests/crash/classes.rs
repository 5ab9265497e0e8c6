//! Every published class in every form of report, and what resembles it.

use agxpatch::crash::{self, Access, Assertion, Class, Family};
use agxpatch_simulate::crash_report::{CrashReport, DRIVER, DRIVER_UUID};

fn class_of(bytes: &[u8]) -> Class {
    crash::read("Python-2025-12-23-104640.ips", bytes).class
}

fn published() -> Vec<(CrashReport, Class)> {
    let assertion = "-[_MTLCommandBuffer foo] failed assertion `A command encoder is already \
                     encoding to this command buffer'";
    vec![
        (CrashReport::set_pipeline(1), Class::NullAtSetPipeline),
        (CrashReport::prepare(2), Class::NullAtPrepare),
        (CrashReport::spill(3), Class::NullAtSpill),
        (CrashReport::dispatch(4), Class::NullAtDispatch),
        (CrashReport::freed_encoder(5, 0x9ba3_6e2f_2650), Class::FreedEncoder),
        (CrashReport::assertion(6, assertion), Class::Assertion),
        (CrashReport::launch_abort(7), Class::LaunchAbort),
        (CrashReport::trap(8), Class::Trap),
        (CrashReport::set_buffer(9), Class::NullAtSetBuffer),
        (CrashReport::nil_pipeline(10), Class::NilPipeline),
        (CrashReport::unrelated(11), Class::Unrelated),
    ]
}

#[test]
fn every_published_class_is_recognised_in_ips() {
    for (report, class) in published() {
        assert_eq!(class_of(&report.ips()), class);
    }
}

#[test]
fn every_published_class_is_recognised_in_text() {
    for (report, class) in published() {
        let read = crash::read("Python_2021.crash", &report.text());
        assert_eq!(read.class, class, "{read:#?}");
    }
}

#[test]
fn header_and_body_in_one_object_read_the_same() {
    for (report, class) in published() {
        assert_eq!(class_of(&report.single_object()), class);
    }
}

#[test]
fn a_thread_marked_triggered_stands_in_for_a_missing_index() {
    for (report, class) in published() {
        assert_eq!(class_of(&report.triggered_only().ips()), class);
    }
}

#[test]
fn all_forms_of_a_report_are_the_same_incident() {
    let report = CrashReport::spill(77);
    let readings = [report.ips(), report.text(), report.single_object()]
        .map(|bytes| crash::read("a.ips", &bytes));
    for read in &readings {
        assert_eq!(read.incident, report.incident().to_lowercase());
        assert_eq!(read.process.as_deref(), Some("Python"));
        assert_eq!((read.pid, read.parent_pid), (Some(4077), Some(400)));
        assert_eq!(read.captured, readings[0].captured);
        assert_eq!(read.driver, readings[0].driver);
    }
    let driver = readings[0].driver.clone().unwrap();
    assert_eq!((driver.name.as_str(), driver.version.as_deref()), (DRIVER, Some("329.2")));
    assert_eq!(driver.uuid.as_deref(), Some(DRIVER_UUID));
}

#[test]
fn evidence_tells_address_frame_and_access() {
    let read = crash::read("a.ips", &CrashReport::spill(1).ips());
    assert_eq!(read.evidence.address.as_deref(), Some("0x184"));
    assert_eq!(read.evidence.access, Some(Access::Write));
    assert!(read.evidence.frame.unwrap().ends_with("allocateUSCSpillBuffer + 192"));
    assert_eq!(read.evidence.image.as_deref(), Some(DRIVER));
    assert_eq!(read.evidence.thread.as_deref(), Some("Thread-1 (worker), metal gpu stream 1"));
    let read = crash::read("a.ips", &CrashReport::set_pipeline(1).ips());
    assert_eq!(read.evidence.access, Some(Access::Read));
}

#[test]
fn the_address_is_found_in_the_codes_when_the_subtype_is_missing() {
    let report = CrashReport::set_pipeline(1).without_subtype();
    let read = crash::read("a.ips", &report.ips());
    assert_eq!(read.class, Class::NullAtSetPipeline);
    assert_eq!(read.evidence.address.as_deref(), Some("0x5c8"));
}

#[test]
fn a_failed_pointer_authentication_shows_both_addresses() {
    let read = crash::read("a.ips", &CrashReport::freed_encoder(1, 0x9ba3_6e2f_2650).ips());
    assert_eq!(read.evidence.address.as_deref(), Some("0x9ba36e2f2650"));
    assert_eq!(read.evidence.authentic_address.as_deref(), Some("0x1ba36e2f2650"));
}

#[test]
fn a_freed_encoder_need_not_be_annotated() {
    for address in [0x1f72_d6c0_ceb0, 0x7904_80cd_d960, 0x45a0_4081_c5b0] {
        let read = crash::read("a.ips", &CrashReport::freed_encoder(1, address).ips());
        assert_eq!(read.class, Class::FreedEncoder);
        assert_eq!(read.evidence.authentic_address, None);
    }
}

#[test]
fn a_message_to_a_freed_object_without_gpu_code_is_unrelated() {
    let report = CrashReport::new(1)
        .unmapped(0x9ba3_6e2f_2650)
        .frame("libobjc.A.dylib", "objc_msgSend", 32)
        .frame("AppKit", "-[NSView drawRect:]", 40);
    assert_eq!(class_of(&report.ips()), Class::Unrelated);
}

#[test]
fn a_nil_pipeline_is_not_the_race() {
    let read = crash::read("a.ips", &CrashReport::nil_pipeline(1).ips());
    assert_eq!(read.class.family(), Family::NotTheDriver);
}

#[test]
fn the_offset_of_a_nil_pipeline_elsewhere_is_not_a_nil_pipeline() {
    let method = "-[AGXG16XFamilyComputeContext setComputePipelineState:]";
    let report = CrashReport::new(1).unmapped(0x124).frame(DRIVER, method, 32);
    assert_eq!(class_of(&report.ips()), Class::NullAtUnknownOffset);
}

#[test]
fn the_right_method_at_another_address_is_not_the_class() {
    let method = "-[AGXG16XFamilyComputeContext setComputePipelineState:]";
    let cases = [
        (0x5c0, Class::NullAtUnknownOffset),
        (0x5c8_0000, Class::WildPointer),
        (0x0000_7fff_0000_05c8, Class::WildPointer),
    ];
    for (address, class) in cases {
        let report = CrashReport::new(1).unmapped(address).frame(DRIVER, method, 32);
        assert_eq!(class_of(&report.ips()), class);
    }
}

#[test]
fn the_right_address_in_another_image_is_not_the_class() {
    let method = "-[AGXG16XFamilyComputeContext setComputePipelineState:]";
    let report = CrashReport::new(1).unmapped(0x5c8).frame("libagx_fix.dylib", method, 32);
    assert_eq!(class_of(&report.ips()), Class::OtherGpu);
}

#[test]
fn the_first_page_is_null_whether_it_is_forbidden_or_unmapped() {
    let method = "-[AGXG16XFamilyComputeContext setComputePipelineState:]";
    let forbidden = |address: u64| {
        let subtype = format!("KERN_PROTECTION_FAILURE at {address:#018x}");
        let report =
            CrashReport::new(1).unmapped(address).subtype(subtype).frame(DRIVER, method, 32);
        let text = String::from_utf8(report.ips()).unwrap();
        text.replace("0x0000000000000001, 0x", "0x0000000000000002, 0x")
            .replace("is not in any region", "is in a region")
            .replace("SIGSEGV", "SIGBUS")
    };
    assert_eq!(class_of(forbidden(0x5c8).as_bytes()), Class::NullAtSetPipeline);
    // A store to memory that may only be read is not a NULL.
    assert_eq!(class_of(forbidden(0x1_1000_05c8).as_bytes()), Class::OtherGpu);
}

#[test]
fn a_known_offset_in_another_encoder_method_is_a_class_of_its_own() {
    let function = "AGX::ContextCommon<AGX::HAL200::Encoders>::useResourceCommon";
    let report = CrashReport::new(1).unmapped(0x5c8).frame(DRIVER, function, 100);
    assert_eq!(class_of(&report.ips()), Class::NullElsewhere);
}

#[test]
fn another_generation_of_the_driver_is_the_same_class() {
    let method = "-[AGXG15XFamilyComputeContext setComputePipelineState:]";
    let report = CrashReport::new(1)
        .driver("AGXMetalG15X_B0", "320.1", "aaaaaaaa-0000-3000-8000-000000000000")
        .unmapped(0x5c8)
        .frame("AGXMetalG15X_B0", method, 36);
    assert_eq!(class_of(&report.ips()), Class::NullAtSetPipeline);
}

#[test]
fn a_fault_at_the_end_of_a_compute_pass_is_not_a_known_form() {
    let report = CrashReport::new(1)
        .unmapped(0x4)
        .frame("AGXMetalG15X_B0", "AGX::ComputeContext<>::endComputePass", 344)
        .frame("AGXMetalG15X_B0", "-[AGXG15XFamilyComputeContext deferredEndEncoding]", 176);
    assert_eq!(class_of(&report.ips()), Class::OtherGpu);
}

#[test]
fn places_of_the_published_driver_are_known_without_symbols() {
    let stripped = |place| CrashReport::new(1).unmapped(0x5c8).bare_frame(DRIVER, place);
    assert_eq!(class_of(&stripped(0x2bd2d0).ips()), Class::NullAtSetPipeline);
    assert_eq!(class_of(&stripped(0x264370).ips()), Class::NullElsewhere);
    assert_eq!(class_of(&stripped(0x2bd2d4).ips()), Class::OtherGpu);
    let other_build =
        stripped(0x2bd2d0).driver(DRIVER, "340", "bbbbbbbb-0000-3000-8000-000000000000");
    assert_eq!(class_of(&other_build.ips()), Class::OtherGpu);
}

#[test]
fn assertions_are_told_apart_by_their_text() {
    let texts = [
        (
            "A command encoder is already encoding to this command buffer",
            Assertion::AlreadyEncoding,
        ),
        ("encodeSignalEvent:value: with uncommitted encoder", Assertion::SignalWithOpenEncoder),
        ("Completed handler provided after commit call", Assertion::HandlerAfterCommit),
        ("Command encoder released without endEncoding", Assertion::ReleasedWithoutEnd),
        ("commit an already committed command buffer", Assertion::CommittedTwice),
        ("-[IOGPUMetalCommandBuffer validate]:214: failed assertion", Assertion::EncoderNotEnded),
        ("something Metal never said before", Assertion::Unnamed),
    ];
    for (text, assertion) in texts {
        let read = crash::read("a.ips", &CrashReport::assertion(1, text).ips());
        assert_eq!(read.class, Class::Assertion);
        assert_eq!(read.evidence.assertion, Some(assertion), "{text}");
    }
}

#[test]
fn an_abort_of_another_origin_is_unrelated() {
    let report = CrashReport::abort(1)
        .frame("libsystem_kernel.dylib", "__pthread_kill", 8)
        .frame("libsystem_c.dylib", "abort", 180)
        .message("abort() called");
    assert_eq!(class_of(&report.ips()), Class::Unrelated);
}

#[test]
fn a_trap_without_gpu_code_is_unrelated() {
    let text = String::from_utf8(CrashReport::trap(1).ips()).unwrap();
    let text = text.replace("\"Metal\"", "\"AppKit\"").replace("_MTLCommandBuffer", "NSThing");
    assert_eq!(class_of(text.as_bytes()), Class::Unrelated);
}

#[test]
fn a_gpu_event_is_a_restart_with_or_without_a_known_schema() {
    let event = CrashReport::new(1).gpu_event("BIF0 page fault");
    let read = crash::read("gpuEvent-Python-2025-12-23-104640.ips", &event);
    assert_eq!(read.class, Class::GpuRestart);
    assert_eq!(read.process.as_deref(), Some("Python"));
    assert_eq!(read.evidence.because, "the GPU was restarted: BIF0 page fault");

    let renamed = crash::read("whatever.ips", &event);
    assert_eq!(renamed.class, Class::GpuRestart);

    let unknown = b"{\"name\":\"Python\"}\n{\"schema\":\"of another day\"}";
    let read = crash::read("gpuEvent-Python-2025-12-23-104640.ips", unknown);
    assert_eq!(read.class, Class::GpuRestart);
}

#[test]
fn other_reports_in_the_same_folder_are_unrelated() {
    let panic = br#"{"bug_type":"210","timestamp":"2025-12-23 10:46:40.00 -0800"}
{"panicString":"panic(cpu 0)"}"#;
    let read = crash::read("panic-full-2025.ips", panic);
    assert_eq!(read.class, Class::Unrelated);
    assert!(read.evidence.because.contains("type 210"));
}

#[test]
fn every_class_has_a_name_of_its_own() {
    let mut ids: Vec<&str> = Class::ALL.iter().map(|class| class.id()).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), Class::ALL.len());
    let letters: String = "ABCDEFGHI".into();
    for letter in letters.chars() {
        let named = Class::ALL.iter().filter(|class| class.letter() == letter.to_string());
        assert_eq!(named.count(), 1, "{letter}");
    }
}

#[test]
fn an_abort_with_a_payload_under_gpu_code_is_not_at_launch() {
    let report = CrashReport::abort(1)
        .frame("libsystem_kernel.dylib", "__abort_with_payload", 8)
        .frame("libobjc.A.dylib", "_objc_fatal(char const*, ...)", 44)
        .frame("Metal", "-[_MTLCommandBuffer release]", 60);
    assert_eq!(class_of(&report.ips()), Class::OtherGpu);
}

#[test]
fn a_trap_the_kernel_made_of_an_abort_is_a_trap() {
    let text = String::from_utf8(CrashReport::trap(1).ips()).unwrap();
    let text = text.replace("EXC_BREAKPOINT", "EXC_CRASH");
    assert_eq!(class_of(text.as_bytes()), Class::Trap);
}

#[test]
fn a_kill_for_a_broken_signature_says_so_and_is_not_the_race() {
    let text = String::from_utf8(CrashReport::set_pipeline(1).ips()).unwrap();
    let text = text.replace("\"namespace\":\"SIGNAL\"", "\"namespace\":\"CODESIGNING\"");
    let read = crash::read("a.ips", text.as_bytes());
    assert_eq!(read.class, Class::OtherGpu);
    assert!(read.evidence.because.contains("signature is not valid"));
}

#[test]
fn only_the_thread_that_died_is_looked_at() {
    // The thread that waits beside the crash stands in GPU code as well.
    let report = CrashReport::unrelated(1).padded_to(60_000);
    let text = String::from_utf8(report.ips()).unwrap();
    let waiting = text.replace("__psynch_cvwait", "-[_MTLCommandBuffer waitUntilCompleted]");
    assert_ne!(waiting, text);
    assert_eq!(class_of(waiting.as_bytes()), Class::Unrelated);
    let named = text.replace("\"faultingThread\":1", "\"faultingThread\":9000");
    assert_eq!(class_of(named.as_bytes()), Class::Unrelated);
}
