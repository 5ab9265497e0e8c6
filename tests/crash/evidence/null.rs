//! A field that was zero: which one, and whose.

use agxpatch::crash::{Access, Class, Family, Ground, Sureness, remedy};
use agxpatch_simulate::crash_report::DRIVER;

use super::{LOAD_THROUGH_X20, SET_PIPELINE, bad_access, read};

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
