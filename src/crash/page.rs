//! A page that shows counts over time.
//!
//! Every figure of the chart stands in a table below it too. All text from reports
//! passes [`escape`].

use std::fmt::Write;

use jiff::civil::Date;

use super::{BuildCount, Family, NamedCount, Summary};
use crate::report::page::{Frame, escape};

/// What the page shows.
pub struct Page<'a> {
    /// One sentence with the totals.
    pub headline: &'a str,
    /// When and from what it was made.
    pub made: &'a str,
    /// The counts.
    pub summary: &'a Summary,
    /// Whether there was a mark that anything can be new since.
    pub marked: bool,
    /// What could not be read: path and reason.
    pub unreadable: &'a [(String, String)],
}

/// Size of the chart's plotting area, and its margins, in CSS pixels.
const WIDTH: f64 = 860.0;
const HEIGHT: f64 = 220.0;
const LEFT: f64 = 44.0;
const RIGHT: f64 = 8.0;
const TOP: f64 = 12.0;
const BOTTOM: f64 = 30.0;
/// Most bars drawn; beyond it days share a bar.
const MAX_BARS: i64 = 90;

/// Rows of a table that are written out.
const MAX_ROWS: usize = 50;

/// The page as HTML.
pub fn html(page: &Page) -> String {
    let frame = Frame { title: "Crash reports", lead: page.headline, made: page.made };
    frame.around(|out| contents(out, page))
}

fn contents(out: &mut String, page: &Page) -> std::fmt::Result {
    if !page.summary.days.is_empty() {
        legend(out, page.summary)?;
        chart(out, page.summary)?;
    }
    let new = New { marked: page.marked };
    classes(out, &new, page.summary)?;
    names(out, &new, ["By process", "process"], &page.summary.processes)?;
    names(out, &new, ["By driver", "driver"], &page.summary.drivers)?;
    builds(out, ["By macOS and driver", "macOS and driver"], &page.summary.builds)?;
    builds(out, ["By program and version", "program"], &page.summary.programs)?;
    unreadable(out, page.unreadable)
}

/// Days that share a bar.
struct Bucket {
    first: Date,
    last: Date,
    families: [u64; Family::ALL.len()],
}

fn buckets(summary: &Summary) -> Vec<Bucket> {
    let (Some(first), Some(last)) = (summary.days.first(), summary.days.last()) else {
        return Vec::new();
    };
    let ordinal = |date: Date| days_between(first.date, date);
    let span = ordinal(last.date) + 1;
    let width = (span + MAX_BARS - 1) / MAX_BARS;
    let mut buckets: Vec<Bucket> = (0..(span + width - 1) / width)
        .filter_map(|index| {
            let start = first.date.checked_add(jiff::Span::new().try_days(index * width).ok()?);
            let end = start.clone().ok()?.checked_add(jiff::Span::new().days(width - 1));
            let families = [0; Family::ALL.len()];
            Some(Bucket { first: start.ok()?, last: end.ok()?.min(last.date), families })
        })
        .collect();
    for day in &summary.days {
        let index = usize::try_from(ordinal(day.date) / width).unwrap_or(usize::MAX);
        if let Some(bucket) = buckets.get_mut(index) {
            bucket.families.iter_mut().zip(day.families).for_each(|(sum, count)| *sum += count);
        }
    }
    buckets
}

fn days_between(from: Date, to: Date) -> i64 {
    from.until(to).map_or(0, |span| i64::from(span.get_days()))
}

fn chart(out: &mut String, summary: &Summary) -> std::fmt::Result {
    let buckets = buckets(summary);
    let total = |bucket: &Bucket| bucket.families.iter().sum::<u64>();
    let top = ceiling(buckets.iter().map(total).max().unwrap_or(1));
    let (full_width, full_height) = (LEFT + WIDTH + RIGHT, TOP + HEIGHT + BOTTOM);
    writeln!(
        out,
        "<svg viewBox=\"0 0 {full_width} {full_height}\" role=\"img\" \
         aria-label=\"Incidents over time, by kind\">"
    )?;
    axis(out, top)?;
    let step = WIDTH / buckets.len().max(1) as f64;
    // A lone day would be a wall.
    let width = (step * 0.8).min(48.0);
    for (index, bucket) in buckets.iter().enumerate() {
        let x = LEFT + step * index as f64 + (step - width) / 2.0;
        bar(out, bucket, x, width, top)?;
    }
    dates(out, &buckets, step)?;
    writeln!(out, "</svg>")
}

fn axis(out: &mut String, top: u64) -> std::fmt::Result {
    const LINES: u64 = 4;
    let mut last = None;
    for line in 0..=LINES {
        let value = top * line / LINES;
        if last.replace(value) == Some(value) {
            continue;
        }
        let y = TOP + HEIGHT * (1.0 - value as f64 / top as f64);
        let (right, label) = (LEFT + WIDTH, y + 4.0);
        writeln!(
            out,
            "<line x1=\"{LEFT}\" y1=\"{y:.1}\" x2=\"{right}\" y2=\"{y:.1}\" class=\"grid\"/>\
             <text x=\"{:.1}\" y=\"{label:.1}\" class=\"tick\" text-anchor=\"end\">{value}</text>",
            LEFT - 8.0
        )?;
    }
    Ok(())
}

fn bar(out: &mut String, bucket: &Bucket, x: f64, width: f64, top: u64) -> std::fmt::Result {
    let mut base = TOP + HEIGHT;
    let days = match bucket.first == bucket.last {
        true => bucket.first.to_string(),
        false => format!("{} to {}", bucket.first, bucket.last),
    };
    for (index, (family, count)) in Family::ALL.iter().zip(bucket.families).enumerate() {
        if count == 0 {
            continue;
        }
        let height = HEIGHT * count as f64 / top as f64;
        base -= height;
        writeln!(
            out,
            "<rect x=\"{x:.1}\" y=\"{base:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" \
             class=\"f{index}\"><title>{days}: {count} {}</title></rect>",
            family.title()
        )?;
    }
    Ok(())
}

fn dates(out: &mut String, buckets: &[Bucket], step: f64) -> std::fmt::Result {
    const LABELS: usize = 7;
    // Half of a date's width and a little.
    const HALF: f64 = 32.0;
    let every = buckets.len().div_ceil(LABELS).max(1);
    for (index, bucket) in buckets.iter().enumerate().step_by(every) {
        let x = (LEFT + step * (index as f64 + 0.5)).min(LEFT + WIDTH + RIGHT - HALF);
        let y = TOP + HEIGHT + 20.0;
        let date = bucket.first;
        writeln!(
            out,
            "<text x=\"{x:.1}\" y=\"{y:.1}\" class=\"tick\" text-anchor=\"middle\">{date}</text>"
        )?;
    }
    Ok(())
}

/// The top of a scale that holds `value`: four round steps, so that the grid lines
/// stand at whole numbers and the highest bar takes most of the height.
fn ceiling(value: u64) -> u64 {
    const TENTHS: [u128; 9] = [10, 15, 20, 25, 30, 40, 50, 60, 80];
    // 10^20 is more than a u64 holds.
    let decades = (0..=20).map(|power| 10_u128.pow(power));
    let steps = decades.flat_map(|decade| TENTHS.map(|tenths| tenths * decade));
    let mut tops = steps.filter(|step| step % 10 == 0).map(|step| step / 10 * 4);
    tops.find_map(|top| u64::try_from(top).ok().filter(|top| *top >= value)).unwrap_or(value)
}

fn legend(out: &mut String, summary: &Summary) -> std::fmt::Result {
    out.push_str("<ul class=\"legend\">\n");
    for (index, family) in Family::ALL.iter().enumerate() {
        let count: u64 = summary.days.iter().filter_map(|day| day.families.get(index)).sum();
        if count > 0 {
            writeln!(out, "<li><i class=\"f{index}\"></i>{} <b>{count}</b></li>", family.title())?;
        }
    }
    out.push_str("</ul>\n");
    Ok(())
}

/// The last column of a table, which is there only where something can be new.
struct New {
    marked: bool,
}

impl New {
    fn heading(&self) -> &'static str {
        if self.marked { "<th class=\"n\">new</th>" } else { "" }
    }

    /// A count of zero leaves the cell empty.
    fn cell(&self, count: u64) -> String {
        match (self.marked, count) {
            (false, _) => String::new(),
            (true, 0) => "<td></td>".to_owned(),
            (true, count) => format!("<td class=\"n new\">+{count}</td>"),
        }
    }
}

fn classes(out: &mut String, new: &New, summary: &Summary) -> std::fmt::Result {
    writeln!(
        out,
        "<h2>By class</h2>\n<div class=\"table\"><table>\n<tr><th>class</th><th>letter</th>\
         <th>what happened</th><th class=\"n\">incidents</th>{}</tr>",
        new.heading()
    )?;
    for count in &summary.classes {
        writeln!(
            out,
            "<tr><td><code>{}</code></td><td>{}</td><td>{}</td><td class=\"n\">{}</td>{}</tr>",
            count.class,
            count.letter,
            count.title,
            count.incidents,
            new.cell(count.new)
        )?;
    }
    out.push_str("</table></div>\n");
    Ok(())
}

fn names(
    out: &mut String,
    new: &New,
    [heading, what]: [&str; 2],
    counts: &[NamedCount],
) -> std::fmt::Result {
    writeln!(
        out,
        "<h2>{heading}</h2>\n<div class=\"table\"><table>\n<tr><th>{what}</th>\
         <th class=\"n\">incidents</th><th class=\"n\">in GPU code</th>{}</tr>",
        new.heading()
    )?;
    for count in counts.iter().take(MAX_ROWS) {
        writeln!(
            out,
            "<tr><td>{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td>{}</tr>",
            escape(&count.name),
            count.incidents,
            count.gpu,
            new.cell(count.new)
        )?;
    }
    out.push_str("</table></div>\n");
    more(out, counts.len())
}

fn builds(out: &mut String, [heading, what]: [&str; 2], counts: &[BuildCount]) -> std::fmt::Result {
    if counts.is_empty() {
        return Ok(());
    }
    writeln!(
        out,
        "<h2>{heading}</h2>\n<div class=\"table\"><table>\n<tr><th>{what}</th>\
         <th class=\"n\">incidents</th><th class=\"n\">in GPU code</th>\
         <th class=\"n\">a day</th><th>first</th><th>last</th></tr>"
    )?;
    for count in counts.iter().take(MAX_ROWS) {
        let day = |day: Option<Date>| day.map_or_else(String::new, |day| day.to_string());
        let rate = count.per_day().map_or_else(String::new, |rate| format!("{rate:.2}"));
        let driver = count.driver.as_deref().map(|name| format!("<br>{}", escape(name)));
        writeln!(
            out,
            "<tr><td>{}{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td>\
             <td class=\"n\">{rate}</td><td>{}</td><td>{}</td></tr>",
            escape(&count.name),
            driver.unwrap_or_default(),
            count.incidents,
            count.gpu,
            day(count.first),
            day(count.last)
        )?;
    }
    out.push_str("</table></div>\n");
    more(out, counts.len())
}

fn unreadable(out: &mut String, files: &[(String, String)]) -> std::fmt::Result {
    if files.is_empty() {
        return Ok(());
    }
    out.push_str(
        "<h2>Unreadable</h2>\n<div class=\"table\"><table>\n<tr><th>file</th><th>why</th></tr>\n",
    );
    for (path, reason) in files.iter().take(MAX_ROWS) {
        writeln!(out, "<tr><td>{}</td><td>{}</td></tr>", escape(path), escape(reason))?;
    }
    out.push_str("</table></div>\n");
    more(out, files.len())
}

fn more(out: &mut String, rows: usize) -> std::fmt::Result {
    match rows.checked_sub(MAX_ROWS) {
        None | Some(0) => Ok(()),
        Some(left) => writeln!(out, "<p>and {left} more</p>"),
    }
}
