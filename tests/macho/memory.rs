//! An allocator that remembers the largest single allocation of each thread,
//! and the inputs most likely to provoke a large one.
#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use agxpatch_core::macho::Universal;

use crate::mini::{ARM64, Mini, le32, segment};

thread_local! {
    static LARGEST: Cell<usize> = const { Cell::new(0) };
}

struct Watching;

// SAFETY: every call is passed on to the system's allocator unchanged; the
// thread-local needs no allocation and no destructor.
unsafe impl GlobalAlloc for Watching {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note(layout.size());
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the pointer came from `System`, as all here do.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        note(size);
        // SAFETY: the pointer came from `System`, as all here do.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Watching = Watching;

fn note(size: usize) {
    let _ = LARGEST.try_with(|largest| largest.set(largest.get().max(size)));
}

/// The largest single allocation this thread makes while `work` runs.
pub fn largest_allocation(work: impl FnOnce()) -> usize {
    LARGEST.with(|largest| largest.set(0));
    work();
    LARGEST.with(Cell::get)
}

#[test]
fn the_watch_sees_what_is_allocated() {
    assert!(largest_allocation(|| drop(vec![0u8; 123_456])) >= 123_456);
    assert!(largest_allocation(|| {}) < 123_456);
}

#[test]
fn a_function_a_byte_is_refused_rather_than_listed() {
    let size = 0x10_0000;
    let table = vec![1u8; size - 0x1000];
    let place = le32(&[0x1000, table.len() as u32]);
    let bytes = Mini::with_text(ARM64, size).command(0x26, &place).content(0x1000, table).bytes();
    let file = Universal::parse(&bytes).unwrap();
    let image = file.slices[0].image().unwrap();
    let largest = largest_allocation(|| {
        let error = image.function_starts().unwrap_err();
        assert_eq!(error.message(), "the file claims more functions than it has room for");
    });
    assert!(largest < 1000, "{largest}");
}

#[test]
fn a_table_of_the_smallest_load_commands_costs_nothing() {
    let mut mini = Mini::with_text(ARM64, 0x20_0000);
    mini.commands = vec![le32(&[0x1234, 8]); 0x20_0000 / 8 - 4];
    let bytes = mini.bytes();
    let largest = largest_allocation(|| {
        let file = Universal::parse(&bytes).unwrap();
        file.slices[0].image().unwrap();
    });
    assert!(largest < 4096, "{largest}");
}

#[test]
fn a_million_symbols_are_read_without_a_copy() {
    let entries = 0x10_0000usize;
    let at = 0x1000;
    let place = le32(&[at as u32, entries as u32, at as u32, (entries * 16) as u32]);
    let bytes = Mini::with_text(ARM64, at + entries * 16).command(2, &place).bytes();
    let file = Universal::parse(&bytes).unwrap();
    let image = file.slices[0].image().unwrap();
    let largest = largest_allocation(|| {
        assert_eq!(image.symbols().unwrap().iter().count(), entries);
    });
    assert!(largest < 4096, "{largest}");
}

#[test]
fn stubs_of_a_byte_each_are_refused_rather_than_listed() {
    let size = 0x10_0000;
    let numbers = 0x1_0000;
    let mut table = [0; 18];
    (table[12], table[13]) = (0x1000, numbers);
    let entries = le32(&[0x800, 1, 0x900, 16]);
    let mini = Mini::with_text(ARM64, size).command(2, &entries).command(0xb, &le32(&table));
    let mut bytes = mini.bytes();
    // The section of code becomes one of stubs, each a byte long.
    let section = 32 + 72;
    bytes[section + 64..section + 76].copy_from_slice(&le32(&[8, 0, 1]));
    bytes[section + 40..section + 48].copy_from_slice(&(size as u64 - 0x400).to_le_bytes());
    let file = Universal::parse(&bytes).unwrap();
    let image = file.slices[0].image().unwrap();
    let largest = largest_allocation(|| {
        let error = image.stubs().unwrap_err();
        assert_eq!(error.message(), "the file claims more stubs than it has room for");
    });
    assert!(largest < 4096, "{largest}");
}

#[test]
fn sections_that_lie_over_each_other_do_not_multiply_what_is_read() {
    let size = 0x10_0000u64;
    let lists = vec![("__objc_classlist", 0x8000, size - 0x8000); 200];
    let mut mini = Mini::with_text(ARM64, size as usize);
    mini.commands = vec![segment("__DATA", 0, 0, size, &lists)];
    let bytes = mini.bytes();
    let file = Universal::parse(&bytes).unwrap();
    let image = file.slices[0].image().unwrap();
    let message = "the file claims more classes than it has room for";
    assert_eq!(image.methods().unwrap_err().message(), message);
    assert_eq!(image.ivars().unwrap_err().message(), message);
}
