//! Which file a store is in: what a copy of a file cannot have and a rename keeps.
//!
//! The names, sizes and times of a file can be copied. Three things that the file system keeps cannot:
//! the inode number, the moment at which the file was made (no program can set that), and on some file
//! systems which volume it is on. The device number is none of them: it changes when a disk is mounted
//! again. Where the moment is not kept, a random mark in an extended attribute tells an inode that was
//! given to another file; most tools leave such attributes out of a copy.

use std::fs::File;
use std::io;

use serde::{Deserialize, Serialize};

use super::system::flush;
use super::tables::{Record, Table};
use crate::error::{Error, Result};
use crate::id::StoreId;

/// The key of [`Origin`].
pub(super) const META_ORIGIN: &[u8] = b"origin";

/// The file that the store was in when it was last opened. A store on a disk of the caller's own has
/// none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Origin {
    inode: u64,
    /// When the file was made, in seconds and nanoseconds since 1970, if the file system keeps that.
    born: Option<(i64, u32)>,
    /// Which volume it is on, if the file system has a number for that which a remount keeps: a snapshot
    /// has the same inodes, made at the same moments.
    volume: Option<u64>,
    mark: Mark,
}

impl Record for Origin {
    const TABLE: Table = Table::Meta;
}

/// What the extended attribute of the file says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Mark {
    /// The file system has no such attributes, or this one cannot be read.
    Unknown,
    Absent,
    Is([u8; 16]),
}

impl Origin {
    /// Which file this is. Changes nothing; `None` where the system says nothing that a copy has not.
    ///
    /// # Errors
    /// `Io`.
    pub(super) fn of(file: &File) -> Result<Option<Self>> {
        look(file).map_err(|error| Error::io("looking at which file this is", error))
    }

    /// Which file this is, after it was marked, if it has no mark and can have one. The mark is durable
    /// when this returns, so a record of it never outlives it.
    ///
    /// # Errors
    /// `Io`.
    pub(super) fn marked(file: &File) -> Result<Option<Self>> {
        match Self::of(file)? {
            Some(Self { mark: Mark::Absent, inode, .. }) => {
                if set_mark(file, &drawn(inode)) {
                    flush(file).map_err(|error| Error::io("marking the file", error))?;
                }
                Self::of(file)
            }
            origin => Ok(origin),
        }
    }

    /// What says that this is another file than `known`, the one the store was in; `None` if it is that
    /// one.
    pub(super) fn differs_from(&self, known: &Self) -> Option<&'static str> {
        let is_other =
            |now: Option<u64>, then: Option<u64>| now.zip(then).is_some_and(|(a, b)| a != b);
        if is_other(self.volume, known.volume) {
            return Some("it is on another volume");
        }
        let has_inode = self.inode == known.inode;
        match self.born.zip(known.born) {
            Some((now, then)) if now != then => Some("it was made at another moment"),
            // The inodes may be numbered again, by a file system that is made smaller, or one that numbers
            // them at every mount. Without the mark, the copy was made within a tick of the clock.
            Some(_) if !has_inode && self.is_marked_otherwise(known) => {
                Some("it has another inode and mark")
            }
            None if !has_inode => Some("it has another inode"),
            None if self.is_marked_otherwise(known) => Some("its inode was given to another file"),
            _ => None,
        }
    }

    fn is_marked_otherwise(&self, known: &Self) -> bool {
        matches!(known.mark, Mark::Is(_)) && self.mark != Mark::Unknown && self.mark != known.mark
    }

    /// What is to be remembered of the same file: what it says now, and what only `known` says.
    pub(super) fn renewed(self, known: &Self) -> Self {
        Self {
            inode: self.inode,
            born: self.born.or(known.born),
            volume: self.volume.or(known.volume),
            mark: if self.mark == Mark::Unknown { known.mark } else { self.mark },
        }
    }
}

/// The name of the mark.
#[cfg(target_os = "linux")]
const MARK_NAME: &str = "user.milepost";

fn drawn(salt: u64) -> [u8; 16] {
    let mut mark = [0; 16];
    mark.copy_from_slice(StoreId::draw(salt, b"mark").as_bytes());
    mark
}

#[cfg(target_os = "linux")]
fn look(file: &File) -> io::Result<Option<Origin>> {
    use rustix::fs::{AtFlags, StatxFlags, statx};
    let mark = read_mark(file);
    let volume = volume(file);
    let wanted = StatxFlags::INO | StatxFlags::BTIME;
    let seen = match statx(file, "", AtFlags::EMPTY_PATH, wanted) {
        Ok(seen) => seen,
        Err(rustix::io::Errno::NOSYS) => {
            use std::os::unix::fs::MetadataExt;
            let inode = file.metadata()?.ino();
            return Ok(Some(Origin { inode, born: None, volume, mark }));
        }
        Err(errno) => return Err(errno.into()),
    };
    let has_born = StatxFlags::from_bits_retain(seen.stx_mask).contains(StatxFlags::BTIME);
    let born = (seen.stx_btime.tv_sec, seen.stx_btime.tv_nsec);
    // Some file systems answer with the beginning of time where they know of none.
    let born = (has_born && born != (0, 0)).then_some(born);
    Ok(Some(Origin { inode: seen.stx_ino, born, volume, mark }))
}

/// The number of the volume, on the file systems whose number is the same after a remount and another
/// one for a snapshot or a clone.
#[cfg(target_os = "linux")]
fn volume(file: &File) -> Option<u64> {
    /// ext2, ext3 and ext4: of the UUID.
    const EXT: u64 = 0xEF53;
    /// btrfs: of the UUID and the subvolume.
    const BTRFS: u64 = 0x9123_683E;
    /// ZFS: of the dataset.
    const ZFS: u64 = 0x2FC1_2FC1;
    let kind = rustix::fs::fstatfs(file).ok()?.f_type;
    // A word of 32 or 64 bits, with or without a sign.
    #[allow(clippy::cast_sign_loss, clippy::cast_lossless, clippy::unnecessary_cast, reason = "so")]
    let kind = kind as u64 & 0xFFFF_FFFF;
    let volume = rustix::fs::fstatvfs(file).ok()?.f_fsid;
    ([EXT, BTRFS, ZFS].contains(&kind) && volume != 0).then_some(volume)
}

#[cfg(target_os = "linux")]
fn read_mark(file: &File) -> Mark {
    // Longer than a mark, so that what is no mark of ours is seen.
    let mut mark = [0; 17];
    match rustix::fs::fgetxattr(file, MARK_NAME, &mut mark) {
        Ok(len) => match mark.get(..len).and_then(|mark| mark.try_into().ok()) {
            Some(mark) => Mark::Is(mark),
            None => Mark::Absent,
        },
        Err(rustix::io::Errno::NODATA | rustix::io::Errno::RANGE) => Mark::Absent,
        Err(_) => Mark::Unknown,
    }
}

#[cfg(target_os = "linux")]
fn set_mark(file: &File, mark: &[u8; 16]) -> bool {
    rustix::fs::fsetxattr(file, MARK_NAME, mark, rustix::fs::XattrFlags::empty()).is_ok()
}

#[cfg(all(unix, not(target_os = "linux")))]
fn look(file: &File) -> io::Result<Option<Origin>> {
    use std::os::unix::fs::MetadataExt;
    let metadata = file.metadata()?;
    let since = |at: std::time::SystemTime| at.duration_since(std::time::UNIX_EPOCH).ok();
    let born = metadata.created().ok().and_then(since);
    let born = born.map(|born| (born.as_secs().cast_signed(), born.subsec_nanos()));
    Ok(Some(Origin { inode: metadata.ino(), born, volume: None, mark: Mark::Unknown }))
}

#[cfg(not(unix))]
fn look(_file: &File) -> io::Result<Option<Origin>> {
    Ok(None)
}

#[cfg(not(target_os = "linux"))]
fn set_mark(_file: &File, _mark: &[u8; 16]) -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: Origin =
        Origin { inode: 7, born: Some((100, 5)), volume: Some(3), mark: Mark::Is([1; 16]) };
    const OLD: Origin = Origin { born: None, volume: None, ..FIRST };

    fn is_same(now: &Origin, known: &Origin) -> bool {
        now.differs_from(known).is_none()
    }

    /// Against: an operator who is called at night because a disk was mounted again, by a kernel that
    /// sees more or less than the one before.
    #[test]
    fn the_same_file_seen_with_other_eyes_is_the_same() {
        for known in [FIRST, OLD, Origin { mark: Mark::Unknown, ..OLD }] {
            for now in [
                FIRST,
                OLD,
                Origin { mark: Mark::Unknown, ..FIRST },
                Origin { mark: Mark::Unknown, ..OLD },
                Origin { volume: None, ..FIRST },
            ] {
                assert!(is_same(&now, &known), "{now:?} {known:?}");
                let renewed = now.clone().renewed(&known);
                assert!(is_same(&now, &renewed) && is_same(&renewed, &known));
            }
        }
        // Its inode has another number: the file system was made smaller, or numbers them at a mount.
        assert!(is_same(&Origin { inode: 8, ..FIRST }, &FIRST));
        assert!(is_same(&Origin { inode: 8, mark: Mark::Unknown, ..FIRST }, &FIRST));
    }

    /// Against: a copy that passes for the original because one of the things compared is the same.
    #[test]
    fn each_thing_that_a_copy_cannot_have_tells_it() {
        let born = Some((100, 6));
        for (now, known) in [
            // cp, rsync, tar: another inode, another moment, with or without attributes.
            (Origin { inode: 8, born, ..FIRST }, FIRST),
            (Origin { inode: 8, born, mark: Mark::Absent, ..FIRST }, FIRST),
            // Restored into the inode that the deleted file had.
            (Origin { born, ..FIRST }, FIRST),
            (Origin { mark: Mark::Absent, ..OLD }, OLD),
            (Origin { mark: Mark::Is([2; 16]), ..OLD }, OLD),
            // A snapshot, or a clone that was given a UUID of its own.
            (Origin { volume: Some(4), ..FIRST }, FIRST),
            // Where no moment is kept.
            (Origin { inode: 8, ..OLD }, OLD),
            (Origin { inode: 8, ..OLD }, FIRST),
            // Copied within the tick of the clock in which the original was made.
            (Origin { inode: 8, mark: Mark::Absent, ..FIRST }, FIRST),
        ] {
            assert!(!is_same(&now, &known), "{now:?} {known:?}");
        }
    }
}
