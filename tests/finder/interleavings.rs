//! The steps that are told of compiled functions: under the original another thread
//! meets the race, and under the rewrite in no interleaving.

use std::collections::BTreeMap;
use std::sync::Mutex;

use agxpatch_core::address::VmAddr;
use agxpatch_core::finder::{Program, rewrite};
use agxpatch_core::macho::{Image, Universal};
use agxpatch_core::proof::interleaving::{Property, check};
use agxpatch_core::proof::meaning::{Compared, steps};
use agxpatch_core::proof::steps::Room;

use super::verdicts::{late, proven};
use agxpatch_oracles::shapes::{self, Compiled};
use agxpatch_oracles::tools::is_full;

#[derive(Default)]
struct Count {
    explored: BTreeMap<String, usize>,
    unknown: BTreeMap<String, usize>,
    wrong: Vec<String>,
}

#[test]
fn the_race_is_in_the_interleavings_of_the_original_and_of_no_rewrite() {
    let count: Mutex<Count> = Mutex::default();
    let every = if is_full() { 1 } else { 8 };
    let jobs = shapes::jobs().into_iter().skip(3).step_by(every).collect();
    shapes::each(jobs, |Compiled { job, image }| {
        let file = Universal::parse(&image).unwrap();
        let before = file.slices[0].image().unwrap();
        let program = Program::new(&before).unwrap();
        for entry in late(&program) {
            let function = VmAddr(entry);
            let mut prove = |before: &Image<'_>, after: &Image<'_>| proven(before, after, entry);
            let Ok(rewritten) = rewrite(&before, entry, &mut prove).unwrap() else { continue };
            let mut bytes = image.clone();
            for change in &rewritten.changes {
                let at = change.at.0 as usize;
                bytes[at..at + change.new.len()].copy_from_slice(&change.new);
            }
            let after = Image::parse(&bytes).unwrap();
            let compared = Compared { before: &before, after: &after, function, declared: &[] };
            let name = program.symbol(entry).unwrap_or_default().to_owned();
            let mut count = count.lock().unwrap();
            match steps(&compared) {
                Ok([old, new]) => {
                    let races = |steps, room| {
                        let found = check(steps, 2).unwrap().locking;
                        let mut all = found.violations.into_iter();
                        all.any(|one| {
                            one.property == Property::NoRaceWindow && one.room == Some(room)
                        })
                    };
                    let still = races(&new, Room::Left) || races(&new, Room::Full);
                    if !races(&old, Room::Left) || still {
                        count.wrong.push(format!("{name} {job:?}: {old:#?} {new:#?}"));
                    }
                    *count.explored.entry(name).or_default() += 1;
                }
                Err(why) => *count.unknown.entry(format!("{name}: {why:#}")).or_default() += 1,
            }
        }
    });
    let Count { explored, unknown, wrong } = count.into_inner().unwrap();
    eprintln!("explored: {explored:#?}\nunknown: {unknown:#?}");
    assert!(wrong.is_empty(), "{wrong:#?}");
    let [explored, unknown] = [explored, unknown].map(|all| all.values().sum::<usize>());
    assert!(unknown * 8 <= explored, "{unknown} unknown, {explored} explored");
}
