//! The fields that are read of an `.ips` report, and nothing else of it.
//!
//! Field names are those of Apple's *Interpreting the JSON format of a crash report*;
//! those of GPU events, which Apple does not document, are as seen in public reports
//! (`analysis.restart_reason_desc`, `process_name`). Threads and images stay text
//! until one of them is needed.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::super::facts::MAX_FRAMES;
use super::super::loose::{First, Messages, Number, Text};

/// Far more than a process has threads or images in practice; what a hostile
/// report can make us keep is bounded by them.
const MAX_THREADS: usize = 4096;
const MAX_IMAGES: usize = 8192;

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
pub struct Object<'a> {
    // The header's.
    #[serde(borrow, rename = "bug_type")]
    pub bug_type: Text<'a>,
    #[serde(borrow, rename = "app_name")]
    pub app_name: Text<'a>,
    #[serde(borrow)]
    pub name: Text<'a>,
    #[serde(borrow)]
    pub timestamp: Text<'a>,
    #[serde(borrow, rename = "os_version")]
    pub os_text: Text<'a>,
    #[serde(borrow, rename = "incident_id")]
    pub incident_id: Text<'a>,
    // The body's.
    #[serde(borrow)]
    pub incident: Text<'a>,
    #[serde(borrow)]
    pub capture_time: Text<'a>,
    #[serde(borrow)]
    pub proc_name: Text<'a>,
    pub pid: Number,
    pub parent_pid: Number,
    #[serde(borrow)]
    pub exception: Exception<'a>,
    #[serde(borrow)]
    pub termination: Termination<'a>,
    #[serde(borrow)]
    pub vm_region_info: Text<'a>,
    pub asi: Messages,
    #[serde(alias = "faulting_thread")]
    pub faulting_thread: Number,
    #[serde(borrow)]
    pub threads: First<&'a RawValue, MAX_THREADS>,
    #[serde(borrow)]
    pub last_exception_backtrace: First<RawFrame<'a>, MAX_FRAMES>,
    #[serde(borrow)]
    pub instruction_byte_stream: ByteStream<'a>,
    #[serde(borrow)]
    pub os_version: OsVersion<'a>,
    pub shared_cache: Range,
    #[serde(borrow)]
    pub sip: Text<'a>,
    pub code_signing_monitor: Number,
    #[serde(borrow, rename = "panicString")]
    pub panic: Text<'a>,
    #[serde(borrow)]
    pub used_images: First<&'a RawValue, MAX_IMAGES>,
    // A GPU event's.
    #[serde(borrow, rename = "process_name")]
    pub gpu_process: Text<'a>,
    #[serde(borrow)]
    pub analysis: Analysis<'a>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
pub struct Exception<'a> {
    #[serde(borrow, rename = "type")]
    pub kind: Text<'a>,
    #[serde(borrow)]
    pub signal: Text<'a>,
    #[serde(borrow)]
    pub subtype: Text<'a>,
    #[serde(borrow)]
    pub codes: Text<'a>,
    /// The same as numbers, which stay where a tool redacts texts.
    #[serde(rename = "rawCodes")]
    pub raw_codes: First<Number, 2>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
pub struct Termination<'a> {
    #[serde(borrow)]
    pub namespace: Text<'a>,
    #[serde(borrow)]
    pub indicator: Text<'a>,
    pub reasons: Messages,
    pub details: Messages,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
pub struct Thread<'a> {
    #[serde(borrow)]
    pub name: Text<'a>,
    #[serde(borrow)]
    pub queue: Text<'a>,
    #[serde(borrow)]
    pub frames: First<RawFrame<'a>, MAX_FRAMES>,
    pub thread_state: State,
}

/// What marks the thread that died where no index names it.
#[derive(Deserialize, Default)]
#[serde(default)]
pub struct Mark {
    pub triggered: bool,
}

#[derive(Deserialize, Default)]
#[serde(default)]
pub struct State {
    pub x: First<Register, 29>,
    pub fp: Register,
    pub lr: Register,
    pub pc: Register,
    pub far: Register,
    pub esr: Register,
}

/// The code around the program counter, in base 64.
#[derive(Deserialize, Default)]
#[serde(default)]
pub struct ByteStream<'a> {
    #[serde(borrow, rename = "atPC")]
    pub at_pc: Text<'a>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
pub struct OsVersion<'a> {
    #[serde(borrow)]
    pub train: Text<'a>,
    #[serde(borrow)]
    pub build: Text<'a>,
}

#[derive(Clone, Copy, Deserialize, Default)]
#[serde(default)]
pub struct Range {
    pub base: Number,
    pub size: Number,
}

#[derive(Deserialize, Default)]
#[serde(default)]
pub struct Register {
    pub value: Number,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
pub struct RawFrame<'a> {
    pub image_index: Number,
    pub image_offset: Number,
    #[serde(borrow)]
    pub symbol: Text<'a>,
    pub symbol_location: Number,
}

#[derive(Deserialize, Default)]
#[serde(default)]
pub struct Image<'a> {
    pub base: Number,
    #[serde(borrow)]
    pub name: Text<'a>,
    #[serde(borrow)]
    pub path: Text<'a>,
    #[serde(borrow)]
    pub uuid: Text<'a>,
    #[serde(borrow, rename = "CFBundleShortVersionString")]
    pub short_version: Text<'a>,
    #[serde(borrow, rename = "CFBundleVersion")]
    pub version: Text<'a>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
pub struct Analysis<'a> {
    #[serde(borrow)]
    pub process_name: Text<'a>,
    #[serde(borrow)]
    pub restart_reason_desc: Text<'a>,
}
