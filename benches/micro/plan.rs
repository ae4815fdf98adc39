//! The plan of a step, without its commit: steps that their closure refuses at the end. What is
//! counted is the key's look-up, the closure, what it gathers, and the state put back by its bytes.
use criterion::{BenchmarkId, Criterion, Throughput};

use crate::common::{ORDERS, STATE_BYTES, in_memory, is_trial, key_of, refuse, run_of};

pub fn benches(criterion: &mut Criterion) {
    by_state(criterion);
    by_effects(criterion);
    by_batch(criterion);
}

fn by_state(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("plan/refused_step/state_bytes");
    for bytes in STATE_BYTES {
        let store = in_memory();
        let mut run = run_of(&store, bytes);
        group.bench_function(BenchmarkId::from_parameter(bytes), |bench| {
            bench.iter(|| run.step("new", 1, |_| refuse::<()>()).is_err());
        });
    }
}

fn by_effects(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("plan/refused_step/intents_and_rows");
    for count in [1u64, 10, 100] {
        let store = in_memory();
        let mut run = run_of(&store, 100);
        // The types of the topic are durable, as they are in a program that runs.
        run.step("emits", 0, |tx| tx.emit(&ORDERS, &(0, 59_810))).unwrap();
        group.throughput(Throughput::Elements(count));
        group.bench_function(BenchmarkId::from_parameter(count), |bench| {
            bench.iter(|| {
                run.step("new", 1, |tx| {
                    for n in 0..count {
                        tx.emit(&ORDERS, &(n, 59_810i64))?;
                        tx.put(key_of(n), &n)?;
                    }
                    refuse::<()>()
                })
                .is_err()
            });
        });
    }
}

/// All but the last step of a batch become rows; the last one refuses them all.
fn by_batch(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("plan/refused_batch/steps");
    let counts: &[u64] = if is_trial() { &[10] } else { &[10, 100, 1_000] };
    for count in counts {
        let store = in_memory();
        let mut run = run_of(&store, 100);
        // The types of the topic are durable, as they are in a program that runs.
        run.step("emits", 0, |tx| tx.emit(&ORDERS, &(0, 59_810))).unwrap();
        group.throughput(Throughput::Elements(*count));
        group.bench_function(BenchmarkId::from_parameter(count), |bench| {
            bench.iter(|| {
                let items = (1..=*count).map(|n| (key_of(n), n, n));
                let done = run.batch(items, |tx, n| {
                    tx.state.steps += 1;
                    if n == *count { refuse() } else { Ok(n) }
                });
                done.is_err()
            });
        });
    }
}
