//! What Linux counts for this process. Where `/proc` is missing the answer is "not known".

use std::fs;

/// Bytes that this process, all its threads, made the kernel send to storage: whole pages, as
/// they were dirtied, through `write` and memory maps alike, so it compares engines that differ in
/// how they write. A page dirtied twice between two flushes counts once, as it is written once.
/// The file system's own journal is not in it.
pub(crate) fn written_bytes() -> Option<u64> {
    field("/proc/self/io", "write_bytes:")
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
