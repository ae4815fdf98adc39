//! Time: UTC milliseconds through a [`Clock`], so that a test can hold it still.
//!
//! The only file that reads the wall clock. Order never comes from time, only from the commit
//! sequence; time decides when a key expires, and nothing else.

use std::fs::File;
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

/// Where the store reads the time from.
pub trait Clock: Send + Sync + 'static {
    /// Milliseconds since 1970-01-01T00:00:00Z.
    fn now(&self) -> Timestamp;

    /// Time since some fixed moment of this process, by a clock that nobody sets. It is the second
    /// witness when the wall clock leaps ahead.
    fn elapsed(&self) -> Duration;

    /// How long ago the machine was started, also through its sleep, by a clock that nobody sets; and
    /// which start that was. It is the witness between two openings of one start. `None` by default:
    /// nothing contradicts the wall clock then.
    fn since_boot(&self) -> Option<SinceBoot> {
        None
    }

    /// When a file was last changed, by this clock. A wall clock that stands a day or more before that
    /// was wrong then, or is wrong now. `None` by default, and for any clock but the one by which the
    /// file system writes its times.
    fn last_change(&self, _file: &File) -> Option<Timestamp> {
        None
    }
}

/// How long ago a machine was started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SinceBoot {
    /// Which start of which machine it was: no two have the same.
    pub boot: [u8; 16],
    /// How long ago, in ms.
    pub elapsed_ms: u64,
}

impl SinceBoot {
    /// How long after another reading of the same start this one was made, in ms; `None` if it was
    /// another start. A reading that is not later was made on a machine that was set back: no time.
    pub(crate) fn ms_after(&self, before: &Self) -> Option<u64> {
        (self.boot == before.boot).then(|| self.elapsed_ms.saturating_sub(before.elapsed_ms))
    }
}

/// UTC milliseconds since 1970.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Timestamp(u64);

impl Timestamp {
    /// After everything.
    pub(crate) const NEVER: Self = Self(u64::MAX);

    /// The moment `ms` milliseconds after 1970-01-01T00:00:00Z.
    #[must_use]
    pub const fn from_ms(ms: u64) -> Self {
        Self(ms)
    }

    /// Milliseconds since 1970-01-01T00:00:00Z.
    #[must_use]
    pub const fn as_ms(self) -> u64 {
        self.0
    }

    /// This moment and `duration` more; stays at the largest moment rather than wrap.
    #[must_use]
    pub fn after(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)))
    }
}

/// The machine's own clock. The default.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        // A machine whose clock stands before 1970 reads as 1970: a clock that went back.
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }

    fn elapsed(&self) -> Duration {
        static START: OnceLock<Instant> = OnceLock::new();
        START.get_or_init(Instant::now).elapsed()
    }

    /// On Linux, from `/proc/sys/kernel/random/boot_id` and `CLOCK_BOOTTIME`.
    #[cfg(target_os = "linux")]
    fn since_boot(&self) -> Option<SinceBoot> {
        static BOOT: OnceLock<Option<[u8; 16]>> = OnceLock::new();
        let boot = (*BOOT.get_or_init(boot_id))?;
        let since = nix::time::clock_gettime(nix::time::ClockId::CLOCK_BOOTTIME).ok()?;
        let ms = since.tv_sec().checked_mul(1_000)?.checked_add(since.tv_nsec() / 1_000_000)?;
        Some(SinceBoot { boot, elapsed_ms: u64::try_from(ms).ok()? })
    }

    /// Its content or its attributes, whichever was later.
    #[cfg(unix)]
    fn last_change(&self, file: &File) -> Option<Timestamp> {
        use std::os::unix::fs::MetadataExt;
        let metadata = file.metadata().ok()?;
        let seconds = metadata.mtime().max(metadata.ctime());
        u64::try_from(seconds).ok()?.checked_mul(1_000).map(Timestamp)
    }
}

#[cfg(target_os = "linux")]
fn boot_id() -> Option<[u8; 16]> {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let digits = text.trim().replace('-', "");
    if digits.len() != 32 {
        return None;
    }
    u128::from_str_radix(&digits, 16).ok().map(u128::to_be_bytes)
}

/// A clock that moves only when told to; for tests and simulations. Clones share one time. It is that
/// of a machine of its own, which was started when the clock was made.
#[derive(Debug, Clone, Default)]
pub struct ManualClock(Arc<Hands>);

#[derive(Debug)]
struct Hands {
    now_ms: AtomicU64,
    elapsed_ms: AtomicU64,
    boot: AtomicU64,
}

impl Default for Hands {
    fn default() -> Self {
        Self {
            now_ms: AtomicU64::default(),
            elapsed_ms: AtomicU64::default(),
            boot: AtomicU64::new(next_boot()),
        }
    }
}

fn next_boot() -> u64 {
    static BOOTS: AtomicU64 = AtomicU64::new(1);
    BOOTS.fetch_add(1, Ordering::SeqCst)
}

impl ManualClock {
    /// A clock that stands at `now`.
    #[must_use]
    pub fn new(now: Timestamp) -> Self {
        let clock = Self::default();
        clock.set(now);
        clock
    }

    /// Sets the wall clock alone, as an operator or a wrong time server does.
    pub fn set(&self, now: Timestamp) {
        self.0.now_ms.store(now.as_ms(), Ordering::SeqCst);
    }

    /// Starts the machine once more: what has passed since before has no witness.
    pub fn reboot(&self) {
        self.0.boot.store(next_boot(), Ordering::SeqCst);
    }

    /// Lets time pass: the wall clock and the process's own clock move together.
    pub fn advance(&self, by: Duration) {
        let by_ms = u64::try_from(by.as_millis()).unwrap_or(u64::MAX);
        self.0.now_ms.fetch_add(by_ms, Ordering::SeqCst);
        self.0.elapsed_ms.fetch_add(by_ms, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.now_ms.load(Ordering::SeqCst))
    }

    fn elapsed(&self) -> Duration {
        Duration::from_millis(self.0.elapsed_ms.load(Ordering::SeqCst))
    }

    fn since_boot(&self) -> Option<SinceBoot> {
        let boot = u128::from(self.0.boot.load(Ordering::SeqCst)).to_be_bytes();
        Some(SinceBoot { boot, elapsed_ms: self.0.elapsed_ms.load(Ordering::SeqCst) })
    }
}
