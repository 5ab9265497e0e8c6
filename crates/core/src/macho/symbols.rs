//! The symbol table: names and addresses, read one by one.

use std::ops::Range;

use crate::address::{SliceOffset, VmAddr};

use super::bytes::{before_nul, u32_at, u64_at};
use super::image::bytes_of;

/// Size of `nlist_64`.
const ENTRY: u64 = 16;

/// The longest name looked for. Names may overlap in the string table, so
/// without a bound a small file could make a reader walk it over and over.
const MAX_NAME: usize = 1 << 14;

/// Where the table's two halves stand, both checked against the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SymbolTable {
    /// The `nlist_64` entries.
    pub entries: Range<SliceOffset>,
    /// The names.
    pub strings: Range<SliceOffset>,
}

/// One symbol that is not a debugging entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Symbol<'a> {
    /// As in the file: C names begin with an underscore. A name that is not
    /// UTF-8 ends before the first byte that is not, and one longer than 16 KiB
    /// ends there.
    pub name: &'a str,
    /// Its address; 0 if it is defined elsewhere.
    pub address: VmAddr,
    /// Number of its section, from 1; `None` if it is in none.
    pub section: Option<u8>,
    /// Whether other images can see it.
    pub external: bool,
}

impl Symbol<'_> {
    /// Whether this image defines it, at an address of its own.
    pub fn is_defined(&self) -> bool {
        self.section.is_some()
    }
}

/// A symbol table that both readers agree on.
#[derive(Clone, Debug)]
pub struct Symbols<'a> {
    entries: &'a [u8],
    strings: &'a [u8],
}

/// The fields of `nlist_64`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub name: u32,
    pub kind: u8,
    pub section: u8,
    pub description: u16,
    pub value: u64,
}

impl Entry {
    fn is_defined(&self) -> bool {
        self.kind & 0x0e == 0x0e && self.section != 0
    }
}

/// Symbols in the order of their addresses. Four bytes are kept of each: a large
/// program has a million, and their names lie in the file.
pub struct SymbolIndex<'a> {
    symbols: Symbols<'a>,
    /// Numbers of the entries.
    numbers: Vec<u32>,
}

impl<'a> SymbolIndex<'a> {
    /// The name at an address; of several the last in the table.
    pub fn name(&self, address: VmAddr) -> Option<&'a str> {
        let value = |number: &u32| self.symbols.value_at(*number);
        let next = self.numbers.partition_point(|number| value(number) <= address.0);
        let number = next.checked_sub(1).map(|last| self.numbers[last])?;
        (value(&number) == address.0).then(|| self.symbols.name_at(number))?
    }

    /// The addresses, ascending, each once.
    pub fn addresses(&self) -> impl Iterator<Item = VmAddr> + '_ {
        let mut last = None;
        let values = self.numbers.iter().map(|number| self.symbols.value_at(*number));
        values.filter(move |value| last.replace(*value) != Some(*value)).map(VmAddr)
    }
}

impl<'a> Symbols<'a> {
    pub(super) fn new(bytes: &'a [u8], table: Option<SymbolTable>) -> Symbols<'a> {
        match table {
            Some(table) => Symbols {
                entries: bytes_of(bytes, table.entries),
                strings: bytes_of(bytes, table.strings),
            },
            None => Symbols { entries: &[], strings: &[] },
        }
    }

    pub(super) fn entries(&self) -> impl ExactSizeIterator<Item = Entry> + use<'a> {
        self.entries.chunks_exact(ENTRY as usize).map(|entry| Entry {
            name: u32_at(entry, 0).unwrap_or(0),
            kind: entry[4],
            section: entry[5],
            description: u16::from_le_bytes([entry[6], entry[7]]),
            value: u64_at(entry, 8).unwrap_or(0),
        })
    }

    /// The symbols in the order of the table, debugging entries left out.
    pub fn iter(&self) -> impl Iterator<Item = Symbol<'a>> + use<'a> {
        let strings = self.strings;
        self.entries().filter(|entry| entry.kind & 0xe0 == 0).map(move |entry| Symbol {
            name: name(strings, entry.name),
            address: VmAddr(entry.value),
            section: entry.is_defined().then_some(entry.section),
            external: entry.kind & 1 != 0,
        })
    }

    /// The name of the entry with that number.
    pub fn name_at(&self, number: u32) -> Option<&'a str> {
        let at = u32_at(self.entries, u64::from(number) * ENTRY)?;
        Some(name(self.strings, at))
    }

    /// The symbols that this image defines at the addresses of `range`, to be found by
    /// address.
    pub fn by_address(&self, range: Range<VmAddr>) -> SymbolIndex<'a> {
        let defined = |entry: &Entry| {
            let named = entry.kind & 0xe0 == 0;
            named && entry.is_defined() && range.contains(&VmAddr(entry.value))
        };
        let mut numbers: Vec<u32> =
            (0..).zip(self.entries()).filter(|(_, entry)| defined(entry)).map(|(n, _)| n).collect();
        numbers.sort_by_key(|number| self.value_at(*number));
        SymbolIndex { symbols: self.clone(), numbers }
    }

    fn value_at(&self, number: u32) -> u64 {
        u64_at(self.entries, u64::from(number) * ENTRY + 8).unwrap_or(0)
    }

    /// The address of the first symbol of that name that is defined here.
    pub fn address_of(&self, name: &str) -> Option<VmAddr> {
        self.iter().find(|symbol| symbol.is_defined() && symbol.name == name).map(|s| s.address)
    }

    /// Number of entries, debugging entries included.
    pub fn len(&self) -> usize {
        self.entries().len()
    }

    /// Whether the table is empty, as it is in a stripped image.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

fn name(strings: &[u8], at: u32) -> &str {
    let rest = strings.get(at as usize..).unwrap_or(&[]);
    let name = before_nul(&rest[..rest.len().min(MAX_NAME)]);
    std::str::from_utf8(name).unwrap_or_else(|error| {
        std::str::from_utf8(&name[..error.valid_up_to()]).unwrap_or_default()
    })
}
