//! The encoders' `destroyImpl`: the code this program exists for.
//!
//! Twelve words of the real method are published and stand here where they
//! stand there. The rest is written to make sense around them: the fields of
//! `_impl` are released one by one, then the block goes back to its device's
//! freelist of eight, under the device's lock, or to `free` where the freelist is
//! full. A few rare cases are laid out behind the return, as a compiler does, so
//! that the method is not a straight line for those who reason about it.

use super::assembly::{Bindings, assemble, length};
use super::variant::Release;
use agxpatch_core::address::{VmAddr, Word};
use agxpatch_core::arm64::Assembler;
use agxpatch_core::error::{Code, Error, Result};

/// Which register plays which part.
#[derive(Clone, Copy)]
pub(super) struct Registers {
    pub(super) this: u32,
    pub(super) imp: u32,
    pub(super) ivar: u32,
    pub(super) pool: u32,
    pub(super) lock: u32,
    pub(super) slot: u32,
}

impl Registers {
    pub(super) const PUBLISHED: Registers =
        Registers { this: 19, imp: 20, ivar: 24, pool: 25, lock: 21, slot: 9 };
    pub(super) const OTHER: Registers =
        Registers { this: 21, imp: 19, ivar: 27, pool: 22, lock: 26, slot: 11 };
}

/// One such method and what it refers to.
pub(super) struct Destroy {
    pub(super) entry: VmAddr,
    /// Where the window begins, the `b.hi`.
    pub(super) window: VmAddr,
    /// Where the method ends.
    pub(super) end: VmAddr,
    pub(super) registers: Registers,
    pub(super) release: Release,
    /// Offset cells of `_impl`, `_device` and the device's `_contextPool`.
    pub(super) impl_cell: VmAddr,
    pub(super) device_cell: VmAddr,
    pub(super) pool_cell: VmAddr,
    /// Offset of the freelist's slots.
    pub(super) slots: u32,
    pub(super) objc_release: VmAddr,
    pub(super) lock_stub: VmAddr,
    pub(super) unlock_stub: VmAddr,
    pub(super) free_stub: VmAddr,
}

const PROLOGUE: &str = "
    pacibsp
    sub   sp, sp, #0xa0
    stp   x28, x27, [sp, #0x40]
    stp   x26, x25, [sp, #0x50]
    stp   x24, x23, [sp, #0x60]
    stp   x22, x21, [sp, #0x70]
    stp   x20, x19, [sp, #0x80]
    stp   x29, x30, [sp, #0x90]
    add   x29, sp, #0x90
    mov   {this}, x0
    adrp  x8, {impl_cell}
    ldrsw {ivar}, [x8, {impl_cell_low}]
    ldr   {impl}, [x0, {ivar}]
    cbz   {impl}, {early}
    adrp  x8, {device_cell}
    ldrsw x8, [x8, {device_cell_low}]
    ldr   {pool}, [x0, x8]
    adrp  x8, {pool_cell}
    ldrsw {lock}, [x8, {pool_cell_low}]
";

/// Takes the pool's lock and compares its count with what it can hold.
const TAKE: &str = "
    add   x0, {pool}, {lock}
    bl    {lock_stub}
    add   {slot}, {pool}, {lock}
    ldr   w8, [{slot}, {count}]
    cmp   w8, #7
";

/// The published words and, between the first and the second, three of ours.
const ORIGINAL: &str = "
    b.hi  {full}
    add   w10, w8, #1
    str   w10, [{slot}, {count}]
    add   {slot}, {slot}, w8, uxtw #3
    str   {impl}, [{slot}, {slots}]
    add   x0, {pool}, {lock}
    bl    {unlock}
    b     {clear}
full:
    add   x0, {pool}, {lock}
    bl    {unlock}
    mov   x0, {impl}
    bl    {free}
clear:
    str   xzr, [{this}, {ivar}]
";

/// The published rewrite: clears first on both paths, and has no room for `free`.
const LEGACY: &str = "
    b.hi  {full}
    add   w10, w8, #1
    str   w10, [{slot}, {count}]
    add   {slot}, {slot}, w8, uxtw #3
    str   {impl}, [{slot}, {slots}]
    str   xzr, [{this}, {ivar}]
    add   x0, {pool}, {lock}
    bl    {unlock}
    b     {done}
full:
    str   xzr, [{this}, {ivar}]
    add   x0, {pool}, {lock}
    bl    {unlock}
    b     {done}
";

/// What a compiler makes of source that clears the field under the lock.
const CORRECT: &str = "
    b.hi  {full}
    add   w10, w8, #1
    str   w10, [{slot}, {count}]
    add   {slot}, {slot}, w8, uxtw #3
    str   {impl}, [{slot}, {slots}]
    str   xzr, [{this}, {ivar}]
    add   x0, {pool}, {lock}
    bl    {unlock}
    b     {done}
full:
    str   xzr, [{this}, {ivar}]
    add   x0, {pool}, {lock}
    bl    {unlock}
    mov   x0, {impl}
    bl    {free}
";

const EPILOGUE: &str = "
    ldp   x29, x30, [sp, #0x90]
    ldp   x20, x19, [sp, #0x80]
    ldp   x22, x21, [sp, #0x70]
    ldp   x24, x23, [sp, #0x60]
    ldp   x26, x25, [sp, #0x50]
    ldp   x28, x27, [sp, #0x40]
    add   sp, sp, #0xa0
    retab
";

/// The same, of a method that hands back the pointer it gave away.
const EPILOGUE_IMPL_LIVE: &str = "
    ldp   x29, x30, [sp, #0x90]
    mov   x0, {impl}
    ldp   x20, x19, [sp, #0x80]
    ldp   x22, x21, [sp, #0x70]
    ldp   x24, x23, [sp, #0x60]
    ldp   x26, x25, [sp, #0x50]
    ldp   x28, x27, [sp, #0x40]
    add   sp, sp, #0xa0
    retab
";

/// How many rare cases lie behind the return.
const RARE_CASES: usize = 4;

impl Destroy {
    /// The method's words, from its entry to its end.
    pub(super) fn words(&self, assembler: &Assembler) -> Result<Vec<Word>> {
        let text = self.text()?;
        let mut words = assemble(assembler, &text, self.entry, &self.bindings())?;
        if self.release == Release::Partly {
            self.put_part_of_the_legacy_rewrite(assembler, &mut words)?;
        }
        if words.len() == self.length_between(self.entry, self.end) {
            Ok(words)
        } else {
            Err(self.does_not_fit())
        }
    }

    fn length_between(&self, from: VmAddr, to: VmAddr) -> usize {
        to.distance_from(from).max(0) as usize / 4
    }

    fn does_not_fit(&self) -> Error {
        Error::new(Code::Bug, "the synthetic destroyImpl does not fit its place")
            .with("entry", self.entry)
    }

    fn text(&self) -> Result<String> {
        let window = match self.release {
            Release::Legacy => LEGACY,
            Release::Correct => CORRECT,
            _ => ORIGINAL,
        };
        let epilogue = match self.release {
            Release::ImplLive => EPILOGUE_IMPL_LIVE,
            _ => EPILOGUE,
        };
        let mut head = PROLOGUE.to_owned();
        if self.release == Release::Twice {
            head.push_str(&first_of_two());
        }
        let before = self.length_between(self.entry, self.window);
        let room = before.checked_sub(length(&head) + length(TAKE));
        self.fields(&mut head, room.ok_or_else(|| self.does_not_fit())?);
        let mut text = format!("{head}{TAKE}{window}done:\n{epilogue}");
        let total = self.length_between(self.entry, self.end);
        let room = total.checked_sub(length(&text));
        self.rare_cases(&mut text, room.ok_or_else(|| self.does_not_fit())?);
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

    fn bindings(&self) -> Bindings {
        let registers = self.registers;
        let mut bindings = Bindings::default();
        bindings
            .register("this", registers.this)
            .register("impl", registers.imp)
            .register("ivar", registers.ivar)
            .register("pool", registers.pool)
            .register("lock", registers.lock)
            .register("slot", registers.slot)
            .cell("impl_cell", self.impl_cell)
            .cell("device_cell", self.device_cell)
            .cell("pool_cell", self.pool_cell)
            .text("slots", format!("#{:#x}", self.slots))
            .text("count", format!("#{:#x}", self.slots + 8 * 8))
            .address("early", self.window.instruction(self.early_out()))
            .address("objc_release", self.objc_release)
            .address("lock_stub", self.lock_stub)
            .address("unlock", self.unlock_stub)
            .address("free", self.free_stub);
        bindings
    }

    /// Where a method without `_impl` goes, counted from the window: to the
    /// epilogue, or into the window.
    fn early_out(&self) -> usize {
        match self.release {
            Release::BranchIntoWindow => length(ORIGINAL) - 1,
            Release::Correct => length(CORRECT),
            _ => length(ORIGINAL),
        }
    }

    fn put_part_of_the_legacy_rewrite(
        &self,
        assembler: &Assembler,
        words: &mut [Word],
    ) -> Result<()> {
        let text = format!("{LEGACY}done:\nnop\n");
        let legacy = assemble(assembler, &text, self.window, &self.bindings())?;
        let window = self.length_between(self.entry, self.window);
        // The branch, and the words up to the second half of the rewrite.
        for index in [0, 5, 6, 7, 8] {
            if let (Some(place), Some(&word)) = (words.get_mut(window + index), legacy.get(index)) {
                *place = word;
            }
        }
        Ok(())
    }
}

/// The sequence once more, for encoders of another kind, which it leaves by the
/// same epilogue.
fn first_of_two() -> String {
    let mut copy = format!("{TAKE}{ORIGINAL}");
    for label in ["full", "clear"] {
        copy = copy
            .replace(&format!("{label}:"), &format!("other_{label}:"))
            .replace(&format!("{{{label}}}"), &format!("{{other_{label}}}"));
    }
    format!("ldr w8, [{{impl}}, #0x180]\ntbz w8, #0, {{one_pool}}\n{copy}b {{done}}\none_pool:\n")
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

#[cfg(test)]
mod tests {
    use super::super::facts;
    use super::*;

    fn published(release: Release) -> Vec<Word> {
        Destroy {
            entry: facts::ENTRY,
            window: facts::WINDOW,
            end: facts::NEXT_METHOD,
            registers: Registers::PUBLISHED,
            release,
            impl_cell: facts::IMPL_CELL,
            device_cell: VmAddr(0x75_8010),
            pool_cell: VmAddr(0x75_8014),
            slots: facts::SLOTS,
            objc_release: VmAddr(0x6d_4900),
            lock_stub: VmAddr(0x6d_49d4),
            unlock_stub: facts::UNLOCK_STUB,
            free_stub: facts::FREE_STUB,
        }
        .words(&Assembler::new())
        .unwrap()
    }

    fn at(words: &[Word], address: VmAddr) -> Word {
        words[address.distance_from(facts::ENTRY) as usize / 4]
    }

    #[test]
    fn the_published_words_come_out_of_the_assembler() {
        let words = published(Release::Original);
        for (address, word) in facts::WORDS {
            assert_eq!(at(&words, address), word, "{address}");
        }
    }

    #[test]
    fn the_published_rewrite_comes_out_of_the_assembler() {
        let words = published(Release::Legacy);
        for (address, word) in facts::LEGACY_WORDS {
            assert_eq!(at(&words, address), word, "{address}");
        }
    }
}
