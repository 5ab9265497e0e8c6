//! Digesting pages: all of them to check, a few of them as they will be.

use std::num::NonZero;
use std::ops::Range;
use std::thread::{Builder, ScopedJoinHandle};

use super::digest::Digest;
use super::directory::CodeDirectory;

/// Below this much code a second thread costs more than it saves.
const WORTH_A_THREAD: u64 = 1 << 20;
/// More threads than this gain nothing on a driver's size.
const MAX_THREADS: usize = 8;

/// A page that does not digest to what the directory says.
pub(super) struct Difference {
    pub page: u64,
    pub bytes: Range<u64>,
    pub want: Digest,
    pub got: Digest,
}

/// Every page of `code` whose digest differs, in order. Pages without a slot and
/// slots without a page are left out: their number is a finding of its own.
pub(super) fn differing(code: &[u8], directory: &CodeDirectory) -> Vec<Difference> {
    let limit = code.len() as u64;
    let pages = directory.page_size.pages(limit).min(u64::from(directory.code_slots));
    let threads = match limit {
        0..WORTH_A_THREAD => 1,
        _ => std::thread::available_parallelism().map_or(1, NonZero::get).min(MAX_THREADS),
    };
    let share = pages.div_ceil(threads as u64).max(1);
    std::thread::scope(|scope| {
        let later: Vec<_> = (1..threads as u64)
            .map(|thread| part(thread, share, pages))
            .map(|part| {
                let work = {
                    let part = part.clone();
                    move || differing_in(part, code, directory)
                };
                (part, Builder::new().spawn_scoped(scope, work))
            })
            .collect();
        let mut differences = differing_in(part(0, share, pages), code, directory);
        for (part, thread) in later {
            match thread.map(ScopedJoinHandle::join) {
                Ok(Ok(more)) => differences.extend(more),
                Ok(Err(panic)) => std::panic::resume_unwind(panic),
                // A machine that is out of threads still has this one.
                Err(_) => differences.extend(differing_in(part, code, directory)),
            }
        }
        differences
    })
}

fn part(thread: u64, share: u64, pages: u64) -> Range<u64> {
    (thread * share).min(pages)..((thread + 1) * share).min(pages)
}

fn differing_in(pages: Range<u64>, code: &[u8], directory: &CodeDirectory) -> Vec<Difference> {
    pages
        .filter_map(|page| {
            let bytes = directory.page_size.range(page, code.len() as u64);
            let content = &code[bytes.start as usize..bytes.end as usize];
            let want = directory.page_digest(page)?;
            let got = directory.hash.digest([content]);
            (want != got).then_some(Difference { page, bytes, want, got })
        })
        .collect()
}

/// Bytes of the slice that will read otherwise.
pub(super) struct Change<'a> {
    /// Where the first of them stands, from the start of the slice.
    pub at: u64,
    /// What they will be.
    pub new: &'a [u8],
}

impl Change<'_> {
    pub fn end(&self) -> u64 {
        self.at.saturating_add(self.new.len() as u64)
    }
}

/// The bytes `page` of `code` as `changes` will leave them, in pieces. The
/// changes are in order and share no bytes; nothing is copied.
pub(super) fn overlaid<'a>(
    code: &'a [u8],
    page: Range<u64>,
    changes: &'a [Change<'a>],
) -> Vec<&'a [u8]> {
    let mut pieces = Vec::new();
    let mut at = page.start;
    for change in changes.iter().filter(|c| c.at < page.end && c.end() > page.start) {
        let (from, to) = (change.at.max(page.start), change.end().min(page.end));
        pieces.push(&code[at as usize..from as usize]);
        pieces.push(&change.new[(from - change.at) as usize..(to - change.at) as usize]);
        at = to;
    }
    pieces.push(&code[at as usize..page.end as usize]);
    pieces
}
