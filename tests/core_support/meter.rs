//! What a thread holds, measured by the allocator. Whoever uses it makes
//! [`Counting`] the global allocator.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

thread_local! {
    /// Bytes that this thread holds, and the most that it held.
    static LIVE: Cell<isize> = const { Cell::new(0) };
    static PEAK: Cell<isize> = const { Cell::new(0) };
}

pub struct Counting;

fn count(change: isize) {
    LIVE.set(LIVE.get() + change);
    PEAK.set(PEAK.get().max(LIVE.get()));
}

// SAFETY: every call goes to the system's allocator as it came. Growing counts
// as if it always moved: old and new are there at once.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        count(new_size as isize);
        count(-(layout.size() as isize));
        unsafe { System.realloc(pointer, layout, new_size) }
    }
}

/// Bytes held now and at most, over those held when it was made.
pub struct Meter(isize);

impl Meter {
    pub fn new() -> Self {
        PEAK.set(LIVE.get());
        Self(LIVE.get())
    }

    pub fn live(&self) -> isize {
        LIVE.get() - self.0
    }

    pub fn peak(&self) -> isize {
        PEAK.get() - self.0
    }
}
