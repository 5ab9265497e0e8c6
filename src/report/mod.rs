//! One result, shown to a person or to a machine.
//!
//! A command computes a value that implements [`Report`]; this module prints
//! it. Text goes through `anstream`, which drops the colours where the other
//! side is not a terminal or `NO_COLOR` is set. JSON is one object with a schema
//! name that ends in a version; fields are added within a version, and removed
//! or changed only with a new one.

pub mod page;
mod printable;
pub mod style;

use std::io::{self, Write};

use serde::Serialize;

use agxpatch_core::check::{Check, Status};
use agxpatch_core::error::{Code, Error, Result};
use agxpatch_core::exit::Exit;

use printable::Escaped;
pub use printable::{printable, screened};

/// A command's result.
pub trait Report: Serialize {
    /// Name and version of the JSON form, such as `agxpatch.inspect/1`.
    const SCHEMA: &'static str;

    /// How the program ends with this result.
    fn exit(&self) -> Exit {
        Exit::Success
    }

    /// Writes the form for people, with ANSI colours from [`style`].
    fn text(&self, out: &mut dyn Write) -> io::Result<()>;
}

/// How results are to be shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

#[derive(Serialize)]
struct Envelope<'a, T: Serialize> {
    schema: &'static str,
    exit: Exit,
    result: &'a T,
}

#[derive(Serialize)]
struct ErrorEnvelope<'a> {
    schema: &'static str,
    exit: Exit,
    error: &'a Error,
}

/// Prints `report` on standard output and returns its exit code. A reader that
/// went away is not an error.
pub fn show<R: Report>(report: &R, format: Format) -> Result<Exit> {
    match format {
        Format::Text => print(|out| report.text(out))?,
        Format::Json => {
            let envelope = Envelope { schema: R::SCHEMA, exit: report.exit(), result: report };
            delivered(json_line(&mut io::stdout().lock(), &envelope))?;
        }
    }
    Ok(report.exit())
}

/// Writes text on standard output, whole and at once, such as what a question is
/// about. A reader that went away is not an error.
pub fn print(text: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<()> {
    let mut made = Vec::new();
    let written = text(&mut made).and_then(|()| {
        let stdout = io::stdout();
        let colours = anstream::AutoStream::choice(&stdout);
        let mut out = anstream::AutoStream::new(Vec::new(), colours);
        out.write_all(screened(&String::from_utf8_lossy(&made)).as_bytes())?;
        stdout.lock().write_all(&out.into_inner())
    });
    delivered(written)
}

fn delivered(written: io::Result<()>) -> Result<()> {
    match written.and_then(|()| io::stdout().flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Error::new(Code::WriteFailed, "standard output cannot be written")
                .with("reason", error)
                .next("check that its destination has free space"))
        }
        _ => Ok(()),
    }
}

/// The JSON form of `report`, laid out over several lines for a file.
pub fn json<R: Report>(report: &R) -> Result<String> {
    let envelope = Envelope { schema: R::SCHEMA, exit: report.exit(), result: report };
    let text = serde_json::to_string_pretty(&envelope).map_err(|reason| {
        Error::new(Code::Bug, "a result has no JSON form").with("reason", reason)
    })?;
    Ok(text + "\n")
}

/// Prints an error: for people on standard error, as JSON on standard output,
/// where a script that asked for JSON looks.
pub fn show_error(error: &Error, format: Format) -> Exit {
    let printed = match format {
        Format::Text => write!(anstream::stderr(), "{}", screened(&render_error(error))),
        Format::Json => {
            let envelope = ErrorEnvelope { schema: "agxpatch.error/1", exit: error.exit(), error };
            json_line(&mut anstream::stdout(), &envelope)
        }
    };
    // Standard error is closed: there is nowhere to report this.
    drop(printed);
    error.exit()
}

/// The text form of an error.
pub fn render_error(error: &Error) -> String {
    let said = printable(&error.to_string());
    let mut text = format!("{}agxpatch:{} {said}\n", style::BAD, style::RESET);
    for (name, value) in error.context() {
        let mut lines = value.lines().map(one_line);
        text.push_str(&format!("  {name}: {}\n", lines.next().unwrap_or_default()));
        lines.for_each(|line| text.push_str(&format!("    {line}\n")));
    }
    if let Some(advice) = error.what_next() {
        let advice = printable(advice);
        text.push_str(&format!("  {}next:{} {advice}\n", style::STRONG, style::RESET));
    }
    text
}

/// A line of a fact, printable, and no longer than a reader has patience for: the
/// file it is of may have been one line.
fn one_line(line: &str) -> String {
    const PATIENCE: usize = 500;
    let mut shown: String = printable(line).chars().take(PATIENCE).collect();
    if line.chars().nth(PATIENCE).is_some() {
        shown.push('…');
    }
    shown
}

/// Writes checks one a line, aligned, the way every verifier shows them.
pub fn checks(out: &mut dyn Write, checks: &[Check]) -> io::Result<()> {
    let width = checks.iter().map(|check| check.name.len()).max().unwrap_or(0);
    for check in checks {
        let colour = match check.status {
            Status::Pass => style::GOOD,
            Status::Fail => style::BAD,
            Status::Skipped => style::FAINT,
        };
        writeln!(
            out,
            "  {colour}{:<7}{} {:<width$}  {}",
            check.status,
            style::RESET,
            check.name,
            printable(&check.detail)
        )?;
    }
    Ok(())
}

fn json_line(out: &mut dyn Write, value: &impl Serialize) -> io::Result<()> {
    let mut line = serde_json::Serializer::with_formatter(Vec::new(), Escaped);
    value.serialize(&mut line)?;
    let mut line = line.into_inner();
    line.push(b'\n');
    out.write_all(&line)
}
