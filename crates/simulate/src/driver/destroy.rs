//! The encoders' `destroyImpl`: the code this program exists for.
//!
//! Twelve words of the real method are published and stand here where they
//! stand there. Around them the method does what the same template is known to
//! do elsewhere: it tests `_impl`, destroys the block in place, loads `_impl`
//! again, and gives the block back to the pool of its device under the pool's
//! lock, or to `free` where the freelist is full. A compiler lays rare cases out
//! behind the return, and so does this.

use super::assembly::{Bindings, assemble, length};
use super::destroyers::{COMMAND_BUFFER_DEALLOC, SECOND_BLOCK, SUPER_DEALLOC};
use super::listings::{
    CALL, CORRECT, EPILOGUE, EPILOGUE_IMPL_LIVE, LEGACY, LIST, ORIGINAL, PROLOGUE, RELOAD,
    RELOAD_BEFORE_A_CALL, RELOAD_WITHOUT_A_TEST, TAKE, destructor,
};
use super::variant::Release;
use agxpatch_core::address::{VmAddr, Word};
use agxpatch_core::arm64::Assembler;
use agxpatch_core::driver_logic::Freelist;
use agxpatch_core::error::{Code, Error, Result};

/// Which register plays which part.
#[derive(Clone, Copy)]
pub(super) struct Registers {
    pub(super) this: u32,
    pub(super) imp: u32,
    pub(super) ivar: u32,
    /// The C++ device, which the pool is part of.
    pub(super) device: u32,
    pub(super) lock: u32,
    pub(super) slot: u32,
    /// Registers for the destructor, which calls leave alone.
    pub(super) spare: [u32; 4],
}

impl Registers {
    pub(super) const PUBLISHED: Registers = Registers {
        this: 19,
        imp: 20,
        ivar: 24,
        device: 25,
        lock: 21,
        slot: 9,
        spare: [22, 26, 27, 23],
    };
    pub(super) const OTHER: Registers = Registers {
        this: 21,
        imp: 19,
        ivar: 27,
        device: 22,
        lock: 26,
        slot: 11,
        spare: [20, 23, 24, 25],
    };
    pub(super) const LATER: Registers = Registers {
        this: 20,
        imp: 19,
        ivar: 23,
        device: 21,
        lock: 22,
        slot: 8,
        spare: [24, 25, 26, 27],
    };

    pub(super) fn bind(&self, bindings: &mut Bindings) {
        bindings
            .register("this", self.this)
            .register("impl", self.imp)
            .register("ivar", self.ivar)
            .register("device", self.device)
            .register("lock", self.lock)
            .register("slot", self.slot);
        for (number, register) in self.spare.into_iter().enumerate() {
            bindings.register(&format!("s{number}"), register);
        }
    }
}

/// One such method and what it refers to.
pub(super) struct Destroy {
    pub(super) entry: VmAddr,
    pub(super) shape: Shape,
    pub(super) registers: Registers,
    pub(super) release: Release,
    /// The pool the block goes back to.
    pub(super) pool: Freelist,
    /// Everything else that the method refers to by name.
    pub(super) bindings: Bindings,
}

/// What stands around the block's return to its pool.
#[derive(Clone, Copy)]
pub(super) enum Shape {
    /// The destructor, inlined, so that the window (its `b.hi`) and the end of the
    /// method come out where they must.
    Inlined { window: VmAddr, end: VmAddr },
    /// A call of the destructor.
    Called,
    /// A second block, which goes back to a pool of its own.
    TwoBlocks(Freelist),
    /// The rest of `-[… CommandBuffer dealloc]`.
    CommandBuffer,
}

/// How many rare cases lie behind the return.
const RARE_CASES: usize = 2;

impl Destroy {
    /// The method's words, from its entry to its end.
    pub(super) fn words(&self, assembler: &Assembler) -> Result<Vec<Word>> {
        let (text, length) = self.text()?;
        let mut words = assemble(assembler, &text, self.entry, &self.all_bindings())?;
        if let (Release::Partly, Shape::Inlined { window, .. }) = (self.release, self.shape) {
            self.put_part_of_the_legacy_rewrite(assembler, window, &mut words)?;
        }
        match length {
            Some(length) if words.len() != length => Err(self.does_not_fit()),
            _ => Ok(words),
        }
    }

    fn does_not_fit(&self) -> Error {
        Error::new(Code::Bug, "the synthetic destroyImpl is too large for its place")
            .with("entry", self.entry)
    }

    /// The method, and the number of its instructions where that is fixed.
    fn text(&self) -> Result<(String, Option<usize>)> {
        let reload = match self.release {
            Release::BranchIntoWindow => RELOAD_WITHOUT_A_TEST,
            Release::CallBeforeTest => RELOAD_BEFORE_A_CALL,
            _ => RELOAD,
        };
        let third = if self.release == Release::Correct { "{done}" } else { "{clear}" };
        let window = match self.release {
            Release::Legacy => LEGACY,
            Release::Correct => CORRECT,
            _ => ORIGINAL,
        };
        let reload = reload.replace("{third}", third);
        let giving = format!("{reload}{TAKE}{window}");
        let free = |text: String| Ok((text, None));
        match self.shape {
            Shape::Called => free(format!("{PROLOGUE}{CALL}{giving}done:{EPILOGUE}")),
            Shape::CommandBuffer => {
                free(format!("{COMMAND_BUFFER_DEALLOC}{giving}done:{SUPER_DEALLOC}{EPILOGUE}"))
            }
            Shape::TwoBlocks(_) => {
                let second = once_more("second", &giving)
                    .replace("{count}", "{second_count}")
                    .replace("{lock_offset}", "{second_lock}")
                    .replace("{slots}", "{second_slots}");
                free(format!("{PROLOGUE}{LIST}{giving}{SECOND_BLOCK}{second}done:{EPILOGUE}"))
            }
            Shape::Inlined { window, end } => {
                let before = words_between(self.entry, window) - length(&reload) - length(TAKE);
                let all = words_between(self.entry, end);
                Ok((self.inlined(&giving, before, all)?, Some(all)))
            }
        }
    }

    /// The method with `before` instructions before the block's return to its pool,
    /// and `all` in all.
    fn inlined(&self, giving: &str, before: usize, all: usize) -> Result<String> {
        let mut text = format!("{PROLOGUE}{}", destructor());
        if self.release == Release::Twice {
            text.push_str(&first_of_two());
        }
        let room = before.checked_sub(length(&text)).ok_or_else(|| self.does_not_fit())?;
        self.fields(&mut text, room);
        let epilogue = match self.release {
            Release::ImplLive => EPILOGUE_IMPL_LIVE,
            _ => EPILOGUE,
        };
        text.push_str(&format!("{giving}done:{epilogue}"));
        let room = all.checked_sub(length(&text)).ok_or_else(|| self.does_not_fit())?;
        self.rare_cases(&mut text, room);
        Ok(text)
    }

    /// Releases of `_impl`'s fields in exactly `room` instructions.
    fn fields(&self, text: &mut String, room: usize) {
        let mut field = Field(0x90);
        let mut left = room;
        for case in 0..RARE_CASES {
            if left >= 8 {
                text.push_str(&format!(
                    "ldr w8, [{{impl}}, #{:#x}]\ncbnz w8, {{rare{case}}}\nback{case}:\n",
                    0x184 + 4 * case
                ));
                left -= 2;
                left -= field.releases(text, 6.min(left));
            } else {
                text.push_str(&format!("back{case}:\n"));
            }
        }
        field.releases(text, left);
    }

    /// The blocks behind the return, in exactly `room` instructions.
    fn rare_cases(&self, text: &mut String, room: usize) {
        let mut field = Field(0x648);
        for case in 0..RARE_CASES {
            let share = room / RARE_CASES + usize::from(case < room % RARE_CASES);
            text.push_str(&format!("rare{case}:\n"));
            if share > 0 {
                field.releases(text, share - 1);
                text.push_str(&format!("b {{back{case}}}\n"));
            }
        }
    }

    fn all_bindings(&self) -> Bindings {
        let hex = |number: u32| format!("#{number:#x}");
        let mut bindings = self.bindings.clone();
        self.registers.bind(&mut bindings);
        bindings
            .text("count", hex(self.pool.count))
            .text("lock_offset", hex(self.pool.lock))
            .text("slots", hex(self.pool.slots))
            .text("last", hex(self.pool.capacity - 1));
        if let Shape::TwoBlocks(second) = self.shape {
            bindings
                .text("second_count", hex(second.count))
                .text("second_lock", hex(second.lock))
                .text("second_slots", hex(second.slots));
        }
        bindings
    }

    fn put_part_of_the_legacy_rewrite(
        &self,
        assembler: &Assembler,
        window: VmAddr,
        words: &mut [Word],
    ) -> Result<()> {
        let text = format!("{LEGACY}done:\nnop\n");
        let legacy = assemble(assembler, &text, window, &self.all_bindings())?;
        let window = words_between(self.entry, window);
        // The branch, and the words up to the second half of the rewrite.
        for index in [0, 5, 6, 7, 8] {
            if let (Some(place), Some(&word)) = (words.get_mut(window + index), legacy.get(index)) {
                *place = word;
            }
        }
        Ok(())
    }
}

fn words_between(from: VmAddr, to: VmAddr) -> usize {
    to.distance_from(from).max(0) as usize / 4
}

/// The sequence once more, for encoders of another kind, which it leaves by the
/// same epilogue.
fn first_of_two() -> String {
    let copy = once_more("first", &format!("{TAKE}{ORIGINAL}"));
    format!("ldr w8, [{{impl}}, #0x180]\ntbz w8, #0, {{one_pool}}\n{copy}b {{done}}\none_pool:\n")
}

/// The text with other labels.
fn once_more(prefix: &str, text: &str) -> String {
    ["full", "clear"].iter().fold(text.to_owned(), |text, label| {
        text.replace(&format!("{label}:"), &format!("{prefix}_{label}:"))
            .replace(&format!("{{{label}}}"), &format!("{{{prefix}_{label}}}"))
    })
}

/// Offset of the next field of `_impl` to release.
struct Field(u32);

impl Field {
    /// Appends releases that take exactly `room` instructions; returns `room`.
    fn releases(&mut self, text: &mut String, room: usize) -> usize {
        let mut left = room;
        while left >= 3 {
            let offset = self.advance();
            text.push_str(&format!(
                "ldr x0, [{{impl}}, #{offset:#x}]\nbl {{objc_release}}\nstr xzr, [{{impl}}, #{offset:#x}]\n"
            ));
            left -= 3;
        }
        for _ in 0..left {
            text.push_str(&format!("str xzr, [{{impl}}, #{:#x}]\n", self.advance()));
        }
        room
    }

    fn advance(&mut self) -> u32 {
        self.0 += 8;
        // The flags that choose the rare cases lie here.
        if (0x180..0x198).contains(&self.0) {
            self.0 = 0x198;
        }
        self.0
    }
}
