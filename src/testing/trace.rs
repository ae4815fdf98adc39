//! What was done to a disk, kept so that the power can be cut at every operation of it.

use super::image::{Change, Image};
use super::platter::Platter;

/// Everything that was done to a [`SimDisk`](super::SimDisk) while it recorded. The power can be cut in front of each
/// operation, and behind the last one, as often as there are images; nothing of the program runs
/// again for that.
///
/// ```
/// use milepost::testing::{Image, SimDisk};
/// use milepost::{Options, Store};
/// use std::sync::Arc;
///
/// # #[derive(Default, serde::Serialize, serde::Deserialize)]
/// # struct Counter(u64);
/// # impl milepost::Versioned for Counter {
/// #     const NAME: &'static str = "counter";
/// #     const VERSION: u32 = 1;
/// # }
/// let disk = Arc::new(SimDisk::new());
/// let store = Options::new().create_on(disk.clone())?;
/// disk.record();
/// let mut run = store.run::<Counter>("bot")?;
/// run.step("key", 1, |tx| Ok(tx.state.0 += 1))?;
/// let trace = disk.trace();
/// for point in 0..trace.points() {
///     for image in Image::every(trace.unsynced(point)) {
///         let disk = SimDisk::of(trace.cut(point, &image));
///         let store = Options::new().open_on(Arc::new(disk))?;
///         assert!(store.run::<Counter>("bot")?.steps() <= 1);
///     }
/// }
/// # Ok::<(), milepost::Error>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct Trace {
    changes: Vec<Change>,
    /// For each point, in order: how many changes were made, how many of them are settled (flushed
    /// or lost for good), and which flush was the last.
    points: Vec<Point>,
    /// What was durable after each flush; the first is what was when the recording began.
    durable: Vec<Platter>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Point {
    made: usize,
    settled: usize,
    flush: usize,
}

impl Trace {
    /// How many points there are at which the power can be cut: one in front of each operation, and
    /// one behind the last.
    #[must_use]
    pub fn points(&self) -> usize {
        self.points.len()
    }

    /// The changes that no flush had made durable at a point; none past the last point.
    #[must_use]
    pub fn unsynced(&self, point: usize) -> &[Change] {
        let Point { made, settled, .. } = self.point(point);
        self.changes.get(settled..made).unwrap_or_default()
    }

    /// What a power cut at a point leaves.
    #[must_use]
    pub fn cut(&self, point: usize, image: &Image) -> Platter {
        let mut platter = self.durable.get(self.point(point).flush).cloned().unwrap_or_default();
        image.apply(&mut platter, self.unsynced(point));
        platter
    }

    fn point(&self, point: usize) -> Point {
        self.points.get(point).or(self.points.last()).copied().unwrap_or_default()
    }

    pub(super) fn begin(durable: Platter, unsynced: &[Change]) -> Self {
        let point = Point { made: unsynced.len(), settled: 0, flush: 0 };
        Self { changes: unsynced.to_vec(), points: vec![point], durable: vec![durable] }
    }

    pub(super) fn change(&mut self, change: Change) {
        let last = self.point(usize::MAX);
        self.changes.push(change);
        self.points.push(Point { made: self.changes.len(), ..last });
    }

    /// A flush, after which this is durable, and this of what came before still is not.
    pub(super) fn flush(&mut self, durable: Platter, left: &[Change]) {
        self.durable.push(durable);
        self.changes.extend_from_slice(left);
        let made = self.changes.len();
        let settled = made - left.len();
        self.points.push(Point { made, settled, flush: self.durable.len() - 1 });
    }
}
