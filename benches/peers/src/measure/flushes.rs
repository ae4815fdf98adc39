//! The fsync shim from the outside: it is written next to the store, preloaded into each measured
//! child, and counts in a page that is read here as a plain file.

use crate::Result;
use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Built by `build.rs`; empty where there is no `LD_PRELOAD`.
const LIBRARY: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/libslow_fsync.so"));
const PAGE: &str = "SLOW_FSYNC_PAGE";
const FIELDS: usize = 8; // the layout stands in slow-fsync/src/lib.rs

/// The shim, unpacked.
pub(crate) struct Shim {
    library: PathBuf,
    page: PathBuf,
    delay_us: u64,
}

impl Shim {
    pub(crate) fn unpack(dir: &Path, delay_us: u64) -> Result<Self> {
        let library = dir.join("libslow_fsync.so");
        fs::write(&library, LIBRARY)?;
        if delay_us > 0 && LIBRARY.is_empty() {
            return Err("--slow-fsync-us needs LD_PRELOAD, which only Linux has".into());
        }
        // In memory where there is such a place, or the page itself would count as written.
        let shared = Path::new("/dev/shm");
        let page_dir = if shared.is_dir() { shared } else { dir };
        let page = page_dir.join(format!("milepost-bench-{}.page", std::process::id()));
        Ok(Self { library, page, delay_us })
    }

    /// Has the next child counted and delayed, from zero.
    pub(crate) fn attach(&self, child: &mut Command) -> Result<()> {
        if LIBRARY.is_empty() {
            return Ok(());
        }
        fs::write(&self.page, [0; FIELDS * 8])?;
        child.env("LD_PRELOAD", &self.library).env(PAGE, &self.page);
        child.env("SLOW_FSYNC_US", self.delay_us.to_string());
        Ok(())
    }
}

impl Drop for Shim {
    fn drop(&mut self) {
        // Left behind, it would be 64 bytes in memory until the next boot.
        let _ = fs::remove_file(&self.page);
    }
}

/// The child's view of the counters.
pub(crate) struct Flushes {
    page: Option<File>,
}

impl Flushes {
    pub(crate) fn of_this_process() -> Self {
        let page = std::env::var_os(PAGE).and_then(|path| File::open(path).ok());
        Self { page }
    }

    /// How often this process waited for the disk: `fsync`, `fdatasync`, `msync`, writes through
    /// synchronous descriptors, `sync`. `None` where nobody counts.
    pub(crate) fn count(&self) -> Option<u64> {
        let mut bytes = [0; FIELDS * 8];
        self.page.as_ref()?.read_exact_at(&mut bytes, 0).ok()?;
        let fields = bytes.as_chunks::<8>().0.iter().map(|field| u64::from_ne_bytes(*field));
        let fields: Vec<u64> = fields.collect();
        let attached = fields.first() == Some(&1);
        attached.then(|| fields.iter().skip(1).take(5).sum())
    }
}
