//! Where the clear may go, and which words can go for it.

use std::collections::BTreeSet;

use super::{Attempt, Way};
use crate::finder::decode::{Op, Operand, Place, bit};
use crate::finder::explore::Explorer;
use crate::finder::function::Function;

impl Attempt<'_, '_, '_> {
    /// The places where the clear may go, each a set to be used together.
    pub(super) fn places(&self, explorer: &mut Explorer<'_, '_>, way: Way) -> Vec<BTreeSet<u64>> {
        let Some(function) = explorer.function_at(self.entry) else { return Vec::new() };
        let own = |at: &u64| function.range.contains(at);
        let given = || self.before.given_under.iter();
        match way {
            Way::AfterLock => {
                let locks = given().filter_map(|lock| self.before.locks.get(lock)).flatten();
                locks.copied().filter(own).map(|at| BTreeSet::from([at + 4])).collect()
            }
            Way::BeforeUnlock | Way::Padding => {
                let unlocks = given().filter_map(|lock| self.before.unlocks.get(lock)).flatten();
                let sites = self.before.sites_of(unlocks);
                let all: BTreeSet<u64> = sites.into_iter().filter(own).collect();
                let armed = self.before.sites_of(&self.before.armed);
                let armed: BTreeSet<u64> = armed.intersection(&all).copied().collect();
                let mut places = vec![all, armed];
                places.dedup();
                places.retain(|places| !places.is_empty());
                // The helper that unlocks may be called in several places.
                places.extend(self.calls(&function));
                places
            }
            Way::BeforeCall => self.calls(&function),
            Way::PathsApart => self.gifts(&function),
            Way::BlockKept => {
                let sites = self.before.sites_of(&self.before.gives);
                let calls = |at: &u64| matches!(function.op(*at), Op::Call(_));
                let places: BTreeSet<u64> =
                    sites.into_iter().filter(|at| own(at) && calls(at)).collect();
                if places.is_empty() { Vec::new() } else { vec![places] }
            }
            Way::Exchange => self.loads(explorer, &function),
            Way::ReadAgain => self.deciding(explorer, &function),
        }
    }

    /// The calls of functions of this image, last first.
    fn calls(&self, function: &Function) -> Vec<BTreeSet<u64>> {
        let calls = function.placed().filter_map(|(at, op)| match op {
            Op::Call(target) if self.program.stub(target).is_none() => Some(BTreeSet::from([at])),
            _ => None,
        });
        let mut calls: Vec<BTreeSet<u64>> = calls.collect();
        calls.reverse();
        calls.truncate(8);
        calls
    }

    /// The instructions that only made the address of a dropped clear.
    pub(super) fn feeders(
        &self,
        explorer: &mut Explorer<'_, '_>,
        dropped: &BTreeSet<u64>,
    ) -> BTreeSet<u64> {
        let mut found = BTreeSet::new();
        let Some(function) = explorer.function_at(self.entry) else { return found };
        for clear in dropped {
            let Op::Store(access) = function.op(*clear) else { continue };
            let mut wanted: Vec<u8> = match access.place {
                Place::Indexed(_, Operand::Shifted(index, 0)) => {
                    vec![index]
                }
                place => place.base().into_iter().collect(),
            };
            // Back over straight code, as long as the register is used for nothing else.
            let mut at = *clear;
            while let Some(register) = wanted.last().copied() {
                at -= 4;
                let joins = function.is_join(at + 4) && at + 4 != *clear;
                if joins || !function.range.contains(&at) || *clear - at > 32 {
                    break;
                }
                let alone = function.live(*clear + 4) & bit(register) == 0;
                match function.op(at) {
                    Op::Load(load) if load.registers == (register, None) && alone => {
                        found.insert(at);
                        match load.place {
                            Place::Offset(base, _) if base == register => {}
                            _ => break,
                        }
                    }
                    Op::Constant { to, .. } if to == register && alone => {
                        found.insert(at);
                        wanted.pop();
                    }
                    Op::Nop => {}
                    _ => break,
                }
            }
        }
        found
    }
}
