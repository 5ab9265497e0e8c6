//! What a proof is about: one function before and after, and what surrounds it.

use std::ops::Range;

use crate::address::{VmAddr, Word};
use crate::arm64::semantics::Register;

/// One function, as it was and as it is to become.
#[derive(Clone, Copy)]
pub struct Site<'a> {
    /// The address of the function's first instruction.
    pub entry: VmAddr,
    /// The whole function as it was, from `entry` to the next function.
    pub before: &'a [Word],
    /// The whole function as rewritten; as many words.
    pub after: &'a [Word],
    /// The first address of the matched sequence. Everything before it is taken
    /// to be left alone, which the proof checks.
    pub window_start: VmAddr,
    /// The address after the matched sequence, `done` in the signature.
    pub window_end: VmAddr,
    /// What the registers and call targets in the window stand for.
    pub roles: Roles,
    /// Defects the patch admits to. An obligation that fails by one of these,
    /// and in no other way, still fails, but the verdict says that it was
    /// declared.
    pub declared: &'a [Defect],
    /// The rest of the image.
    pub surroundings: &'a dyn Surroundings,
}

impl Site<'_> {
    /// The addresses of the function, the next one's first excluded.
    pub fn function(&self) -> Range<VmAddr> {
        self.entry..self.entry.instruction(self.before.len())
    }

    /// The words that the rewrite changes.
    pub fn changed(&self) -> impl Iterator<Item = VmAddr> + '_ {
        let words = self.before.iter().zip(self.after).enumerate();
        words
            .filter(|(_, (before, after))| before != after)
            .map(|(index, _)| self.entry.instruction(index))
    }

    /// The addresses of the window, `done` excluded.
    pub fn window(&self) -> Range<VmAddr> {
        self.window_start..self.window_end
    }
}

/// What the matched registers and call targets are for. All of them are
/// captures of the signature; nothing in the proof knows them by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Roles {
    /// Holds `self`, the encoder.
    pub self_: Register,
    /// Holds the offset of the instance variable `_impl` in `self`.
    pub ivar: Register,
    /// Holds the block that is given back, the value of `self->_impl`.
    pub impl_: Register,
    /// Holds the base of the freelist entry the block is pushed to.
    pub slot: Register,
    /// The displacement of the push, in bytes from `slot`.
    pub slots: u64,
    /// Holds the object the lock is part of.
    pub pool: Register,
    /// Holds the offset of the lock in it.
    pub lock: Register,
    /// Where `os_unfair_lock_unlock` is called.
    pub unlock: VmAddr,
    /// Where `free` is called.
    pub free: VmAddr,
}

/// A way in which a patch is known not to refine the original.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Defect {
    /// The block is not freed where the freelist has no room for it: a leak of
    /// one block each time.
    FreeLostWhenFull,
}

impl Defect {
    /// Every defect a patch may declare.
    pub const ALL: &'static [Defect] = &[Defect::FreeLostWhenFull];

    /// The name patches declare it by.
    pub fn name(self) -> &'static str {
        match self {
            Defect::FreeLostWhenFull => "free-lost-when-full",
        }
    }

    /// The defect of that name.
    pub fn named(name: &str) -> Option<Defect> {
        Defect::ALL.iter().copied().find(|defect| defect.name() == name)
    }
}

/// The image around the function. It answers with what it has; where it knows
/// nothing the proof says so and does not take silence for absence.
pub trait Surroundings {
    /// Address and bytes of the section that holds the function (`__text`).
    fn text(&self) -> (VmAddr, &[u8]);

    /// The first addresses of all functions, ascending; none where the image
    /// does not list them.
    fn function_starts(&self) -> Option<&[VmAddr]>;

    /// Where exceptions may continue within `function`.
    fn landing_pads(&self, function: Range<VmAddr>) -> LandingPads;

    /// The instructions of a function before which the rules change by which it is
    /// unwound; `None` if that cannot be read.
    fn unwind_steps(&self, function: Range<VmAddr>) -> Option<Vec<VmAddr>> {
        let _ = function;
        Some(Vec::new())
    }

    /// `length` bytes of initialised data at `address`, for jump tables and
    /// literals, or nothing where the file has none there.
    fn data(&self, address: VmAddr, length: usize) -> Option<&[u8]>;
}

/// The exception landing pads of one function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LandingPads {
    /// These, and no others.
    Known(Vec<VmAddr>),
    /// Not looked at, and why.
    Unknown(String),
}
