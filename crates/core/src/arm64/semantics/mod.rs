//! What AArch64 instructions mean, for all inputs at once.
//!
//! [`decode()`] turns a word into a typed [`Operation`] or into nothing, and
//! [`execute()`] applies it to a [`State`] whose registers, flags and memory are
//! terms over an arbitrary beginning. Memory is not an array but the history of
//! what was stored and called: a load is a term over that history, so nothing
//! is ever assumed about two addresses being different.
//!
//! Worked out are the instructions that compilers put into windows such as the
//! ones patched: general registers whole, pointer authentication, atomics without
//! exclusive pairs, and those vector instructions that clear and copy. Of
//! floating point, the other vector instructions and exclusive pairs only the
//! bounds are known ([`Operation::Unmodelled`]): that control goes on to the next
//! word, and which registers may be read and written. That is enough to follow a
//! register through a function and too little for a window. Anything else is
//! unknown and for the caller to refuse. Two things are simpler than in the
//! hardware: a failed authentication gives a value here and a fault there, and
//! alignment and permission faults do not exist.
//!
//! The tests hold every instruction kind against Unicorn on random states, the
//! bounds as well.

mod decode;
mod execute;
mod flags;
mod footprint;
mod memory;
mod operation;
mod register;
mod register_set;
mod state;
mod term;

pub use decode::decode;
pub use execute::execute;
pub use flags::{Condition, Flags, FlagsNode, flags_of_sum, negative_and_zero};
pub use footprint::Footprint;
pub use operation::{
    Address, Atomic, Bitfield, Data, Extend, Field, Modifier, MoveWide, OneSource, Operand,
    Operation, Size,
};
pub use register::Register;
pub use register_set::RegisterSet;
pub use state::{Callee, Next, State, Test};
pub use term::{Binary, Event, Half, History, Key, Node, Term, Terms, Unary};
