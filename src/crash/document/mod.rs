//! A file as people have it: reports of either form, and whatever stands around them.
//!
//! A file that macOS wrote is JSON from its first byte to its last and is read as
//! such. In any other file the wrapping is taken off ([`super::cleanup`]) and the
//! lines are searched for where a report begins: an object of JSON, or the `Process:`
//! of the text form. A translated report is both, one below the other, and counts
//! once. What belongs to no report is counted, so that nothing is lost in silence.

use std::borrow::Cow;

use super::facts::{Facts, Form, keep};
use super::ips::{self, MAX_REPORTS, Stream};
use super::{cleanup, foreign, text};

/// What occurs in the header or at the top of the body of an `.ips` report.
const JSON_STARTS: [&str; 8] = [
    "{\"app_name\"",
    "{\"bug_type\"",
    "{\"timestamp\"",
    "{\"incident",
    "{\"name\"",
    "{\"process",
    "{\"pid\"",
    "{\"uptime\"",
];

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
        if !stream.broken && !stream.reports.is_empty() && rest.trim_ascii().is_empty() {
            return judged(stream.reports, || String::from_utf8_lossy(bytes));
        }
    }
    let text = cleanup::cleaned(&cleanup::decode(bytes));
    let mut scan = Scan { name, text: &text, reports: Vec::new(), foreign: 0 };
    scan.run();
    let foreign = scan.foreign;
    if scan.reports.is_empty() {
        scan.reports.extend(text_panic(&text));
    }
    let mut reports = judged(scan.reports, || Cow::Borrowed(&text));
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
    const MARKS: [&str; 7] = [
        "panic(cpu ",
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
    MARKS.iter().any(|mark| text.contains(mark)) || foreign::tool(&text).is_some()
}

/// The reports, each death once; where there are none, why.
fn judged<'a>(found: Vec<Facts>, text: impl FnOnce() -> Cow<'a, str>) -> Vec<Facts> {
    let mut reports: Vec<Facts> = Vec::new();
    for facts in found {
        match reports.last_mut() {
            Some(last) if is_translation(last, &facts) => merge(last, facts),
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

/// The JSON tells more, unless it breaks off where the text does not.
fn merge(text: &mut Facts, json: Facts) {
    let incident = json.incident.clone().or_else(|| text.incident.take());
    let keeps_text = json.broken.is_some() && text.broken.is_none();
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

struct Scan<'a> {
    name: &'a str,
    text: &'a str,
    reports: Vec<Facts>,
    /// Lines that belong to no report.
    foreign: usize,
}

impl Scan<'_> {
    fn run(&mut self) {
        let mut reader: Option<text::Reader> = None;
        let mut at = 0;
        while at < self.text.len() && self.reports.len() < MAX_REPORTS {
            let rest = &self.text[at..];
            let end = rest.find('\n').map_or(rest.len(), |end| end + 1);
            let line = &rest[..end];
            if let Some(column) = json_start(line, rest)
                && let Some(consumed) = self.json(&rest[column..], &mut reader)
            {
                at += column + consumed;
                continue;
            }
            self.line(line, &mut reader);
            at += end;
        }
        self.reports.extend(reader.map(text::Reader::finish));
        if at < self.text.len()
            && let Some(last) = self.reports.last_mut()
        {
            last.note(format!("more than {MAX_REPORTS} reports in one file: the rest was left"));
        }
    }

    /// Reads JSON that begins `rest`; how much of it there is. None if it is not ours.
    fn json(&mut self, rest: &str, reader: &mut Option<text::Reader>) -> Option<usize> {
        let Stream { reports, consumed, broken } = ips::read(self.name, rest.as_bytes());
        let ours = |facts: &Facts| facts.headed || facts.bodied || facts.process.is_some();
        let whole_file = rest.len() == self.text.trim_start().len();
        if !whole_file && !reports.iter().any(ours) {
            return None;
        }
        // The text above ends where the JSON begins.
        self.reports.extend(reader.take().map(text::Reader::finish));
        self.reports.extend(reports);
        let after = &rest[consumed..];
        Some(if broken { consumed + next_start(after) } else { consumed.max(1) })
    }

    fn line(&mut self, line: &str, reader: &mut Option<text::Reader>) {
        let ended = line.ends_with('\n');
        let start = report_line(line);
        if text::is_start(start) || is_incident(start, reader.as_ref()) {
            let another = match reader.as_ref() {
                Some(open) => open.has_exception() || (open.has_process() && text::is_start(start)),
                None => true,
            };
            if another {
                let done = reader.replace(text::Reader::default());
                self.reports.extend(done.map(text::Reader::finish));
            }
        }
        match reader {
            Some(reader) => reader.line(start, ended),
            None => self.foreign += usize::from(!line.trim().is_empty() && !is_frame_of_page(line)),
        }
    }
}

/// An identifier that stands before the process, as in reports of other systems of
/// Apple's, begins a report.
fn is_incident(line: &str, reader: Option<&text::Reader>) -> bool {
    line.trim_start().starts_with("Incident Identifier:")
        && reader.is_none_or(text::Reader::has_exception)
}

/// The heading above a translated report.
fn is_frame_of_page(line: &str) -> bool {
    let line = line.trim();
    line.chars().all(|c| c == '-' || c == '=') || line.contains("Report Below)")
}

/// The line from where a report begins: what a chat puts before it is cut off.
fn report_line(line: &str) -> &str {
    match line.find("Process:") {
        // `Parent Process:` and `Responsible Process:` are fields of their own.
        Some(at) if at > 0 && line.trim_end().ends_with(']') => {
            let before = line[..at].trim_end();
            let other = before.ends_with("Parent") || before.ends_with("Responsible");
            if other { line } else { &line[at..] }
        }
        _ => line,
    }
}

/// Where in `line`, with which `rest` begins, an object of a report may begin.
fn json_start(line: &str, rest: &str) -> Option<usize> {
    let indent = line.len() - line.trim_start().len();
    if line[indent..].starts_with('{') {
        let inside = rest[indent + 1..].trim_start();
        return (inside.starts_with('"') || inside.starts_with('}') || inside.is_empty())
            .then_some(indent);
    }
    JSON_STARTS.iter().filter_map(|start| line.find(start)).min()
}

/// How far it is to the next line that begins a report, after JSON that breaks off.
fn next_start(text: &str) -> usize {
    let mut at = text.find('\n').map_or(text.len(), |end| end + 1);
    for line in text[at..].split_inclusive('\n') {
        let header = JSON_STARTS.iter().take(4).any(|start| line.trim_start().starts_with(start));
        if header || text::is_start(line) {
            return at;
        }
        at += line.len();
    }
    text.len()
}
