//! A run as a page.
//!
//! Rates are drawn with their intervals, because a bar without one promises what few
//! trials cannot keep; every figure stands in the table below the drawing.

use std::fmt::Write;

use super::comparison::{Account, Comparison, Difference};
use super::report::Counted;
use super::statistics::Interval;
use super::text::p_number;
use crate::report::page::{Frame, escape};

/// Size of the drawing, in CSS pixels: names to the left, and a line for each of them.
const NAMES: f64 = 200.0;
const WIDTH: f64 = 660.0;
const LINE: f64 = 30.0;

/// The page as HTML. `headline` is one sentence with what was run.
pub fn html(counted: &Counted<'_>, headline: &str) -> String {
    let report = counted.report;
    let (machine, command) = (&report.machine, report.subject.command.join(" "));
    let made = format!(
        "{command}; {} {} on {}, {} cores; {} to {}",
        machine.system,
        machine.kernel,
        machine.architecture,
        machine.cores,
        report.began,
        report.ended
    );
    let frame = Frame { title: "Stress test", lead: headline, made: &made };
    frame.around(|out| contents(out, counted))
}

fn contents(out: &mut String, counted: &Counted<'_>) -> std::fmt::Result {
    let report = counted.report;
    chart(out, &counted.accounts)?;
    let unit = if report.subject.measures { "ops a second" } else { "runs a second" };
    accounts(out, &counted.accounts, unit)?;
    comparisons(out, &counted.comparisons)?;
    writeln!(out, "<h2>Notes</h2>\n<ul>")?;
    for note in report.notes(&counted.accounts) {
        writeln!(out, "<li>{}</li>", escape(&note))?;
    }
    writeln!(out, "</ul>")
}

/// The rate of crashes of each configuration, and its interval as a line.
fn chart(out: &mut String, accounts: &[Account]) -> std::fmt::Result {
    const BAR: f64 = 14.0;
    let height = LINE * accounts.len() as f64 + 20.0;
    writeln!(
        out,
        "<svg viewBox=\"0 0 {} {height}\" role=\"img\" \
         aria-label=\"Crashed trials of each configuration, with 95 % intervals\">",
        NAMES + WIDTH + 20.0
    )?;
    let x = |rate: f64| NAMES + rate * WIDTH;
    for percent in [0, 25, 50, 75, 100] {
        let at = x(f64::from(percent) / 100.0);
        writeln!(
            out,
            "<line class=\"grid\" x1=\"{at}\" x2=\"{at}\" y1=\"0\" y2=\"{bottom}\"/>\
             <text class=\"tick\" x=\"{at}\" y=\"{height}\" text-anchor=\"middle\">{percent} %</text>",
            bottom = height - 16.0
        )?;
    }
    for (number, account) in accounts.iter().enumerate() {
        let top = LINE * number as f64 + 6.0;
        let middle = top + BAR / 2.0;
        let Interval { low, high } = account.crash_interval;
        writeln!(
            out,
            "<text class=\"tick\" x=\"{name}\" y=\"{text}\" text-anchor=\"end\">{label}</text>\
             <rect class=\"f0\" x=\"{NAMES}\" y=\"{top}\" width=\"{width:.1}\" height=\"{BAR}\"/>\
             <line x1=\"{low:.1}\" x2=\"{high:.1}\" y1=\"{middle}\" y2=\"{middle}\" \
             stroke=\"currentColor\" stroke-width=\"2\"/>",
            name = NAMES - 10.0,
            text = middle + 4.0,
            label = escape(&account.label()),
            width = account.crashes.rate() * WIDTH,
            low = x(low),
            high = x(high),
        )?;
    }
    writeln!(out, "</svg>")
}

fn accounts(out: &mut String, accounts: &[Account], unit: &str) -> std::fmt::Result {
    writeln!(
        out,
        "<h2>Configurations</h2>\n<div class=\"table\"><table>\n<tr><th>configuration</th>\
         <th class=\"n\">crashed</th><th class=\"n\">95 %</th><th class=\"n\">incomplete</th>\
         <th class=\"n\">{unit}</th><th class=\"n\">95 %</th></tr>"
    )?;
    for account in accounts {
        let rate = account.throughput.map_or("-".to_owned(), |rate| format!("{:.1}", rate.mean));
        let range = account.throughput.and_then(|rate| rate.interval);
        writeln!(
            out,
            "<tr><td>{}</td><td class=\"n\">{} of {}</td><td class=\"n\">{}</td>\
             <td class=\"n\">{} of {}</td><td class=\"n\">{rate}</td><td class=\"n\">{}</td></tr>",
            escape(&account.label()),
            account.crashes.count,
            account.crashes.of,
            span(account.crash_interval, 100.0) + " %",
            account.failures.count,
            account.failures.of,
            range.map_or(String::new(), |range| span(range, 1.0)),
        )?;
    }
    writeln!(out, "</table></div>")
}

fn comparisons(out: &mut String, comparisons: &[Comparison]) -> std::fmt::Result {
    if comparisons.is_empty() {
        return Ok(());
    }
    let p = if comparisons.len() > 1 { "corrected p" } else { "p" };
    writeln!(
        out,
        "<h2>Comparisons</h2>\n<div class=\"table\"><table>\n<tr><th>configuration</th>\
         <th>against</th><th>of</th><th class=\"n\">difference</th><th class=\"n\">interval</th>\
         <th class=\"n\">{p}</th><th></th></tr>"
    )?;
    for each in comparisons {
        for (what, difference) in [("crashes", &each.crashes), ("incomplete", &each.failures)] {
            writeln!(
                out,
                "<tr><td>{}</td><td>{}</td><td>{what}</td><td class=\"n\">{:+.1} points</td>\
                 <td class=\"n\">{}</td><td class=\"n\">{}</td><td>{}</td></tr>",
                escape(&each.configuration),
                escape(&each.reference),
                difference.value * 100.0,
                span(difference.interval, 100.0),
                p_number(difference.adjusted_p),
                word(difference),
            )?;
        }
        throughput(out, each)?;
    }
    writeln!(out, "</table></div>")
}

/// The row of a comparison's throughput, where both sides have one.
fn throughput(out: &mut String, comparison: &Comparison) -> std::fmt::Result {
    let Some(ratio) = &comparison.throughput else { return Ok(()) };
    let range = ratio.interval.map(|Interval { low, high }| format!("{low:.2} to {high:.2}"));
    writeln!(
        out,
        "<tr><td>{}</td><td>{}</td><td>throughput</td><td class=\"n\">x {:.2}</td>\
         <td class=\"n\">{}</td><td class=\"n\">{}</td><td></td></tr>",
        escape(&comparison.configuration),
        escape(&comparison.reference),
        ratio.value,
        range.unwrap_or_default(),
        ratio.adjusted_p.or(ratio.p).map_or(String::new(), p_number),
    )
}

fn word(difference: &Difference) -> &'static str {
    match difference {
        Difference { significant: false, .. } => "not significant",
        Difference { value, .. } if *value < 0.0 => "significantly fewer",
        _ => "significantly more",
    }
}

fn span(interval: Interval, scale: f64) -> String {
    format!("{:.1} to {:.1}", interval.low * scale, interval.high * scale)
}
