//! Each path as a row of steps over three bars: how long the lock is held, from
//! when the block is given back, until when `_impl` points at it.

use std::fmt::Write;

use crate::proof::steps::{Event, Path, Room};

use super::Version;
use super::markup::escape;

/// Room for the names of the bars, width of a step, gap, and where rows begin.
const LEFT: usize = 86;
const STEP: usize = 104;
const PITCH: usize = 118;
const BARS: usize = 66;

pub(super) fn section(before: &Version<'_>, after: &Version<'_>) -> String {
    let mut body = String::new();
    for room in Room::BOTH {
        body.push_str("<div class=\"pair\">");
        for version in [before, after] {
            let path = version.steps.path(room);
            let _ = write!(
                body,
                "<div><h3>{}: {room}</h3>{}</div>",
                escape(version.name),
                draw(path, &format!("{}, {room}", version.name))
            );
        }
        body.push_str("</div>");
    }
    format!(
        "<section><h2>The paths</h2><p class=\"soft\">Where the lock is free, the block given back \
         and _impl still set, all at once, another thread can get hold of a block that is no longer \
         this encoder’s: the race window, in red.</p>{body}</section>"
    )
}

/// What is so before the first step, after it, and so on.
struct Moment {
    locked: bool,
    given: bool,
    set: bool,
}

fn moments(path: &Path) -> Vec<Moment> {
    let mut now = Moment { locked: true, given: false, set: true };
    let mut all = Vec::with_capacity(path.steps.len() + 1);
    for step in &path.steps {
        let mut next = Moment { ..now };
        match step.event {
            Event::Push | Event::Free => next.given = true,
            Event::Unlock => next.locked = false,
            Event::Clear | Event::TakeOrSkip => next.set = false,
            Event::Lock => next.locked = true,
            Event::Load
            | Event::LoadOrReturn
            | Event::LoadOrSkip
            | Event::LoadOrFull
            | Event::Destroy => {}
        }
        all.push(std::mem::replace(&mut now, next));
    }
    all.push(now);
    all
}

fn draw(path: &Path, title: &str) -> String {
    let moments = moments(path);
    // A moment lasts from the middle of one step to the middle of the next.
    let middle = |index: usize| LEFT + 30 + index * PITCH + STEP / 2;
    let end = middle(path.steps.len()) - 30;
    let begin = |index: usize| if index == 0 { LEFT } else { middle(index - 1) };
    let until = |index: usize| if index == path.steps.len() { end } else { middle(index) };
    let mut svg = format!(
        "<svg viewBox=\"0 0 {} 132\" width=\"{0}\" role=\"img\"><title>{}</title>",
        end + 10,
        escape(title)
    );
    for (index, moment) in moments.iter().enumerate() {
        let (x, width) = (begin(index), until(index) - begin(index));
        if moment.given && !moment.locked && moment.set {
            let _ = write!(
                svg,
                "<rect class=\"race\" x=\"{x}\" y=\"4\" width=\"{width}\" height=\"124\"/>"
            );
        }
        for (row, class, on) in
            [(0, "lock", moment.locked), (1, "given", moment.given), (2, "impl", moment.set)]
        {
            if on {
                let y = BARS + 6 + row * 20;
                let _ = write!(
                    svg,
                    "<rect class=\"bar {class}\" x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"8\"/>"
                );
            }
        }
    }
    for (row, name) in ["lock held", "given back", "_impl set"].iter().enumerate() {
        let y = BARS + 14 + row * 20;
        let _ = write!(svg, "<text class=\"soft small\" x=\"0\" y=\"{y}\">{name}</text>");
    }
    for (index, step) in path.steps.iter().enumerate() {
        let x = middle(index) - STEP / 2;
        let _ = write!(
            svg,
            "<rect class=\"box {0}\" x=\"{x}\" y=\"8\" width=\"{STEP}\" height=\"44\" rx=\"6\"/>\
             <text class=\"head\" x=\"{1}\" y=\"27\" text-anchor=\"middle\">{0}</text>\
             <text class=\"mono small soft\" x=\"{1}\" y=\"43\" text-anchor=\"middle\">{2}</text>",
            step.event.name(),
            middle(index),
            step.at
        );
    }
    svg.push_str("</svg>");
    svg
}
