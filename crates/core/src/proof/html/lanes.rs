//! A schedule as lanes over time: a column a thread, a row a turn.

use std::fmt::Write;

use crate::proof::interleaving::{Act, Move, Replay, Thread, Turn};
use crate::proof::steps::Event;

use super::markup::escape;

const LEFT: usize = 56;
const LANE: usize = 158;
const BOX: usize = 150;
const TOP: usize = 40;
const ROW: usize = 44;
const HEIGHT: usize = 36;

/// Where block A is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Block {
    Held,
    Destroyed,
    Freelist,
    Taken,
    Freed,
}

impl Block {
    fn class(self) -> &'static str {
        match self {
            Block::Held => "held",
            Block::Destroyed => "destroyed",
            Block::Freelist => "given",
            Block::Taken => "taken",
            Block::Freed => "freed",
        }
    }
}

/// What is so between two turns.
#[derive(Clone, Copy)]
struct Now {
    lock: Option<Thread>,
    set: bool,
    block: Block,
}

impl Now {
    fn after(mut self, turn: &Turn) -> Now {
        let Turn::Takes(made) = turn else { return self };
        match made.act {
            Act::Enter { .. } | Act::Lock => self.lock = Some(made.thread),
            Act::Step { step, .. } => match step.event {
                Event::Destroy => self.block = Block::Destroyed,
                Event::Push => self.block = Block::Freelist,
                Event::Free => self.block = Block::Freed,
                Event::Clear | Event::TakeOrSkip => self.set = false,
                Event::Unlock => self.lock = None,
                Event::Load
                | Event::LoadOrReturn
                | Event::LoadOrSkip
                | Event::LoadOrFull
                | Event::Lock => {}
            },
            Act::Pop(Some(_)) => self.block = Block::Taken,
            Act::Unlock => self.lock = None,
            Act::Leave if self.lock == Some(made.thread) => self.lock = None,
            Act::Leave | Act::Load { .. } | Act::Pop(None) | Act::Wipe(_) => {}
        }
        self
    }
}

pub(super) fn draw(played: &Replay, title: &str) -> String {
    let threads = threads(&played.turns);
    let bottom = TOP + played.turns.len() * ROW + 8;
    let width = LEFT + threads.len() * LANE + 4;
    let mut svg = format!(
        "<svg viewBox=\"0 0 {width} {bottom}\" width=\"{width}\" role=\"img\"><title>{}</title>",
        escape(title)
    );
    let mut now = Now { lock: None, set: true, block: Block::Held };
    let mut backdrop = String::new();
    let mut boxes = String::new();
    let lane = |thread: Thread| threads.iter().position(|&other| other == thread).unwrap_or(0);
    for (index, turn) in played.turns.iter().enumerate() {
        let y = TOP + index * ROW;
        let held = now.lock;
        now = now.after(turn);
        // The lock is shaded from the turn that takes it to the one that releases it.
        if let Some(thread) = held.or(now.lock) {
            let x = LEFT + lane(thread) * LANE;
            let _ = write!(
                backdrop,
                "<rect class=\"band\" x=\"{x}\" y=\"{y}\" width=\"{LANE}\" height=\"{ROW}\"/>"
            );
        }
        let harm = played.harm == Some(index);
        let harm = harm.then(|| harm_line(turn, now));
        boxes.push_str(&turn_box(turn, harm, LEFT + lane(turn_of(turn)) * LANE + 4, y + 4));
        bars(&mut backdrop, now, y);
    }
    for (index, thread) in threads.iter().enumerate() {
        let x = LEFT + index * LANE;
        let _ = write!(
            backdrop,
            "<line class=\"lane\" x1=\"{x}\" y1=\"{TOP}\" x2=\"{x}\" y2=\"{bottom}\"/>\
             <text class=\"head\" x=\"{}\" y=\"24\">{thread}</text>",
            x + 8
        );
    }
    work(&mut backdrop, played, lane);
    let _ = write!(
        svg,
        "<text class=\"soft small\" x=\"3\" y=\"14\">_impl</text>\
         <text class=\"soft small\" x=\"22\" y=\"28\">block</text>{backdrop}{boxes}</svg>"
    );
    svg
}

fn bars(svg: &mut String, now: Now, y: usize) {
    let y = y + ROW / 2;
    if now.set {
        let _ = write!(
            svg,
            "<rect class=\"bar impl\" x=\"10\" y=\"{y}\" width=\"9\" height=\"{ROW}\"/>"
        );
    }
    let _ = write!(
        svg,
        "<rect class=\"bar {}\" x=\"30\" y=\"{y}\" width=\"9\" height=\"{ROW}\"/>",
        now.block.class()
    );
}

/// What is wrong after a turn that does harm.
fn harm_line(turn: &Turn, now: Now) -> &'static str {
    match (turn, now.block) {
        (Turn::Takes(Move { thread: Thread::Reader(_), .. }), Block::Freed) => {
            "a block that is freed"
        }
        (Turn::Takes(Move { thread: Thread::Reader(_), .. }), _) => "another’s by now",
        _ => "the reader still uses it",
    }
}

/// From the load to where the reader is through, it works on what it loaded.
fn work(svg: &mut String, played: &Replay, lane: impl Fn(Thread) -> usize) {
    let mut begun: Option<usize> = None;
    for (index, turn) in played.turns.iter().enumerate() {
        let Turn::Takes(made) = turn else { continue };
        match (made.act, made.thread) {
            (Act::Load { null: false, .. }, _) => begun = Some(index),
            (Act::Leave, Thread::Reader(_)) => {
                let Some(begun) = begun.take() else { continue };
                let x = LEFT + lane(made.thread) * LANE + 20;
                let (from, to) = (TOP + begun * ROW + 4 + HEIGHT, TOP + index * ROW + 4);
                let _ = write!(
                    svg,
                    "<line class=\"work\" x1=\"{x}\" y1=\"{from}\" x2=\"{x}\" y2=\"{to}\"/>"
                );
            }
            _ => {}
        }
    }
}

fn turn_of(turn: &Turn) -> Thread {
    match turn {
        Turn::Takes(made) => made.thread,
        Turn::Waits(thread) => *thread,
    }
}

/// The threads in the order of their first turn.
fn threads(turns: &[Turn]) -> Vec<Thread> {
    let mut threads = Vec::new();
    for thread in turns.iter().map(turn_of) {
        if !threads.contains(&thread) {
            threads.push(thread);
        }
    }
    threads.sort();
    threads
}

fn turn_box(turn: &Turn, harm: Option<&str>, x: usize, y: usize) -> String {
    let (class, first, second) = match turn {
        Turn::Waits(_) => ("waits", "waits for the lock".to_owned(), String::new()),
        Turn::Takes(made) => {
            let (first, second) = label(made);
            (class(made), first, second)
        }
    };
    let class = if harm.is_some() { "harm" } else { class };
    let second = harm.unwrap_or(&second);
    let colour = match class {
        "harm" => "bad",
        "safe" => "good",
        _ => "soft",
    };
    let mono = if second.starts_with("0x") { " mono" } else { "" };
    let (baseline, below) = if second.is_empty() { (22, 0) } else { (15, 29) };
    let mut drawn = format!(
        "<rect class=\"box {class}\" x=\"{x}\" y=\"{y}\" width=\"{BOX}\" height=\"{HEIGHT}\" rx=\"6\"/>\
         <text x=\"{}\" y=\"{}\">{}</text>",
        x + 9,
        y + baseline,
        escape(&first)
    );
    if !second.is_empty() {
        let _ = write!(
            drawn,
            "<text class=\"small {colour}{mono}\" x=\"{}\" y=\"{}\">{}</text>",
            x + 9,
            y + below,
            escape(second)
        );
    }
    drawn
}

fn class(made: &Move) -> &'static str {
    match made.act {
        Act::Step { step, .. } => step.event.name(),
        Act::Load { null: true, .. } => "safe",
        _ => "",
    }
}

/// Two short lines.
fn label(made: &Move) -> (String, String) {
    let at = made.at().map(|at| at.to_string()).unwrap_or_default();
    match made.act {
        Act::Enter { room, .. } => ("takes the lock".into(), room.to_string()),
        Act::Step { step, null, .. } => (step_label(step.event, null).into(), at),
        Act::Lock => ("takes the lock".into(), String::new()),
        Act::Load { null: true, .. } => ("loads A->_impl".into(), "null: nothing to use".into()),
        Act::Load { .. } => ("loads A->_impl".into(), "works on block A".into()),
        Act::Pop(Some(_)) => ("gets block A".into(), "for another encoder".into()),
        Act::Pop(None) => ("gets another block".into(), String::new()),
        Act::Unlock => ("releases the lock".into(), String::new()),
        Act::Wipe(Some(_)) => ("wipes block A".into(), "for another encoder".into()),
        Act::Wipe(None) => ("wipes its block".into(), String::new()),
        Act::Leave => ("is through".into(), String::new()),
    }
}

fn step_label(event: Event, null: bool) -> &'static str {
    match (event, null) {
        (Event::LoadOrReturn | Event::LoadOrSkip | Event::LoadOrFull | Event::Load, false) => {
            "loads A->_impl"
        }
        (Event::LoadOrReturn | Event::LoadOrSkip | Event::LoadOrFull | Event::Load, true) => {
            "loads null"
        }
        (Event::TakeOrSkip, _) => "exchanges A->_impl",
        (Event::Destroy, _) => "destroys block A",
        (Event::Lock, _) => "takes the lock",
        (Event::Push, false) => "pushes block A",
        (Event::Push, true) => "pushes null",
        (Event::Clear, _) => "clears A->_impl",
        (Event::Unlock, _) => "releases the lock",
        (Event::Free, false) => "frees block A",
        (Event::Free, true) => "frees null",
    }
}

/// What the bars mean.
pub(super) fn legend() -> String {
    let entries = [
        ("impl", "A->_impl is set"),
        ("held", "block A is the encoder’s"),
        ("destroyed", "destroyed"),
        ("given", "in the freelist"),
        ("taken", "another encoder’s"),
        ("freed", "freed"),
    ];
    let mut svg =
        "<svg viewBox=\"0 0 760 22\" width=\"760\" role=\"img\" style=\"margin-top:14px\">\
         <title>what the bars mean</title>"
            .to_owned();
    let mut x = 0;
    for (class, text) in entries {
        let _ = write!(
            svg,
            "<rect class=\"bar {class}\" x=\"{x}\" y=\"5\" width=\"9\" height=\"12\"/>\
             <text class=\"soft small\" x=\"{}\" y=\"15\">{}</text>",
            x + 15,
            escape(text)
        );
        x += 40 + text.chars().count() * 7;
    }
    svg.push_str("</svg>");
    svg
}
