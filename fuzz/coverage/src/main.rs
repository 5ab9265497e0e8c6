//! One target under libFuzzer: `AGXPATCH_FUZZ_TARGET` names it.

#![no_main]

use std::sync::LazyLock;
use std::time::Duration;

use agxpatch_fuzz::{Limits, Target};

/// What the project promises of any input, in a build with optimisation. Counting
/// coverage slows a run down less than the promise has room.
const LIMITS: Limits = Limits { time: Some(Duration::from_secs(1)) };

static TARGET: LazyLock<&Target> = LazyLock::new(|| {
    let name = std::env::var("AGXPATCH_FUZZ_TARGET").unwrap_or_default();
    let target = agxpatch_fuzz::target(&name);
    let target = target.unwrap_or_else(|| panic!("no target is called {name:?}"));
    // What is made once and kept is not the input's cost.
    (target.seeds)().iter().take(1).for_each(|seed| (target.run)(seed));
    target
});

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let target = &*TARGET;
    LIMITS.enforce(bytes.len(), || (target.run)(bytes));
});
