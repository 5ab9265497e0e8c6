//! Rewrites as an order of steps.
//!
//! Moving the clear before the unlock closes the published window and leaves a
//! second destroyer of the same encoder free to push the block again, because it
//! loaded `self->_impl` before it waited for the lock. Two other orders exclude
//! that. They are here so that a proof can say what they would be worth beside the
//! rewrite in hand. Both leave the destructor running before the lock, which no
//! change at the end of the function can repair.

use super::steps::{Event, Path, Step, Steps};

/// A rewrite of the steps.
#[derive(Clone, Copy, Debug)]
pub struct AbstractRewrite {
    /// Its name.
    pub name: &'static str,
    /// What it does, in a line.
    pub summary: &'static str,
    of: fn(&Steps) -> Steps,
}

/// Clears `_impl` directly after the lock is taken, and no more.
pub const EARLIER_CLEAR: AbstractRewrite = AbstractRewrite {
    name: "clear-under-lock",
    summary: "clears self->_impl directly after the lock is taken",
    of: earlier_clear,
};

/// Exchanges `_impl` with null where it is loaded last, and clears no more.
pub const TAKE: AbstractRewrite = AbstractRewrite {
    name: "take",
    summary: "exchanges self->_impl with null where it is loaded for the last time before the lock",
    of: take,
};

/// Loads `_impl` again and clears it, both directly after the lock is taken.
pub const REREAD: AbstractRewrite = AbstractRewrite {
    name: "reread",
    summary: "loads self->_impl again and clears it, directly after the lock is taken",
    of: reread,
};

impl AbstractRewrite {
    /// Those that exclude a second push.
    pub const STRONGER: [AbstractRewrite; 2] = [TAKE, REREAD];

    /// All of them.
    pub const ALL: [AbstractRewrite; 3] = [EARLIER_CLEAR, TAKE, REREAD];

    /// The steps of `original`, rewritten.
    pub fn of(&self, original: &Steps) -> Steps {
        (self.of)(original)
    }
}

fn earlier_clear(original: &Steps) -> Steps {
    after_lock(original, &[Event::Clear])
}

fn take(original: &Steps) -> Steps {
    let mut steps = without_clears(original);
    if let Some(load) = steps.before.iter_mut().rev().find(|step| is_load(step.event)) {
        load.event = Event::TakeOrSkip;
    }
    steps
}

fn reread(original: &Steps) -> Steps {
    after_lock(original, &[Event::Load, Event::Clear])
}

/// These directly after the lock is taken, and no clear elsewhere.
fn after_lock(original: &Steps, events: &[Event]) -> Steps {
    let mut steps = without_clears(original);
    let Some(lock) = steps.before.last().copied() else { return steps };
    for path in [&mut steps.left, &mut steps.full] {
        let again = events.iter().map(|event| Step { event: *event, ..lock });
        path.steps.splice(0..0, again);
    }
    steps
}

fn without_clears(original: &Steps) -> Steps {
    let kept = |steps: &[Step]| -> Vec<Step> {
        steps.iter().filter(|step| step.event != Event::Clear).copied().collect()
    };
    let path = |path: &Path| Path { steps: kept(&path.steps), ..path.clone() };
    Steps {
        before: original.before.clone(),
        skipped: kept(&original.skipped),
        left: path(&original.left),
        full: path(&original.full),
    }
}

fn is_load(event: Event) -> bool {
    matches!(event, Event::Load | Event::LoadOrReturn | Event::LoadOrSkip)
}
