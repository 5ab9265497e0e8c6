//! From the objects of a report to its facts.

use serde_json::value::RawValue;

use super::super::facts::{Facts, Form, Frame, MAX_MESSAGES, keep};
use super::super::instruction;
use super::super::loose::{Number, Text};
use super::super::time::timestamp;
use super::images;
use super::schema::{Mark, Object, RawFrame, State, Thread};

impl<'a> Object<'a> {
    /// Whether this object cannot belong to the report that `facts` are of.
    pub(super) fn begins_another(&self, facts: &Facts) -> bool {
        let id = self.incident.keep().or_else(|| self.incident_id.keep());
        let id = id.map(|id| id.to_lowercase());
        let other = id.is_some() && facts.incident.is_some() && id != facts.incident;
        let header = !self.bug_type.0.is_empty();
        other || (facts.bodied && (header || self.is_body())) || (facts.headed && header)
    }

    fn is_body(&self) -> bool {
        !self.exception.kind.0.is_empty() || !self.analysis.restart_reason_desc.0.is_empty()
    }

    pub(super) fn fill(self, facts: &mut Facts) {
        facts.headed |= !self.bug_type.0.is_empty();
        facts.bodied |= self.is_body();
        put(&mut facts.bug_type, self.bug_type.keep());
        put(&mut facts.incident, self.incident_id.keep().map(|id| id.to_lowercase()));
        put(&mut facts.incident, self.incident.keep().map(|id| id.to_lowercase()));
        put(&mut facts.captured, timestamp(&self.timestamp.0));
        put(&mut facts.captured, timestamp(&self.capture_time.0));
        let (train, build) = (&self.os_version.train.0, &self.os_version.build.0);
        let os = (!train.is_empty() && facts.os.is_none()).then(|| format!("{train} ({build})"));
        put(&mut facts.os, os.as_deref().and_then(keep));
        put(&mut facts.os, self.os_text.keep());
        put(&mut facts.protections.sip, self.sip.keep());
        put(&mut facts.protections.code_signing_monitor, self.code_signing_monitor.0);
        if facts.messages.len() < MAX_MESSAGES {
            facts.messages.extend(self.panic.keep());
        }
        for process in [&self.name, &self.app_name, &self.gpu_process, &self.proc_name] {
            put(&mut facts.process, process.keep());
        }
        put(&mut facts.pid, self.pid.0);
        put(&mut facts.parent_pid, self.parent_pid.0);
        self.fill_exception(facts);
        self.fill_gpu_event(facts);
        self.fill_thread(facts);
    }

    fn fill_exception(&self, facts: &mut Facts) {
        let Some(kind) = self.exception.kind.keep() else { return };
        facts.exception = kind;
        facts.signal = self.exception.signal.keep().unwrap_or_default();
        facts.namespace = self.termination.namespace.keep().unwrap_or_default();
        facts.addresses = [
            &self.exception.subtype,
            &self.exception.codes,
            &self.termination.indicator,
            &self.vm_region_info,
        ]
        .into_iter()
        .filter_map(Text::keep)
        .collect();
        if let [Number(Some(code)), Number(Some(address))] = self.exception.raw_codes.0[..]
            && self.exception.codes.0.is_empty()
        {
            facts.addresses.push(format!("{code:#x}, {address:#x}"));
        }
        let texts = [&self.asi, &self.termination.reasons, &self.termination.details];
        facts.messages = texts.into_iter().flat_map(|texts| texts.0.iter().cloned()).collect();
        facts.messages.extend(self.termination.indicator.keep());
    }

    fn fill_gpu_event(&self, facts: &mut Facts) {
        put(&mut facts.process, self.analysis.process_name.keep());
        if let Some(reason) = self.analysis.restart_reason_desc.keep() {
            facts.form = Form::GpuEvent;
            facts.messages.push(reason);
        }
    }

    fn fill_thread(&self, facts: &mut Facts) {
        let images = &self.used_images.0;
        put(&mut facts.driver, images::driver(images, self.shared_cache));
        images::add_programs(images, facts);
        let frames =
            |frames: &[RawFrame]| frames.iter().map(|frame| resolve(frame, images)).collect();
        facts.thrown = frames(&self.last_exception_backtrace.0);
        let code = instruction::from_base64(&self.instruction_byte_stream.at_pc.0);
        put(&mut facts.instruction, code);
        let Some(thread) = self.thread_that_died() else { return };
        let thread: Thread<'_> = match serde_json::from_str(thread.get()) {
            Ok(thread) => thread,
            Err(error) => {
                facts.broken = keep(&format!("the thread that died: {error}"));
                return;
            }
        };
        facts.thread = thread.name.keep();
        facts.queue = thread.queue.keep();
        thread.thread_state.fill(facts);
        facts.frames = frames(&thread.frames.0);
    }

    fn thread_that_died(&self) -> Option<&'a RawValue> {
        let threads = &self.threads.0;
        let named =
            self.faulting_thread.0.and_then(|index| threads.get(usize::try_from(index).ok()?));
        let marked = |thread: &&&RawValue| {
            serde_json::from_str::<Mark>(thread.get()).is_ok_and(|mark| mark.triggered)
        };
        named.or_else(|| threads.iter().find(marked)).copied()
    }
}

impl State {
    fn fill(&self, facts: &mut Facts) {
        let numbered = self.x.0.iter().chain([&self.fp, &self.lr]).enumerate();
        // Without all of x0 to x28 the last two would take the wrong numbers.
        let whole = self.x.0.len() == 29;
        for (number, register) in numbered.take(if whole { 31 } else { self.x.0.len() }) {
            if let Some(value) = register.value.0 {
                facts.registers.set(number, value);
            }
        }
        facts.registers.pc = self.pc.value.0;
        facts.registers.far = self.far.value.0;
        facts.registers.esr = self.esr.value.0;
    }
}

fn put<T>(field: &mut Option<T>, value: Option<T>) {
    if value.is_some() {
        *field = value;
    }
}

fn resolve(frame: &RawFrame, images: &[&RawValue]) -> Frame {
    let image = frame.image_index.0.and_then(|index| images.get(usize::try_from(index).ok()?));
    Frame {
        image: image.and_then(|image| images::parse(image)?.name()),
        symbol: frame.symbol.keep(),
        offset: frame.symbol_location.0,
        image_offset: frame.image_offset.0,
    }
}
