//! What the numbers were taken on, for the head of the tables.

use crate::args::Args;
use crate::measure::{fdatasync_us, file_system};
use std::fs;
use std::path::Path;
use std::thread::available_parallelism;

pub(super) fn describe(dir: &Path, args: &Args) -> Vec<String> {
    let mut lines = Vec::new();
    let cores = available_parallelism().map_or(1, usize::from);
    let cpu = line_after("/proc/cpuinfo", "model name").unwrap_or_else(|| "cpu not known".into());
    let memory = line_after("/proc/meminfo", "MemTotal");
    let memory = memory.and_then(|kb| kb.split(' ').next()?.parse::<u64>().ok());
    lines.push(format!("{cores} cores, {cpu}, {} GiB of memory", memory.unwrap_or(0) >> 20));
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let kind = file_system(dir).unwrap_or_else(|| "file system not known".into());
    let flush = fdatasync_us(dir).map_or(String::new(), |us| {
        format!("; fdatasync of an overwritten 4 KiB page takes {us:.0} µs")
    });
    lines.push(format!("{} {}, {kind}{flush}", std::env::consts::OS, kernel.trim()));
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    if let Some(load) = load.split(' ').next().filter(|load| !load.is_empty()) {
        lines.push(format!("load average of the minute before: {load} (should be near 0)"));
    }
    if args.slow_fsync_us > 0 {
        lines.push(format!("every flush delayed by {} µs", args.slow_fsync_us));
    }
    lines.push(format!(
        "{} rounds of {} s, interleaved; medians; each engine, case and round in its own process",
        args.rounds, args.seconds
    ));
    lines
}

fn line_after(path: &str, name: &str) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    let line = text.lines().find(|line| line.starts_with(name))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}
