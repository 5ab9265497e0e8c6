//! A file as people have it: reports of either form, and whatever stands around them.
//!
//! A file that macOS wrote is JSON from its first byte to its last and is read as
//! such. In any other file the wrapping is taken off ([`super::cleanup`]) and the
//! lines are searched for where a report begins: an object of JSON, or the `Process:`
//! of the text form. A translated report is both, one below the other, and counts
//! once. What belongs to no report is counted, so that nothing is lost in silence.

mod scan;

use std::borrow::Cow;

use super::facts::{Facts, Form, keep};
use super::ips::{self, HEADER_ALONE};
use super::{cleanup, foreign};
use scan::Scan;

/// The reports in `bytes`, which are a whole file; never none.
pub fn read(name: &str, bytes: &[u8]) -> Vec<Facts> {
    let Some(first) = bytes.iter().find(|byte| !byte.is_ascii_whitespace()) else {
        return vec![Facts::broken("the file is empty")];
    };
    if let Some(reason) = foreign::binary(bytes) {
        return vec![Facts::broken(reason)];
    }
    if *first == b'{' {
        let stream = ips::read(name, bytes);
        let rest = bytes.get(stream.consumed..).unwrap_or_default();
        let read = stream.reports.iter().all(|facts| facts.broken.is_none());
        let whole = read && !stream.broken && !stream.repaired && !stream.reports.is_empty();
        if whole && rest.trim_ascii().is_empty() {
            return judged(stream.reports, || String::from_utf8_lossy(bytes));
        }
    }
    let text = cleanup::cleaned(&cleanup::decode(bytes));
    let (mut found, foreign) = Scan::of(name, &text);
    if found.iter().all(|facts| facts.broken.is_some()) {
        found.extend(text_panic(&text));
    }
    let mut reports = judged(found, || Cow::Borrowed(&text));
    if let Some(report) = reports.first_mut().filter(|_| text.contains('\u{fffd}')) {
        report.note("bytes that are not text were replaced");
    }
    if let Some(report) = reports.first_mut().filter(|_| foreign > 0) {
        report.note(format!("lines of the file that belong to no report: {foreign}"));
    }
    reports
}

/// Whether `bytes` hold what only reports hold.
pub fn looks_like_report(bytes: &[u8]) -> bool {
    const MARKS: [&str; 8] = [
        "panic(cpu ",
        " Crashed:",
        "Exception Type:",
        "bug_type",
        "faultingThread",
        "panicString",
        "Exception Codes:",
        "restart_reason",
    ];
    if foreign::binary(bytes).is_some() {
        return true;
    }
    let text = cleanup::decode(bytes);
    let text = cleanup::opened(&text);
    MARKS.iter().any(|mark| text.contains(mark)) || foreign::tool(&text).is_some()
}

/// The reports, each death once; where there are none, why.
fn judged<'a>(found: Vec<Facts>, text: impl FnOnce() -> Cow<'a, str>) -> Vec<Facts> {
    let mut reports: Vec<Facts> = Vec::new();
    for facts in found {
        match reports.last_mut() {
            Some(last) if is_translation(last, &facts) => merge(last, facts),
            Some(last) if is_header_of(last, &facts) => *last = with_header(facts, last),
            _ => reports.push(facts),
        }
    }
    let understood =
        reports.iter().any(|facts| facts.broken.is_none() && facts.form != Form::Other);
    let tool = if understood { None } else { foreign::tool(&text()) };
    let Some(tool) = tool else {
        if reports.is_empty() {
            reports.push(Facts::broken("neither JSON nor a crash report in text"));
        }
        return reports;
    };
    vec![Facts::broken(&foreign::advice(tool))]
}

/// The message of a panic in text, as macOS wrote it before version 12.
fn text_panic(text: &str) -> Option<Facts> {
    let message = text.lines().find_map(|line| line.find("panic(cpu ").map(|at| &line[at..]))?;
    Some(Facts {
        form: Form::Other,
        bug_type: Some("210".into()),
        messages: keep(message).into_iter().collect(),
        ..Facts::default()
    })
}

/// Whether the text `above` and the JSON `below` tell of one death.
fn is_translation(above: &Facts, below: &Facts) -> bool {
    if !above.is_text || below.is_text {
        return false;
    }
    let same = |a: Option<&str>, b: Option<&str>| a.is_none() || b.is_none() || a == b;
    let pid = above.pid.is_none() || below.pid.is_none() || above.pid == below.pid;
    let second = |facts: &Facts| facts.captured.map(|time| time.as_second());
    // A header alone has the time of writing.
    let time = below.pid.is_none() || second(above) == second(below) || above.captured.is_none();
    same(above.process.as_deref(), below.process.as_deref())
        && same(above.incident.as_deref(), below.incident.as_deref())
        && pid
        && time
}

/// Whether `header` is that of `body`, from which something keeps it apart.
fn is_header_of(header: &Facts, body: &Facts) -> bool {
    let alone = header.broken.as_deref() == Some(HEADER_ALONE);
    let other = header.incident.is_some() && body.incident.is_some();
    alone && body.bodied && !body.headed && (!other || header.incident == body.incident)
}

fn with_header(body: Facts, header: &mut Facts) -> Facts {
    Facts {
        incident: body.incident.or_else(|| header.incident.take()),
        process: body.process.or_else(|| header.process.take()),
        captured: body.captured.or(header.captured),
        os: body.os.or_else(|| header.os.take()),
        ..body
    }
}

/// The JSON tells more, unless it breaks off where the text does not.
fn merge(text: &mut Facts, json: Facts) {
    let incident = json.incident.clone().or_else(|| text.incident.take());
    let breaks_off = json.broken.is_some() || json.incomplete.is_some();
    let keeps_text = breaks_off && text.broken.is_none() && text.incomplete.is_none();
    if keeps_text {
        text.note("the full report below the translated one breaks off; the text was used");
    } else {
        let driver = text.driver.take();
        let captured = text.captured;
        *text = json;
        text.driver = text.driver.take().or(driver);
        text.captured = text.captured.or(captured);
    }
    text.incident = incident;
}
