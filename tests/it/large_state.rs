//! Large states: cut into chunks, of which a step writes those that have changed. Against a step that
//! costs the whole state, chunks that stay when nobody refers to them, and chunks that go while
//! somebody does.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use milepost::testing::Rng;
use milepost::{
    Disk, ErrorKind, Labels, Limits, MemoryDisk, Options, RepairOptions, Run, Store, Versioned,
    repair, verify,
};
use serde::{Deserialize, Serialize};

use crate::support::{error, key_of, kind, on_disk, open_bytes, reframed, rows_of, with_row};

/// A state of any size.
#[derive(Default, Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Blob {
    pub words: Vec<u64>,
}

impl Versioned for Blob {
    const NAME: &'static str = "blob";
    const VERSION: u32 = 1;
}

/// Eight bytes a word, and one for its length.
const WORD_BYTES: usize = 9;

pub fn words(rng: &mut Rng, bytes: usize) -> Vec<u64> {
    (0..bytes / WORD_BYTES).map(|_| rng.below(u64::MAX) | 1 << 63).collect()
}

/// One step that leaves this state.
pub fn leave(run: &mut Run<Blob>, n: u64, words: &[u64]) {
    run.step(key_of(n), n, |tx| {
        tx.state.words = words.to_vec();
        Ok(())
    })
    .unwrap();
}

/// How many rows of `contents` are chunks.
pub fn chunks_in(bytes: &[u8]) -> usize {
    rows_of(bytes, "contents").iter().filter(|(key, _)| key[0] == 1).count()
}

fn assert_sound(store: &Store) {
    let found = store.verify().unwrap();
    assert!(found.is_sound(), "{found}");
}

#[test]
fn a_large_state_comes_back_in_the_next_life_and_after_a_kill() {
    let (disk, store) = on_disk(&Options::new());
    let words = words(&mut Rng::of(1, "words", 0), 300_000);
    let mut run = store.run::<Blob>("run").unwrap();
    leave(&mut run, 1, &words);
    let killed = disk.to_bytes();
    drop((run, store));
    for bytes in [killed, disk.to_bytes()] {
        let store = open_bytes(&bytes).unwrap();
        let mut run = store.run::<Blob>("run").unwrap();
        assert!(run.state().words == words);
        // And it can be gone on from.
        leave(&mut run, 2, &words[1..]);
        assert_sound(&store);
    }
}

#[test]
fn a_state_that_grows_and_shrinks_leaves_no_chunk_behind() {
    let (disk, store) = on_disk(&Options::new());
    let mut rng = Rng::of(2, "words", 0);
    let mut run = store.run::<Blob>("run").unwrap();
    for (n, bytes) in [(1, 10), (2, 400_000), (3, 70_000), (4, 900), (5, 200_000), (6, 0)] {
        leave(&mut run, n, &words(&mut rng, bytes));
        assert_sound(&store);
    }
    drop((run, store));
    assert_eq!(rows_of(&disk.to_bytes(), "contents").len(), 0);
}

#[test]
fn a_step_that_changes_a_little_writes_a_little() {
    let disk = Arc::new(Counting::default());
    let store = Options::new().create_on(disk.clone()).unwrap();
    let mut rng = Rng::of(3, "words", 0);
    let mut words = words(&mut rng, 16 << 20);
    let mut run = store.run::<Blob>("run").unwrap();
    leave(&mut run, 1, &words);
    disk.1.store(0, Ordering::SeqCst);
    let changed = words.len() / 100;
    words[1_000..1_000 + changed].iter_mut().for_each(|word| *word ^= 0xff);
    leave(&mut run, 2, &words);
    let (written, changed) = (disk.1.load(Ordering::SeqCst), changed * WORD_BYTES);
    assert!(written <= 3 * changed as u64, "{written} bytes for {changed}");
    // And of nothing, next to nothing: the list, and what every step writes.
    disk.1.store(0, Ordering::SeqCst);
    leave(&mut run, 3, &words);
    let written = disk.1.load(Ordering::SeqCst);
    assert!(written <= 128 << 10, "{written} bytes for nothing");
}

/// Counts what is written to it.
#[derive(Debug, Default)]
struct Counting(MemoryDisk, AtomicU64);

impl Disk for Counting {
    fn len(&self) -> std::io::Result<u64> {
        self.0.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> std::io::Result<()> {
        self.0.read(offset, out)
    }

    fn write(&self, offset: u64, bytes: &[u8]) -> std::io::Result<()> {
        self.1.fetch_add(bytes.len() as u64, Ordering::SeqCst);
        self.0.write(offset, bytes)
    }

    fn set_len(&self, len: u64) -> std::io::Result<()> {
        self.0.set_len(len)
    }

    fn sync(&self) -> std::io::Result<()> {
        self.0.sync()
    }
}

#[test]
fn two_runs_with_one_state_share_its_chunks_and_the_last_one_takes_them_along() {
    let (disk, store) = on_disk(&Options::new());
    let words = words(&mut Rng::of(4, "words", 0), 300_000);
    let mut one = store.run::<Blob>("one").unwrap();
    let mut two = store.run::<Blob>("two").unwrap();
    leave(&mut one, 1, &words);
    let alone = chunks_in(&disk.to_bytes());
    leave(&mut two, 1, &words);
    assert_eq!(chunks_in(&disk.to_bytes()), alone);
    assert_sound(&store);
    leave(&mut one, 2, &[]);
    assert_eq!(chunks_in(&disk.to_bytes()), alone, "the other one still needs them");
    assert_sound(&store);
    leave(&mut two, 2, &[]);
    assert_eq!(chunks_in(&disk.to_bytes()), 0);
    assert_sound(&store);
}

#[test]
fn a_step_that_fails_gives_the_large_state_back() {
    let (_, store) = on_disk(&Options::new());
    let words = words(&mut Rng::of(5, "words", 0), 200_000);
    let mut run = store.run::<Blob>("run").unwrap();
    leave(&mut run, 1, &words);
    let failed = run.step("bad", 2, |tx| {
        tx.state.words.clear();
        Err::<(), _>(milepost::Error::abort("no"))
    });
    assert_eq!(kind(failed), ErrorKind::Aborted);
    assert!(run.state().words == words);
    leave(&mut run, 3, &words[9..]);
    assert_sound(&store);
}

#[test]
fn many_steps_in_flight_on_one_large_state_end_as_if_one_by_one() {
    let (disk, store) = on_disk(&Options::new());
    let mut rng = Rng::of(6, "words", 0);
    let mut run = store.run::<Blob>("run").unwrap();
    let mut expected = words(&mut rng, 200_000);
    leave(&mut run, 1, &expected);
    for n in 2..40u64 {
        let (at, word) = (rng.below(expected.len() as u64) as usize, rng.below(u64::MAX));
        expected[at] = word;
        let pending = run.submit(key_of(n), n, |tx| {
            tx.state.words[at] = word;
            if n % 5 == 0 {
                tx.checkpoint(Labels::new())?;
            }
            Ok(())
        });
        drop(pending.unwrap());
    }
    store.flush().unwrap();
    assert_sound(&store);
    assert!(run.state().words == expected);
    drop((run, store));
    let store = open_bytes(&disk.to_bytes()).unwrap();
    assert!(store.run::<Blob>("run").unwrap().state().words == expected);
}

/// The key of one chunk, and the store's bytes.
fn one_chunk() -> (Vec<u8>, Vec<u8>, Vec<u64>) {
    let (disk, store) = on_disk(&Options::new());
    let words = words(&mut Rng::of(7, "words", 0), 200_000);
    let mut run = store.run::<Blob>("run").unwrap();
    leave(&mut run, 1, &words);
    let mut other = store.run::<Blob>("other").unwrap();
    leave(&mut other, 1, &words[..7]);
    drop((run, other, store));
    let bytes = disk.to_bytes();
    let key = rows_of(&bytes, "contents").into_iter().find(|(key, _)| key[0] == 1).unwrap().0;
    (key, bytes, words)
}

#[test]
fn a_chunk_that_is_damaged_or_missing_or_another_one_is_told_and_never_taken() {
    let (key, bytes, _) = one_chunk();
    let rows = rows_of(&bytes, "contents");
    let row = &rows.iter().find(|(found, _)| *found == key).unwrap().1;
    let other = &rows.iter().find(|(found, _)| found[0] == 1 && *found != key).unwrap().1;
    let mut flipped = row.clone();
    flipped[100] ^= 1;
    let resealed = reframed(4, &key, row, |row| row[100] ^= 1);
    let moved = reframed(4, &key, other, |_| {});
    for bad in [None, Some(flipped), Some(resealed), Some(moved)] {
        let store = open_bytes(&with_row(&bytes, "contents", &key, bad.as_deref())).unwrap();
        let error = error(store.run::<Blob>("run"));
        assert_eq!(error.kind(), ErrorKind::Damaged, "{error}");
        assert!(store.run::<Blob>("other").is_ok());
        assert!(!store.verify().unwrap().is_sound());
    }
}

/// Against: memory taken on the word of a list, for a state that is over the limit.
#[test]
fn a_large_state_over_the_limit_is_refused_and_one_at_the_limit_is_read() {
    let (_, bytes, _) = one_chunk();
    let open = |value_bytes| {
        let options = Options::new().limits(Limits { value_bytes, ..Limits::default() });
        options.open_on(Arc::new(MemoryDisk::from_bytes(bytes.clone()))).unwrap()
    };
    let whole = open_bytes(&bytes).unwrap();
    let saved = whole.checkpoints().save("run", &Labels::new()).unwrap();
    let len = usize::try_from(whole.checkpoints().show(&saved).unwrap().bytes).unwrap();
    assert!(open(len).run::<Blob>("run").is_ok());
    for limit in [len - 1, len / 2] {
        assert_eq!(kind(open(limit).run::<Blob>("run")), ErrorKind::LimitExceeded);
    }
}

#[test]
fn repair_keeps_every_state_whose_chunks_are_whole() {
    let (key, bytes, _) = one_chunk();
    let bad = with_row(&bytes, "contents", &key, Some(b"not a frame"));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bot.mp");
    std::fs::write(&path, bad).unwrap();
    let done = repair(&path, &RepairOptions::new()).unwrap();
    // The chunk, and the run that cannot be read without it.
    assert_eq!(done.quarantined, 2);
    assert!(verify(&path, &Options::new()).unwrap().is_sound());
    let store = Store::open(&path).unwrap();
    assert_eq!(store.run::<Blob>("other").unwrap().state().words.len(), 7);
    let error = error(store.run::<Blob>("run"));
    assert_eq!(error.kind(), ErrorKind::Damaged, "{error}");
    assert!(error.to_string().contains("quarantine"), "{error}");
}

#[test]
fn a_count_that_does_not_agree_with_those_who_refer_is_found() {
    let (disk, store) = on_disk(&Options::new());
    let words = words(&mut Rng::of(8, "words", 0), 200_000);
    let mut run = store.run::<Blob>("run").unwrap();
    leave(&mut run, 1, &words);
    store.checkpoints().save("run", &Labels::new()).unwrap();
    drop((run, store));
    let bytes = disk.to_bytes();
    let rows = rows_of(&bytes, "contents");
    let (key, row) = rows.iter().find(|(key, _)| key[0] == 0).unwrap();
    // The payload: which kind of row it is, and the number.
    let more = reframed(4, key, row, |row| row[22] = 3);
    let bad = with_row(&bytes, "contents", key, Some(&more));
    let found = open_bytes(&bad).unwrap().verify().unwrap();
    assert!(found.indexes.iter().any(|fault| fault.contains("referrers")), "{found}");
}
