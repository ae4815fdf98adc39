//! Records: bytes in, bytes out, without a store around them, and as much of a store as reading one
//! takes.
use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput};
use milepost::Key;
use milepost::testing::hostile;

use crate::common::{STATE_BYTES, Window, in_memory, key_of, run_of};

pub fn benches(criterion: &mut Criterion) {
    fingerprint(criterion);
    frame(criterion);
    read_back(criterion);
}

/// The canonical encoding of a value, and its BLAKE3 hash.
fn fingerprint(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("record/encode_and_hash_a_request");
    for bytes in STATE_BYTES {
        let request = Window::of_bytes(bytes);
        group.throughput(Throughput::Bytes(bytes as u64));
        group.bench_with_input(BenchmarkId::from_parameter(bytes), &request, |bench, request| {
            bench.iter(|| Key::new("order").request(black_box(request)).unwrap());
        });
    }
}

/// The frame around encoded bytes: put on, and proven.
fn frame(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("record/frame");
    for bytes in STATE_BYTES {
        let payload = vec![7; bytes];
        let row = hostile::seal_frame(11, b"key", hostile::OWN_HEADER, &payload);
        group.throughput(Throughput::Bytes(bytes as u64));
        group.bench_with_input(BenchmarkId::new("seal", bytes), &payload, |bench, payload| {
            bench.iter(|| hostile::seal_frame(11, b"key", hostile::OWN_HEADER, black_box(payload)));
        });
        group.bench_with_input(BenchmarkId::new("open", bytes), &row, |bench, row| {
            bench.iter(|| hostile::open_frame(11, b"key", black_box(row), 1 << 20).is_ok());
        });
    }
}

/// A durable row of the user's own: looked up, its frame proven, decoded, and encoded again to prove
/// the type.
fn read_back(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("record/read_a_row_back");
    let store = in_memory();
    let mut run = run_of(&store, 100);
    for bytes in STATE_BYTES {
        let key = key_of(bytes as u64);
        run.step(key.as_str(), 0, |tx| tx.put(&key, &Window::of_bytes(bytes))).unwrap();
        group.throughput(Throughput::Bytes(bytes as u64));
        group.bench_with_input(BenchmarkId::from_parameter(bytes), &key, |bench, key| {
            bench.iter(|| run.get::<Window>(key).unwrap().unwrap());
        });
    }
}
