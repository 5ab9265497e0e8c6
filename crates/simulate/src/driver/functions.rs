//! The code of the arm64e slice: the published functions where they are, filler
//! between them.

use super::arm64e::Builder;
use super::assembly::{Bindings, assemble};
use super::bindings::{
    BLOCK_INVOKE, COMPUTE_DESTRUCTOR, DEQUE_DESTRUCTOR, END_COMPUTE_PASS, RENDER_DESTRUCTOR,
    freelist,
};
use super::classes::{COMMAND_BUFFER, COMPUTE, DESTROY, IMPL, RENDER, classes};
use super::code::{Callees, SHORTEST, Writer};
use super::destroy::{Destroy, Shape};
use super::places::Places;
use super::random::Random;
use super::variant::{Build, Release};
use super::{destroyers, encode, facts, listings, names, siblings};
use agxpatch_core::address::{VmAddr, Word};
use agxpatch_core::driver_logic::Freelist;
use agxpatch_core::error::Result;

/// A function that stands where it must.
pub(super) struct Fixed {
    pub(super) at: VmAddr,
    words: Vec<u32>,
    name: Option<&'static str>,
}

impl Builder {
    pub(super) fn fixed_functions(
        &self,
        objc_stubs: VmAddr,
        selectors: &[&str],
    ) -> Result<Vec<Fixed>> {
        let bindings = self.bindings(objc_stubs, selectors);
        let written = |address: u64, name, text| -> Result<Fixed> {
            let at = VmAddr(address).plus(self.places.shift);
            let words = assemble(&self.assembler, text, at, &bindings)?;
            Ok(Fixed { at, words: words.iter().map(|word| word.0).collect(), name })
        };
        let mut fixed = vec![
            written(0x26_430c, Some(names::USE_RESOURCE_COMMON), siblings::USE_RESOURCE_COMMON)?,
            written(0x2b_d2b0, None, siblings::SET_COMPUTE_PIPELINE_STATE)?,
            written(0x2b_d840, None, siblings::END_ENCODING)?,
            written(0x2b_d8dc, None, siblings::DEFERRED_END_ENCODING)?,
            written(0x24_cc34, None, siblings::COMMIT_ENCODER)?,
            written(BLOCK_INVOKE.0, Some(names::BLOCK_INVOKE), listings::BLOCK_INVOKE)?,
            written(0x2b_e128, None, destroyers::COMPUTE_DEALLOC)?,
            written(facts::NEXT_METHOD.0, None, siblings::INIT)?,
            self.faulting(0x2b_61d0, names::PREPARE_FOR_ENQUEUE, 1268, encode::ldr(8, 20, 0x98)),
            self.faulting(
                0x6b_6f58,
                names::ALLOCATE_USC_SPILL_BUFFER,
                192,
                encode::str_w(8, 20, 0x184),
            ),
            self.filler(DEQUE_DESTRUCTOR, 40, Some(names::DEQUE_DESTRUCTOR)),
            self.filler(RENDER_DESTRUCTOR, 90, Some(names::RENDER_DESTRUCTOR)),
            self.filler(END_COMPUTE_PASS, 120, Some(names::END_COMPUTE_PASS)),
            // computeCommandEncoderWithConfig:
            self.filler(VmAddr(0x24_d694), 60, None),
            self.command_buffer_dealloc(&bindings)?,
        ];
        if self.variant.build == Build::Later {
            fixed.push(self.destructor(&bindings)?);
        }
        for class in classes(self.variant.build).filter(|it| it.selectors.contains(&DESTROY)) {
            fixed.push(self.destroy(class.name, &bindings)?);
        }
        Ok(fixed)
    }

    /// A function of which no more than the address is known.
    fn filler(&self, address: VmAddr, length: usize, name: Option<&'static str>) -> Fixed {
        let at = address.plus(self.places.shift);
        Fixed { at, words: self.filler_words(at, length), name }
    }

    /// A filler function with the instruction that a crash report names.
    fn faulting(&self, address: u64, name: &'static str, offset: usize, word: u32) -> Fixed {
        let at = VmAddr(address).plus(self.places.shift);
        let mut words = self.filler_words(at, offset / 4 + 40);
        if let Some(place) = words.get_mut(offset / 4) {
            *place = word;
        }
        Fixed { at, words, name: Some(name) }
    }

    fn filler_words(&self, at: VmAddr, length: usize) -> Vec<u32> {
        Writer::filler(at, length, &mut Random::new(at.0), &self.callees(&[], &[]))
    }

    fn callees<'a>(&self, functions: &'a [VmAddr], stubs: &'a [VmAddr]) -> Callees<'a> {
        let places = &self.places;
        Callees {
            functions,
            stubs,
            lock: places.stub("_os_unfair_lock_lock"),
            unlock: places.stub("_os_unfair_lock_unlock"),
            free: places.stub("_free"),
            cells: (places.cells, places.cells.plus(0x400)),
        }
    }

    /// The `destroyImpl` of that class.
    fn destroy(&self, class: &str, bindings: &Bindings) -> Result<Fixed> {
        let Places { pools, shift, .. } = &self.places;
        let entry = self.places.method(class, DESTROY).unwrap_or_default();
        let inlined = |window, end| Shape::Inlined { window, end };
        let published = inlined(facts::WINDOW.plus(*shift), BLOCK_INVOKE.plus(*shift));
        let (shape, release, pool) = match (class, self.variant.release) {
            (COMPUTE, Release::InSiblingToo | Release::TwoBlocks) => {
                (published, Release::Original, pools.compute)
            }
            (COMPUTE, release) if self.variant.build == Build::Later => {
                (Shape::Called, release, pools.compute)
            }
            (COMPUTE, release) => (published, release, pools.compute),
            (RENDER, Release::InSiblingToo) => {
                let shape = inlined(entry.plus(0x200), entry.plus(0x2e0));
                (shape, Release::Original, pools.render)
            }
            (RENDER, Release::TwoBlocks) => {
                (Shape::TwoBlocks(pools.render), Release::Original, pools.compute)
            }
            (RENDER, _) => {
                let mut bindings = bindings.clone();
                freelist(&mut bindings, "", &pools.render);
                let correct = self.variant.release == Release::Correct;
                return self.written(entry, class, &destroyers::render(correct), bindings);
            }
            _ => return self.written(entry, class, destroyers::WITHOUT_A_POOL, bindings.clone()),
        };
        self.giving_back(entry, class, shape, release, pool, bindings)
    }

    fn written(
        &self,
        at: VmAddr,
        class: &str,
        text: &str,
        mut bindings: Bindings,
    ) -> Result<Fixed> {
        bindings.cell("impl_cell", self.places.cell(class, IMPL));
        let words = assemble(&self.assembler, text, at, &bindings)?;
        Ok(Fixed { at, words: words.iter().map(|word| word.0).collect(), name: None })
    }

    fn command_buffer_dealloc(&self, bindings: &Bindings) -> Result<Fixed> {
        let at = self.places.method(COMMAND_BUFFER, "dealloc").unwrap_or_default();
        let pool = self.places.pools.command_buffer;
        let release = match self.variant.release {
            Release::Correct => Release::Correct,
            _ => Release::Original,
        };
        self.giving_back(at, COMMAND_BUFFER, Shape::CommandBuffer, release, pool, bindings)
    }

    /// A method that gives a block of its class back to a pool.
    fn giving_back(
        &self,
        entry: VmAddr,
        class: &str,
        shape: Shape,
        release: Release,
        pool: Freelist,
        bindings: &Bindings,
    ) -> Result<Fixed> {
        let mut bindings = bindings.clone();
        bindings.cell("impl_cell", self.places.cell(class, IMPL));
        let registers = self.places.registers;
        let destroy = Destroy { entry, shape, registers, release, pool, bindings };
        let words = destroy.words(&self.assembler)?.iter().map(|Word(word)| *word).collect();
        Ok(Fixed { at: entry, words, name: None })
    }

    /// The destructor of a compute encoder's block as a function.
    fn destructor(&self, bindings: &Bindings) -> Result<Fixed> {
        let at = COMPUTE_DESTRUCTOR.plus(self.places.shift);
        let mut bindings = bindings.clone();
        self.places.registers.bind(&mut bindings);
        let text = format!(
            "{}{}{}",
            listings::DESTRUCTOR_PROLOGUE,
            listings::destructor(),
            listings::EPILOGUE
        );
        let words = assemble(&self.assembler, &text, at, &bindings)?;
        let words = words.iter().map(|word| word.0).collect();
        Ok(Fixed { at, words, name: Some(names::COMPUTE_DESTRUCTOR) })
    }

    /// Writes the fixed functions and filler everywhere else.
    pub(super) fn write_code(&mut self, fixed: &[Fixed]) {
        let plan = self.plan(fixed);
        self.starts = plan.iter().map(|&(at, _)| at).collect();
        let stubs: Vec<VmAddr> = names::STUBS.iter().map(|name| self.places.stub(name)).collect();
        let starts = std::mem::take(&mut self.starts);
        let callees = self.callees(&starts, &stubs);
        let mut fixed = fixed.iter().peekable();
        for (at, length) in plan {
            match fixed.next_if(|function| function.at == at) {
                Some(function) => {
                    self.memory.put_words(at, function.words.iter().copied());
                    if let Some(name) = function.name {
                        self.names.insert(at, name.to_owned());
                    }
                }
                None => {
                    let words = Writer::filler(at, length, &mut self.random, &callees);
                    self.memory.put_words(at, words);
                }
            }
        }
        self.starts = starts;
    }

    /// Start and length in words of every function, in order.
    fn plan(&mut self, fixed: &[Fixed]) -> Vec<(VmAddr, usize)> {
        let mut plan = Vec::new();
        let mut at = self.places.text;
        let end = Fixed { at: self.places.text_end, words: Vec::new(), name: None };
        for function in fixed.iter().chain([&end]) {
            while at < function.at {
                let room = (function.at.0 - at.0) / 4;
                let wish = self.random.within(SHORTEST, 160);
                let length = if wish + SHORTEST > room { room } else { wish };
                plan.push((at, length as usize));
                at = at.instruction(length as usize);
            }
            if !function.words.is_empty() {
                plan.push((at, function.words.len()));
                at = at.instruction(function.words.len());
            }
        }
        plan
    }
}
