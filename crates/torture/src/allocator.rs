//! The machine's allocator, which can be told to fail once: at the Nth call from then on. Only the
//! children of `torture` ever tell it to.
#![expect(unsafe_code, reason = "an allocator is an unsafe trait; it only counts and hands on")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::ptr;
use std::sync::atomic::{AtomicU64, Ordering};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The call that fails; 0 while nothing is counted.
static FAILS_AT: AtomicU64 = AtomicU64::new(0);
static CALLS: AtomicU64 = AtomicU64::new(0);

/// From now on calls are counted, and this one fails.
pub(crate) fn fail_at(call: u64) {
    FAILS_AT.store(call, Ordering::SeqCst);
}

/// Calls since [`fail_at`].
pub(crate) fn calls() -> u64 {
    CALLS.load(Ordering::SeqCst)
}

struct Counting;

fn fails() -> bool {
    match FAILS_AT.load(Ordering::Relaxed) {
        0 => false,
        at => CALLS.fetch_add(1, Ordering::Relaxed) + 1 == at,
    }
}

// SAFETY: every call is handed on to the system's allocator as it came, or answered with null, which
// is how an allocator says that it has nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller keeps the contract of `alloc`.
        if fails() { ptr::null_mut() } else { unsafe { System.alloc(layout) } }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller keeps the contract of `alloc_zeroed`.
        if fails() { ptr::null_mut() } else { unsafe { System.alloc_zeroed(layout) } }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller keeps the contract of `realloc`.
        if fails() { ptr::null_mut() } else { unsafe { System.realloc(block, layout, size) } }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the contract of `dealloc`.
        unsafe { System.dealloc(block, layout) }
    }
}
