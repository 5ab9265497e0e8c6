//! What a rewrite comes to: the way that was taken, the changes, or why there are none.

use std::fmt;

use serde::Serialize;

use crate::address::{SliceOffset, VmAddr};
use crate::finder::image::Program;

/// Which of the threads that use one object at the same time a rewrite is to keep apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum RewriteKind {
    /// Those that find the lock free after the block was given back: the field is cleared
    /// under the lock.
    #[default]
    EarlierClear,
    /// Also two that give the block back: it is taken out of the field by an exchange
    /// where the field is read for the last time before the lock.
    Take,
    /// The same two: the field is read again and cleared once the lock is held.
    Reread,
}

impl RewriteKind {
    /// All of them, the default first.
    pub const ALL: [RewriteKind; 3] =
        [RewriteKind::EarlierClear, RewriteKind::Take, RewriteKind::Reread];

    /// Its name, as that of a patch.
    pub const fn name(self) -> &'static str {
        match self {
            RewriteKind::EarlierClear => "clear-under-lock",
            RewriteKind::Take => "take",
            RewriteKind::Reread => "reread",
        }
    }

    /// The kind of that name.
    pub fn of_name(name: &str) -> Option<RewriteKind> {
        RewriteKind::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// Whether it excludes that two threads give one block back.
    pub fn excludes_double_push(self) -> bool {
        self != RewriteKind::EarlierClear
    }
}

/// How a function was rewritten.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Way {
    /// The clear stands after the call that takes the lock.
    AfterLock,
    /// Before the call that drops it.
    BeforeUnlock,
    /// Before the call of the function that takes it.
    BeforeCall,
    /// In padding, through which the lock is dropped.
    Padding,
    /// In padding, on the paths only that give the block back. Others clear it as before.
    PathsApart,
    /// In padding, before the call of the function that gives the block back; the block is
    /// kept in a register for the loads behind it.
    BlockKept,
    /// The block is taken by an exchange where the field was loaded.
    Exchange,
    /// The field is read again and cleared in padding, before the branch that decides
    /// whether the pool has room.
    ReadAgain,
}

/// Why a function is not rewritten.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Refusal {
    /// It does not clear late.
    NotLate,
    /// The late clear is part of an instruction that cannot do without it.
    OtherClear,
    /// The late clear stands in another function that cannot be called without it.
    ElsewhereCleared,
    /// No register holds what the clear needs.
    NoMaterial,
    /// No load of the field stands where an exchange could take its place.
    NoLoad,
    /// No branch under the lock decides whether the pool has room.
    NoBranch,
    /// There are not as many words to drop as to insert.
    NoRoom,
    /// An indirect branch.
    IndirectBranch,
    /// The address of an instruction is taken.
    AddressTaken,
    /// Another function branches into this one.
    EnteredElsewhere,
    /// A distance no longer fits its field.
    TooFar,
    /// The exception table has no room for a number, or cannot be read.
    TableWidth,
    /// The frame is set up, or unwound by other rules, where instructions would move.
    UnwindRules,
    /// A word cannot be read.
    Unreadable,
    /// There is no padding near.
    NoPadding,
    /// The rewritten code does not do the same.
    NotTheSame,
    /// The rewritten code is not proven to do the same.
    NotProven,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Refusal::NotLate => "the function does not clear late",
            Refusal::OtherClear => "the late clear cannot be taken out of its instruction",
            Refusal::ElsewhereCleared => {
                "the late clear cannot be taken out of the function that is called for it"
            }
            Refusal::NoMaterial => "no register holds the address of the field",
            Refusal::NoLoad => "no load of the field can become an exchange",
            Refusal::NoBranch => "no branch under the lock decides whether the pool has room",
            Refusal::NoRoom => "the function has no room for the earlier clear",
            Refusal::IndirectBranch => "an indirect branch keeps the code from moving",
            Refusal::AddressTaken => "the address of an instruction is used",
            Refusal::EnteredElsewhere => "another function branches into this one",
            Refusal::TooFar => "a branch would not reach its target",
            Refusal::TableWidth => "the exception table cannot be written",
            Refusal::UnwindRules => "code would move past a place where unwinding changes",
            Refusal::Unreadable => "an instruction cannot be read",
            Refusal::NoPadding => "there is no padding for the earlier clear",
            Refusal::NotTheSame => "the rewritten function would not end as the original does",
            Refusal::NotProven => "the rewritten function is not proven to do the same",
        })
    }
}

/// One change of the slice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Where.
    pub at: SliceOffset,
    /// What stands there.
    pub old: Vec<u8>,
    /// The new words.
    pub new: Vec<u8>,
    /// Why.
    pub why: &'static str,
}

impl Change {
    pub(super) fn word(
        program: &Program<'_>,
        at: u64,
        old: u32,
        new: u32,
        why: &'static str,
    ) -> Result<Change, Refusal> {
        let at = program.image().offset_of(VmAddr(at)).ok_or(Refusal::Unreadable)?;
        Ok(Change { at, old: old.to_le_bytes().to_vec(), new: new.to_le_bytes().to_vec(), why })
    }
}

/// A function, rewritten.
#[derive(Clone, Debug)]
pub struct Rewritten {
    /// How, for each field that was cleared late.
    pub ways: Vec<Way>,
    /// The changes, in the order of the slice.
    pub changes: Vec<Change>,
}

/// Makes the changes.
pub(super) fn apply(bytes: &mut [u8], changes: &[Change]) {
    for change in changes {
        let start = change.at.0 as usize;
        bytes[start..start + change.new.len()].copy_from_slice(&change.new);
    }
}

/// The changes word by word.
pub(super) fn difference(old: &[u8], new: &[u8]) -> Vec<Change> {
    let mut changes = Vec::new();
    for (index, (a, b)) in old.chunks(4).zip(new.chunks(4)).enumerate() {
        if a != b {
            let at = SliceOffset(4 * index as u64);
            changes.push(Change { at, old: a.to_vec(), new: b.to_vec(), why: super::EARLY });
        }
    }
    changes
}
