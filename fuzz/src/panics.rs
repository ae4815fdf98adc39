//! Panics inside the crate that it catches itself are no finding: a damaged file makes the storage
//! engine panic, and the crate turns that into an error. libFuzzer's hook would abort at the first.

use std::cell::RefCell;
use std::panic::{self, AssertUnwindSafe};

thread_local! {
    static LAST: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Takes libFuzzer's hook away. A panic is kept, and told only if nobody catches it.
pub fn keep_quiet() {
    panic::set_hook(Box::new(|info| {
        let told = format!("{info}\n{}", std::backtrace::Backtrace::capture());
        LAST.with(|last| *last.borrow_mut() = told);
    }));
}

/// Plays one input; a panic that gets here is a finding.
pub fn play(input: impl FnOnce()) {
    if panic::catch_unwind(AssertUnwindSafe(input)).is_err() {
        LAST.with(|last| eprintln!("{}", last.borrow()));
        std::process::abort();
    }
}
