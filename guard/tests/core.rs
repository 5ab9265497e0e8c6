//! The parts of the core that decide by value alone, on the host.
#![cfg(not(loom))]

use agx_guard::call::{Call, Entered, Kind, Objects, Verdict};
use agx_guard::calls::Guard;
use agx_guard::counters::Counter;
use agx_guard::races::Part;
use agx_guard::record::Record;
use agx_guard::selectors::{self, EXCEPTED, Role as ClassRole};
use agx_guard::settings::{Mode, Settings, parse_mode};
use agx_guard::thread::{Frame, Registry, Role, Thread};
use agx_guard::throttle::{Admitted, Throttle};

fn settings(variables: &[(&str, &'static str)]) -> (Settings, Vec<String>) {
    let mut wrong = Vec::new();
    let variable = |name: &std::ffi::CStr| {
        let name = name.to_str().unwrap();
        variables.iter().find(|(known, _)| *known == name).map(|(_, value)| value.as_bytes())
    };
    let settings = Settings::read(variable, |name, value| {
        let value = std::str::from_utf8(value).unwrap();
        wrong.push(format!("{}={value}", name.to_str().unwrap()));
    });
    (settings, wrong)
}

#[test]
fn the_mode_defaults_to_guard() {
    assert_eq!(settings(&[]), (Settings::DEFAULT, vec![]));
    assert_eq!(Settings::DEFAULT.mode, Mode::Guard);
}

#[test]
fn each_mode_is_read_as_it_is_documented() {
    for (text, mode) in [
        ("", Some(Mode::Guard)),
        ("guard", Some(Mode::Guard)),
        ("throttle=2", Some(Mode::Throttle(2))),
        ("serialize", Some(Mode::Serialize)),
        ("observe", Some(Mode::Observe)),
        ("off", Some(Mode::Off)),
        ("throttle=0", None),
        ("throttle=", None),
        ("throttle=-1", None),
        ("throttle=4294967296", None),
        ("throttle", None),
        ("Guard", None),
        ("on", None),
    ] {
        assert_eq!(parse_mode(text.as_bytes()), mode, "{text:?}");
    }
}

#[test]
fn every_wrong_value_is_named_and_its_default_stands() {
    let (read, wrong) = settings(&[
        ("AGX_GUARD_QUARANTINE", "many"),
        ("AGX_GUARD_WAIT_WARN_MS", "5"),
        ("AGX_GUARD_THROTTLE_MS", "-1"),
        ("AGX_GUARD", "of"),
    ]);
    assert_eq!(wrong, ["AGX_GUARD_QUARANTINE=many", "AGX_GUARD_THROTTLE_MS=-1", "AGX_GUARD=of"]);
    assert_eq!(read, Settings { wait_warn_ms: 5, ..Settings::DEFAULT });
}

#[test]
fn the_encoder_classes_of_every_family_are_recognised() {
    for name in [
        "AGXG16XFamilyComputeContext",
        "AGXG15XFamilyBlitContext",
        "AGXG13XFamilyRenderContext",
        "AGXG16XFamilyResourceStateContext",
        "AGXG16XFamilySampledComputeContext",
        "AGXG16XFamilySampledRenderContext",
        "AGXG17PFamilyAccelerationStructureContext",
        "AGXG16XFamilyRayTracingGPUBuilder",
        "AGXG16XFamilyThreadedRenderPass",
        "AGXG16XFamilyComputeContext_mtlnext",
        "AGXG16XFamilyRenderContext_mtlnext",
    ] {
        assert_eq!(selectors::role_of_class(name), Some(ClassRole::Encoder), "{name}");
    }
    assert_eq!(
        selectors::role_of_class("AGXG16XFamilyCommandBuffer"),
        Some(ClassRole::CommandBuffer)
    );
    assert_eq!(
        selectors::role_of_class("AGXG16XFamilyCommandBuffer_mtlnext"),
        Some(ClassRole::CommandBuffer)
    );
    for name in [
        "AGXG16XDevice",
        "AGXG16XFamilyCommandQueue_mtlnext",
        "AGXG16XFamilyCommandAllocator_mtlnext",
        "AGXG16XFamilyBuffer",
        "IOGPUMetalCommandEncoder",
        "MTLToolsComputeCommandEncoder",
        "AGXFamilyContext",
    ] {
        assert_eq!(selectors::role_of_class(name), None, "{name}");
    }
}

#[test]
fn every_selector_of_an_encoder_is_guarded_unless_listed() {
    for (selector, kind) in [
        ("endEncoding", Kind::End),
        ("deferredEndEncoding", Kind::DeferredEnd),
        ("deferredEndEncoding:", Kind::DeferredEnd),
        ("reInitWithCommandBuffer:", Kind::Reinit),
        ("destroyImpl", Kind::Destroy),
        ("dealloc", Kind::Dealloc),
        ("initWithCommandBuffer:config:", Kind::Init),
        ("init", Kind::Init),
        ("_initWithQueue:", Kind::Init),
        ("initialize", Kind::Method),
        ("setBuffer:offset:atIndex:", Kind::Method),
        ("retainedReferences", Kind::Method),
        ("device", Kind::Passive),
        ("label", Kind::Passive),
    ] {
        assert_eq!(selectors::encoder_method(selector), Some(kind), "{selector}");
    }
    for (selector, reason) in EXCEPTED {
        assert_eq!(selectors::encoder_method(selector), None, "{selector}");
        assert!(!reason.is_empty(), "{selector}");
    }
}

#[test]
fn the_selector_tells_state_setters_from_encoding_calls() {
    let parts = [
        ("setBuffer:offset:atIndex:", Part::Sets),
        ("setComputePipelineState:", Part::Sets),
        ("dispatchThreadgroups:threadsPerThreadgroup:", Part::Encodes),
        ("drawPrimitives:vertexStart:vertexCount:", Part::Encodes),
        ("copyFromBuffer:sourceOffset:toBuffer:destinationOffset:size:", Part::Encodes),
        ("fillBuffer:range:value:", Part::Encodes),
        ("settle", Part::Other),
        ("useResource:usage:", Part::Other),
        ("endEncoding", Part::Other),
        ("pushDebugGroup:", Part::Other),
    ];
    for (selector, part) in parts {
        assert_eq!(selectors::part_of(selector), part, "{selector}");
    }
}

#[test]
fn only_command_buffer_methods_that_touch_encoders_are_guarded() {
    let kind =
        |selector, encoding: &str| selectors::command_buffer_method(selector, encoding.as_bytes());
    assert_eq!(kind("computeCommandEncoderWithConfig:", "@24@0:8^v16"), Some(Kind::Factory));
    assert_eq!(kind("blitCommandEncoderCommon:", "@24@0:8^v16"), Some(Kind::Factory));
    assert_eq!(kind("setCommandEncoder:", "v24@0:8@16"), None);
    for selector in ["enqueue", "beginCommandBufferWithAllocator:"] {
        assert_eq!(kind(selector, "v16@0:8"), Some(Kind::Buffer), "{selector}");
    }
    assert_eq!(kind("endCommandBuffer", "v16@0:8"), Some(Kind::Event));
    assert_eq!(kind("commitEncoder", "v16@0:8"), Some(Kind::CommitEncoder));
    assert_eq!(kind("commit", "v16@0:8"), Some(Kind::Commit));
    assert_eq!(kind("commitWithDeadline:", "v24@0:8d16"), Some(Kind::Commit));
    assert_eq!(kind("encodeSignalEvent:value:", "v32@0:8@16Q24"), Some(Kind::Event));
    assert_eq!(kind("encodeWaitForEvent:value:", "v32@0:8@16Q24"), Some(Kind::Event));
    assert_eq!(kind("addCompletedHandler:", "v24@0:8@?16"), Some(Kind::Buffer));
    assert_eq!(kind("dealloc", "v16@0:8"), Some(Kind::BufferDealloc));
    for selector in ["waitUntilCompleted", "waitUntilScheduled", "status", "retain", "setLabel:"] {
        assert_eq!(kind(selector, "v16@0:8"), None, "{selector}");
    }
}

#[test]
fn a_live_encoder_costs_at_most_256_bytes() {
    const BUCKET: usize = 16;
    const QUARANTINE_ENTRY: usize = size_of::<agx_guard::quarantine::Entry>();
    assert!(size_of::<Record>() + BUCKET + QUARANTINE_ENTRY <= 256);
}

fn frame(stack: usize) -> Frame {
    Frame {
        caller: stack + 1,
        stack,
        record: std::ptr::null(),
        lock: std::ptr::null(),
        slot: 0,
        kind: Kind::Method,
        role: Role::Bare,
    }
}

#[test]
fn calls_nested_deeper_than_the_block_come_back_in_order() {
    let thread = Thread::new();
    for depth in (1000..3000).rev() {
        thread.push(frame(depth));
    }
    for depth in 1000..3000 {
        assert_eq!(thread.pop().map(|frame| frame.caller), Some(depth + 1));
    }
    assert!(thread.pop().is_none() && !thread.is_inside());
}

#[test]
fn a_call_left_behind_is_told_from_a_nested_one_and_from_a_tail_call() {
    const LEAVE: usize = 0x77;
    let thread = Thread::new();
    assert!(!thread.is_top_stale(0x1000, 0, LEAVE));
    for depth in [1usize, 10, 20] {
        while thread.pop().is_some() {}
        for level in 0..depth {
            thread.push(frame(0x9000 - 0x100 * level));
        }
        let top = 0x9000 - 0x100 * (depth - 1);
        assert!(!thread.is_top_stale(top - 0x10, 0, LEAVE), "a nested call");
        assert!(!thread.is_top_stale(top, LEAVE, LEAVE), "a tail call");
        assert!(thread.is_top_stale(top, 0, LEAVE), "a later call of the same caller");
        assert!(thread.is_top_stale(top + 0x10, LEAVE, LEAVE), "a call from further out");
    }
}

#[test]
fn a_thread_that_ended_hands_its_block_on_and_one_inside_a_call_keeps_it() {
    let registry = Registry::new();
    let blocks: Vec<&Thread> = (0..17).map(|_| registry.take()).collect();
    let (first, token) = (blocks[0], blocks[0].token());
    first.open.store(3, std::sync::atomic::Ordering::Relaxed);
    blocks[..16].iter().for_each(|block| registry.give_back(block));
    let second = registry.take();
    assert!(std::ptr::eq(second, first), "the one that lay idle for longest");
    assert_ne!(second.token(), token, "another thread");
    // SAFETY: the token of a block of the registry.
    assert!(std::ptr::eq(unsafe { Thread::of_token(token) }.unwrap(), first));
    assert_eq!(second.open.load(std::sync::atomic::Ordering::Relaxed), 0);
    second.push(frame(1));
    registry.give_back(second);
    assert!(!std::ptr::eq(registry.take(), second), "it is inside a call");
    assert_eq!(registry.iter().count(), 18);
}

#[test]
fn the_throttle_admits_above_its_limit_rather_than_wait_for_ever() {
    let throttle = Throttle::new(1, 1);
    assert_eq!(throttle.admit(false), Admitted::AtOnce);
    assert_eq!(throttle.admit(false), Admitted::Above);
    assert_eq!(throttle.admit(true), Admitted::AtOnce);
    assert_eq!(throttle.open(), 3);
    throttle.leave();
    throttle.leave();
    throttle.leave();
    assert_eq!(throttle.admit(false), Admitted::AtOnce);
}

struct Nothing;

impl Objects for Nothing {
    fn retain(&self, _: usize) {}
    fn release(&self, _: usize) {}
    fn is_held_once(&self, _: usize) -> bool {
        true
    }
    fn implementation(&self, _: usize, _: u32) -> usize {
        1
    }
    fn is_driver(&self, _: usize) -> bool {
        false
    }
    fn now(&self) -> u64 {
        0
    }
    fn long_wait(&self, _: &Record, _: u64) {}
}

#[test]
fn an_address_that_begins_again_unseen_occupies_one_place() {
    let settings = Settings { mode: Mode::Throttle(2), ..Settings::DEFAULT };
    let (guard, thread) = (Guard::<Nothing, 1>::new(settings, Nothing), Thread::new());
    for _ in 0..5 {
        let call = Call {
            object: 0x1000,
            kind: Kind::Init,
            impl_offset: 0,
            caller: 0,
            frame: 0,
            method: 0,
        };
        let Verdict::Dispatch(entered) = guard.enter(&thread, &call) else {
            panic!("an init was refused")
        };
        guard.leave(&thread, &call, entered, call.object);
    }
    assert_eq!(guard.throttle.open(), 1);
    assert_eq!(thread.open.load(std::sync::atomic::Ordering::Relaxed), 1);
}

/// A guard with a limit, and what a factory method does in it: the encoder's `init` runs inside.
struct Factory {
    guard: Guard<Nothing, 1>,
}

impl Factory {
    fn with_limit(limit: u32) -> Factory {
        let settings =
            Settings { mode: Mode::Throttle(limit), throttle_ms: 1, ..Settings::DEFAULT };
        Factory { guard: Guard::new(settings, Nothing) }
    }

    /// One call of `kind` with `inside` run in it.
    fn call(&self, thread: &Thread, kind: Kind, object: usize, inside: impl FnOnce()) {
        const BUFFER: usize = 0x9000;
        let factory = kind == Kind::Factory;
        let call = Call {
            object: if factory { BUFFER } else { object },
            kind,
            impl_offset: 0,
            caller: 0,
            frame: 0,
            method: 0,
        };
        let Verdict::Dispatch(entered) = self.guard.enter(thread, &call) else {
            panic!("{kind:?} was refused")
        };
        let Entered { record, lock, role } = entered;
        thread.push(Frame { record, lock, role, ..frame(0x1000) });
        inside();
        thread.pop();
        self.guard.leave(thread, &call, entered, object);
    }

    fn make(&self, thread: &Thread, encoder: usize) {
        self.call(thread, Kind::Factory, 0, || self.call(thread, Kind::Init, encoder, || {}));
    }
}

fn count(thread: &Thread, counter: Counter) -> u64 {
    thread.tally.get(counter)
}

#[test]
fn a_factory_waits_for_a_place_before_it_is_entered() {
    let (world, first, second) = (Factory::with_limit(1), Thread::new(), Thread::new());
    world.make(&first, 0x1000);
    assert_eq!(world.guard.throttle.open(), 1);
    // Its patience is a millisecond: the second is admitted above the limit, after it has waited.
    world.make(&second, 0x2000);
    assert_eq!(count(&second, Counter::ThrottleOverrides), 1);
    assert_eq!(world.guard.throttle.open(), 2);
    world.call(&first, Kind::End, 0x1000, || {});
    world.call(&second, Kind::End, 0x2000, || {});
    assert_eq!(world.guard.throttle.open(), 0);
}

#[test]
fn a_factory_that_makes_nothing_gives_its_place_back() {
    let (world, thread) = (Factory::with_limit(1), Thread::new());
    world.call(&thread, Kind::Factory, 0, || {});
    assert_eq!(world.guard.throttle.open(), 0);
}

#[test]
fn an_encoder_that_is_begun_again_is_live_and_occupies_the_reserved_place() {
    let (world, thread) = (Factory::with_limit(1), Thread::new());
    world.make(&thread, 0x1000);
    world.call(&thread, Kind::End, 0x1000, || {});
    world.call(&thread, Kind::Factory, 0, || world.call(&thread, Kind::Reinit, 0x1000, || {}));
    assert_eq!(world.guard.throttle.open(), 1);
    assert_eq!(count(&thread, Counter::ThrottleOverrides), 0);
    world.call(&thread, Kind::Method, 0x1000, || {});
}

#[test]
fn an_ended_encoder_that_a_getter_returns_stays_ended() {
    let (world, thread) = (Factory::with_limit(1), Thread::new());
    world.make(&thread, 0x1000);
    world.call(&thread, Kind::End, 0x1000, || {});
    world.call(&thread, Kind::Factory, 0x1000, || {});
    let late =
        Call { object: 0x1000, kind: Kind::Method, impl_offset: 0, caller: 0, frame: 0, method: 0 };
    assert!(matches!(world.guard.enter(&thread, &late), Verdict::Refuse(_)));
}
