//! What a store takes on disk, and what the disk is.

use crate::Result;
use std::fs::{self, File};
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::Path;
use std::time::Instant;

/// Blocks that the files of a folder occupy: what is really on disk, so that a journal that was
/// only reserved, or a sparse map, counts as what was written of it.
pub(crate) fn allocated_bytes(dir: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(dir) else { return 0 };
    let sizes = entries.flatten().map(|entry| match entry.metadata() {
        Ok(about) if about.is_dir() => allocated_bytes(&entry.path()),
        Ok(about) => about.blocks() * 512, // st_blocks counts 512 bytes whatever the block size
        Err(_) => 0,                       // compacted away in between
    });
    sizes.sum()
}

/// Bytes written to the block device a folder is on, by everybody: pages as they are, the file
/// system's journal included. What a step really costs the disk, on a machine that is otherwise
/// quiet.
pub(crate) fn device_bytes(dir: &Path) -> Option<u64> {
    let dev = fs::metadata(dir).ok()?.dev();
    // As the kernel packs it: 12 bits of the major number around 8 of the minor, then the rest.
    let major = (dev >> 8) & 0xfff;
    let minor = (dev & 0xff) | ((dev >> 12) & 0xfff_ff00);
    let stat = fs::read_to_string(format!("/sys/dev/block/{major}:{minor}/stat")).ok()?;
    let sectors: u64 = stat.split_whitespace().nth(6)?.parse().ok()?;
    Some(sectors * 512) // a sector of this file is 512 bytes whatever the device's
}

/// The kind of file system a folder is on, by the longest mount point that leads to it.
pub(crate) fn file_system(dir: &Path) -> Option<String> {
    let dir = dir.canonicalize().ok()?;
    let mounts = fs::read_to_string("/proc/self/mounts").ok()?;
    let found = mounts.lines().filter_map(|line| {
        let mut words = line.split(' ');
        let at = Path::new(words.nth(1)?);
        dir.starts_with(at).then_some((at.as_os_str().len(), words.next()?))
    });
    found.max_by_key(|(len, _)| *len).map(|(_, kind)| kind.to_owned())
}

/// The median time of `fdatasync` after overwriting 4 KiB: the yardstick of a disk.
pub(crate) fn fdatasync_us(dir: &Path) -> Result<f64> {
    let path = dir.join("fdatasync.probe");
    let file = File::create(&path)?;
    let mut times = Vec::new();
    for _ in 0..201 {
        file.write_all_at(&[7; 4096], 0)?;
        let start = Instant::now();
        file.sync_data()?;
        times.push(start.elapsed().as_secs_f64() * 1e6);
    }
    fs::remove_file(path)?;
    times.sort_by(f64::total_cmp);
    Ok(times.get(times.len() / 2).copied().unwrap_or_default())
}
