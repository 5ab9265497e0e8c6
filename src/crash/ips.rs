//! `.ips`: JSON objects one after the other.
//!
//! The first is a header of one line, the last is the body; some collectors
//! write both as one object, so each object is read for the fields of either
//! and the later one wins. Field names are those of Apple's *Interpreting the
//! JSON format of a crash report*; those of GPU events, which Apple does not
//! document, are as seen in public reports (`analysis.restart_reason_desc`,
//! `process_name`).
//!
//! A body holds a hundred threads and four hundred images. The reader checks
//! that all of it is JSON, and keeps of each thread and image where it stands;
//! only the thread that died and the images its frames lie in are taken apart.

use memchr::memmem;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::facts::{DRIVER, Driver, FRAMES, Facts, Form, Frame, is_driver, keep};
use super::loose::{First, Messages, Number, Text};
use super::time::timestamp;

/// Far more than a process has threads or images in practice; what a hostile
/// report can make us keep is bounded by them.
const THREADS: usize = 4096;
const IMAGES: usize = 8192;
/// A header, a body, and room for whoever concatenates more.
const OBJECTS: usize = 16;

/// The type number of a report about a process that died.
const CRASH: &str = "309";
/// The type number of a GPU restart.
const GPU_EVENT: &str = "284";

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct Object<'a> {
    // The header's.
    #[serde(borrow, rename = "bug_type")]
    bug_type: Text<'a>,
    #[serde(borrow, rename = "app_name")]
    app_name: Text<'a>,
    #[serde(borrow)]
    name: Text<'a>,
    #[serde(borrow)]
    timestamp: Text<'a>,
    #[serde(borrow, rename = "os_version")]
    os_text: Text<'a>,
    #[serde(borrow, rename = "incident_id")]
    incident_id: Text<'a>,
    // The body's.
    #[serde(borrow)]
    incident: Text<'a>,
    #[serde(borrow)]
    capture_time: Text<'a>,
    #[serde(borrow)]
    proc_name: Text<'a>,
    pid: Number,
    parent_pid: Number,
    #[serde(borrow)]
    exception: Exception<'a>,
    #[serde(borrow)]
    termination: Termination<'a>,
    #[serde(borrow)]
    vm_region_info: Text<'a>,
    asi: Messages,
    #[serde(alias = "faulting_thread")]
    faulting_thread: Number,
    #[serde(borrow)]
    threads: First<&'a RawValue, THREADS>,
    #[serde(borrow)]
    used_images: First<&'a RawValue, IMAGES>,
    // A GPU event's.
    #[serde(borrow, rename = "process_name")]
    gpu_process: Text<'a>,
    #[serde(borrow)]
    analysis: Analysis<'a>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Exception<'a> {
    #[serde(borrow, rename = "type")]
    kind: Text<'a>,
    #[serde(borrow)]
    signal: Text<'a>,
    #[serde(borrow)]
    subtype: Text<'a>,
    #[serde(borrow)]
    codes: Text<'a>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Termination<'a> {
    #[serde(borrow)]
    namespace: Text<'a>,
    #[serde(borrow)]
    indicator: Text<'a>,
    reasons: Messages,
    details: Messages,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct Thread<'a> {
    #[serde(borrow)]
    name: Text<'a>,
    #[serde(borrow)]
    queue: Text<'a>,
    #[serde(borrow)]
    frames: First<RawFrame<'a>, FRAMES>,
    thread_state: State,
}

/// What marks the thread that died where no index names it.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Mark {
    triggered: bool,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct State {
    esr: Register,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Register {
    value: Number,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct RawFrame<'a> {
    image_index: Number,
    image_offset: Number,
    #[serde(borrow)]
    symbol: Text<'a>,
    symbol_location: Number,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Image<'a> {
    #[serde(borrow)]
    name: Text<'a>,
    #[serde(borrow)]
    path: Text<'a>,
    #[serde(borrow)]
    uuid: Text<'a>,
    #[serde(borrow, rename = "CFBundleShortVersionString")]
    short_version: Text<'a>,
    #[serde(borrow, rename = "CFBundleVersion")]
    version: Text<'a>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Analysis<'a> {
    #[serde(borrow)]
    process_name: Text<'a>,
    #[serde(borrow)]
    restart_reason_desc: Text<'a>,
}

/// Reads the facts; a report that breaks off yields what came before the break.
pub fn facts(name: &str, bytes: &[u8]) -> Facts {
    let mut facts = Facts::default();
    let mut objects = 0;
    for object in serde_json::Deserializer::from_slice(bytes).into_iter::<Object>().take(OBJECTS) {
        match object {
            Ok(object) => object.fill(&mut facts),
            Err(error) => {
                facts.broken = Some(keep(&error.to_string()).unwrap_or_default());
                return facts;
            }
        }
        objects += 1;
    }
    settle_form(name, &mut facts);
    if facts.form == Form::Crash && facts.broken.is_none() && facts.exception.is_empty() {
        let reason = match objects {
            1 => "a header without a body",
            _ => "no exception in the body",
        };
        facts.broken = Some(reason.into());
    }
    facts
}

fn settle_form(name: &str, facts: &mut Facts) {
    let kind = facts.bug_type.as_deref();
    facts.form = if kind == Some(GPU_EVENT) || name.starts_with("gpuEvent-") {
        Form::GpuEvent
    } else if kind.is_none_or(|kind| kind == CRASH) || !facts.exception.is_empty() {
        // A GPU event that lost its header shows by its analysis.
        facts.form
    } else {
        Form::Other
    };
}

impl<'a> Object<'a> {
    fn fill(self, facts: &mut Facts) {
        put(&mut facts.bug_type, self.bug_type.keep());
        put(&mut facts.incident, self.incident_id.keep().map(|id| id.to_lowercase()));
        put(&mut facts.incident, self.incident.keep().map(|id| id.to_lowercase()));
        put(&mut facts.captured, timestamp(&self.timestamp.0));
        put(&mut facts.captured, timestamp(&self.capture_time.0));
        put(&mut facts.os, self.os_text.keep());
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
        put(&mut facts.driver, driver(images));
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
        facts.esr = thread.thread_state.esr.value.0;
        facts.frames = thread.frames.0.iter().map(|frame| resolve(frame, images)).collect();
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

fn put<T>(field: &mut Option<T>, value: Option<T>) {
    if value.is_some() {
        *field = value;
    }
}

fn resolve(frame: &RawFrame, images: &[&RawValue]) -> Frame {
    let image = frame.image_index.0.and_then(|index| images.get(usize::try_from(index).ok()?));
    Frame {
        image: image.and_then(|image| parse(image)?.name()),
        symbol: frame.symbol.keep(),
        offset: frame.symbol_location.0,
        image_offset: frame.image_offset.0,
    }
}

/// An image that is no object has no name.
fn parse(image: &RawValue) -> Option<Image<'_>> {
    serde_json::from_str(image.get()).ok()
}

/// The first image that is a driver, by looking closely at those few whose text
/// holds the name of one.
fn driver(images: &[&RawValue]) -> Option<Driver> {
    let name = memmem::Finder::new(DRIVER);
    let may_be = |image: &&&RawValue| name.find(image.get().as_bytes()).is_some();
    images.iter().filter(may_be).find_map(|image| parse(image)?.driver())
}

impl Image<'_> {
    fn name(&self) -> Option<String> {
        self.name.keep().or_else(|| keep(self.path.0.rsplit('/').next()?))
    }

    fn driver(&self) -> Option<Driver> {
        let name = self.name()?;
        is_driver(&name).then(|| Driver {
            name,
            version: self.short_version.keep().or_else(|| self.version.keep()),
            uuid: self.uuid.keep().map(|uuid| uuid.to_lowercase()),
        })
    }
}
