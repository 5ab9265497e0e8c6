//! A progress counter of files read, shown on a terminal.

use std::sync::Once;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// What is done sooner is not worth a line.
const PATIENCE: Duration = Duration::from_millis(500);

/// Counts on standard error, on one line that is gone at the end. Where that is no
/// terminal it shows nothing.
pub struct Counter {
    bar: ProgressBar,
    began: Instant,
    shown: Once,
}

impl Counter {
    /// A counter of `what`, in the plural.
    pub fn new(what: &'static str) -> Counter {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden());
        // The template is of this file and has no error in it.
        let style = ProgressStyle::with_template("  {human_pos} {msg}");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
        Counter { bar: bar.with_message(what), began: Instant::now(), shown: Once::new() }
    }

    /// One more, from any thread.
    pub fn count(&self) {
        if self.began.elapsed() > PATIENCE {
            self.shown.call_once(|| self.bar.set_draw_target(ProgressDrawTarget::stderr()));
        }
        self.bar.inc(1);
    }
}

impl Drop for Counter {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
