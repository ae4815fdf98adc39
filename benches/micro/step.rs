//! Whole steps, down to the disk: in memory, where a flush costs nothing, and in a file in the folder
//! for temporary files (`TMPDIR`), where it costs what that disk takes.
use criterion::{BenchmarkId, Criterion, Throughput};
use milepost::{Claimed, Store};

use crate::common::{ORDERS, STATE_BYTES, in_memory, is_trial, key_of, run_of};

pub fn benches(criterion: &mut Criterion) {
    let folder = tempfile::tempdir().unwrap();
    let new_file = |name: &str| Store::create(folder.path().join(name)).unwrap();
    for bytes in STATE_BYTES {
        one(criterion, "memory", &in_memory(), bytes);
        one(criterion, "file", &new_file(&format!("one-{bytes}")), bytes);
    }
    many(criterion, "memory", &in_memory());
    many(criterion, "file", &new_file("many"));
    claims(criterion, "memory", &in_memory());
    claims(criterion, "file", &new_file("claims"));
}

/// One step, one commit; the state changes, and is written, with each.
fn one(criterion: &mut Criterion, place: &str, store: &Store, bytes: usize) {
    let mut group = criterion.benchmark_group(format!("step/{place}"));
    let mut run = run_of(store, bytes);
    let mut n = 0;
    group.bench_function(BenchmarkId::new("state_bytes", bytes), |bench| {
        bench.iter(|| {
            n += 1;
            run.step(key_of(n), n, |tx| {
                tx.state.steps = n;
                Ok(n)
            })
            .unwrap()
        });
    });
    if bytes == 100 {
        group.bench_function("with_an_intent", |bench| {
            bench.iter(|| {
                n += 1;
                run.step(key_of(n), n, |tx| tx.emit(&ORDERS, &(n, 59_810i64)).map(|_| n)).unwrap()
            });
        });
    }
}

/// Many steps on their way at once, and as many in one commit.
fn many(criterion: &mut Criterion, place: &str, store: &Store) {
    let count: u64 = if is_trial() { 20 } else { 1_000 };
    let mut group = criterion.benchmark_group(format!("step/{place}/many"));
    group.throughput(Throughput::Elements(count));
    let mut run = run_of(store, 100);
    let mut n = 0;
    group.bench_function(BenchmarkId::new("submit_and_flush", count), |bench| {
        bench.iter(|| {
            for _ in 0..count {
                n += 1;
                drop(run.submit(key_of(n), n, |_| Ok(n)).unwrap());
            }
            store.flush().unwrap();
        });
    });
    group.bench_function(BenchmarkId::new("batch", count), |bench| {
        bench.iter(|| {
            let items = (n + 1..=n + count).map(|n| (key_of(n), n, n));
            let done = run.batch(items, |_, n| Ok(n)).unwrap();
            n += count;
            done
        });
    });
}

/// A call outside: claimed in one commit, completed in another.
fn claims(criterion: &mut Criterion, place: &str, store: &Store) {
    let mut group = criterion.benchmark_group(format!("step/{place}/claim"));
    let mut n = 0u64;
    group.bench_function("claim_and_complete", |bench| {
        bench.iter(|| {
            n += 1;
            let claimed = store.claim::<u64>("bench", key_of(n), &n).unwrap();
            let Claimed::Fresh(claim) = claimed else { panic!("a new key was taken") };
            claim.complete(&n).unwrap();
        });
    });
}
