//! Counts what a thread allocates.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use anyhow::Result;
use fluxori_emitter::Emitted;

use crate::{NOBODY, Spooled, events, on_disk};

thread_local! {
    static COUNT: Cell<u64> = const { Cell::new(0) };
}

/// The system's allocator, counted by thread.
pub(crate) struct Counting;

#[expect(unsafe_code, reason = "an allocator is unsafe by its trait")]
// SAFETY: everything is passed on to the system's allocator as it is.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNT.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller keeps the contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the contract.
        unsafe { System.dealloc(pointer, layout) }
    }
}

/// Allocations of a call of `emit` that is accepted, on average over 10,000.
pub(crate) fn per_emit() -> Result<f64> {
    const CALLS: u32 = 10_000;
    let spooled = Spooled::new(NOBODY, "nowhere", on_disk()?)?;
    let events = events(u64::from(CALLS))?;
    let before = COUNT.with(Cell::get);
    for event in events {
        anyhow::ensure!(matches!(spooled.emitter.emit(event), Emitted::Accepted(_)), "not accepted");
    }
    let allocated = COUNT.with(Cell::get) - before;
    Ok((f64::from(u32::try_from(allocated)?) / f64::from(CALLS) * 1000.0).round() / 1000.0)
}
