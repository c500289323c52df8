//! The module's memory: blocks of sizes that are powers of two, a list of free ones for each size.
//!
//! The standard library's allocator joins and splits blocks, in 7 KB. What this module asks for are lists that double as they
//! grow, and a few buffers that are as large as before: blocks of a size fit the next one, and a block that grows within its
//! size stays where it is. Half of a block may lie idle; what was never written to costs no memory.

use std::alloc::{GlobalAlloc, Layout};
use std::cell::UnsafeCell;
use std::ptr::null_mut;

/// Bytes of a page of WebAssembly's memory.
const PAGE: usize = 1 << 16;
/// The smallest block: as large as any primitive type wants to be aligned.
const SMALLEST: usize = 16;
/// Blocks up to this size are aligned to their size, larger ones to this; nobody may want more.
const MOST_ALIGNED: usize = PAGE;

#[global_allocator]
static MEMORY: Memory = Memory(UnsafeCell::new(State { free: [null_mut(); 32], next: 0, end: 0 }));

struct Memory(UnsafeCell<State>);

struct State {
    /// By the size's logarithm: the first free block, which holds the address of the next one.
    free: [*mut u8; 32],
    /// The first byte that was never given away.
    next: usize,
    /// The end of the pages that are there.
    end: usize,
}

// SAFETY: the module has one thread; it is built without the feature `atomics`, for which the standard library has no threads either.
unsafe impl Sync for Memory {}

/// The size of the block for a layout, if there can be one.
fn block(layout: Layout) -> Option<usize> {
    let size = layout.size().max(layout.align()).max(SMALLEST).checked_next_power_of_two()?;
    (layout.align() <= MOST_ALIGNED && size < 1 << 31).then_some(size)
}

impl State {
    /// Memory that was never given away; null when there is no more.
    fn fresh(&mut self, size: usize) -> *mut u8 {
        let align = size.min(MOST_ALIGNED);
        if self.end == 0 {
            self.end = core::arch::wasm32::memory_size::<0>() * PAGE;
            self.next = self.end;
        }
        let start = self.next.next_multiple_of(align);
        let Some(end) = start.checked_add(size).filter(|end| *end <= usize::MAX - PAGE) else {
            return null_mut();
        };
        if end > self.end {
            let pages = (end - self.end).div_ceil(PAGE);
            // Nobody else grows the memory: new pages follow those that were there.
            if core::arch::wasm32::memory_grow::<0>(pages) == usize::MAX {
                return null_mut();
            }
            self.end += pages * PAGE;
        }
        self.next = end;
        std::ptr::with_exposed_provenance_mut(start)
    }
}

// SAFETY: a block is given to one owner until it is given back, it is as large and as aligned as its layout says, and nothing here
// panics or allocates. Free blocks are at least 16 bytes and hold a pointer, written and read here alone.
unsafe impl GlobalAlloc for Memory {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let Some(size) = block(layout) else { return null_mut() };
        // SAFETY: one thread, and no reference outlives the call.
        let state = unsafe { &mut *self.0.get() };
        let Some(first) = state.free.get_mut(size.trailing_zeros() as usize) else { return null_mut() };
        if first.is_null() {
            return state.fresh(size);
        }
        let taken = *first;
        // SAFETY: a free block holds the address of the next one.
        *first = unsafe { taken.cast::<*mut u8>().read() };
        taken
    }

    unsafe fn dealloc(&self, start: *mut u8, layout: Layout) {
        // SAFETY: as above.
        let state = unsafe { &mut *self.0.get() };
        let Some(size) = block(layout) else { return };
        if let Some(first) = state.free.get_mut(size.trailing_zeros() as usize) {
            // SAFETY: the block is nobody's, at least 16 bytes long, and aligned to as many.
            unsafe { start.cast::<*mut u8>().write(*first) };
            *first = start;
        }
    }

    unsafe fn realloc(&self, start: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        let Ok(wanted) = Layout::from_size_align(size, layout.align()) else { return null_mut() };
        if block(wanted) == block(layout) {
            return start;
        }
        // SAFETY: the caller's promises are those of the three calls.
        unsafe {
            let moved = self.alloc(wanted);
            if !moved.is_null() {
                moved.copy_from_nonoverlapping(start, layout.size().min(size));
                self.dealloc(start, layout);
            }
            moved
        }
    }
}
