//! The proof as one page a browser shows without a network.
//!
//! The page says in pictures what the report says in lines: what changes in the
//! window, what each path does while the lock is held and after, the
//! interleaving that breaks the original and what the same schedule comes to
//! under the patch, and every obligation. Everything on it is computed from the
//! words; there is no drawing that could fall behind them.

mod lanes;
mod listing;
mod markup;
mod paths;

use crate::arm64::Instruction;
use crate::check::{Check, Status, none_failed};
use crate::error::Result;

use super::interleaving::{Interleavings, Property, Readers, Scene, Trace, replay, shortest_harm};
use super::steps::{Room, Steps};
use markup::escape;

/// One version of the window.
#[derive(Clone, Copy)]
pub struct Version<'a> {
    /// Such as `original`.
    pub name: &'a str,
    /// Its disassembly.
    pub listing: &'a [Instruction],
    /// The steps of both paths.
    pub steps: &'a Steps,
    /// What the interleavings come to.
    pub interleavings: &'a Interleavings,
}

/// What the page is about.
pub struct Page<'a> {
    /// The method or function, as the headline.
    pub subject: &'a str,
    /// Name and value of what identifies file, build and patch.
    pub facts: Vec<(&'a str, String)>,
    /// The window as it was.
    pub before: Version<'a>,
    /// The window as rewritten.
    pub after: Version<'a>,
    /// Everything that was to be shown.
    pub obligations: Vec<Check>,
}

/// The page, as HTML.
pub fn render(page: &Page<'_>) -> Result<String> {
    let sections = [
        header(page),
        listing::section(&page.before, &page.after),
        paths::section(&page.before, &page.after),
        schedules(page)?,
        readers(page)?,
        table(page),
        obligations(&page.obligations),
    ];
    Ok(format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{title}: proof</title>\n<style>\n{style}</style>\n</head>\n<body>\n<main>\n\
         {body}\n<footer>Made by agxpatch {version} from the bytes of the file. Memory is \
         sequentially consistent in the model.</footer>\n</main>\n</body>\n</html>\n",
        title = escape(page.subject),
        style = include_str!("style.css"),
        body = sections.join("\n"),
        version = env!("CARGO_PKG_VERSION"),
    ))
}

fn header(page: &Page<'_>) -> String {
    let facts: String = page
        .facts
        .iter()
        .map(|(name, value)| format!("<span>{} <b>{}</b></span>", escape(name), escape(value)))
        .collect();
    let failed = page.obligations.iter().filter(|check| check.status == Status::Fail).count();
    let (class, verdict) = if none_failed(&page.obligations) {
        ("good", format!("{} obligations, none fails", page.obligations.len()))
    } else {
        ("bad", format!("{failed} of {} obligations fail", page.obligations.len()))
    };
    format!(
        "<header><h1>{}</h1><div class=\"facts\">{facts}</div>\
         <div class=\"verdict {class}\">{verdict}</div></header>",
        escape(page.subject)
    )
}

/// The scene that is drawn: one encoder ended, one reader, one creator.
fn scene(kind: Readers) -> Scene {
    Scene::of_threads(2, kind)
}

fn schedules(page: &Page<'_>) -> Result<String> {
    let scene = scene(Readers::TakeTheLock);
    let mut body = String::new();
    for room in Room::BOTH {
        if let Some(trace) = shortest_harm(page.before.steps, scene, room)? {
            body.push_str(&pair(page, scene, room, &trace)?);
        }
    }
    if body.is_empty() {
        body.push_str(
            "<p>No interleaving of the steps does harm to a reader that takes the lock.</p>",
        );
    }
    Ok(format!(
        "<section><h2>The schedule that breaks it</h2><p class=\"soft\">Time runs down. A shaded \
         lane holds the pool’s lock. The two bars on the left say whether \
         <code>A-&gt;_impl</code> is set and where block A is. The reader takes the lock, which no \
         reader of the known drivers does; under the original even that would not help it.</p>\
         {body}{}</section>",
        lanes::legend()
    ))
}

fn pair(page: &Page<'_>, scene: Scene, room: Room, trace: &Trace) -> Result<String> {
    let drawn = |version: &Version<'_>| -> Result<String> {
        let played = replay(version.steps, scene, trace)?;
        Ok(format!(
            "<div><h3>{}: {room}</h3>{}</div>",
            escape(version.name),
            lanes::draw(&played, &format!("{}, {room}", version.name))
        ))
    };
    Ok(format!("<div class=\"pair\">{}{}</div>", drawn(&page.before)?, drawn(&page.after)?))
}

/// What the patch does not do.
fn readers(page: &Page<'_>) -> Result<String> {
    let scene = scene(Readers::TakeNoLock);
    let Some(trace) = shortest_harm(page.after.steps, scene, Room::Left)? else {
        return Ok(String::new());
    };
    let played = replay(page.after.steps, scene, &trace)?;
    Ok(format!(
        "<section><h2>What this patch does not do</h2><div class=\"pair\"><div>\
         <h3>{name}: a reader that takes no lock</h3>{picture}</div>\
         <div class=\"note\"><p>{text}</p><p class=\"soft\">{null}</p></div></div></section>",
        name = escape(page.after.name),
        picture = lanes::draw(&played, "a reader that takes no lock, under the patch"),
        text = escape(LOCKLESS),
        null = escape(&lockless_figures(page)),
    ))
}

/// What has to be said about readers that take no lock, wherever a proof is
/// shown.
pub const LOCKLESS: &str = "In the known drivers no reader of _impl takes this lock, and the \
    destructor runs before it is taken. Such a reader can still work on a block that was \
    destroyed or given back, and on null. Two threads that end one encoder may push its block \
    twice. The rewrite closes the published window; the guard library (agxpatch run) is for the \
    rest.";

fn lockless_figures(page: &Page<'_>) -> String {
    let length = |version: &Version<'_>, property| {
        let found = version.interleavings.lockless.violation(property);
        found.map_or_else(|| "never".to_owned(), |v| format!("in {} steps", v.trace.moves.len()))
    };
    format!(
        "Stale use: original {}, patched {}. Null: original {}, patched {}.",
        length(&page.before, Property::NoStaleUse),
        length(&page.after, Property::NoStaleUse),
        length(&page.before, Property::NoNullUse),
        length(&page.after, Property::NoNullUse),
    )
}

fn table(page: &Page<'_>) -> String {
    let versions = [&page.before, &page.after];
    let rows: String = Property::ALL
        .iter()
        .map(|&property| {
            let cells: String = versions
                .iter()
                .flat_map(|v| [&v.interleavings.locking, &v.interleavings.lockless])
                .map(|found| match found.violation(property) {
                    None => "<td class=\"PASS\">holds</td>".to_owned(),
                    Some(v) => format!(
                        "<td><span class=\"FAIL\">violated</span> <span class=\"soft\">in {} steps</span></td>",
                        v.trace.moves.len()
                    ),
                })
                .collect();
            format!(
                "<tr><td class=\"mono\">{}</td>{cells}<td class=\"soft\">violated if {}</td></tr>",
                property.name(),
                escape(property.violated())
            )
        })
        .collect();
    let states: String = versions
        .iter()
        .flat_map(|v| [v.interleavings.locking.states, v.interleavings.lockless.states])
        .map(|states| format!("<td class=\"soft\">{states}</td>"))
        .collect();
    let heads: String = versions
        .iter()
        .map(|v| format!("<th>{0}, reader locks</th><th>{0}, no lock</th>", escape(v.name)))
        .collect();
    format!(
        "<section><h2>Every interleaving</h2><p class=\"soft\">All states of {} destroyers, a \
         reader and a creator on one pool were reached.</p><div class=\"scroll\"><table class=\"rows\">\
         <tr><th>property</th>{heads}<th></th></tr>{rows}<tr><td class=\"soft\">states</td>{states}\
         <td></td></tr></table></div></section>",
        page.after.interleavings.locking.scene.destroyers
    )
}

fn obligations(checks: &[Check]) -> String {
    let rows: String = checks
        .iter()
        .map(|check| {
            format!(
                "<tr><td class=\"{0}\">{0}</td><td class=\"mono\">{1}</td><td>{2}</td></tr>",
                check.status,
                escape(check.name),
                escape(&check.detail)
            )
        })
        .collect();
    format!(
        "<section><h2>Obligations</h2><div class=\"scroll\"><table class=\"rows\">\
         <tr><th></th><th>name</th><th>what was seen</th></tr>{rows}</table></div></section>"
    )
}
