//! The instruments: how long things took, and what the kernel says this process did. Each reads
//! `/proc`, or the page that the fsync shim counts in; none of them asks the engine.

mod disk;
mod flushes;
mod histogram;
mod process;

pub(crate) use disk::{allocated_bytes, device_bytes, fdatasync_us, file_system};
pub(crate) use flushes::{Flushes, Shim};
pub(crate) use histogram::Histogram;
pub(crate) use process::{peak_rss_bytes, written_bytes};
