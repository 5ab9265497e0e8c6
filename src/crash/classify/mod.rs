//! From facts to a class.
//!
//! One file a kind of exception, each from the narrowest form to the widest. A form
//! that fits only in part falls through to [`Class::OtherGpu`], [`Class::ProgramCode`]
//! or [`Class::Unrelated`], and the evidence says so.

mod abort;
mod bad_access;
mod freed;

use super::address::{Access, Fault};
use super::assertion::Assertion;
use super::class::Class;
use super::command_failure::CommandFailure;
use super::evidence::{Evidence, Ground, Sureness};
use super::facts::{Facts, Form, Frame};
use super::stack::{self, Layer};
use agxpatch_core::address::VmAddr;

/// A class, and why.
struct Verdict {
    class: Class,
    because: String,
    sureness: Sureness,
    rests_on: Vec<Ground>,
    assertion: Option<Assertion>,
    failure: Option<CommandFailure>,
}

impl Verdict {
    fn new(class: Class, sureness: Sureness, because: impl Into<String>) -> Verdict {
        let because = because.into();
        let (assertion, failure) = (None, None);
        Verdict { class, because, sureness, rests_on: Vec::new(), assertion, failure }
    }

    fn resting_on(self, rests_on: impl Into<Vec<Ground>>) -> Verdict {
        Verdict { rests_on: rests_on.into(), ..self }
    }
}

/// Sorts one report.
pub fn classify(facts: &Facts) -> (Class, Evidence) {
    if let Some(reason) = &facts.broken {
        return (Class::Unreadable, Evidence::because(reason));
    }
    let case = Case::of(facts);
    let verdict = case.decide();
    (verdict.class, case.evidence(verdict))
}

struct Case<'a> {
    facts: &'a Facts,
    /// The frames of the thread, without a signal handler above them.
    frames: &'a [Frame],
    /// The name of the handler, where one ran.
    handler: Option<String>,
    fault: Option<Fault>,
    /// Symbol of the innermost frame.
    top: &'a str,
    /// The frame the crash is put down to.
    culprit: Option<(&'a Frame, Layer)>,
    gpu_code: bool,
}

impl<'a> Case<'a> {
    fn of(facts: &'a Facts) -> Case<'a> {
        let handled = stack::below_handler(&facts.frames);
        let (frames, handler) = match handled {
            Some((below, handler)) => {
                let name = handler.map_or("a signal handler", |frame| frame.symbol_name());
                (below, Some(name.to_owned()))
            }
            None => (facts.frames.as_slice(), None),
        };
        let top = frames.first();
        Case {
            facts,
            frames,
            handler,
            fault: Fault::find(facts.addresses.iter().map(String::as_str))
                .or_else(|| facts.registers.far.map(Fault::of_register)),
            top: top.map_or("", |frame| stack::symbol(frame, facts.driver.as_ref())),
            culprit: stack::culprit(frames),
            gpu_code: frames.iter().any(stack::in_gpu_code),
        }
    }

    fn decide(&self) -> Verdict {
        match self.facts.form {
            Form::GpuEvent => return self.restart(),
            Form::Other => return self.other_report(),
            Form::Crash => {}
        }
        if self.facts.namespace == "CODESIGNING" {
            return self.unknown("a kill for code whose signature is not valid");
        }
        if self.frames.first().is_some_and(|top| *top == Frame::default()) {
            return self.without_top();
        }
        if let Some(verdict) = self.compiler() {
            return verdict;
        }
        if self.handler.is_some() && !self.ended_itself() {
            return self.handled();
        }
        match self.facts.exception.as_str() {
            "EXC_BAD_ACCESS" => self.bad_access(),
            "EXC_CRASH" if self.facts.signal == "SIGTRAP" => self.trap(),
            "EXC_CRASH" => self.abort(),
            "EXC_BREAKPOINT" | "EXC_BAD_INSTRUCTION" => self.trap(),
            _ => self.unknown("an exception of no known form"),
        }
    }

    fn restart(&self) -> Verdict {
        let because = match self.facts.messages.first() {
            Some(reason) => format!("the GPU was restarted: {reason}"),
            None => "the GPU was restarted, for a reason the report does not give".into(),
        };
        Verdict::new(Class::GpuRestart, Sureness::Certain, because).resting_on([Ground::Text])
    }

    fn other_report(&self) -> Verdict {
        const GPU: [&str; 5] = ["AGX", "IOGPU", "GFX", "gpu_", "Metal"];
        let panic = self.facts.messages.iter().find(|text| text.starts_with("panic("));
        if panic.is_some_and(|text| GPU.iter().any(|part| text.contains(part))) {
            let because = "the kernel panicked, and its message names the GPU's driver";
            return Verdict::new(Class::GpuPanic, Sureness::Likely, because)
                .resting_on([Ground::Text]);
        }
        let kind = self.facts.bug_type.as_deref().unwrap_or("unknown");
        let what = match kind {
            "210" => " (a kernel panic)",
            "288" => " (a hang)",
            "298" => " (memory pressure)",
            "142" | "202" => " (use of the processor or the disk)",
            _ => "",
        };
        let because = format!("a report of type {kind}{what}, not of a crash");
        Verdict::new(Class::Unrelated, Sureness::Certain, because)
    }

    /// The frame that would decide was lost on the way.
    fn without_top(&self) -> Verdict {
        let class = if self.gpu_code { Class::OtherGpu } else { Class::Unrelated };
        let because = "the innermost frame is missing from the report, so its class is not known";
        Verdict::new(class, Sureness::Possible, because).resting_on([Ground::Callers])
    }

    /// The compiler runs in a process of its own, or in the program.
    fn compiler(&self) -> Option<Verdict> {
        // The service does nothing else, whichever library it dies in.
        if self.facts.process.as_deref() == Some("MTLCompilerService") {
            let because = "Metal's shader compiler service, MTLCompilerService, died";
            return Some(
                Verdict::new(Class::ShaderCompiler, Sureness::Certain, because)
                    .resting_on([Ground::Callers]),
            );
        }
        let (frame, _) = self.culprit.filter(|(_, layer)| *layer == Layer::Compiler)?;
        let because = format!("Metal's shader compiler died in {}", frame.image_name());
        let verdict = Verdict::new(Class::ShaderCompiler, Sureness::Certain, because);
        Some(verdict.resting_on([Ground::Frame]))
    }

    /// Whether below the handler stands the end of the process, not what it died of.
    fn ended_itself(&self) -> bool {
        const ENDS: [&str; 4] = ["__pthread_kill", "abort", "__assert_rtn", "__abort_with_payload"];
        ENDS.contains(&self.top)
            || (self.facts.exception == "EXC_BAD_ACCESS" && self.fault.is_some())
    }

    /// A handler ran, so exception and address are of its own death or of none.
    fn handled(&self) -> Verdict {
        let handler = self.handler.as_deref().unwrap_or("a signal handler");
        let signal = Some(self.facts.signal.as_str()).filter(|signal| !signal.is_empty());
        let what = format!("{handler} passed on {}", signal.unwrap_or("the signal"));
        if !self.blames_gpu_code() {
            return self.unknown(&what);
        }
        if self.facts.signal == "SIGTRAP" {
            return self.trap();
        }
        let mut because = format!("{what}; the report no longer has the address of the bad access");
        if bad_access::meets_null_impl(self.top) {
            because.push_str("; other crashes in this method are of a NULL _impl");
        }
        Verdict::new(Class::HandledBadAccess, Sureness::Likely, because)
            .resting_on([Ground::Callers])
    }

    fn trap(&self) -> Verdict {
        if let Some(verdict) = self.heap() {
            return verdict;
        }
        if self.blames_gpu_code() {
            let because = match self.facts.messages.iter().find(|text| text.starts_with("BUG IN "))
            {
                Some(text) => format!("a trap instruction with GPU code on the stack: {text}"),
                None => "a trap instruction with GPU code on the stack".to_owned(),
            };
            return Verdict::new(Class::Trap, Sureness::Likely, because)
                .resting_on([Ground::Callers]);
        }
        self.unknown("a trap")
    }

    /// Whether the crash is put down to code that drives the GPU.
    fn blames_gpu_code(&self) -> bool {
        match self.culprit {
            Some((_, layer)) => !matches!(layer, Layer::Program),
            None => false,
        }
    }

    /// No known form: whose code it is can be said nevertheless.
    fn unknown(&self, what: &str) -> Verdict {
        let verdict = |class, because| Verdict::new(class, Sureness::Possible, because);
        let named = |frame: &Frame| frame.describe();
        match self.culprit {
            Some((frame, Layer::Backend)) => verdict(
                Class::GpuBackend,
                format!("{what} in {}, which is not Apple's code", named(frame)),
            ),
            Some((frame, Layer::Program)) if self.gpu_code => verdict(
                Class::ProgramCode,
                format!("{what} in {}, the program's own code", named(frame)),
            ),
            _ if self.gpu_code => {
                verdict(Class::OtherGpu, format!("{what}, with GPU code on the stack"))
            }
            _ => verdict(Class::Unrelated, format!("{what}, and no GPU code on the stack")),
        }
        .resting_on([Ground::Callers])
    }

    fn evidence(&self, verdict: Verdict) -> Evidence {
        let facts = self.facts;
        let top = self.frames.first();
        let place = [facts.thread.as_deref(), facts.queue.as_deref()];
        let place: Vec<&str> = place.into_iter().flatten().collect();
        let hexadecimal = |address: u64| VmAddr(address).to_string();
        // Registers and address are those of the handler's own end.
        let fault = self.fault.filter(|_| self.handler.is_none() && facts.exception != "EXC_CRASH");
        let caller = self.culprit.map(|(frame, _)| frame.describe());
        let frame = top.map(Frame::describe);
        Evidence {
            because: verdict.because,
            sureness: verdict.sureness,
            rests_on: verdict.rests_on,
            exception: (!facts.exception.is_empty())
                .then(|| format!("{} {}", facts.exception, facts.signal).trim_end().to_owned()),
            address: fault.map(|fault| hexadecimal(fault.address)),
            authentic_address: fault.and_then(|fault| fault.authentic).map(hexadecimal),
            access: self.access(),
            called_by: caller.filter(|caller| Some(caller) != frame.as_ref()),
            frame,
            image: top.and_then(|frame| frame.image.clone()),
            thread: (!place.is_empty()).then(|| place.join(", ")),
            assertion: verdict.assertion,
            failure: verdict.failure,
        }
    }

    fn access(&self) -> Option<Access> {
        let esr = self.facts.registers.esr.and_then(Access::from_esr);
        esr.or_else(|| self.memory_access().map(|memory| memory.access))
            .filter(|_| self.facts.exception == "EXC_BAD_ACCESS")
    }
}
