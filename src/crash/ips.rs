//! `.ips`: JSON objects one after the other.
//!
//! A header of one line comes before the body; some collectors write both as one
//! object, so each object is read for the fields of either and the later one wins.
//! Several reports may follow each other: a second header, a second body or
//! another incident begins the next report. Field names are those of Apple's *Interpreting the
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

use super::facts::{
    DRIVER, Driver, Facts, Form, Frame, Location, MAX_FRAMES, MAX_MESSAGES, image_name, is_driver,
    keep,
};
use super::instruction;
use super::loose::{First, Messages, Number, Text};
use super::programs;
use super::time::timestamp;

/// Far more than a process has threads or images in practice; what a hostile
/// report can make us keep is bounded by them.
const MAX_THREADS: usize = 4096;
const MAX_IMAGES: usize = 8192;
/// Most reports read from one file.
pub const MAX_REPORTS: usize = 512;

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
    threads: First<&'a RawValue, MAX_THREADS>,
    #[serde(borrow)]
    last_exception_backtrace: First<RawFrame<'a>, MAX_FRAMES>,
    #[serde(borrow)]
    instruction_byte_stream: ByteStream<'a>,
    #[serde(borrow)]
    os_version: OsVersion<'a>,
    shared_cache: Range,
    #[serde(borrow)]
    sip: Text<'a>,
    code_signing_monitor: Number,
    #[serde(borrow, rename = "panicString")]
    panic: Text<'a>,
    #[serde(borrow)]
    used_images: First<&'a RawValue, MAX_IMAGES>,
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
    frames: First<RawFrame<'a>, MAX_FRAMES>,
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
    x: First<Register, 29>,
    fp: Register,
    lr: Register,
    pc: Register,
    far: Register,
    esr: Register,
}

/// The code around the program counter, in base 64.
#[derive(Deserialize, Default)]
#[serde(default)]
struct ByteStream<'a> {
    #[serde(borrow, rename = "atPC")]
    at_pc: Text<'a>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct OsVersion<'a> {
    #[serde(borrow)]
    train: Text<'a>,
    #[serde(borrow)]
    build: Text<'a>,
}

#[derive(Clone, Copy, Deserialize, Default)]
#[serde(default)]
struct Range {
    base: Number,
    size: Number,
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
    base: Number,
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

/// What stands at the beginning of a text as JSON.
#[derive(Default)]
pub struct Stream {
    /// The reports, in order.
    pub reports: Vec<Facts>,
    /// Bytes up to the end of the last whole object.
    pub consumed: usize,
    /// An object begins there and is not whole, or not JSON.
    pub broken: bool,
}

/// Reads reports as long as there is JSON; one that breaks off yields what came
/// before the break.
pub fn read(name: &str, bytes: &[u8]) -> Stream {
    let mut out = Stream::default();
    let mut current = Facts::default();
    let mut objects = 0_usize;
    let mut stream = serde_json::Deserializer::from_slice(bytes).into_iter::<Object>();
    while let Some(object) = stream.next() {
        match object {
            Ok(object) => {
                if objects > 0 && object.begins_another(&current) {
                    out.reports.push(finished(name, std::mem::take(&mut current), objects));
                    objects = 0;
                }
                if out.reports.len() >= MAX_REPORTS {
                    break;
                }
                object.fill(&mut current);
                objects += 1;
                out.consumed = stream.byte_offset();
            }
            Err(error) => {
                let rest = bytes.get(out.consumed..).unwrap_or_default().trim_ascii_start();
                // What follows a whole report may be anything; it is not part of the report.
                out.broken = rest.starts_with(b"{");
                if out.broken {
                    let reason = keep(&error.to_string()).unwrap_or_default();
                    if current.bodied {
                        out.reports.push(finished(name, std::mem::take(&mut current), objects));
                    }
                    current.broken = Some(reason);
                    objects += 1;
                }
                break;
            }
        }
    }
    if objects > 0 {
        out.reports.push(finished(name, current, objects));
    }
    out
}

fn finished(name: &str, mut facts: Facts, objects: usize) -> Facts {
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
    /// Whether this object cannot belong to the report that `facts` are of.
    fn begins_another(&self, facts: &Facts) -> bool {
        let id = self.incident.keep().or_else(|| self.incident_id.keep());
        let id = id.map(|id| id.to_lowercase());
        let other = id.is_some() && facts.incident.is_some() && id != facts.incident;
        let header = !self.bug_type.0.is_empty();
        other || (facts.bodied && (header || self.is_body())) || (facts.headed && header)
    }

    fn is_body(&self) -> bool {
        !self.exception.kind.0.is_empty() || !self.analysis.restart_reason_desc.0.is_empty()
    }

    fn fill(self, facts: &mut Facts) {
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
        put(&mut facts.driver, driver(images, self.shared_cache));
        add_programs(images, facts);
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
        image: image.and_then(|image| parse(image)?.name()),
        symbol: frame.symbol.keep(),
        offset: frame.symbol_location.0,
        image_offset: frame.image_offset.0,
    }
}

/// An image that is not an object has no name.
fn parse(image: &RawValue) -> Option<Image<'_>> {
    serde_json::from_str(image.get()).ok()
}

/// Those of `images` whose text holds one of `needles`: few among hundreds, so only
/// these are taken apart.
fn holding<'a>(images: &[&'a RawValue], needles: &[&str]) -> Vec<Image<'a>> {
    let finders: Vec<_> = needles.iter().map(|needle| memmem::Finder::new(*needle)).collect();
    let holds = |image: &&&RawValue| {
        let text = image.get().as_bytes();
        finders.iter().any(|finder| finder.find(text).is_some())
    };
    images.iter().filter(holds).filter_map(|image| parse(image)).collect()
}

/// The first image that is a driver.
fn driver(images: &[&RawValue], cache: Range) -> Option<Driver> {
    holding(images, &[DRIVER]).iter().find_map(|image| image.driver(cache))
}

fn add_programs(images: &[&RawValue], facts: &mut Facts) {
    for image in holding(images, &programs::NEEDLES) {
        let name = image.name().unwrap_or_default();
        let (path, uuid) = (image.path.0.as_ref(), image.uuid.0.as_ref());
        let version = image.short_version.0.as_ref();
        programs::add(&mut facts.programs, &programs::Image { name: &name, path, uuid, version });
    }
}

impl Image<'_> {
    fn name(&self) -> Option<String> {
        let name = self.name.keep().or_else(|| keep(self.path.0.rsplit('/').next()?))?;
        Some(image_name(&name))
    }

    fn driver(&self, cache: Range) -> Option<Driver> {
        let name = self.name()?;
        is_driver(&name).then(|| Driver {
            name,
            version: self.short_version.keep().or_else(|| self.version.keep()),
            uuid: self.uuid.keep().map(|uuid| uuid.to_lowercase()),
            location: self.location(cache),
        })
    }

    /// By the bounds that the report itself gives: the cache's address differs from
    /// Mac to Mac.
    fn location(&self, cache: Range) -> Option<Location> {
        let (base, start) = (self.base.0?, cache.base.0?);
        let end = start.checked_add(cache.size.0?)?;
        Some(if (start..end).contains(&base) { Location::SharedCache } else { Location::File })
    }
}
