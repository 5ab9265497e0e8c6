//! Plausible functions by the thousand, and near misses of the sequence.
//!
//! A driver is mostly code that is not the code one looks for. Each filler
//! function saves registers, loads and stores fields, calls its neighbours and
//! the stubs, and returns, in the manner of the published listings. Some hold a
//! decoy: the thirteen words of the sequence with one of them wrong.

use super::encode::*;
use super::random::Random;
use agxpatch_core::address::VmAddr;

/// What the filler calls.
pub(super) struct Callees<'a> {
    pub(super) functions: &'a [VmAddr],
    pub(super) stubs: &'a [VmAddr],
    pub(super) lock: VmAddr,
    pub(super) unlock: VmAddr,
    pub(super) free: VmAddr,
    /// First and last of the ivar offset cells.
    pub(super) cells: (VmAddr, VmAddr),
}

/// One function in the making: its words so far and how many it will have.
pub(super) struct Writer<'a> {
    at: VmAddr,
    words: Vec<u32>,
    length: usize,
    callees: &'a Callees<'a>,
}

/// Fewest words a filler function can have.
pub(super) const SHORTEST: u64 = 16;

/// Callee-saved pairs in the order compilers save them.
const PAIRS: [(u32, u32); 5] = [(28, 27), (26, 25), (24, 23), (22, 21), (20, 19)];

impl<'a> Writer<'a> {
    /// A function of exactly `length` words at `at`.
    pub(super) fn filler(
        at: VmAddr,
        length: usize,
        random: &mut Random,
        callees: &'a Callees<'a>,
    ) -> Vec<u32> {
        let mut writer = Writer { at, words: Vec::with_capacity(length), length, callees };
        let pairs = if length < 24 { 1 } else { random.within(1, 6) as usize };
        let saved = PAIRS.get(PAIRS.len() - pairs..).unwrap_or_default();
        writer.prologue(saved);
        let epilogue = saved.len() + 2;
        if random.below(48) == 0 && writer.room(epilogue) > 24 {
            writer.decoy(random);
        }
        while writer.room(epilogue) > 0 {
            let room = writer.room(epilogue);
            writer.idiom(random, room);
        }
        writer.epilogue(saved);
        writer.words
    }

    fn room(&self, epilogue: usize) -> usize {
        self.length.saturating_sub(self.words.len() + epilogue)
    }

    fn here(&self) -> VmAddr {
        self.at.instruction(self.words.len())
    }

    fn put(&mut self, words: &[u32]) {
        self.words.extend_from_slice(words);
    }

    fn call(&mut self, to: VmAddr) {
        let word = bl(self.here(), to);
        self.words.push(word);
    }

    /// Calls the stub, or the function itself where a very large image puts the
    /// stub out of reach.
    fn call_stub(&mut self, stub: VmAddr) {
        const REACH: i64 = 1 << 27;
        let near = stub.distance_from(self.here()).abs() < REACH;
        self.call(if near { stub } else { self.at });
    }

    /// A function not far away, as most that are called.
    fn neighbour(&self, random: &mut Random) -> VmAddr {
        let functions = self.callees.functions;
        let own = functions.partition_point(|start| start.0 < self.at.0) as u64;
        let index = random.within(own.saturating_sub(2000), own + 2000) as usize;
        functions.get(index).copied().unwrap_or(self.at)
    }

    fn prologue(&mut self, saved: &[(u32, u32)]) {
        let size = 16 * (saved.len() as i32 + 1);
        self.put(&[PACIBSP]);
        for (index, &(high, low)) in saved.iter().enumerate() {
            let word = match index {
                0 => stp_pre(high, low, 31, -size),
                _ => stp(high, low, 31, 16 * index as i32),
            };
            self.put(&[word]);
        }
        self.put(&[stp(29, 30, 31, size - 16), add_imm(29, 31, size as u32 - 16), mov(19, 0)]);
    }

    fn epilogue(&mut self, saved: &[(u32, u32)]) {
        let size = 16 * (saved.len() as i32 + 1);
        self.put(&[ldp(29, 30, 31, size - 16)]);
        for (index, &(high, low)) in saved.iter().enumerate().rev() {
            let word = match index {
                0 => ldp_post(high, low, 31, size),
                _ => ldp(high, low, 31, 16 * index as i32),
            };
            self.put(&[word]);
        }
        self.put(&[RETAB]);
    }

    fn idiom(&mut self, random: &mut Random, room: usize) {
        let field = random.below(0x300) as u32 * 8;
        let held = random.within(19, 21) as u32;
        match random.below(9) {
            0 if room >= 4 => self.put(&[
                ldr(8, 19, field),
                ldr_w(9, 8, field / 2),
                add_imm_w(9, 9, 1),
                str_w(9, 8, field / 2),
            ]),
            1 if room >= 3 => {
                self.put(&[mov(0, held), mov(1, 20)]);
                let neighbour = self.neighbour(random);
                self.call(neighbour);
            }
            2 if room >= 6 => self.ivar(random, field),
            3 if room >= 4 => {
                let condition = random.pick(&[0, 1, 8, 9, 10, 11, 12, 13]);
                let limit = random.below(64) as u32;
                self.put(&[ldr_w(8, held, field), cmp_imm_w(8, limit), b_cond(condition, 2)]);
                self.put(&[str(31, held, field)]);
            }
            4 if room >= 3 => {
                self.put(&[ldr(0, held, field), cbz(0, 2)]);
                self.call_stub(random.pick(self.callees.stubs));
            }
            5 if room >= 8 => self.locked(field),
            6 => self.put(&[movz_w(8 + random.below(8) as u32, field)]),
            7 if room >= 2 => self.put(&[ldr(8, held, field), str(8, 19, field / 8 * 8)]),
            _ => self.put(&[str(31, held, field)]),
        }
    }

    /// An instance variable's value, and a call with it.
    fn ivar(&mut self, random: &mut Random, field: u32) {
        let (first, last) = self.callees.cells;
        let cell = VmAddr(first.0 + random.below((last.0 - first.0) / 4) * 4);
        let page = adrp(8, self.here(), cell);
        let low = (cell.0 & 0xfff) as u32;
        self.put(&[page, ldrsw(8, 8, low), ldr_indexed(20, 19, 8), ldr(0, 20, field), cbz(0, 2)]);
        self.call_stub(random.pick(self.callees.stubs));
    }

    /// Something done under a lock: much of what the sequence looks like.
    fn locked(&mut self, field: u32) {
        self.put(&[add(0, 25, 21)]);
        self.call_stub(self.callees.lock);
        self.put(&[ldr_w(8, 25, field), add_imm_w(8, 8, 1), str_w(8, 25, field), add(0, 25, 21)]);
        self.call_stub(self.callees.unlock);
        self.put(&[str(31, 19, field)]);
    }

    /// The sequence with one word, or one agreement of registers, wrong.
    fn decoy(&mut self, random: &mut Random) {
        let from = self.here();
        let place = |index| from.instruction(index);
        let Callees { unlock, free, .. } = *self.callees;
        let mut words = [
            b_cond(8, 8),
            add_imm_w(10, 8, 1),
            str_w(10, 9, 0x1aa8),
            add_uxtw_3(9, 9, 8),
            str(20, 9, 0x1a68),
            add(0, 25, 21),
            bl(place(6), unlock),
            b(place(7), place(12)),
            add(0, 25, 21),
            bl(place(9), unlock),
            mov(0, 20),
            bl(place(11), free),
            str_indexed(31, 19, 24),
        ];
        let (index, wrong) = match random.below(10) {
            // Another register than before.
            0 => (8, add(0, 25, 22)),
            1 => (10, mov(0, 22)),
            2 => (4, str(23, 9, 0x1a68)),
            // Another instruction.
            3 => (9, b(place(9), unlock)),
            4 => (12, str(31, 19, 0x18)),
            5 => (12, str_indexed(20, 19, 24)),
            6 => (4, str_w(20, 9, 0x1a68)),
            // Another condition, another target.
            7 => (0, b_cond(9, 8)),
            8 => (7, b(place(7), place(13))),
            _ => (0, b_cond(8, 9)),
        };
        if let Some(word) = words.get_mut(index) {
            *word = wrong;
        }
        self.put(&words);
    }
}

/// Fills `bytes` with functions of x86-64 code and returns where each begins,
/// counted from the start of `bytes`. `fixed` are starts that must be among them,
/// in ascending order.
pub(super) fn fill_x86_64(bytes: &mut [u8], fixed: &[u64], random: &mut Random) -> Vec<u64> {
    let mut starts = Vec::new();
    let mut fixed = fixed.iter().copied().peekable();
    let end = bytes.len() as u64;
    let mut at = 0;
    while at < end {
        fixed.next_if_eq(&at);
        let limit = fixed.peek().copied().unwrap_or(end);
        let wish = at + random.within(4, 120) * 16;
        let next = if wish + 64 > limit { limit } else { wish };
        starts.push(at);
        if let Some(room) = bytes.get_mut(at as usize..next as usize) {
            x86_64_function(room, random);
        }
        at = next;
    }
    starts
}

fn x86_64_function(room: &mut [u8], random: &mut Random) {
    const PROLOGUE: &[u8] = &[0x55, 0x48, 0x89, 0xe5, 0x41, 0x56, 0x53, 0x48, 0x89, 0xfb];
    const EPILOGUE: &[u8] = &[0x5b, 0x41, 0x5e, 0x5d, 0xc3];
    let mut code = Vec::with_capacity(room.len());
    code.extend_from_slice(PROLOGUE);
    while code.len() + EPILOGUE.len() + 12 < room.len() {
        let field = (random.below(0x200) as u32 * 8).to_le_bytes();
        match random.below(4) {
            // mov rax, [rbx + field]
            0 => code.extend_from_slice(&[0x48, 0x8b, 0x83, field[0], field[1], 0, 0]),
            // mov [rbx + field], rax
            1 => code.extend_from_slice(&[0x48, 0x89, 0x83, field[0], field[1], 0, 0]),
            // test rax, rax; je over; xor eax, eax
            2 => code.extend_from_slice(&[0x48, 0x85, 0xc0, 0x74, 0x02, 0x31, 0xc0]),
            // lea rdi, [rbx + field]
            _ => code.extend_from_slice(&[0x48, 0x8d, 0xbb, field[0], field[1], 0, 0]),
        }
    }
    code.extend_from_slice(EPILOGUE);
    code.resize(room.len(), 0x90);
    room.copy_from_slice(&code);
}
