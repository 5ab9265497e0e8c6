//! What the interleavings of the window come to, and what the specifications
//! say about it.

mod driver;
mod interleavings;
mod picture;
mod prove;
mod published;
mod specifications;
mod steps;
