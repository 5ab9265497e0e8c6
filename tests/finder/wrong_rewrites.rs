//! The wrong rewrites of the published method that `tests/proof/wrong_rewrites.rs` names,
//! made of compiled functions: each spoils the rewrite of one function in one way.
//!
//! The proof refuses each of them, or a processor finds no difference from the original.
//! What is spoilt is found in the rewritten code: the clear, the calls, the push, the
//! branches and the epilogue.
//!
//! Of the 96 these are not made, for what they spoil is not there:
//!
//! * what needs a free word, which a clear that moved leaves none of: clear twice, two
//!   unlocks, free twice, a store, a call or a push to the stack more, free of the pool or
//!   of the pushed block, a load into nothing, from the freed block or from what a call
//!   left;
//! * the register by which the catalogue's rewrite tells the paths apart after the unlock:
//!   free skipped where there is a block, always skipped, decided by one bit, by the lower
//!   half or by the unlock's result, on both paths, of null where nothing was freed, the
//!   path kept in another register, a scratch register or flags assumed across a call,
//!   flags left alone become assumed;
//! * the borders of a window: a word before or after it, a branch into it from before, out
//!   of it before its end or to the wrong exit, a loop in it;
//! * the published way to make the lock's address and the slot's: unlock of the pool, with
//!   another sum, with a difference or a shifted sum, clear scaled, at self or as a pair;
//! * orders that the published window's eight words allow: free before the unlock, push
//!   after it or a word later, clear before the push. The last is what a rewrite by meaning
//!   does; the others are among the mutations, which put each word in each place.

use std::collections::BTreeMap;
use std::sync::Mutex;

use agxpatch_core::address::{VmAddr, Word};
use agxpatch_core::finder::{Program, examine, rewrite};
use agxpatch_core::macho::{Image, Universal};

use super::mutations::differ;
use super::verdicts::{BUDGET, late, proven};
use agxpatch_oracles::shapes::{self, Compiled, Job};

/// The functions whose rewrites are spoilt.
const FUNCTIONS: [&str; 8] = [
    "destroyImplCalled",
    "oneUnlock",
    "late_order pushFirst",
    "late_list pushed",
    "late_plain",
    "late_guard6scoped",
    "late_guard6pushed",
    "late_fields oneOfTwo",
];

/// In how many functions at least each wrong rewrite is made.
const AT_LEAST: usize = 5;

const NOP: u32 = 0xd503_201f;
const TRAP: u32 = 0xd420_0020;
const RETURN: u32 = 0xd65f_03c0;

/// Words in place of others, by address.
type Spoilt = Vec<(u64, u32)>;

/// A rewritten function, and where its parts are.
struct Parts<'p, 'a> {
    program: &'p Program<'a>,
    /// The addresses of the function and of the code that the rewrite put into padding.
    all: Vec<u64>,
    clear: u64,
    push: u64,
}

impl Parts<'_, '_> {
    fn word(&self, at: u64) -> u32 {
        self.program.word(at).unwrap().0
    }

    /// Where a call or a branch leads.
    fn target(&self, at: u64) -> Option<u64> {
        let word = self.word(at);
        let distance = i64::from((word << 6) as i32 >> 6) * 4;
        (word & 0x7c00_0000 == 0x1400_0000).then(|| at.wrapping_add_signed(distance))
    }

    /// The calls of a function of another image.
    fn calls(&self, name: &str) -> Vec<u64> {
        let leads = |at: &u64| self.target(*at).and_then(|to| self.program.stub(to)) == Some(name);
        self.all.iter().copied().filter(leads).collect()
    }

    fn stub(&self, name: &str) -> Option<u64> {
        let starts = self.program.image().stubs().unwrap();
        starts.into_iter().find(|stub| stub.name == name).map(|stub| stub.address.0)
    }

    /// The words that match, by address.
    fn matching(&self, mask: u32, value: u32) -> impl Iterator<Item = u64> + '_ {
        self.all.iter().copied().filter(move |at| self.word(*at) & mask == value)
    }

    /// A call or a branch that leads elsewhere.
    fn leading(&self, at: u64, target: u64) -> u32 {
        let distance = (target.wrapping_sub(at) as i64 / 4) as u32;
        self.word(at) & 0xfc00_0000 | distance & 0x03ff_ffff
    }

    /// Every wrong rewrite that this function has room for.
    fn spoilt(&self) -> Vec<(&'static str, Spoilt)> {
        let mut all = Vec::new();
        self.spoil_clear(&mut all);
        self.spoil_calls(&mut all);
        self.spoil_push(&mut all);
        self.spoil_branches(&mut all);
        self.spoil_frame(&mut all);
        all
    }

    fn spoil_clear(&self, all: &mut Vec<(&'static str, Spoilt)>) {
        let (at, word) = (self.clear, self.word(self.clear));
        let block = self.word(self.push) & 31;
        let mut spoil = |name, new: u32| all.push((name, vec![(at, new)]));
        spoil("clear lost", NOP);
        spoil("clear writes half a pointer", word & !(1 << 30));
        spoil("clear writes a byte", word & !(3 << 30));
        spoil("clear of another register's object", word ^ 1 << 5);
        spoil("clear stores the block", word & !31 | block);
        spoil("clear stores something else", word & !31 | 21);
        spoil("clear reads instead", word | 1 << 22);
        spoil("clear at another place", word ^ if word >> 24 == 0xf9 { 1 << 10 } else { 1 << 12 });
        spoil("a trap", TRAP);
        spoil("a return", RETURN);
        spoil("a branch to itself", 0x1400_0000);
        spoil("an indirect branch", 0xd61f_0280);
        spoil("an exclusive load", 0xc85f_7e69);
        spoil("a system call", 0xd400_1001);
        spoil("floating point", 0x1e61_2800);
        spoil("a store to the stack", 0xf900_03f4);
        spoil("a vector store", 0x3d80_0260);
        spoil("a callee-saved vector register lost", 0x2f00_e40a);
        spoil("a scratch store through the block", 0xf900_0000 | block << 5 | 31);
        spoil("stack lowered", 0xd100_43ff);
        let next = self.word(at + 4);
        let jump = next & 0x7c00_0000 == 0x1400_0000;
        if !jump {
            all.push(("clear after the next instruction", vec![(at, next), (at + 4, word)]));
        }
        if let Some(unlock) = self.calls("_os_unfair_lock_unlock").first().copied() {
            let call = self.word(unlock);
            let to = self.target(unlock).unwrap();
            let moved = call & 0xfc00_0000 | (to.wrapping_sub(at) as i64 / 4) as u32 & 0x03ff_ffff;
            all.push(("clear after the unlock", vec![(at, moved), (unlock, word)]));
        }
        all.push(("clear in place of the push", vec![(at, NOP), (self.push, word)]));
    }

    fn spoil_calls(&self, all: &mut Vec<(&'static str, Spoilt)>) {
        let free = self.stub("_free");
        let lock = self.stub("_os_unfair_lock_lock");
        for at in self.calls("_os_unfair_lock_unlock") {
            let target = self.target(at).unwrap();
            all.push(("no unlock", vec![(at, NOP)]));
            all.push(("unlock a word off", vec![(at, self.leading(at, target + 4))]));
            all.push(("unlock jumped to, or called", vec![(at, self.word(at) ^ 1 << 31)]));
            if let Some(lock) = lock {
                all.push(("lock in place of unlock", vec![(at, self.leading(at, lock))]));
            }
            if let Some(free) = free {
                all.push(("free in place of unlock", vec![(at, self.leading(at, free))]));
            }
            self.spoil_argument(at, ["unlock without its argument", "unlock of half a sum"], all);
        }
        for at in self.calls("_os_unfair_lock_lock") {
            all.push(("no lock", vec![(at, NOP)]));
        }
        for at in self.calls("_free") {
            all.push(("free lost", vec![(at, NOP)]));
            let unlock = self.stub("_os_unfair_lock_unlock").unwrap();
            all.push(("unlock in place of free", vec![(at, self.leading(at, unlock))]));
            self.spoil_argument(at, ["free of a stale argument", "free of half a pointer"], all);
        }
    }

    /// The instruction before a call that makes its argument.
    fn spoil_argument(
        &self,
        call: u64,
        names: [&'static str; 2],
        all: &mut Vec<(&'static str, Spoilt)>,
    ) {
        let before = call - 4;
        let word = self.program.word(before).map_or(0, |word| word.0);
        let arithmetic = word & 0x1c00_0000 == 0x0800_0000 || word & 0x1c00_0000 == 0x1000_0000;
        if word & 31 == 0 && arithmetic && word >> 31 == 1 {
            all.push((names[0], vec![(before, NOP)]));
            all.push((names[1], vec![(before, word & !(1 << 31))]));
            all.push(("argument of a call in x1", vec![(before, word | 1)]));
            all.push(("argument of a call from another register", vec![(before, word ^ 1 << 16)]));
        }
    }

    fn spoil_push(&self, all: &mut Vec<(&'static str, Spoilt)>) {
        let (at, word) = (self.push, self.word(self.push));
        let mut spoil = |name, new: u32| all.push((name, vec![(at, new)]));
        spoil("push lost", NOP);
        spoil("push of half a pointer", word & !(1 << 30));
        spoil("push of null", word | 31);
        spoil("push of another register", word ^ 3);
        spoil("push through another register", word ^ 1 << 5);
        spoil("push one slot on", word ^ if word >> 24 == 0xf9 { 1 << 10 } else { 1 << 12 });
        spoil("push reads instead", word | 1 << 22);
        // A count is stored as a word, and raised by an addition of one.
        for at in self.matching(0xffc0_0000, 0xb900_0000) {
            all.push(("count not stored", vec![(at, NOP)]));
            all.push(("count as 64 bits", vec![(at, self.word(at) | 1 << 30)]));
        }
        for at in self.matching(0xffff_fc00, 0x1100_0400) {
            all.push(("count raised twice", vec![(at, self.word(at) + 0x400)]));
            all.push(("count not raised", vec![(at, self.word(at) - 0x400)]));
        }
        for at in self.matching(0xffe0_fc00, 0x8b00_0c00) {
            all.push(("freelist slot not scaled", vec![(at, self.word(at) & !0xfc00)]));
        }
    }

    fn spoil_branches(&self, all: &mut Vec<(&'static str, Spoilt)>) {
        for at in self.matching(0xff00_0010, 0x5400_0000) {
            let word = self.word(at);
            let with = |condition: u32| word & !15 | condition;
            all.push(("condition inverted", vec![(at, word ^ 1)]));
            all.push(("condition of equality", vec![(at, with(0))]));
            all.push(("condition signed", vec![(at, with(12))]));
            all.push(("condition that includes equality", vec![(at, word ^ 10)]));
            all.push(("never full", vec![(at, NOP)]));
            let distance = (word << 8) as i32 >> 13;
            all.push(("always full", vec![(at, 0x1400_0000 | distance as u32 & 0x03ff_ffff)]));
            all.push(("branch a word further", vec![(at, word + 32)]));
            all.push(("branch a word less far", vec![(at, word - 32)]));
        }
        for at in self.matching(0x7e00_0000, 0x3400_0000) {
            let word = self.word(at);
            all.push(("test of a pointer inverted", vec![(at, word ^ 1 << 24)]));
            all.push(("test of half a pointer", vec![(at, word & !(1 << 31))]));
            all.push(("test of another register", vec![(at, word ^ 1)]));
            all.push(("test lost", vec![(at, NOP)]));
        }
        for at in self.matching(0xfc00_0000, 0x1400_0000) {
            all.push(("branch lost", vec![(at, NOP)]));
            all.push(("branch to the start", vec![(at, self.leading(at, self.all[0]))]));
            all.push(("branch elsewhere", vec![(at, self.word(at) + 1)]));
        }
    }

    fn spoil_frame(&self, all: &mut Vec<(&'static str, Spoilt)>) {
        for at in self.matching(0xffc0_0000, 0xa940_0000) {
            all.push(("saved registers lost", vec![(at, NOP)]));
            all.push(("saved registers exchanged", vec![(at, self.word(at) ^ 1)]));
            all.push(("saved registers from elsewhere", vec![(at, self.word(at) ^ 1 << 15)]));
        }
        for at in self.matching(0xffc0_0000, 0xa8c0_0000) {
            all.push(("stack unbalanced", vec![(at, self.word(at) + (1 << 16))]));
        }
    }
}

/// What became of the wrong rewrites of one kind.
#[derive(Default)]
struct Outcome {
    functions: usize,
    refused: usize,
    equivalent: usize,
}

/// The addresses of a function and of the code in padding that its rewrite adds.
fn addresses(program: &Program<'_>, entry: u64, changed: &[VmAddr]) -> Vec<u64> {
    let own = program.function(entry).unwrap();
    let added = changed.iter().map(|at| at.0).filter(|at| program.is_padding(*at));
    own.clone().step_by(4).chain(added).collect()
}

fn spoil(
    image: &Image<'_>,
    entry: u64,
    outcomes: &Mutex<BTreeMap<&'static str, Outcome>>,
    wrong: &Mutex<Vec<String>>,
) {
    let mut prove = |before: &Image<'_>, after: &Image<'_>| proven(before, after, entry);
    let done = rewrite(image, entry, &mut prove).unwrap().unwrap();
    let mut bytes = image.bytes().to_vec();
    for change in &done.changes {
        let at = change.at.0 as usize;
        bytes[at..at + change.new.len()].copy_from_slice(&change.new);
    }
    let changed: Vec<VmAddr> =
        done.changes.iter().filter_map(|change| image.address_of(change.at)).collect();
    let rewritten = bytes.clone();
    let rewritten = Image::parse(&rewritten).unwrap();
    let program = Program::new(&rewritten).unwrap();
    let notes = &examine(&program, entry, BUDGET).fields[0].notes;
    let all = addresses(&program, entry, &changed);
    let (clear, push) = (*notes.in_time.first().unwrap(), *notes.gives.first().unwrap());
    let parts = Parts { program: &program, all, clear, push };
    let mut seen: BTreeMap<&'static str, Outcome> = BTreeMap::new();
    for (name, words) in parts.spoilt() {
        let mut bytes = bytes.clone();
        let mut same = true;
        for &(at, word) in &words {
            let place = rewritten.offset_of(VmAddr(at)).unwrap().0 as usize;
            same &= bytes[place..place + 4] == word.to_le_bytes();
            bytes[place..place + 4].copy_from_slice(&word.to_le_bytes());
        }
        if same {
            continue;
        }
        let mutant = Image::parse(&bytes).unwrap();
        let outcome = seen.entry(name).or_insert(Outcome { functions: 1, ..Outcome::default() });
        match proven(image, &mutant, entry) {
            false => outcome.refused += 1,
            true if differ(image, &mutant, entry) => {
                wrong.lock().unwrap().push(format!(
                    "{name} in {:?}: {:x?}",
                    program.symbol(entry),
                    words.iter().map(|(at, word)| (*at, Word(*word))).collect::<Vec<_>>()
                ));
            }
            true => outcome.equivalent += 1,
        }
    }
    let mut outcomes = outcomes.lock().unwrap();
    for (name, Outcome { functions, refused, equivalent }) in seen {
        let sum = outcomes.entry(name).or_default();
        sum.functions += functions;
        sum.refused += refused;
        sum.equivalent += equivalent;
    }
}

#[test]
fn every_wrong_rewrite_of_compiled_functions_is_refused_or_does_the_same() {
    let jobs = shapes::jobs();
    let wanted = |job: &Job| job.version == 22 && job.flags == ["-O2"];
    let jobs: Vec<Job> = jobs.into_iter().filter(wanted).collect();
    let outcomes = Mutex::default();
    let wrong = Mutex::default();
    shapes::each(jobs, |Compiled { image, .. }| {
        let file = Universal::parse(&image).unwrap();
        let image = file.slices[0].image().unwrap();
        let program = Program::new(&image).unwrap();
        for entry in late(&program) {
            let name = program.symbol(entry).unwrap();
            if FUNCTIONS.iter().any(|one| name.contains(one)) {
                spoil(&image, entry, &outcomes, &wrong);
            }
        }
    });
    let (outcomes, wrong) = (outcomes.into_inner().unwrap(), wrong.into_inner().unwrap());
    assert!(wrong.is_empty(), "{wrong:#?}");
    let sum = |get: fn(&Outcome) -> usize| outcomes.values().map(get).sum::<usize>();
    let (refused, equivalent) = (sum(|one| one.refused), sum(|one| one.equivalent));
    eprintln!("{} kinds: {refused} refused, {equivalent} equivalent", outcomes.len());
    let rare: Vec<&&str> =
        outcomes.iter().filter(|(_, one)| one.functions < AT_LEAST).map(|(name, _)| name).collect();
    assert!(rare.is_empty(), "made in fewer than {AT_LEAST} functions: {rare:?}");
    assert!(outcomes.is_empty() || outcomes.len() >= 60, "{} kinds", outcomes.len());
}
