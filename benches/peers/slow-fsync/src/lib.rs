//! An `LD_PRELOAD` shim: counts every request that makes a program wait for the disk, and delays
//! it by `SLOW_FSYNC_US` microseconds, to stand for disks that really flush.
//!
//! One shim for every engine alike, so none is counted by its own word:
//!
//! | counted and delayed | who uses it |
//! |---|---|
//! | `fsync`, `fdatasync` | redb, `SQLite`, fjall, LMDB, the files kit, Milepost |
//! | `msync(MS_SYNC)` | LMDB with a writable map |
//! | `write` and its kin, on a descriptor opened with `O_DSYNC` or `O_SYNC` | LMDB's meta page |
//! | `sync`, `syncfs` | nobody; here so that nobody could |
//!
//! A synchronous write is a flush that no count of `fsync` shows. `sync_file_range` is counted
//! apart and not delayed: it starts write-back and flushes nothing.
//!
//! The counters live in the file named by `SLOW_FSYNC_PAGE`, mapped and shared, so that the bench
//! reads them as a plain file and needs no `unsafe` of its own. Layout: eight `u64` in the
//! machine's byte order: attached (1), `fsync`, `fdatasync`, `msync`, synchronous writes, `sync`
//! and `syncfs`, `sync_file_range`, the delay in microseconds.
//!
//! `io_uring`, direct system calls and a statically linked libc would pass by unseen; none of the
//! engines does that here.

#![cfg(target_os = "linux")]
#![allow(
    unsafe_code,
    reason = "C's side of the fence: it replaces functions of libc, by their C signatures; every \
              block says what it relies on, and the rest of the bench denies it"
)]

use std::ffi::{CStr, c_char, c_int, c_long, c_uint, c_void};
use std::mem::transmute;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicPtr, AtomicU8, AtomicU64, Ordering::Relaxed};

#[repr(C)]
struct Page {
    attached: AtomicU64,
    fsync: AtomicU64,
    fdatasync: AtomicU64,
    msync: AtomicU64,
    synchronous_writes: AtomicU64,
    sync: AtomicU64,
    sync_file_range: AtomicU64,
    delay_us: AtomicU64,
}

/// The mapped page; null until `attach` has run, and for good where no page was named.
static PAGE: AtomicPtr<Page> = AtomicPtr::new(null_mut());

/// What is known of each descriptor: 0 nothing, 1 buffered, 2 synchronous. Asked once, at the
/// first write, and forgotten at `close`, because `open` is variadic and cannot be replaced from
/// stable Rust.
static DESCRIPTORS: [AtomicU8; 4096] = [const { AtomicU8::new(0) }; 4096];

const RTLD_NEXT: *mut c_void = usize::MAX as *mut c_void; // glibc and musl: (void *) -1
const O_RDWR: c_int = 2;
const F_GETFL: c_int = 3;
const O_DSYNC: c_int = 0o10_000; // also set in O_SYNC
const PROT_READ_WRITE: c_int = 3;
const MAP_SHARED: c_int = 1;
const MAP_FAILED: *mut c_void = usize::MAX as *mut c_void;
const MS_SYNC: c_int = 4;
const PR_SET_TIMERSLACK: c_int = 29;

#[repr(C)]
struct Timespec {
    seconds: c_long,
    nanoseconds: c_long,
}

unsafe extern "C" {
    fn dlsym(handle: *mut c_void, symbol: *const c_char) -> *mut c_void;
    fn getenv(name: *const c_char) -> *const c_char;
    fn open(path: *const c_char, flags: c_int, ...) -> c_int;
    fn mmap(at: *mut c_void, len: usize, p: c_int, f: c_int, fd: c_int, off: i64) -> *mut c_void;
    fn fcntl(fd: c_int, command: c_int, ...) -> c_int;
    fn nanosleep(want: *const Timespec, left: *mut Timespec) -> c_int;
    fn prctl(option: c_int, ...) -> c_int;
}

/// Runs when the library is loaded, before `main` and before any thread.
#[used]
#[unsafe(link_section = ".init_array")]
static ATTACH: extern "C" fn() = attach;

extern "C" fn attach() {
    // SAFETY: the environment is read before any thread could change it; the path is the C string
    // that `getenv` returned; the mapping is checked, is as long as `Page`, and is never unmapped.
    unsafe {
        let path = getenv(c"SLOW_FSYNC_PAGE".as_ptr());
        if path.is_null() {
            return;
        }
        let fd = open(path, O_RDWR);
        let len = size_of::<Page>();
        let page = mmap(null_mut(), len, PROT_READ_WRITE, MAP_SHARED, fd, 0);
        if fd < 0 || page == MAP_FAILED {
            return;
        }
        let page = page.cast::<Page>();
        let delay = getenv(c"SLOW_FSYNC_US".as_ptr());
        if !delay.is_null() {
            let delay = CStr::from_ptr(delay).to_str().ok().and_then(|text| text.parse().ok());
            (*page).delay_us.store(delay.unwrap_or(0), Relaxed);
        }
        (*page).attached.store(1, Relaxed);
        PAGE.store(page, Relaxed);
    }
}

fn page() -> Option<&'static Page> {
    // SAFETY: null, or the mapping that `attach` checked and nobody removes; only atomics in it.
    unsafe { PAGE.load(Relaxed).as_ref() }
}

/// Counts one request that waits for the disk, and makes it wait longer. Called after the real
/// one: what the caller then believes to be durable is.
fn flushed(counter: impl Fn(&Page) -> &AtomicU64) {
    let Some(page) = page() else { return };
    counter(page).fetch_add(1, Relaxed);
    let delay_us = page.delay_us.load(Relaxed);
    if delay_us == 0 {
        return;
    }
    let want = Timespec {
        seconds: c_long::try_from(delay_us / 1_000_000).unwrap_or(0),
        nanoseconds: c_long::try_from(delay_us % 1_000_000 * 1_000).unwrap_or(0),
    };
    // SAFETY: plain system calls on a value of ours. The slack of 50 µs that Linux adds to sleeps
    // is taken out, or the delay would not be the one asked for. No signal handlers here, so an
    // early return is not to be expected.
    unsafe {
        prctl(PR_SET_TIMERSLACK, 1 as c_long);
        nanosleep(&raw const want, null_mut());
    }
}

fn is_synchronous(fd: c_int) -> bool {
    // SAFETY: F_GETFL takes no argument and only reads; a bad descriptor gives -1.
    let ask = || unsafe { fcntl(fd, F_GETFL) };
    let Some(known) = usize::try_from(fd).ok().and_then(|fd| DESCRIPTORS.get(fd)) else {
        let flags = ask();
        return flags >= 0 && flags & O_DSYNC != 0;
    };
    match known.load(Relaxed) {
        0 => {
            let flags = ask();
            let synchronous = flags >= 0 && flags & O_DSYNC != 0;
            known.store(if synchronous { 2 } else { 1 }, Relaxed);
            synchronous
        }
        known => known == 2,
    }
}

fn forget(fd: c_int) {
    if let Some(known) = usize::try_from(fd).ok().and_then(|fd| DESCRIPTORS.get(fd)) {
        known.store(0, Relaxed);
    }
}

/// The next definition of a C function behind this one: libc's.
fn real(cache: &AtomicPtr<c_void>, name: &CStr) -> *mut c_void {
    let known = cache.load(Relaxed);
    if !known.is_null() {
        return known;
    }
    // SAFETY: a constant name; every function replaced here exists in every libc of Linux.
    let found = unsafe { dlsym(RTLD_NEXT, name.as_ptr()) };
    assert!(!found.is_null(), "libc has no {name:?}");
    cache.store(found, Relaxed);
    found
}

/// Defines one C function that calls libc's and then looks at what was done.
macro_rules! replace {
    ($(fn $name:ident($($arg:ident: $type:ty),*) -> $ret:ty, then $after:expr;)*) => {$(
        /// # Safety
        ///
        /// As the C function of this name.
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn $name($($arg: $type),*) -> $ret {
            type Real = unsafe extern "C" fn($($type),*) -> $ret;
            static REAL: AtomicPtr<c_void> = AtomicPtr::new(null_mut());
            let name = CStr::from_bytes_with_nul(concat!(stringify!($name), "\0").as_bytes());
            let real = real(&REAL, name.unwrap_or(c""));
            // SAFETY: the symbol of this name has this signature in the C library; the arguments
            // are passed on as they came.
            let done = unsafe { transmute::<*mut c_void, Real>(real)($($arg),*) };
            let after: fn($($type),*) = $after;
            after($($arg),*);
            done
        }
    )*};
}

fn written(fd: c_int) {
    if is_synchronous(fd) {
        flushed(|page| &page.synchronous_writes);
    }
}

replace! {
    fn fsync(fd: c_int) -> c_int, then |_| flushed(|page| &page.fsync);
    fn fdatasync(fd: c_int) -> c_int, then |_| flushed(|page| &page.fdatasync);
    fn syncfs(fd: c_int) -> c_int, then |_| flushed(|page| &page.sync);
    fn sync() -> (), then || flushed(|page| &page.sync);
    fn msync(at: *mut c_void, len: usize, flags: c_int) -> c_int, then |_, _, flags| {
        if flags & MS_SYNC != 0 {
            flushed(|page| &page.msync);
        }
    };
    fn sync_file_range(fd: c_int, at: i64, len: i64, flags: c_uint) -> c_int, then |_, _, _, _| {
        if let Some(page) = page() {
            page.sync_file_range.fetch_add(1, Relaxed);
        }
    };
    fn close(fd: c_int) -> c_int, then |fd| forget(fd);
    fn write(fd: c_int, from: *const c_void, len: usize) -> isize, then |fd, _, _| written(fd);
    fn writev(fd: c_int, parts: *const c_void, n: c_int) -> isize, then |fd, _, _| written(fd);
    fn pwrite(fd: c_int, from: *const c_void, len: usize, at: i64) -> isize,
        then |fd, _, _, _| written(fd);
    fn pwrite64(fd: c_int, from: *const c_void, len: usize, at: i64) -> isize,
        then |fd, _, _, _| written(fd);
    fn pwritev(fd: c_int, parts: *const c_void, n: c_int, at: i64) -> isize,
        then |fd, _, _, _| written(fd);
    fn pwritev64(fd: c_int, parts: *const c_void, n: c_int, at: i64) -> isize,
        then |fd, _, _, _| written(fd);
}
