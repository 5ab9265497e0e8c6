//! Where the driver's own code lies: a call from there to an ended encoder is the driver's business, and goes through.

use crate::sync::{AtomicUsize, Ordering};

/// Code whose calls to an ended encoder are the driver's own.
struct Range {
    start: AtomicUsize,
    end: AtomicUsize,
}

impl Range {
    const fn empty() -> Range {
        Range { start: AtomicUsize::new(0), end: AtomicUsize::new(0) }
    }

    fn contains(&self, address: usize) -> bool {
        address.wrapping_sub(self.start.load(Ordering::Relaxed)) < self.length()
    }

    fn length(&self) -> usize {
        self.end.load(Ordering::Acquire).saturating_sub(self.start.load(Ordering::Relaxed))
    }
}

static DRIVER: [Range; 16] = [const { Range::empty() }; 16];

/// Whether an address lies in the driver's code.
pub fn contains(address: usize) -> bool {
    let mut known = DRIVER.iter().take_while(|range| range.start.load(Ordering::Relaxed) != 0);
    known.any(|range| range.contains(address))
}

/// Notes a range of code as the driver's. More than there is room for are dropped: their calls are then refused like anyone's.
pub fn trust(start: usize, end: usize) {
    for range in &DRIVER {
        if range.start.load(Ordering::Relaxed) == start {
            return;
        }
        if range.start.compare_exchange(0, start, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
            return range.end.store(end, Ordering::Release);
        }
    }
}
