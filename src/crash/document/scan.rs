//! The search for where reports begin and end in a text.

use super::super::facts::Facts;
use super::super::ips::{self, MAX_REPORTS, Stream};
use super::super::text;

/// Keys that begin the header or the body of an `.ips` report, also where a tool sorted
/// them.
const FIRST_KEYS: [&str; 15] = [
    "app_name",
    "bug_type",
    "timestamp",
    "incident",
    "incident_id",
    "name",
    "process_name",
    "process",
    "pid",
    "uptime",
    "asi",
    "bundleInfo",
    "captureTime",
    "analysis",
    "panicString",
];

/// A text is read so often in vain: one of another kind may hold what begins like a
/// report on every line.
const MAX_READINGS: usize = 3;

pub struct Scan<'a> {
    name: &'a str,
    text: &'a str,
    reports: Vec<Facts>,
    /// The text report that is being read.
    open: Option<text::Reader>,
    /// Lines that belong to no report.
    foreign: usize,
    /// Bytes that may still be read in vain.
    budget: usize,
    /// What the first object is that is not a report.
    other: Option<Facts>,
}

impl<'a> Scan<'a> {
    /// The reports in `text`, and the number of lines that belong to none.
    pub fn of(name: &'a str, text: &'a str) -> (Vec<Facts>, usize) {
        let budget = text.len().saturating_mul(MAX_READINGS);
        let reports = Vec::new();
        let mut scan = Scan { name, text, reports, open: None, foreign: 0, budget, other: None };
        scan.run();
        if scan.reports.is_empty() {
            scan.reports.extend(scan.other);
        }
        (scan.reports, scan.foreign)
    }

    fn run(&mut self) {
        let mut at = 0;
        while at < self.text.len() && self.reports.len() < MAX_REPORTS {
            let rest = &self.text[at..];
            let end = rest.find('\n').map_or(rest.len(), |end| end + 1);
            let line = &rest[..end];
            let read = |column: usize| Some(column + self.json(&rest[column..])?);
            if let Some(consumed) = json_starts(line, rest).find_map(read) {
                at += consumed;
                continue;
            }
            self.line(line);
            at += end;
        }
        self.close();
        if at < self.text.len()
            && let Some(last) = self.reports.last_mut()
        {
            last.note(format!("more than {MAX_REPORTS} reports in one file: the rest was left"));
        }
    }

    fn close(&mut self) {
        self.reports.extend(self.open.take().map(text::Reader::finish));
    }

    /// Reads JSON that begins `rest`; how much of it there is. None if it is not a report.
    fn json(&mut self, rest: &str) -> Option<usize> {
        if self.budget == 0 {
            return None;
        }
        let Stream { reports, consumed, looked, broken, .. } = ips::read_text(self.name, rest);
        let is_report = |facts: &Facts| {
            let named = facts.process.is_some() && facts.pid.is_some();
            facts.headed || facts.bodied || facts.incident.is_some() || named
        };
        if !reports.iter().any(is_report) {
            self.budget = self.budget.saturating_sub(looked.max(1));
            self.other = self.other.take().or(reports.into_iter().next());
            return None;
        }
        // The text above ends where the JSON begins.
        self.close();
        self.reports.extend(reports);
        let after = &rest[consumed..];
        Some(if broken { consumed + next_start(after) } else { consumed.max(1) })
    }

    fn line(&mut self, line: &str) {
        let ended = line.ends_with('\n');
        let start = report_line(line);
        if text::is_start(start) || is_incident(start, self.open.as_ref()) {
            let another = match self.open.as_ref() {
                Some(open) => open.has_exception() || (open.has_process() && text::is_start(start)),
                None => true,
            };
            if another {
                self.close();
                self.open = Some(text::Reader::default());
            }
        } else if self.open.is_none() && text::is_fragment(start) {
            self.open = Some(text::Reader::of_fragment());
        }
        match &mut self.open {
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

/// Where in `line`, with which `rest` begins, an object of a report may begin: at its
/// start, also inside a list, or where one of the first keys stands.
fn json_starts(line: &str, rest: &str) -> impl Iterator<Item = usize> {
    let inside = line.trim_start_matches(|c: char| c.is_whitespace() || "[,".contains(c));
    let begin = line.len() - inside.len();
    let is_object = move |at: usize| {
        let inside = rest[at + 1..].trim_start();
        inside.starts_with('"') || inside.starts_with('}') || inside.is_empty()
    };
    let leading = inside.starts_with('{').then_some(begin).filter(|at| is_object(*at));
    let known = line.match_indices('{').map(|(at, _)| at).filter(move |at| *at != begin);
    leading.into_iter().chain(known.filter(|at| is_first_key(&rest[at + 1..])))
}

fn is_first_key(rest: &str) -> bool {
    let key = rest.trim_start().strip_prefix('"');
    key.and_then(|key| key.split_once('"')).is_some_and(|(key, _)| FIRST_KEYS.contains(&key))
}

/// How far it is to the next line that begins a report, after JSON that breaks off.
fn next_start(text: &str) -> usize {
    const HEADERS: usize = 5;
    let is_header = |line: &str| {
        let key = line.trim_start().strip_prefix("{\"").and_then(|key| key.split_once('"'));
        key.is_some_and(|(key, _)| FIRST_KEYS[..HEADERS].contains(&key))
    };
    let mut at = text.find('\n').map_or(text.len(), |end| end + 1);
    for line in text[at..].split_inclusive('\n') {
        if is_header(line) || text::is_start(line) {
            return at;
        }
        at += line.len();
    }
    text.len()
}
