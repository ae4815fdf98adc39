//! One life of a working program, from its opening of the store to its end: the child that is
//! killed. It says what it begins before it begins it, and what was acknowledged after.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use milepost::testing::Rng;
use milepost::{
    Claimed, Clock, Delivery, Disk, Endpoint, Error, Options, Probe, Run, Sent, Store, SystemClock,
    Timestamp,
};

use super::allocator;
use super::child::{hear, say};
use super::work::{RUN, SCOPE, TOPIC, Tour, call_key, call_outcome, key_of, step};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    path: PathBuf,
    /// Decides what is done
    #[arg(long)]
    seed: u64,
    /// How many things are done
    #[arg(long)]
    acts: u64,
    /// The number of the next call that is new
    #[arg(long)]
    next_call: u64,
    /// The point at which it waits to be killed
    #[arg(long)]
    pause: Option<String>,
    /// The file behind a disk of our own, whose operations are counted; the store must be there
    #[arg(long)]
    on_disk: bool,
}

impl Args {
    pub(crate) fn seed(&self) -> u64 {
        self.seed
    }
}

/// Lives.
pub(crate) fn live(args: &Args) -> Result<(), String> {
    let points = Arc::new(Points::new(args.pause.clone()));
    let store = open(args, &points).map_err(|error| format!("{:?} {error}", error.kind()))?;
    let run = store.run::<Tour>(RUN).map_err(|error| error.to_string())?;
    say(format_args!("open {} {}", store.epoch(), run.steps()))?;
    points.enter("work");
    let mut life = Life { store, run, points, next_call: args.next_call };
    life.go_on(&mut Rng::new(args.seed), args.acts).map_err(|error| error.to_string())?;
    let Life { store, run, points, .. } = life;
    say("closing")?;
    points.enter("close");
    points.reach("close-before");
    drop(run);
    store.close().map_err(|error| error.to_string())?;
    points.reach("close-after");
    // For who wants to know which points there are.
    say(format_args!("closed {} allocations:{}:0", points.counts(), allocator::calls()))
}

fn open(args: &Args, points: &Arc<Points>) -> milepost::Result<Store> {
    points.enter("open");
    let options = Options::new().clock(PausingClock(points.clone()));
    if args.on_disk {
        let disk = PausingDisk::open(&args.path, points.clone()).map_err(Error::abort)?;
        options.open_on(Arc::new(disk))
    } else {
        options.open_or_create(&args.path)
    }
}

struct Life {
    store: Store,
    run: Run<Tour>,
    points: Arc<Points>,
    next_call: u64,
}

/// What a life is made of. Each is done once before any is done again, so that every point is
/// reached.
type Act = fn(&mut Life, &mut Rng) -> milepost::Result<()>;
const ACTS: [Act; 5] = [Life::step, Life::submit, Life::batch, Life::call, Life::relay];

impl Life {
    fn go_on(&mut self, rng: &mut Rng, acts: u64) -> milepost::Result<()> {
        let mut bag: Vec<Act> = Vec::new();
        for _ in 0..acts {
            if bag.is_empty() {
                bag.extend(ACTS);
            }
            let chosen = usize::try_from(rng.below(bag.len() as u64)).unwrap_or(0);
            bag.swap_remove(chosen)(self, rng)?;
        }
        Ok(())
    }

    fn step(&mut self, _: &mut Rng) -> milepost::Result<()> {
        let n = self.run.steps() + 1;
        tell(format_args!("begin {n}"))?;
        self.points.reach("step-before");
        let points = self.points.clone();
        self.run.step(key_of(n), n, |tx| {
            let outcome = step(tx, n)?;
            points.reach("step-inside");
            Ok(outcome)
        })?;
        self.points.reach("step-after");
        tell(format_args!("done {n}"))
    }

    fn submit(&mut self, rng: &mut Rng) -> milepost::Result<()> {
        let first = self.run.steps() + 1;
        let last = first + rng.below(12);
        tell(format_args!("begin {last}"))?;
        let mut pending = Vec::new();
        for n in first..=last {
            pending.push((n, self.run.submit(key_of(n), n, |tx| step(tx, n))?));
        }
        self.points.reach("submit-queued");
        for (n, pending) in pending {
            pending.wait()?;
            self.points.reach("submit-first");
            tell(format_args!("done {n}"))?;
        }
        Ok(())
    }

    fn batch(&mut self, rng: &mut Rng) -> milepost::Result<()> {
        let first = self.run.steps() + 1;
        let last = first + 1 + rng.below(8);
        tell(format_args!("begin {last}"))?;
        let points = self.points.clone();
        self.run.batch((first..=last).map(|n| (key_of(n), n, n)), |tx, n| {
            if n == last {
                points.reach("batch-inside");
            }
            step(tx, n)
        })?;
        self.points.reach("batch-after");
        tell(format_args!("done {last}"))
    }

    fn call(&mut self, _: &mut Rng) -> milepost::Result<()> {
        let n = self.next_call;
        self.next_call += 1;
        tell(format_args!("claim {n}"))?;
        self.points.reach("claim-before");
        let Claimed::Fresh(claim) = self.store.claim::<u64>(SCOPE, call_key(n), &n)? else {
            return Err(Error::abort(format!("call {n} is not new")));
        };
        self.points.reach("claim-held");
        // This line in the pipe is the effect.
        tell(format_args!("call {n}"))?;
        self.points.reach("claim-called");
        claim.complete(&call_outcome(n))?;
        self.points.reach("claim-completed");
        tell(format_args!("called {n}"))
    }

    fn relay(&mut self, _: &mut Rng) -> milepost::Result<()> {
        self.points.reach("relay-before");
        self.store.relay(&TOPIC).deliver(&mut Courier(self.points.clone()))?;
        self.points.reach("relay-after");
        tell("relayed")
    }
}

/// Hands effects to the receiver, which is the parent.
struct Courier(Arc<Points>);

impl Endpoint<u64, u64> for Courier {
    fn call(&mut self, delivery: &Delivery<u64>) -> Sent<u64> {
        self.0.reach("relay-sending");
        // This line in the pipe is the effect.
        if tell(format_args!("order {} {}", delivery.external_id, delivery.payload)).is_err() {
            return Sent::Ambiguous("the receiver has gone".to_owned());
        }
        self.0.reach("relay-sent");
        Sent::Confirmed(delivery.payload)
    }

    fn probe(&mut self, delivery: &Delivery<u64>) -> Probe<u64> {
        let asked = tell(format_args!("ask {}", delivery.external_id)).and_then(|()| {
            self.0.reach("relay-asking");
            hear().map_err(Error::abort)
        });
        match asked.as_deref() {
            Ok("applied") => Probe::Applied(delivery.payload),
            Ok("not applied") => Probe::NotApplied,
            _ => Probe::Unknown,
        }
    }
}

fn tell(line: impl std::fmt::Display) -> milepost::Result<()> {
    say(line).map_err(Error::abort)
}

/// The labelled points, at one of which it waits to be killed.
struct Points {
    pause: Option<String>,
    phase: std::sync::Mutex<&'static str>,
    /// Operations of the disk in this phase, and readings of the clock.
    operations: AtomicU64,
    readings: AtomicU64,
    /// What the clock says has passed.
    elapsed_ms: AtomicU64,
    counts: std::sync::Mutex<Vec<String>>,
}

impl Points {
    fn new(pause: Option<String>) -> Self {
        Self {
            pause,
            phase: std::sync::Mutex::new("open"),
            operations: AtomicU64::new(0),
            readings: AtomicU64::new(0),
            elapsed_ms: AtomicU64::new(0),
            counts: std::sync::Mutex::default(),
        }
    }

    /// Counts anew from here.
    fn enter(&self, phase: &'static str) {
        if let (Ok(mut now), Ok(mut counts)) = (self.phase.lock(), self.counts.lock()) {
            counts.push(self.count(*now));
            *now = phase;
        }
        self.operations.store(0, Ordering::Relaxed);
        self.readings.store(0, Ordering::Relaxed);
    }

    fn count(&self, phase: &str) -> String {
        format!(
            "{phase}:{}:{}",
            self.operations.load(Ordering::Relaxed),
            self.readings.load(Ordering::Relaxed)
        )
    }

    /// How many operations and readings there were in each phase.
    fn counts(&self) -> String {
        let phase = self.phase.lock().map_or("", |phase| *phase);
        let mut counts = self.counts.lock().map_or_else(|_| Vec::new(), |counts| counts.clone());
        counts.push(self.count(phase));
        counts.split_off(1).join(" ")
    }

    fn reach(&self, point: &str) {
        if self.pause.as_deref() == Some(point) {
            let _ = say(format_args!("at {point}"));
            // Nobody answers: what ends this wait is SIGKILL, or the parent's own end.
            while hear().is_ok() {}
            std::process::exit(3);
        }
    }

    fn reach_counted(&self, what: &str, count: &AtomicU64) {
        let nth = count.fetch_add(1, Ordering::Relaxed);
        if self.pause.is_some() {
            let phase = self.phase.lock().map_or("", |phase| *phase);
            self.reach(&format!("{phase}-{what}:{nth}"));
        }
    }
}

/// The machine's clock, each reading of which is a point.
struct PausingClock(Arc<Points>);

impl Clock for PausingClock {
    fn now(&self) -> Timestamp {
        self.0.reach_counted("clock", &self.0.readings);
        SystemClock.now()
    }

    /// A millisecond more each time: a call reads the clock again when a millisecond has passed since it
    /// read it first, and how many readings there are must not be for the machine to decide.
    fn elapsed(&self) -> Duration {
        Duration::from_millis(self.0.elapsed_ms.fetch_add(1, Ordering::SeqCst))
    }
}

/// A file, before each write, resize and flush of which there is a point.
struct PausingDisk {
    file: File,
    points: Arc<Points>,
}

impl PausingDisk {
    fn open(path: &std::path::Path, points: Arc<Points>) -> io::Result<Self> {
        Ok(Self { file: OpenOptions::new().read(true).write(true).open(path)?, points })
    }

    fn reach(&self) {
        self.points.reach_counted("disk", &self.points.operations);
    }
}

impl std::fmt::Debug for PausingDisk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PausingDisk").finish_non_exhaustive()
    }
}

#[cfg(unix)]
impl Disk for PausingDisk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        std::os::unix::fs::FileExt::read_exact_at(&self.file, out, offset)
    }

    fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.reach();
        std::os::unix::fs::FileExt::write_all_at(&self.file, bytes, offset)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.reach();
        self.file.set_len(len)
    }

    fn sync(&self) -> io::Result<()> {
        self.reach();
        self.file.sync_data()
    }
}
