//! The code of the arm64e slice: the published functions where they are, filler
//! between them.

use super::arm64e::{Builder, OBJC_STUB};
use super::assembly::{Bindings, assemble};
use super::classes::{COMMAND_BUFFER, COMPUTE, DESTROY, DEVICE, ENCODERS, RENDER};
use super::code::{Callees, SHORTEST, Writer};
use super::destroy::Destroy;
use super::random::Random;
use super::variant::Release;
use super::{encode, facts, names, siblings};
use agxpatch_core::address::{VmAddr, Word};
use agxpatch_core::error::Result;

/// A function that stands where it must.
pub(super) struct Fixed {
    pub(super) at: VmAddr,
    words: Vec<u32>,
    name: Option<&'static str>,
}

impl Builder {
    fn bindings(&self, objc_stubs: VmAddr, selectors: &[&str]) -> Bindings {
        let places = &self.places;
        let send = |selector| {
            let index = selectors.iter().position(|known| *known == selector);
            objc_stubs.plus(OBJC_STUB * index.unwrap_or_default() as u64)
        };
        let mut bindings = Bindings::default();
        bindings
            .cell("impl_cell", places.impl_cell)
            .cell("device_cell", places.cell(COMPUTE, "_device"))
            .cell("pool_cell", places.cell(DEVICE, "_contextPool"))
            .cell("previous_cell", places.cell(COMMAND_BUFFER, "_previousComputeCommandEncoder"))
            .address("objc_retain", places.stub("_objc_retain"))
            .address("objc_release", places.stub("_objc_release"))
            .address("add_metal_resource", places.stub("_MTLResourceListAddResource"))
            .address("add_iogpu_resource", places.stub("_IOGPUResourceListAddResource"))
            .address("lock_stub", places.stub("_os_unfair_lock_lock"))
            .address("unlock", places.stub("_os_unfair_lock_unlock"))
            .address("bzero", places.stub("_bzero"))
            .address("calloc", places.stub("_calloc"))
            .address("send_destroy", send(DESTROY))
            .address("send_deferred_end", send("deferredEndEncoding"))
            .address("neighbour", VmAddr(0x26_430c).plus(places.shift))
            .text("slots", format!("#{:#x}", places.slots))
            .text("count", format!("#{:#x}", places.slots + 64));
        bindings
    }

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
            written(0x2b_d8dc, None, siblings::DEFERRED_END_ENCODING)?,
            written(0x24_cc34, None, siblings::COMMIT_ENCODER)?,
            written(facts::NEXT_METHOD.0, None, siblings::INIT)?,
            self.faulting(0x2b_61d0, names::PREPARE_FOR_ENQUEUE, 1268, encode::ldr(8, 20, 0x98)),
            self.faulting(
                0x6b_6f58,
                names::ALLOCATE_USC_SPILL_BUFFER,
                192,
                encode::str_w(8, 20, 0x184),
            ),
        ];
        for (class, selector) in
            [(COMMAND_BUFFER, "computeCommandEncoderWithConfig:"), (COMMAND_BUFFER, "dealloc")]
        {
            if let Some(at) = self.places.method(class, selector) {
                fixed.push(Fixed { at, words: self.filler_words(at, 60), name: None });
            }
        }
        for encoder in &ENCODERS {
            fixed.push(self.destroy(encoder.name)?);
        }
        Ok(fixed)
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

    fn destroy(&self, class: &str) -> Result<Fixed> {
        let places = &self.places;
        let entry = places.method(class, DESTROY).unwrap_or_default();
        let (window, end) = match class {
            COMPUTE => (facts::WINDOW.plus(places.shift), facts::NEXT_METHOD.plus(places.shift)),
            _ => (entry.plus(0x200), entry.plus(0x2e0)),
        };
        let release = match (class, self.variant.release) {
            (RENDER, Release::InSiblingToo) => Release::Original,
            (COMPUTE, Release::InSiblingToo) => Release::Original,
            (COMPUTE, release) => release,
            _ => Release::Correct,
        };
        let destroy = Destroy {
            entry,
            window,
            end,
            registers: places.registers,
            release,
            impl_cell: places.cell(class, "_impl"),
            device_cell: places.cell(class, "_device"),
            pool_cell: places.cell(DEVICE, "_contextPool"),
            slots: places.slots,
            objc_release: places.stub("_objc_release"),
            lock_stub: places.stub("_os_unfair_lock_lock"),
            unlock_stub: places.stub("_os_unfair_lock_unlock"),
            free_stub: places.stub("_free"),
        };
        let words = destroy.words(&self.assembler)?.iter().map(|Word(word)| *word).collect();
        Ok(Fixed { at: entry, words, name: None })
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
