//! The one fake disk: for our tests, our fuzzers, and the tests of programs that use a store.

use std::collections::BTreeSet;
use std::io;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use super::fault::{Call, Counts, Effect, Fault, Sabotage};
use super::image::{Change, Image};
use super::platter::Platter;
use super::rng::Rng;
use super::trace::Trace;
use crate::store::Disk;

/// The cache takes pages of this size for written or not.
const CACHE_PAGE: u64 = 4096;

/// A flush that is awaited comes in far less, or not at all.
const FLUSH_COMES_WITHIN: Duration = Duration::from_secs(10);

/// A disk in memory that knows what a power cut would leave of it, and fails when it is told to. The
/// same calls give the same bytes, every time.
///
/// - What a killed process leaves: [`live`](Self::live). What a power cut may leave:
///   [`cut`](Self::cut), one [`Image`] at a time; [`durable`](Self::durable) is the least of them.
/// - To cut the power at *every* operation: [`record`](Self::record), work, [`trace`](Self::trace).
/// - To make calls fail: [`arm`](Self::arm). To see whether they did: [`hits`](Self::hits).
/// - To open what is left, as after a crash: [`SimDisk::of`] those bytes.
///
/// ```
/// use milepost::testing::{Fault, SimDisk};
/// use milepost::{ErrorKind, Options};
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
/// let mut run = store.run::<Counter>("bot")?;
/// run.step("a", 1, |tx| Ok(tx.state.0 += 1))?;
///
/// disk.arm([Fault::at(0)]);
/// assert!(run.step("b", 2, |tx| Ok(tx.state.0 += 1)).is_err());
///
/// let after_the_cut = Arc::new(SimDisk::of(disk.durable()));
/// let store = Options::new().open_on(after_the_cut)?;
/// assert_eq!(store.run::<Counter>("bot")?.steps(), 1);
/// # Ok::<(), milepost::Error>(())
/// ```
#[derive(Debug, Default)]
pub struct SimDisk {
    state: Mutex<State>,
    /// Told when a flush begins to wait, and when it may go on.
    held: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// What reads see.
    live: Platter,
    /// What survives a power cut for certain.
    durable: Platter,
    /// Since the last flush, in their order.
    unsynced: Vec<Change>,
    /// Pages of the cache that the disk never got, and the cache takes for written.
    forgotten: BTreeSet<u64>,
    counts: Counts,
    faults: Vec<Fault>,
    hits: u64,
    slow: Vec<(Call, Duration)>,
    holds_syncs: bool,
    syncs_held: usize,
    sabotage: Option<Sabotage>,
    trace: Option<Trace>,
}

impl SimDisk {
    /// An empty disk.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A disk that holds these bytes, all of them durable.
    #[must_use]
    pub fn of(platter: Platter) -> Self {
        let state = State { live: platter.clone(), durable: platter, ..State::default() };
        Self { state: Mutex::new(state), held: Condvar::new() }
    }

    /// A disk that holds these bytes, all of them durable.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Self {
        Self::of(Platter::from_bytes(bytes))
    }

    /// What reads see; a killed process leaves this.
    #[must_use]
    pub fn live(&self) -> Platter {
        self.state().live.clone()
    }

    /// What was flushed, and nothing else.
    #[must_use]
    pub fn durable(&self) -> Platter {
        self.state().durable.clone()
    }

    /// What a power cut leaves now.
    #[must_use]
    pub fn cut(&self, image: &Image) -> Platter {
        let state = self.state();
        let mut platter = state.durable.clone();
        image.apply(&mut platter, &state.unsynced);
        platter
    }

    /// What a power cut may leave now: of what was not flushed some is written, some not, some in
    /// part, as `rng` will have it.
    #[must_use]
    pub fn cut_somehow(&self, rng: &mut Rng) -> Platter {
        self.cut(&Image::Random { seed: rng.next_u64() })
    }

    /// The changes that no flush has made durable.
    #[must_use]
    pub fn unsynced(&self) -> Vec<Change> {
        self.state().unsynced.clone()
    }

    /// Makes calls fail from now on, counted from 0 at this moment; faults of before are gone. No
    /// faults: the disk is well again.
    pub fn arm(&self, faults: impl IntoIterator<Item = Fault>) {
        let mut state = self.state();
        state.counts = Counts::default();
        state.hits = 0;
        state.faults = faults.into_iter().collect();
    }

    /// How many calls of this kind there were since [`arm`](Self::arm), those that failed included.
    #[must_use]
    pub fn count(&self, call: Call) -> u64 {
        self.state().counts.of(call)
    }

    /// How many calls failed because they were told to, since [`arm`](Self::arm). A test in which
    /// this stays 0 has tested nothing.
    #[must_use]
    pub fn hits(&self) -> u64 {
        self.state().hits
    }

    /// Every call of this kind takes so long, as on a real disk.
    pub fn slow_down(&self, call: Call, takes: Duration) {
        self.state().slow.push((call, takes));
    }

    /// Flushes wait from now on until [`release_syncs`](Self::release_syncs), so that a test can do
    /// something while one is under way.
    pub fn hold_syncs(&self) {
        self.state().holds_syncs = true;
    }

    /// Returns when a flush waits; [`hold_syncs`](Self::hold_syncs) comes first. `false` if none
    /// came within ten seconds, or if flushes are not held any more: a test that goes on then tests
    /// something else.
    #[must_use]
    pub fn wait_for_held_sync(&self) -> bool {
        let is_awaited = |state: &mut State| state.holds_syncs && state.syncs_held == 0;
        let waited = self.held.wait_timeout_while(self.state(), FLUSH_COMES_WITHIN, is_awaited);
        let (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        state.syncs_held > 0
    }

    /// Flushes go on.
    pub fn release_syncs(&self) {
        self.state().holds_syncs = false;
        self.held.notify_all();
    }

    /// Breaks a promise that a disk has to keep, so that a test can be seen to fail.
    pub fn sabotage(&self, sabotage: Sabotage) {
        self.state().sabotage = Some(sabotage);
    }

    /// Writes down every operation from now on.
    pub fn record(&self) {
        let mut state = self.state();
        state.trace = Some(Trace::begin(state.durable.clone(), &state.unsynced));
    }

    /// At which point of the trace the disk is: a power cut at this one or a later one happens after
    /// everything that was done so far. 0 when nothing is recorded.
    #[must_use]
    pub fn point(&self) -> usize {
        self.state().trace.as_ref().map_or(0, |trace| trace.points().saturating_sub(1))
    }

    /// What was written down since [`record`](Self::record), and ends the recording; empty if nothing
    /// was recorded.
    #[must_use]
    pub fn trace(&self) -> Trace {
        self.state().trace.take().unwrap_or_default()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The state, once the call has taken its time.
    fn enter(&self, call: Call) -> MutexGuard<'_, State> {
        let state = self.state();
        let takes: Duration =
            state.slow.iter().filter(|(of, _)| of.includes(call)).map(|(_, takes)| *takes).sum();
        if takes.is_zero() {
            return state;
        }
        drop(state);
        thread::sleep(takes);
        self.state()
    }
}

impl State {
    /// Counts a call; what of it is done all the same, and the error, if it is one that fails.
    fn fails(&mut self, call: Call) -> Option<(Effect, io::Error)> {
        let count = self.counts.add(call);
        let fault = self.faults.iter().find_map(|fault| fault.hit(call, count))?;
        self.hits += 1;
        Some(fault)
    }

    fn write(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.live.write(offset, bytes)?;
        let change = Change::Write { offset, bytes: bytes.into() };
        if self.sabotage == Some(Sabotage::DropHeader) && change.is_header() {
            return Ok(());
        }
        let change = self.dirty(change, offset, bytes.len() as u64);
        self.change(change);
        Ok(())
    }

    /// The cache writes whole pages. A page that it had forgotten is written with all that reads
    /// see of it, once a byte of it is written again.
    fn dirty(&mut self, change: Change, offset: u64, len: u64) -> Change {
        if self.forgotten.is_empty() {
            return change;
        }
        let (first, end) = (offset / CACHE_PAGE, (offset + len).div_ceil(CACHE_PAGE));
        let pages: Vec<u64> = self.forgotten.range(first..end).copied().collect();
        if pages.is_empty() {
            return change;
        }
        for page in pages {
            self.forgotten.remove(&page);
        }
        let start = first * CACHE_PAGE;
        let size = (end * CACHE_PAGE).min(self.live.len()).saturating_sub(start);
        let mut bytes = vec![0; usize::try_from(size).unwrap_or_default()];
        match self.live.read(start, &mut bytes) {
            Ok(()) => Change::Write { offset: start, bytes: bytes.into() },
            Err(_) => change,
        }
    }

    /// Changes the length, all the way or half-way.
    fn resize(&mut self, len: u64, resize: fn(&mut Platter, u64)) {
        resize(&mut self.live, len);
        self.change(Change::Resize { len: self.live.len() });
    }

    fn change(&mut self, change: Change) {
        if let Some(trace) = &mut self.trace {
            trace.change(change.clone());
        }
        self.unsynced.push(change);
    }

    /// Makes the first so many changes durable.
    fn flush(&mut self, count: usize) {
        for change in self.unsynced.drain(..count.min(self.unsynced.len())) {
            change.apply(&mut self.durable);
        }
        self.settle();
    }

    /// The cache forgets that it has not written these pages. The length is kept elsewhere, and is
    /// written with the next flush.
    fn forget(&mut self) {
        for change in &self.unsynced {
            if let Change::Write { offset, bytes } = change {
                let end = (offset + bytes.len() as u64).div_ceil(CACHE_PAGE);
                self.forgotten.extend(offset / CACHE_PAGE..end);
            }
        }
        self.unsynced.retain(|change| matches!(change, Change::Resize { .. }));
        self.settle();
    }

    fn settle(&mut self) {
        if let Some(trace) = &mut self.trace {
            trace.flush(self.durable.clone(), &self.unsynced);
        }
    }
}

impl Disk for SimDisk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.state().live.len())
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let mut state = self.enter(Call::Read);
        match state.fails(Call::Read) {
            None => state.live.read(offset, out),
            Some((_, error)) => Err(error),
        }
    }

    fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.enter(Call::Write);
        let Some((effect, error)) = state.fails(Call::Write) else {
            return state.write(offset, bytes);
        };
        let part = match effect {
            Effect::All => bytes.len(),
            Effect::Half => bytes.len() / 2,
            Effect::Nothing | Effect::Forgotten => 0,
        };
        if let Some(part) = bytes.get(..part).filter(|part| !part.is_empty()) {
            state.write(offset, part)?;
        }
        Err(error)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut state = self.enter(Call::Resize);
        let fails = state.fails(Call::Resize);
        match fails {
            None | Some((Effect::All, _)) => state.resize(len, Platter::resize),
            Some((Effect::Half, _)) => state.resize(len, Platter::resize_half),
            Some((Effect::Nothing | Effect::Forgotten, _)) => {}
        }
        fails.map_or(Ok(()), |(_, error)| Err(error))
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.enter(Call::Sync);
        state.syncs_held += 1;
        self.held.notify_all();
        let mut state = self
            .held
            .wait_while(state, |state| state.holds_syncs)
            .unwrap_or_else(PoisonError::into_inner);
        state.syncs_held -= 1;
        let count = state.unsynced.len();
        let Some((effect, error)) = state.fails(Call::Sync) else {
            if state.sabotage != Some(Sabotage::SkipSyncs) {
                state.flush(count);
            }
            return Ok(());
        };
        match effect {
            // What is unsynced stays unsynced, and a power cut may keep any of it.
            Effect::Nothing => {}
            Effect::Half => state.flush(count / 2),
            Effect::All => state.flush(count),
            Effect::Forgotten => state.forget(),
        }
        Err(error)
    }
}
