//! One target under libFuzzer: `AGXPATCH_FUZZ_TARGET` names it.

#![no_main]

use std::sync::LazyLock;

use agxpatch_fuzz::Target;

static TARGET: LazyLock<&Target> = LazyLock::new(|| {
    let name = std::env::var("AGXPATCH_FUZZ_TARGET").unwrap_or_default();
    agxpatch_fuzz::target(&name).unwrap_or_else(|| panic!("no target is called {name:?}"))
});

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| (TARGET.run)(bytes));
