//! `libagx_guard.dylib`: keeps the Metal command encoders of one process from being used while, or after, they are taken apart.
//!
//! The AGX driver reads an encoder's `_impl` without a lock and without a test, and gives it back to a pool while others may
//! still read it. This library stands in front of every instance method of the driver's encoder classes. A call to a live
//! encoder runs under that encoder's own recursive lock; a call to an ended one is refused; an ended encoder outlives its end
//! by a bounded while, so that a thread already inside `objc_msgSend` finds an object there.
//!
//! The core is pure and knows nothing of Objective-C: [`record`] (where one encoder stands, and who is inside it), [`ledger`] (all of them, by address),
//! [`calls`] (the rules), [`quarantine`], [`throttle`], [`settings`], [`counters`]. Around it stand the parts that touch a
//! process: [`runtime`], [`hooks`], [`thunk`], [`entry`], `load`, `report`, `fork`, `exports`, [`watchdog`],
//! [`interpose`], [`image`], `driver`. Tests run the core on the
//! host and under loom, and the whole under an emulated arm64 with a real Objective-C runtime.
#![cfg_attr(feature = "shipped", no_std)]
#![cfg_attr(all(feature = "shipped", target_os = "linux"), feature(thread_local))]

extern crate alloc;

#[cfg(feature = "shipped")]
mod abandoned;
#[cfg(feature = "shipped")]
mod backtrace;
mod beginnings;
pub mod bounded;
pub mod call;
pub mod calls;
pub mod coalescing;
mod commits;
pub mod counters;
pub mod encoding;
mod endings;
pub mod event;
#[cfg(feature = "shipped")]
mod findings;
pub mod image;
pub mod interpose;
pub mod json;
pub mod ledger;
mod observe;
pub mod park;
pub mod quarantine;
pub mod races;
pub mod record;
pub mod selectors;
pub mod sequence;
pub mod settings;
mod stock;
pub mod sync;
pub mod sys;
pub mod thread;
pub mod throttle;
mod waits;

#[cfg(all(feature = "shipped", target_os = "macos"))]
mod core_foundation;
#[cfg(all(feature = "shipped", target_os = "macos"))]
pub mod driver;
#[cfg(feature = "shipped")]
mod driver_code;
#[cfg(feature = "shipped")]
pub mod entry;
#[cfg(feature = "shipped")]
mod environment;
#[cfg(feature = "shipped")]
mod exports;
#[cfg(feature = "shipped")]
mod fork;
#[cfg(feature = "shipped")]
pub mod hooks;
#[cfg(feature = "shipped")]
mod left_calls;
#[cfg(feature = "shipped")]
mod load;
#[cfg(feature = "shipped")]
mod own_thread;
#[cfg(feature = "shipped")]
mod process;
#[cfg(any(test, all(feature = "shipped", target_os = "macos")))]
#[cfg(not(loom))]
mod refusal;
#[cfg(feature = "shipped")]
mod refused;
#[cfg(feature = "shipped")]
mod report;
#[cfg(feature = "shipped")]
pub mod runtime;
#[cfg(feature = "shipped")]
pub mod say;
#[cfg(feature = "shipped")]
pub mod slot;
#[cfg(feature = "shipped")]
mod support;
#[cfg(feature = "shipped")]
mod symbols;
#[cfg(feature = "shipped")]
pub mod thunk;
#[cfg(feature = "shipped")]
mod unknown;
#[cfg(feature = "shipped")]
pub mod watchdog;
