//! From facts to a class.
//!
//! One function a kind of exception, each from the narrowest form to the
//! widest. A form that fits only in part falls through to
//! [`Class::OtherGpu`] or [`Class::NotOurs`] and the evidence says so.

use serde::{Deserialize, Serialize};

use super::address::{Access, Fault, is_unmapped};
use super::assertion::Assertion;
use super::class::Class;
use super::facts::{Facts, Form};
use super::gpu_stack;
use agxpatch_core::address::VmAddr;

/// What a class rests on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    /// One sentence, for people.
    pub because: String,
    /// Exception and signal.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub exception: Option<String>,
    /// The faulting address in hexadecimal.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub address: Option<String>,
    /// The address without the bits of a failed pointer authentication.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub authentic_address: Option<String>,
    /// Whether it was read or written.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub access: Option<Access>,
    /// The innermost frame.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub frame: Option<String>,
    /// The image it lies in.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub image: Option<String>,
    /// The thread that died, and its dispatch queue.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub thread: Option<String>,
    /// Which assertion, for [`Class::Assertion`].
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub assertion: Option<Assertion>,
}

impl Evidence {
    /// Evidence that is a sentence and nothing else.
    pub fn because(reason: impl Into<String>) -> Evidence {
        Evidence { because: reason.into(), ..Evidence::default() }
    }
}

/// Faults below this are NULL with an offset: the first page is never mapped.
const NULL_PAGE: u64 = 0x1000;

/// Offsets into `_impl` that the driver's methods are known to use.
const IMPL_OFFSETS: [u64; 6] = [0x98, 0x184, 0x5c8, 0x5d8, 0x5f4, 0x638];

/// Where a NULL `_impl` is known to be met: part of the innermost frame's
/// symbol, the address where it is known, the class.
const NULL_IMPL: [(&str, Option<u64>, Class); 5] = [
    ("FamilyComputeContext setComputePipelineState:]", Some(0x5c8), Class::NullAtSetPipeline),
    ("::prepareForEnqueue(", Some(0x98), Class::NullAtPrepare),
    ("::allocateUSCSpillBuffer", Some(0x184), Class::NullAtSpill),
    ("dispatchThreads:threadsPerThreadgroup:]", Some(0x5f4), Class::NullAtDispatch),
    ("FamilyComputeContext setBuffer:offset:atIndex:]", None, Class::NullAtSetBuffer),
];

/// Parts of symbols of code that works on a compute encoder's `_impl`.
const ENCODER_CODE: [&str; 4] =
    ["FamilyComputeContext ", "AGX::ComputeContext", "AGX::ContextCommon", "AGX::SpillInfo"];

/// Where a nil pipeline faults, and at which address.
const NIL_PIPELINE: (&str, u64) = ("setPipelineCommon", 0x124);

/// Sorts one report.
pub fn classify(facts: &Facts) -> (Class, Evidence) {
    if let Some(reason) = &facts.broken {
        return (Class::Unreadable, Evidence::because(reason));
    }
    let case = Case::of(facts);
    let (class, because) = case.decide();
    (class, case.evidence(class, because))
}

struct Case<'a> {
    facts: &'a Facts,
    fault: Option<Fault>,
    /// Symbol of the innermost frame.
    top: &'a str,
    in_driver: bool,
    gpu_code: bool,
}

impl<'a> Case<'a> {
    fn of(facts: &'a Facts) -> Case<'a> {
        let top = facts.frames.first();
        Case {
            facts,
            fault: Fault::find(facts.addresses.iter().map(String::as_str)),
            top: top.map_or("", |frame| gpu_stack::symbol(frame, facts.driver.as_ref())),
            in_driver: top.is_some_and(gpu_stack::in_driver),
            gpu_code: facts.frames.iter().any(gpu_stack::in_gpu_code),
        }
    }

    fn decide(&self) -> (Class, String) {
        match self.facts.form {
            Form::GpuEvent => return (Class::GpuRestart, self.restart_reason()),
            Form::Other => {
                let kind = self.facts.bug_type.as_deref().unwrap_or("unknown");
                return (Class::NotOurs, format!("a report of type {kind}, not of a crash"));
            }
            Form::Crash => {}
        }
        if self.facts.namespace == "CODESIGNING" {
            return self.unknown("a kill for code whose signature does not hold");
        }
        match self.facts.exception.as_str() {
            "EXC_BAD_ACCESS" => self.bad_access(),
            "EXC_CRASH" if self.facts.signal == "SIGTRAP" => self.trap(),
            "EXC_CRASH" => self.abort(),
            "EXC_BREAKPOINT" | "EXC_BAD_INSTRUCTION" => self.trap(),
            _ => self.unknown("an exception of no known form"),
        }
    }

    fn restart_reason(&self) -> String {
        match self.facts.messages.first() {
            Some(reason) => format!("the GPU was restarted: {reason}"),
            None => "the GPU was restarted, for a reason the report does not give".into(),
        }
    }

    fn bad_access(&self) -> (Class, String) {
        let invalid = is_unmapped(self.facts.addresses.iter().map(String::as_str));
        let null = self.fault.map(|fault| fault.address).filter(|address| *address < NULL_PAGE);
        let met = null.filter(|_| self.in_driver && invalid);
        if let Some(found) = met.and_then(|address| self.null_in_driver(address)) {
            return found;
        }
        if self.top.starts_with("objc_msgSend") && null.is_none() && self.gpu_code {
            return (Class::FreedEncoder, self.freed_encoder());
        }
        self.unknown("a bad access of no known form")
    }

    fn null_in_driver(&self, address: u64) -> Option<(Class, String)> {
        if self.top.contains(NIL_PIPELINE.0) && address == NIL_PIPELINE.1 {
            let because = "a pipeline that was nil; the encoder itself was alive";
            return Some((Class::NilPipeline, because.into()));
        }
        let known = NULL_IMPL
            .iter()
            .find(|(part, at, _)| self.top.contains(part) && at.is_none_or(|at| at == address));
        if let Some((.., class)) = known {
            return Some((*class, format!("_impl was NULL: the fault is {address:#x} past it")));
        }
        let encoder = ENCODER_CODE.iter().any(|part| self.top.contains(part));
        (encoder && IMPL_OFFSETS.contains(&address)).then(|| {
            let because = format!("{address:#x} is where other methods meet a NULL _impl");
            (Class::NullElsewhere, because)
        })
    }

    fn freed_encoder(&self) -> String {
        let pointer = match self.fault.and_then(|fault| fault.authentic) {
            Some(_) => "whose class pointer failed authentication",
            None => "that is no longer one",
        };
        format!("GPU code sent a message to an object {pointer}")
    }

    fn abort(&self) -> (Class, String) {
        // The runtimes end a process that way too, also long after its launch.
        let payload = self.top.starts_with("__abort_with_payload") && !self.gpu_code;
        let launch = payload || self.facts.namespace == "DYLD";
        if launch {
            return (Class::LaunchAbort, "the loader or the system ended it at launch".into());
        }
        match self.assertion() {
            Some(assertion) => (Class::Assertion, format!("Metal: {}", assertion.title())),
            None => self.unknown("an abort without a Metal assertion"),
        }
    }

    fn trap(&self) -> (Class, String) {
        if self.gpu_code {
            return (Class::Trap, "a trap instruction with GPU code on the stack".into());
        }
        self.unknown("a trap")
    }

    fn unknown(&self, what: &str) -> (Class, String) {
        if self.gpu_code {
            (Class::OtherGpu, format!("{what}, with GPU code on the stack"))
        } else {
            (Class::NotOurs, format!("{what}, and no GPU code on the stack"))
        }
    }

    fn assertion(&self) -> Option<Assertion> {
        let messages = self.facts.messages.iter().map(String::as_str);
        let symbols = self.facts.frames.iter().map(|frame| frame.symbol_name());
        Assertion::in_any(messages.chain(symbols))
    }

    fn evidence(&self, class: Class, because: String) -> Evidence {
        let facts = self.facts;
        let top = facts.frames.first();
        let place = [facts.thread.as_deref(), facts.queue.as_deref()];
        let place: Vec<&str> = place.into_iter().flatten().collect();
        let hexadecimal = |address: u64| VmAddr(address).to_string();
        Evidence {
            because,
            exception: (!facts.exception.is_empty())
                .then(|| format!("{} {}", facts.exception, facts.signal).trim_end().to_owned()),
            address: self.fault.map(|fault| hexadecimal(fault.address)),
            authentic_address: self.fault.and_then(|fault| fault.authentic).map(hexadecimal),
            access: facts.esr.and_then(Access::from_esr),
            frame: top.map(|frame| frame.describe()),
            image: top.and_then(|frame| frame.image.clone()),
            thread: (!place.is_empty()).then(|| place.join(", ")),
            assertion: if class == Class::Assertion { self.assertion() } else { None },
        }
    }
}
