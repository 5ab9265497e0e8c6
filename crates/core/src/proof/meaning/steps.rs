//! The steps of a thread, from the stories of a function.
//!
//! A story ([`crate::finder::Story`]) is one path as other threads see it. The model
//! knows one order of steps up to the lock and one from there on for a pool with room
//! and for a full one. So the stories have to agree on that; a function in which they
//! differ in more is refused by name. What a thread does that read null says what each
//! read is for: whether the thread returns, goes on without the lock, or does not look.

use std::collections::BTreeSet;

use crate::address::VmAddr;
use crate::error::{Code, Error, Result};
use crate::finder::{Happening, Moment, Story};
use crate::proof::steps::{Event, Path, Room, Step, Steps};

/// Reads the steps off the stories.
///
/// # Errors
/// `StepUnknown` where the stories differ in more than the model knows.
pub(super) fn of(stories: &BTreeSet<Story>) -> Result<Steps> {
    let with_block: Vec<&Story> =
        stories.iter().filter(|story| null_read(story).is_none()).collect();
    let (locking, others): (Vec<&Story>, Vec<&Story>) =
        with_block.into_iter().partition(|story| lock_of(story).is_some());
    if let Some(moment) = others.iter().flat_map(|story| *story).find(|one| is_seen(one.what)) {
        return Err(unknown("a thread with a block comes past the lock", moment.at));
    }
    let split: Vec<(&[Moment], &[Moment])> =
        locking.iter().filter_map(|story| story.split_at_checked(lock_of(story)?)).collect();
    let Some(&(shortest, _)) = split.iter().min_by_key(|(before, _)| before.len()) else {
        return Err(Error::new(Code::StepUnknown, "no way of the function takes the lock"));
    };
    let mut reader = Reader { stories, skipped: None };
    let before = reader.before(shortest, &split)?;
    let [left, full] = ways(&split)?;
    let no_room = full.iter().all(|one| one.what != Happening::Pushed);
    let left = reader.way(Room::Left, &left, no_room)?;
    let full = reader.way(Room::Full, &full, false)?;
    let loads = before.iter().chain(&left.steps).any(|step| is_load(step.event));
    if !loads {
        return Err(Error::new(Code::StepUnknown, "the function does not load what it gives back"));
    }
    Ok(Steps { before, skipped: reader.skipped.unwrap_or_default(), left, full })
}

/// The sequences from the lock on for a pool with room and for a full one. A function
/// that never asks for room does the same in both.
fn ways(split: &[(&[Moment], &[Moment])]) -> Result<[Vec<Moment>; 2]> {
    let mut found: [Option<Vec<Moment>>; 2] = [None, None];
    for (_, after) in split {
        let way = without_repeats(after);
        if let Some(moment) = way.iter().find(|one| one.what == Happening::Passed) {
            return Err(unknown("a function of unknown effect gets the block", moment.at));
        }
        if let Some(again) = way.iter().skip(1).find(|one| one.what == Happening::Locked) {
            return Err(unknown("the lock is taken twice", again.at));
        }
        let pushes = way.iter().any(|one| one.what == Happening::Pushed);
        let place = &mut found[usize::from(!pushes)];
        match place {
            Some(known) if !known.iter().map(|one| one.what).eq(way.iter().map(|one| one.what)) => {
                let why = "something else than the room in the pool decides what the thread does";
                let at = way.last().map_or(VmAddr(0), |one| one.at);
                return Err(unknown(why, at));
            }
            Some(_) => {}
            None => *place = Some(way),
        }
    }
    match found {
        [Some(left), Some(full)] => Ok([left, full]),
        [Some(left), None] => Ok([left.clone(), left]),
        _ => Err(Error::new(Code::StepUnknown, "no way of the function gives the block back")),
    }
}

struct Reader<'a> {
    stories: &'a BTreeSet<Story>,
    /// What a thread does that found null and goes on without the lock.
    skipped: Option<Vec<Step>>,
}

impl Reader<'_> {
    /// The steps up to the lock: those of the shortest way, with the destructor where
    /// any way runs it.
    fn before(&mut self, shortest: &[Moment], all: &[(&[Moment], &[Moment])]) -> Result<Vec<Step>> {
        let order = |way: &[Moment]| -> Vec<Happening> {
            let kept = without_repeats(way).into_iter().filter(|one| !is_use(one.what));
            kept.map(|one| one.what).collect()
        };
        let differs = all.iter().find(|(before, _)| order(before) != order(shortest));
        if let Some((before, _)) = differs {
            let at = before.last().map_or(VmAddr(0), |one| one.at);
            return Err(unknown("a thread can come to the lock in several ways", at));
        }
        let mut steps = Vec::new();
        let main: Vec<Moment> =
            without_repeats(shortest).into_iter().filter(|one| !is_use(one.what)).collect();
        for (index, moment) in main.iter().enumerate() {
            let exchange = is_exchange(&main, index);
            match moment.what {
                Happening::Read => {
                    let number = reads(&main[..index]);
                    let event = self.read(number, exchange, false)?;
                    steps.extend(event.map(|event| Step { at: moment.at, event }));
                    let used =
                        all.iter().filter_map(|(before, _)| used_after(before, number)).min();
                    steps.extend(used.map(|at| Step { at, event: Event::Destroy }));
                }
                Happening::Cleared if exchange => {}
                what => steps.extend(event(what).map(|event| Step { at: moment.at, event })),
            }
        }
        let lock = all.iter().find_map(|(_, after)| after.first()).map(|one| one.at);
        steps.extend(lock.map(|at| Step { at, event: Event::Lock }));
        Ok(steps)
    }

    /// The steps from the lock on, the lock itself left out. Where a full pool is not
    /// pushed to, a thread that finds null may go on as if it were full: `no_room`.
    fn way(&mut self, room: Room, moments: &[Moment], no_room: bool) -> Result<Path> {
        let earlier = self.reads_before_lock();
        let mut steps = Vec::new();
        for (index, moment) in moments.iter().enumerate().skip(1) {
            let event = match moment.what {
                Happening::Read => {
                    let number = earlier + reads(&moments[..index]);
                    match self.read(number, false, true)? {
                        Some(Event::Load) if no_room && self.leaves_on_null(number) => {
                            Some(Event::LoadOrFull)
                        }
                        event => event,
                    }
                }
                what => event(what),
            };
            steps.extend(event.map(|event| Step { at: moment.at, event }));
        }
        let executed = steps.iter().map(|step| step.at).collect();
        Ok(Path { room, steps, executed, decided_at: Vec::new() })
    }

    /// Whether a thread that finds null at the read of that number does no more than drop
    /// the lock, the clear of what is null apart.
    fn leaves_on_null(&self, number: usize) -> bool {
        let ends = self.stories.iter().filter_map(|story| {
            let at = null_read(story).filter(|at| reads(&story[..*at]) == number)?;
            Some(&story[at + 1..])
        });
        let quiet = |one: &&Moment| !matches!(one.what, Happening::ReadNull | Happening::Cleared);
        let mut ends = ends.map(|end| end.iter().filter(quiet).map(|one| one.what).collect());
        ends.all(|end: Vec<Happening>| end == [Happening::Unlocked])
    }

    fn reads_before_lock(&self) -> usize {
        let locking = self.stories.iter().filter(|story| null_read(story).is_none());
        locking.filter_map(|story| Some(reads(&story[..lock_of(story)?]))).min().unwrap_or(0)
    }

    /// What the read of that number is for, by what a thread does that finds null there;
    /// nothing if what it found is not what is given back.
    fn read(&mut self, number: usize, exchange: bool, locked: bool) -> Result<Option<Event>> {
        let mut ends: BTreeSet<Vec<Moment>> = BTreeSet::new();
        for story in self.stories {
            let Some(at) = null_read(story).filter(|at| reads(&story[..*at]) == number) else {
                continue;
            };
            // An exchange that finds null stores null over null.
            let rest = &story[at..];
            let idle = |one: &&Moment| {
                let found = Moment { what: Happening::ReadNull, ..**one };
                !(one.what == Happening::Cleared && rest.contains(&found))
            };
            let seen = rest.iter().filter(idle).filter(|one| one.what != Happening::ReadNull);
            ends.insert(seen.copied().collect());
        }
        let some = |what| ends.iter().flatten().any(|one| one.what == what);
        if some(Happening::Pushed) || some(Happening::Freed) {
            return Ok(None);
        }
        if locked || some(Happening::Locked) || some(Happening::Crashed) || ends.is_empty() {
            return Ok(Some(Event::Load));
        }
        let quiet = |end: &Vec<Moment>| end.iter().all(|one| one.what != Happening::Cleared);
        if !exchange && ends.iter().all(quiet) {
            return Ok(Some(Event::LoadOrReturn));
        }
        let clears = |end: &Vec<Moment>| -> Vec<Step> {
            let clears = end.iter().filter(|one| one.what == Happening::Cleared);
            clears.map(|one| Step { at: one.at, event: Event::Clear }).collect()
        };
        for steps in ends.iter().map(clears) {
            let at = steps.first().map_or(VmAddr(0), |step| step.at);
            match &self.skipped {
                Some(known) if known.len() != steps.len() => {
                    return Err(unknown("threads that found null go on in different ways", at));
                }
                Some(_) => {}
                None => self.skipped = Some(steps),
            }
        }
        Ok(Some(if exchange { Event::TakeOrSkip } else { Event::LoadOrSkip }))
    }
}

fn event(what: Happening) -> Option<Event> {
    match what {
        Happening::Pushed => Some(Event::Push),
        Happening::Cleared => Some(Event::Clear),
        Happening::Unlocked => Some(Event::Unlock),
        Happening::Freed => Some(Event::Free),
        _ => None,
    }
}

fn is_load(event: Event) -> bool {
    use Event::{Load, LoadOrFull, LoadOrReturn, LoadOrSkip, TakeOrSkip};
    matches!(event, Load | LoadOrReturn | LoadOrSkip | LoadOrFull | TakeOrSkip)
}

/// Before the lock a function of unknown effect that gets the block uses it.
fn is_use(what: Happening) -> bool {
    matches!(what, Happening::Used | Happening::Passed)
}

/// Whether it changes what other threads find.
fn is_seen(what: Happening) -> bool {
    !matches!(what, Happening::Read | Happening::ReadNull | Happening::Crashed)
}

fn lock_of(story: &Story) -> Option<usize> {
    story.iter().position(|one| one.what == Happening::Locked)
}

/// The first read that found null.
fn null_read(story: &Story) -> Option<usize> {
    story.iter().position(|one| one.what == Happening::ReadNull)
}

fn reads(moments: &[Moment]) -> usize {
    moments.iter().filter(|one| one.what == Happening::Read).count()
}

/// A read and a clear by one instruction.
fn is_exchange(moments: &[Moment], index: usize) -> bool {
    let here = moments[index];
    let other = match here.what {
        Happening::Read => Happening::Cleared,
        Happening::Cleared => Happening::Read,
        _ => return false,
    };
    moments.iter().any(|one| one.at == here.at && one.what == other)
}

/// The first use of the block between the read of that number and the next.
fn used_after(before: &[Moment], number: usize) -> Option<VmAddr> {
    let read = before.iter().enumerate().filter(|(_, one)| one.what == Happening::Read);
    let start = read.map(|(index, _)| index).nth(number)?;
    let rest = before[start + 1..].iter().take_while(|one| one.what != Happening::Read);
    rest.filter(|one| is_use(one.what)).map(|one| one.at).next()
}

/// A block that is linked in by several stores is given back by the first of them.
fn without_repeats(moments: &[Moment]) -> Vec<Moment> {
    let mut kept: Vec<Moment> = moments.to_vec();
    kept.dedup_by(|next, last| next.what == Happening::Pushed && last.what == next.what);
    kept
}

fn unknown(why: &str, at: VmAddr) -> Error {
    Error::new(Code::StepUnknown, why)
        .with("address", at)
        .next("run `agxpatch inspect --at ADDRESS` on the file and report the disassembly")
}
