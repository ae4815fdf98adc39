//! What Linux counts for this process. Where `/proc` is missing the answer is "not known".

use std::fs;

/// Bytes that this process, all its threads, handed to the kernel in `write` calls of every kind.
/// It is the whole of what these engines write: none of them writes through a memory map as it is
/// set up here. (`write_bytes`, the kernel's own guess of what goes to storage, charges a whole
/// folio for each page of it that is touched: up to a mebibyte for four kibibytes, depending on how
/// the file came into memory. Against the block device's counters it was wrong by up to 250 times,
/// this was right.) The file system's own journal is not in it.
pub(crate) fn written_bytes() -> Option<u64> {
    field("/proc/self/io", "wchar:")
}

/// The most memory this process ever had resident, pages of mapped files included.
pub(crate) fn peak_rss_bytes() -> Option<u64> {
    field("/proc/self/status", "VmHWM:").map(|kib| kib * 1024)
}

fn field(path: &str, name: &str) -> Option<u64> {
    let text = fs::read_to_string(path).ok()?;
    let line = text.lines().find(|line| line.starts_with(name))?;
    line.split_whitespace().nth(1)?.parse().ok()
}
