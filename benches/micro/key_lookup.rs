//! Keys that were seen before, in stores of several sizes: the question that every repeat asks. No
//! commit is measured, and none is made.
use std::cell::LazyCell;
use std::path::Path;

use criterion::{BenchmarkId, Criterion, Throughput};
use milepost::testing::Rng;
use milepost::{Claimed, Options, Store};

use crate::common::{Window, is_trial, key_of, known_key, refuse, run_of};

const BATCH: u64 = 100;

pub fn benches(criterion: &mut Criterion) {
    let sizes: &[u64] = if is_trial() { &[200] } else { &[1_000, 100_000, 1_000_000] };
    for keys in sizes {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("bench.milepost");
        // Made when the first benchmark that was chosen asks for it.
        let file = LazyCell::new(|| fill(&path, *keys));
        lookups(criterion, "key_lookup", *keys, || Store::open(*file).unwrap());
        // Most pages come from the system's cache, and through the engine's own code each time.
        let small = Options::new().cache_bytes(1 << 20);
        lookups(criterion, "key_lookup/cache_1_mib", *keys, || small.open(*file).unwrap());
    }
}

/// A store with so many keys of steps, and a hundredth as many of claims.
fn fill(path: &Path, keys: u64) -> &Path {
    let store = Store::create(path).unwrap();
    let mut run = run_of(&store, 100);
    for from in (0..keys).step_by(5_000) {
        let items = (from..keys.min(from + 5_000)).map(|n| (key_of(n), n, n));
        run.batch(items, |_, n| Ok(n)).unwrap();
    }
    for n in 0..keys / 100 {
        let Claimed::Fresh(claim) = store.claim("bench", key_of(n), &n).unwrap() else {
            panic!("a new key was taken")
        };
        drop(claim.submit_complete(&n).unwrap());
    }
    store.flush().unwrap();
    path
}

fn lookups(criterion: &mut Criterion, name: &str, keys: u64, open: impl Fn() -> Store) {
    let mut group = criterion.benchmark_group(name);
    let mut rng = Rng::new(keys);
    group.bench_function(BenchmarkId::new("duplicate_step", keys), |bench| {
        let mut run = open().run::<Window>("bench").unwrap();
        bench.iter(|| {
            let key = known_key(&mut rng, keys);
            assert!(!run.step(key, u64::MAX, |_| refuse::<u64>()).unwrap().is_fresh());
        });
    });
    group.bench_function(BenchmarkId::new("new_key_refused", keys), |bench| {
        let mut run = open().run::<Window>("bench").unwrap();
        bench.iter(|| {
            let key = key_of(keys + 1 + rng.below(keys));
            run.step(key, u64::MAX, |_| refuse::<u64>()).is_err()
        });
    });
    group.bench_function(BenchmarkId::new("settled_claim", keys), |bench| {
        let store = open();
        bench.iter(|| {
            let n = rng.below(keys / 100);
            let claimed = store.claim::<u64>("bench", key_of(n), &n).unwrap();
            assert!(matches!(claimed, Claimed::Done(_)));
        });
    });
    group.throughput(Throughput::Elements(BATCH));
    group.bench_function(BenchmarkId::new("duplicates_in_one_batch", keys), |bench| {
        let mut run = open().run::<Window>("bench").unwrap();
        bench.iter(|| {
            let items = (0..BATCH).map(|_| (known_key(&mut rng, keys), u64::MAX, ()));
            run.batch(items, |_, ()| refuse::<u64>()).unwrap()
        });
    });
}
