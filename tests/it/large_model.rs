//! Large states at random, against a plain list of what was saved: steps that fail, panic, cannot be
//! encoded or are too large, batches with checkpoints in the middle, kills. Against a state that is
//! cut as it is encoded and comes back as another one, and an undo that does not undo.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;

use milepost::testing::{Fault, Rng, SimDisk};
use milepost::{
    CheckpointFilter, CheckpointId, Codec, Error, ErrorKind, Labels, Limits, MemoryDisk, Options,
    Result, Retention, Run, Store, Tx, Versioned,
};
use serde::de::{DeserializeOwned, SeqAccess, Visitor};
use serde::ser::{Error as _, SerializeSeq};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::support::{key_of, killed, on_disk};

/// What serde calls bytes.
#[derive(Default, Clone, PartialEq, Debug)]
struct Blob(Vec<u8>);

impl Serialize for Blob {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Blob {
    fn deserialize<D: Deserializer<'de>>(from: D) -> std::result::Result<Self, D::Error> {
        struct Take;
        impl<'de> Visitor<'de> for Take {
            type Value = Blob;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("bytes")
            }

            fn visit_byte_buf<E>(self, bytes: Vec<u8>) -> std::result::Result<Blob, E> {
                Ok(Blob(bytes))
            }

            fn visit_seq<A: SeqAccess<'de>>(
                self,
                mut seq: A,
            ) -> std::result::Result<Blob, A::Error> {
                let mut bytes = Vec::new();
                while let Some(byte) = seq.next_element()? {
                    bytes.push(byte);
                }
                Ok(Blob(bytes))
            }
        }
        from.deserialize_byte_buf(Take)
    }
}

/// A list that does not say beforehand how long it is.
fn unannounced<S: Serializer>(list: &[u32], to: S) -> std::result::Result<S::Ok, S::Error> {
    let mut seq = to.serialize_seq(None)?;
    list.iter().try_for_each(|item| seq.serialize_element(item))?;
    seq.end()
}

/// What stands at the end of a state, and may end its encoding.
#[derive(Default, Clone, Copy, PartialEq, Debug, Deserialize)]
enum Last {
    #[default]
    Fine,
    Refuses,
    Panics,
}

impl Serialize for Last {
    fn serialize<S: Serializer>(&self, to: S) -> std::result::Result<S::Ok, S::Error> {
        match self {
            Self::Fine => to.serialize_unit_variant("Last", 0, "Fine"),
            Self::Refuses => Err(S::Error::custom("no")),
            Self::Panics => resume_unwind(Box::new("no")),
        }
    }
}

/// A state with everything in it.
#[derive(Default, Clone, PartialEq, Debug, Serialize, Deserialize)]
struct Many {
    words: Vec<u64>,
    blob: Blob,
    text: String,
    names: HashMap<String, Vec<u16>>,
    seen: HashSet<u32>,
    books: Vec<HashMap<u8, Vec<Blob>>>,
    #[serde(serialize_with = "unannounced")]
    odd: Vec<u32>,
    none: Vec<Vec<()>>,
    blobs: Vec<Blob>,
    last: Last,
}

impl Versioned for Many {
    const NAME: &'static str = "many";
    const VERSION: u32 = 1;
}

/// The same in JSON.
#[derive(Default, Clone, PartialEq, Debug, Serialize, Deserialize)]
struct Loose {
    many: Many,
}

impl Versioned for Loose {
    const NAME: &'static str = "loose";
    const VERSION: u32 = 1;
    const CODEC: Codec = Codec::Json;
}

trait State: Versioned + Serialize + DeserializeOwned + Default + Clone + PartialEq + 'static {
    /// How long its parts may be, beside those of the other.
    const SHARE: usize;
    fn many(&mut self) -> &mut Many;
}

impl State for Many {
    const SHARE: usize = 1;
    fn many(&mut self) -> &mut Many {
        self
    }
}

impl State for Loose {
    const SHARE: usize = 2;
    fn many(&mut self) -> &mut Many {
        &mut self.many
    }
}

const VALUE_BYTES: usize = 10 << 20;

fn at_most(rng: &mut Rng, n: usize) -> usize {
    rng.below(n as u64 + 1) as usize
}

/// About as long as what is inline, a chunk, or what is encoded between two cuts.
fn len(rng: &mut Rng) -> usize {
    const NEAR: [usize; 8] = [0, 300, 2 << 10, 32 << 10, 64 << 10, 96 << 10, 256 << 10, 512 << 10];
    let near = NEAR[at_most(rng, NEAR.len() - 1)];
    (near + at_most(rng, 40)).saturating_sub(20)
}

fn bytes(rng: &mut Rng, len: usize) -> Vec<u8> {
    match rng.below(3) {
        0 => vec![0; len],
        1 => (0..len).map(|n| (n / 7) as u8).collect(),
        _ => {
            (0..len.div_ceil(8)).flat_map(|_| rng.below(u64::MAX).to_le_bytes()).take(len).collect()
        }
    }
}

/// Changes one part.
fn change<S: State>(state: &mut S, rng: &mut Rng) {
    let share = S::SHARE;
    let many = state.many();
    let n = at_most(rng, 4_000) / share;
    match rng.below(13) {
        0 => many.words = (0..n).map(|_| rng.below(u64::MAX)).collect(),
        1 => {
            let len = len(rng) / share;
            many.blob = Blob(bytes(rng, len));
        }
        2 => many.text = "milepost ".repeat(n),
        3 => many.names = (0..n / 4).map(|n| (n.to_string(), vec![7; n % 5])).collect(),
        // JSON has no sets.
        4 if share == 1 => many.seen = (0..n).map(|_| rng.below(1 << 30) as u32).collect(),
        5 => {
            let len = len(rng) / share;
            let book = HashMap::from([(1, vec![Blob(bytes(rng, len)); 2]), (2, Vec::new())]);
            many.books = vec![book; at_most(rng, 2)];
        }
        6 => many.odd = (0..n).map(|n| n as u32).collect(),
        7 => many.none = vec![Vec::new(); n / 40],
        8 => many.blobs = (0..at_most(rng, 3)).map(|_| Blob(vec![0; len(rng) / share])).collect(),
        // A little, also at the edges of what was cut.
        9 | 10 => {
            let old = &mut many.blob.0;
            let at = if rng.below(2) == 0 { len(rng) } else { at_most(rng, old.len()) };
            let at = at.min(old.len());
            let end = (at + at_most(rng, 3)).min(old.len());
            let come = at_most(rng, 3);
            old.splice(at..end, bytes(rng, come));
        }
        11 => many.words.iter_mut().take(1).for_each(|word| *word ^= 1),
        _ => *many = Many::default(),
    }
}

/// How a step ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Well,
    Refused,
    Panics,
    Unstorable,
    PanicsEncoding,
    TooLarge,
}

impl End {
    fn draw(rng: &mut Rng) -> Self {
        [Self::Refused, Self::Panics, Self::Unstorable, Self::PanicsEncoding, Self::TooLarge]
            .get(rng.below(20) as usize)
            .copied()
            .unwrap_or(Self::Well)
    }

    fn kind(self) -> Option<ErrorKind> {
        match self {
            Self::Refused => Some(ErrorKind::Aborted),
            Self::Unstorable => Some(ErrorKind::Invalid),
            Self::TooLarge => Some(ErrorKind::LimitExceeded),
            Self::Well | Self::Panics | Self::PanicsEncoding => None,
        }
    }
}

/// A step as it was drawn: what it leaves, whether it keeps that, and how it ends.
struct Drawn<S> {
    n: u64,
    state: S,
    keeps: bool,
    end: End,
}

fn work<S: State>(tx: &mut Tx<'_, S>, drawn: &Drawn<S>) -> Result<()> {
    tx.state.clone_from(&drawn.state);
    if drawn.keeps {
        tx.checkpoint(Labels::new().identifying("n", drawn.n.to_string()))?;
    }
    match drawn.end {
        End::Well => {}
        End::Refused => return Err(Error::abort("no")),
        // Without the hook: it would print every one of them.
        End::Panics => resume_unwind(Box::new("no")),
        End::Unstorable => tx.state.many().last = Last::Refuses,
        End::PanicsEncoding => tx.state.many().last = Last::Panics,
        End::TooLarge => tx.state.many().blob.0 = vec![1; VALUE_BYTES / S::SHARE + 1],
    }
    Ok(())
}

/// A store, and what must be in it.
struct Life<S: State> {
    rng: Rng,
    disk: Arc<MemoryDisk>,
    run: Run<S>,
    store: Store,
    state: S,
    n: u64,
    saved: BTreeMap<u64, S>,
}

fn options() -> Options {
    let limits = Limits { value_bytes: VALUE_BYTES, ..Limits::default() };
    let keep = Retention { keep_last: 4, ..Retention::default() };
    let keep = Retention { keep_for: std::time::Duration::ZERO, ..keep };
    Options::new().limits(limits).retention(keep)
}

impl<S: State> Life<S> {
    fn begin(seed: u64) -> Self {
        let (disk, store) = on_disk(&options());
        let run = store.run::<S>("run").unwrap();
        let rng = Rng::of(seed, "large", 0);
        Self { rng, disk, run, store, state: S::default(), n: 0, saved: BTreeMap::new() }
    }

    fn draw(&mut self, from: &S) -> Drawn<S> {
        let mut state = from.clone();
        (0..=self.rng.below(2)).for_each(|_| change(&mut state, &mut self.rng));
        self.n += 1;
        let keeps = self.rng.below(3) == 0;
        Drawn { n: self.n, state, keeps, end: End::draw(&mut self.rng) }
    }

    fn took(&mut self, all: &[Drawn<S>]) {
        for drawn in all {
            self.state = drawn.state.clone();
            if drawn.keeps {
                self.saved.insert(drawn.n, drawn.state.clone());
            }
        }
    }

    fn act(&mut self) {
        match self.rng.below(10) {
            0..=3 => {
                let from = self.state.clone();
                let drawn = self.draw(&from);
                let done = catch_unwind(AssertUnwindSafe(|| {
                    self.run.step(key_of(drawn.n), drawn.n, |tx| work(tx, &drawn))
                }));
                match (drawn.end, done) {
                    (End::Well, Ok(done)) => {
                        done.unwrap();
                        self.took(&[drawn]);
                    }
                    (End::Panics | End::PanicsEncoding, done) => assert!(done.is_err()),
                    (end, Ok(done)) => assert_eq!(done.err().map(|error| error.kind()), end.kind()),
                    (end, Err(_)) => panic!("{end:?} panicked"),
                }
            }
            4 | 5 => self.batch(),
            6 => {
                for _ in 0..self.rng.below(6) {
                    let from = self.state.clone();
                    let drawn = Drawn { end: End::Well, ..self.draw(&from) };
                    let pending = self.run.submit(key_of(drawn.n), drawn.n, |tx| work(tx, &drawn));
                    drop(pending.unwrap());
                    self.took(&[drawn]);
                }
                self.store.flush().unwrap();
            }
            7 => {
                self.n += 1;
                let labels = Labels::new().identifying("n", self.n.to_string());
                self.store.checkpoints().save("run", &labels).unwrap();
                self.saved.insert(self.n, self.state.clone());
            }
            8 => {
                if let Some((id, state)) = self.kept().pop() {
                    let name = format!("fork-{}", self.n);
                    self.n += 1;
                    self.store.checkpoints().fork(&id, &name).unwrap();
                    let mut fork = self.store.run::<S>(&name).unwrap();
                    assert!(*fork.state() == state);
                    fork.step("end", 1_000_000, |tx| {
                        tx.state = S::default();
                        Ok(())
                    })
                    .unwrap();
                    self.store.checkpoints().delete(&id).unwrap();
                }
            }
            _ => {
                let disk = killed(&self.disk);
                let store = options().open_on(disk.clone()).unwrap();
                let run = store.run::<S>("run").unwrap();
                (self.run, self.store, self.disk) = (run, store, disk);
            }
        }
    }

    /// Several steps in one commit: all of them, or none.
    fn batch(&mut self) {
        let mut from = self.state.clone();
        let mut all = Vec::new();
        for _ in 0..=self.rng.below(4) {
            let drawn = self.draw(&from);
            from = drawn.state.clone();
            all.push(drawn);
        }
        // What is written is the last state, and those that are kept.
        let ends: Vec<_> = all.iter().map(|drawn| drawn.end).collect();
        let bad = all.iter().enumerate().find(|(nth, drawn)| match drawn.end {
            End::Well => false,
            End::Refused | End::Panics => true,
            _ => drawn.keeps || nth + 1 == all.len(),
        });
        let bad = bad.map(|(_, drawn)| drawn.end);
        let items = all.iter().map(|drawn| (key_of(drawn.n), drawn.n, drawn));
        let done = catch_unwind(AssertUnwindSafe(|| self.run.batch(items, work)));
        match (bad, done) {
            (None, Ok(done)) => {
                assert_eq!(done.unwrap().len(), all.len());
                self.took(&all);
            }
            (Some(End::Panics | End::PanicsEncoding), done) => assert!(done.is_err(), "{ends:?}"),
            (Some(end), Ok(done)) => {
                assert_eq!(done.err().map(|error| error.kind()), end.kind(), "{ends:?}");
            }
            (bad, Err(_)) => panic!("{bad:?} panicked: {ends:?}"),
        }
    }

    /// The checkpoints that are there, newest first, each with the state that it must have.
    fn kept(&self) -> Vec<(CheckpointId, S)> {
        let page = self.store.checkpoints().list(&CheckpointFilter::new().run("run")).unwrap();
        let kept = page.checkpoints.iter().map(|known| {
            let n: u64 = known.labels["n"].parse().unwrap();
            (known.id, self.saved[&n].clone())
        });
        kept.collect()
    }

    fn check(&self) {
        assert!(*self.run.state() == self.state, "another state");
        let found = self.store.verify().unwrap();
        assert!(found.is_sound(), "{found}");
        for (id, state) in self.kept() {
            assert!(self.store.checkpoints().load::<S>(&id).unwrap() == state, "{id}");
        }
    }
}

fn live<S: State>(seed: u64, acts: u64) {
    let mut life = Life::<S>::begin(seed);
    for _ in 0..acts {
        life.act();
        life.check();
    }
}

#[test]
fn large_states_are_what_a_plain_list_of_them_would_be() {
    let seeds = std::env::var("LARGE_SEEDS").map_or(6, |seeds| seeds.parse().unwrap());
    for seed in 0..seeds {
        println!("seed {seed}");
        live::<Many>(seed, 40);
    }
}

#[test]
fn large_states_in_json_are_what_a_plain_list_of_them_would_be() {
    let seeds = std::env::var("LARGE_SEEDS").map_or(2, |seeds| seeds.parse().unwrap());
    for seed in 0..seeds {
        println!("seed {seed}");
        live::<Loose>(seed, 25);
    }
}

/// Against: a state that is neither the one before a commit that failed nor the one after it.
#[test]
fn a_disk_that_fails_under_large_states_leaves_one_that_was_submitted() {
    for nth in (0..40).chain([60, 90, 130, 200]) {
        let disk = Arc::new(SimDisk::new());
        let store = options().in_flight(4, 1 << 20).create_on(disk.clone()).unwrap();
        let mut run = store.run::<Many>("run").unwrap();
        let mut rng = Rng::of(nth, "failing", 0);
        let mut states = vec![Many::default()];
        let mut acknowledged = 0;
        disk.arm([Fault::at(nth)]);
        for n in 1..30u64 {
            let mut state = states[states.len() - 1].clone();
            change(&mut state, &mut rng);
            state.words = vec![n; 9_000];
            let pending = run.submit(key_of(n), n, |tx| {
                tx.state.clone_from(&state);
                if n % 3 == 0 { tx.checkpoint(Labels::new()) } else { Ok(()) }
            });
            let Ok(pending) = pending else { break };
            states.push(state);
            if n % 4 == 0 {
                if pending.wait().is_err() {
                    break;
                }
                acknowledged = states.len() - 1;
            }
        }
        drop((run, store));
        let store = options().open_on(Arc::new(SimDisk::of(disk.live()))).unwrap();
        let found = store.verify().unwrap();
        assert!(found.is_sound(), "{nth}: {found}");
        let run = store.run::<Many>("run").unwrap();
        let at = states.iter().position(|state| state == run.state());
        assert!(
            at.is_some_and(|at| at >= acknowledged && at as u64 == run.steps()),
            "{nth}: {at:?}"
        );
    }
}
