//! Taking the block out of the field in one step.
//!
//! A clear under the lock closes the window between the unlock and the late clear. It
//! leaves a second thread alone that read the field before it waited for the lock: that
//! thread has the block too, and gives it back again. Where the field is read for the
//! last time before the lock, an exchange with null in the place of that load excludes
//! it, for only one thread finds the block. An exchange has no offset, so an `add` comes
//! before it, into the register that is to hold the block; the late clear leaves its
//! room.
//!
//! `swpal` is of the large system extensions, which every Mac with a GPU of Apple's has.

use std::collections::BTreeSet;

use super::layout::Layout;
use super::padding::Pads;
use super::removal::Removals;
use super::{Attempt, Change, Refusal, encode};
use crate::finder::decode::{Access, Op, Place, ZR};
use crate::finder::explore::Explorer;
use crate::finder::function::Function;
use crate::finder::state::State;

pub(super) const TAKEN: &str = "take the block out of the field in one step";

/// The most loads that are tried.
const MAX_LOADS: usize = 6;

impl Attempt<'_, '_, '_> {
    /// The loads of the whole cell into one register, in the function itself, those
    /// behind others first.
    pub(super) fn loads(
        &self,
        explorer: &mut Explorer<'_, '_>,
        function: &Function,
    ) -> Vec<BTreeSet<u64>> {
        let loads: Vec<(u64, Access)> = function
            .placed()
            .filter_map(|(at, op)| match op {
                Op::Load(access) if fills_one_register(access) => Some((at, access)),
                _ => None,
            })
            .collect();
        let states = self.states_at(explorer, loads.iter().map(|(at, _)| *at));
        let mut found = Vec::new();
        for (at, access) in loads.into_iter().rev() {
            let of_cell =
                |state: &State| explorer.address(&mut state.clone(), at, access.place) == self.cell;
            let states = states.get(&at).map(Vec::as_slice).unwrap_or_default();
            if !states.is_empty() && states.iter().all(of_cell) {
                found.push(BTreeSet::from([at]));
            }
        }
        found.truncate(MAX_LOADS);
        found
    }

    /// The changes, with the exchange in the place of one load: in place, or in padding
    /// where nothing may move.
    pub(super) fn exchange(
        &self,
        explorer: &mut Explorer<'_, '_>,
        places: &BTreeSet<u64>,
        removals: &Removals,
    ) -> Result<Vec<Change>, Refusal> {
        let at = *places.first().ok_or(Refusal::NoMaterial)?;
        let function = explorer.function_at(self.entry).ok_or(Refusal::Unreadable)?;
        let Op::Load(access) = function.op(at) else { return Err(Refusal::NoMaterial) };
        let word = self.program.word(at).ok_or(Refusal::Unreadable)?.0;
        let (mut words, base) = address(access, word).ok_or(Refusal::NoMaterial)?;
        let exchange = encode::exchange_null(access.registers.0, base);
        let mut free = removals.dropped();
        if words.len() > free.len() {
            free.extend(self.feeders(explorer, &removals.dropped()));
        }
        let (mut copies, mut pads) = (Vec::new(), Pads::of(self.program));
        let mut replaced = removals.replaced(self, &mut pads, &mut copies)?;
        replaced.insert(at, exchange);
        let moved = Layout::new(self.program, &function, (at, &words), &free, &replaced)
            .and_then(|layout| layout.keep(removals.anchors()).map(|()| layout))
            .and_then(|layout| layout.changes(at, words.len(), TAKEN));
        let refused = match moved {
            Ok(changes) => return Ok([changes, copies].concat()),
            Err(refused) => refused,
        };
        let (mut changes, mut pads) = (Vec::new(), Pads::of(self.program));
        words.push(exchange);
        let thunk = self.thunk(&mut pads, words, at + 4, &mut changes).map_err(|_| refused)?;
        let jump = encode::jump(at, thunk).ok_or(refused)?;
        changes.push(self.replace(at, jump)?);
        removals.write(self, &mut pads, &mut changes)?;
        Ok(changes)
    }
}

/// Whether a load fills one general register, and no other changes.
fn fills_one_register(access: Access) -> bool {
    access.size == 8
        && !access.vector
        && access.registers.1.is_none()
        && access.registers.0 < ZR
        && matches!(access.place, Place::Offset(..) | Place::Indexed(..))
}

/// The words that leave the address of a load in the register that it fills, and the
/// register in which the address then is; `word` is the load.
fn address(access: Access, word: u32) -> Option<(Vec<u32>, u8)> {
    let to = access.registers.0;
    match access.place {
        Place::Offset(base, 0) => Some((Vec::new(), base)),
        Place::Offset(base, distance) => Some((encode::add_distance(to, base, distance)?, to)),
        Place::Indexed(..) => Some((vec![encode::add_index_of(word)], to)),
        _ => None,
    }
}
