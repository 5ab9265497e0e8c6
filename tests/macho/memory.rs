//! An allocator that remembers what each thread allocates, the largest single
//! allocation and the most at one time, and the inputs most likely to provoke much.
#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use agxpatch_core::finder::{self, Program};
use agxpatch_core::macho::Universal;

use crate::mini::{ARM64, Mini, le32, segment};

thread_local! {
    static LARGEST: Cell<usize> = const { Cell::new(0) };
    static LIVE: Cell<isize> = const { Cell::new(0) };
    static PEAK: Cell<isize> = const { Cell::new(0) };
}

struct Watching;

// SAFETY: every call is passed on to the system's allocator unchanged; the
// thread-local needs no allocation and no destructor.
unsafe impl GlobalAlloc for Watching {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note(layout.size());
        count(layout.size() as isize);
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        // SAFETY: the pointer came from `System`, as all here do.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        note(size);
        count(size as isize - layout.size() as isize);
        // SAFETY: the pointer came from `System`, as all here do.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Watching = Watching;

fn note(size: usize) {
    let _ = LARGEST.try_with(|largest| largest.set(largest.get().max(size)));
}

fn count(change: isize) {
    let _ = LIVE.try_with(|live| {
        live.set(live.get() + change);
        PEAK.try_with(|peak| peak.set(peak.get().max(live.get())))
    });
}

/// The most that this thread holds at one time while `work` runs, beyond what it
/// held before.
pub fn most_at_one_time(work: impl FnOnce()) -> isize {
    let before = LIVE.with(Cell::get);
    PEAK.with(|peak| peak.set(before));
    work();
    PEAK.with(Cell::get) - before
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
    let both = || drop((vec![0u8; 50_000], vec![0u8; 50_000]));
    assert!((100_000..123_456).contains(&most_at_one_time(both)));
}

/// A symbol and eight bytes of code for each of so many functions.
fn many_functions(count: usize) -> Vec<u8> {
    let text = 8 * count;
    let (symbols, starts) = (0x400 + text, 0x400 + text + 16 * count + 8);
    let size = starts + count + 8;
    let mut mini = Mini::with_text(ARM64, size);
    let section = ("__text", 0x400, text as u64);
    mini.commands = vec![segment("__TEXT", 0, 0, size as u64, &[section])];
    let entries = (0..count as u32).flat_map(|n| le32(&[1, 0x0000_010e, 0x400 + 8 * n, 0]));
    let table = [symbols, count, symbols + 16 * count, 8].map(|number| number as u32);
    // The first function stands at 0x400, each other eight bytes further.
    let distances = [vec![0x80, 0x08], vec![8; count - 1]].concat();
    let place = le32(&[starts as u32, distances.len() as u32]);
    mini.command(2, &le32(&table))
        .command(0x26, &place)
        .content(0x400, [0xc0, 0x03, 0x5f, 0xd6].repeat(2 * count))
        .content(symbols, entries.collect::<Vec<u8>>())
        .content(symbols + 16 * count, *b"\0_f\0\0\0\0\0")
        .content(starts, distances)
        .bytes()
}

#[test]
fn a_scan_of_all_functions_keeps_a_few_bytes_of_each() {
    let count = 100_000;
    let bytes = many_functions(count);
    let file = Universal::parse(&bytes).unwrap();
    let image = file.slices[0].image().unwrap();
    let most = most_at_one_time(|| {
        let program = Program::new(&image).unwrap();
        assert_eq!(program.starts().len(), count);
        assert_eq!(program.symbol(0x408), Some("_f"));
        assert_eq!((program.symbol(0x40c), program.symbol(0x400 + 8 * count as u64)), (None, None));
        assert!(finder::candidates(&program).is_empty());
    });
    assert!(most < 24 * count as isize, "{most}");
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
