//! Processes that ended themselves: Metal's assertions, command buffers that failed,
//! exceptions that were not caught.

use super::super::assertion::{Assertion, ByMethod};
use super::super::class::Class;
use super::super::command_failure::CommandFailure;
use super::super::evidence::{Ground, Sureness};
use super::super::facts::{Facts, Frame};
use super::super::stack::{self, Layer};
use super::{Case, Verdict};

/// Functions of IOGPU that keep the commands and resources of a command buffer.
const STORAGE: [&str; 3] =
    ["IOGPUMetalCommandBufferStorage", "IOGPUResourceList", "IOGPUResourceGroup"];

/// Functions through which Metal ends a process.
const REPORTS: [&str; 3] = ["MTLReportFailure", "MTLReleaseAssertionFailure", "__assert_rtn"];

impl Case<'_> {
    pub(super) fn abort(&self) -> Verdict {
        // The runtimes end a process that way too, also long after its launch.
        let payload = self.top.starts_with("__abort_with_payload") && !self.gpu_code;
        if payload || self.facts.namespace == "DYLD" {
            let because = "the loader or the system ended it at launch";
            return Verdict::new(Class::LaunchAbort, Sureness::Certain, because)
                .resting_on([Ground::Text]);
        }
        self.command_failed()
            .or_else(|| self.assertion())
            .or_else(|| self.storage("an assertion"))
            .or_else(|| self.misdirected())
            .or_else(|| self.heap())
            .or_else(|| self.thrown())
            .unwrap_or_else(|| self.unknown(self.how_it_ended()))
    }

    fn how_it_ended(&self) -> &'static str {
        let has = |name: &str| self.frames.iter().any(|frame| frame.symbol_name().contains(name));
        if has("__cxa_throw") || has("_objc_terminate") || has("std::terminate") {
            "an exception that was not caught"
        } else if self.facts.signal == "SIGKILL" {
            "a kill"
        } else {
            "an abort without a Metal assertion"
        }
    }

    fn command_failed(&self) -> Option<Verdict> {
        let symbols = self.frames.iter().map(Frame::symbol_name);
        let texts = self.facts.messages.iter().map(String::as_str);
        let failure = CommandFailure::find(texts, symbols)?;
        let because = format!("a command buffer failed: {}", failure.title());
        let sure = match failure {
            CommandFailure::Unnamed => Sureness::Likely,
            _ => Sureness::Certain,
        };
        let verdict = Verdict::new(Class::CommandFailed, sure, because).resting_on([Ground::Text]);
        Some(Verdict { failure: Some(failure), ..verdict })
    }

    fn assertion(&self) -> Option<Verdict> {
        let asserts = |frame: &Frame| {
            let symbol = frame.symbol_name();
            REPORTS.iter().any(|report| symbol.starts_with(report))
        };
        let at = self.frames.iter().rposition(asserts);
        // The method that asserts calls the function that reports.
        let below = at.and_then(|at| self.frames.get(at + 1..)).unwrap_or_default();
        let method = below
            .iter()
            .find(|frame| !asserts(frame))
            .filter(|frame| matches!(stack::layer(frame), Layer::Driver | Layer::Metal));
        let messages = self.facts.messages.iter().map(String::as_str);
        let text = Assertion::in_any(messages.clone());
        let by_method = method.and_then(|frame| Assertion::of_method(frame.symbol_name()));
        if let Some(assertion) = text.filter(|text| *text != Assertion::Unnamed) {
            let because = match quoted(self.facts) {
                Some(text) => format!("Metal: {} ({text})", assertion.title()),
                None => format!("Metal: {}", assertion.title()),
            };
            return Some(found(assertion, Sureness::Certain, because, Ground::Text));
        }
        if let Some(ByMethod { assertion, doing }) = by_method {
            let because = format!("Metal: {}, while {doing}", assertion.title());
            return Some(found(assertion, Sureness::Likely, because, Ground::Callers));
        }
        let symbols = self.frames.iter().map(Frame::symbol_name);
        let named = Assertion::in_any(messages.chain(symbols))?;
        let because = match (quoted(self.facts), method) {
            (Some(text), _) => format!("Metal: {} ({text})", named.title()),
            (None, Some(frame)) => format!("Metal: {}, in {}", named.title(), frame.describe()),
            (None, None) => format!("Metal: {}", named.title()),
        };
        let doubt = match named {
            Assertion::EncoderNotEnded if text.is_none() => ", or committed twice",
            _ => "",
        };
        Some(found(named, Sureness::Likely, because + doubt, Ground::Callers))
    }

    /// IOGPU found its own storage inconsistent.
    pub(super) fn storage(&self, what: &str) -> Option<Verdict> {
        let (frame, layer) = self.culprit?;
        let symbol = frame.symbol_name();
        let storage = STORAGE.iter().any(|part| symbol.starts_with(part));
        (storage && layer == Layer::Metal).then(|| {
            let because = format!(
                "{what} in {symbol}, which keeps a command buffer's commands: two threads \
                 encoding on one command buffer do that"
            );
            Verdict::new(Class::CommandStorage, Sureness::Likely, because)
                .resting_on([Ground::Frame, Ground::Callers])
        })
    }

    /// An exception of Objective-C's, thrown elsewhere than where the process ended.
    fn thrown(&self) -> Option<Verdict> {
        let (frame, layer) = stack::culprit(&self.facts.thrown)?;
        let what = frame.describe();
        let verdict = match layer {
            Layer::Program if self.gpu_code || self.facts.thrown.iter().any(stack::in_gpu_code) => {
                let because = format!("an exception thrown in {what}, the program's own code");
                Verdict::new(Class::ProgramCode, Sureness::Likely, because)
            }
            Layer::Program => return None,
            Layer::Backend => {
                let because = format!("an exception thrown in {what}, which is not Apple's code");
                Verdict::new(Class::GpuBackend, Sureness::Certain, because)
            }
            _ => {
                let because = format!("an exception thrown in {what} was not caught");
                Verdict::new(Class::GpuException, Sureness::Certain, because)
            }
        };
        Some(verdict.resting_on([Ground::Thrown]))
    }
}

fn found(assertion: Assertion, sure: Sureness, because: String, ground: Ground) -> Verdict {
    let verdict = Verdict::new(Class::Assertion, sure, because).resting_on([ground]);
    Verdict { assertion: Some(assertion), ..verdict }
}

/// The text of the assertion, between its quotes.
fn quoted(facts: &Facts) -> Option<&str> {
    facts.messages.iter().find_map(|message| {
        let (_, rest) = message.split_once("failed assertion `")?;
        Some(rest.split('\'').next().unwrap_or(rest)).filter(|text| !text.is_empty())
    })
}
