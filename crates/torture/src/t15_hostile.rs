//! T15, hostile bytes: frames that were cut and turned, payloads that nobody encoded under checksums
//! that hold, and both of them planted in a whole store. The fuzz targets in `fuzz/` go further; this
//! is their share that every run can afford, the same for a seed.
//!
//! Checked are I3 (no wrong value), I4 (no known key is new) and I7 (nothing panics, nothing hangs).

mod store;
mod types;

use std::time::{Duration, Instant};

use milepost::ErrorKind;
use milepost::testing::Rng;
use milepost::testing::hostile::{FrameHeader, OWN_HEADER, open_frame, read_and_write, seal_frame};

use super::class::{Cases, Class, Outcome, Scene, Setting};
use store::Planted;
use types::Payloads;

pub(super) struct HostileBytes;

const CASES_AT_FLOOR: f64 = 20_000.0;
const LIMIT: usize = 1 << 20;
/// Tables of which `read_and_write` looks at the frame alone: meta and expiry.
const IS_NO_RECORD: [u8; 2] = [0, 6];
const CASE_MAX: Duration = Duration::from_secs(5);

impl Class for HostileBytes {
    fn id(&self) -> &'static str {
        "T15"
    }

    fn about(&self) -> &'static str {
        "hostile bytes: frames, payloads, rows in a store"
    }

    fn prepare(&self, _: &Setting) -> Result<Box<dyn Cases>, String> {
        Ok(Box::new(Prepared { planted: Planted::new()?, payloads: Payloads::new()? }))
    }
}

struct Prepared {
    planted: Planted,
    payloads: Payloads,
}

impl Cases for Prepared {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count")]
    fn count(&self, scale: f64) -> u64 {
        (CASES_AT_FLOOR * scale) as u64
    }

    fn run(&self, nth: u64, scene: &mut Scene) -> Outcome {
        let began = Instant::now();
        let rng = &mut scene.rng;
        let outcome = match nth % 10 {
            0..=3 => self.frame(rng),
            4..=6 => self.payload(rng),
            7 => self.payloads.case(rng),
            8 => self.planted.damaged(rng),
            _ => self.planted.forged(rng),
        };
        if began.elapsed() > CASE_MAX {
            return Outcome::Violation(format!("I7: {} s for one case", began.elapsed().as_secs()));
        }
        outcome
    }
}

impl Prepared {
    /// A real row, changed somewhere, in its place or in another one. Nothing of it may be believed.
    fn frame(&self, rng: &mut Rng) -> Outcome {
        let (table, key, row) = self.planted.row(rng);
        let mut bad = row.to_vec();
        disturb(rng, &mut bad);
        let (mut table, mut key) = (table, key.to_vec());
        match rng.below(8) {
            0 => table ^= 1 << rng.below(4),
            1 => disturb(rng, &mut key),
            _ => {}
        }
        let is_same = bad == row && (table, key.as_slice()) == self.planted.place_of(row);
        match (open_frame(table, &key, &bad, LIMIT), is_same) {
            (Ok(_), true) => Outcome::Same,
            (Ok(_), false) => {
                Outcome::Wrong(format!("a row of table {table} was believed that nobody wrote"))
            }
            (Err(error), false) if refuses_bytes(error.kind()) => Outcome::TypedError,
            (Err(error), _) => Outcome::Violation(format!("I7: {:?} {error}", error.kind())),
        }
    }

    /// Bytes that nobody encoded, under a checksum that holds: refused, or from then on the same.
    fn payload(&self, rng: &mut Rng) -> Outcome {
        let (table, key, row) = self.planted.row(rng);
        let mut payload = row.get(21..).unwrap_or_default().to_vec();
        if rng.one_in(8) && !IS_NO_RECORD.contains(&table) {
            // The record is sound, and does not end where the row does.
            payload.extend((0..=rng.below(9)).map(|_| byte(rng)));
            let row = seal_frame(table, key, OWN_HEADER, &payload);
            return match read_and_write(table, key, &row, LIMIT) {
                Err(error) if refuses_bytes(error.kind()) => Outcome::TypedError,
                other => Outcome::Wrong(format!("bytes behind a record were {other:?}")),
            };
        }
        if rng.one_in(4) {
            payload = (0..rng.below(200)).map(|_| byte(rng)).collect();
        } else {
            disturb(rng, &mut payload);
        }
        let header = if rng.one_in(8) {
            let version = 1 << rng.below(32);
            FrameHeader { codec: byte(rng), schema_id: 0, schema_version: version }
        } else {
            OWN_HEADER
        };
        let row = seal_frame(table, key, header, &payload);
        match read_and_write(table, key, &row, LIMIT) {
            Err(error) if refuses_bytes(error.kind()) => Outcome::TypedError,
            Err(error) => Outcome::Violation(format!("I7: {:?} {error}", error.kind())),
            Ok(once) => match read_and_write(table, key, &once, LIMIT) {
                Ok(twice) if twice == once => Outcome::Same,
                _ => Outcome::Wrong(format!("a record of table {table} changes as it is copied")),
            },
        }
    }
}

/// What an error over hostile bytes may be.
fn refuses_bytes(kind: ErrorKind) -> bool {
    use ErrorKind::{Damaged, Invalid, LimitExceeded, SchemaMismatch, TooNew};
    matches!(kind, Damaged | Invalid | LimitExceeded | SchemaMismatch | TooNew)
}

/// Turns bits, writes bytes that lengths like to be, cuts or lengthens.
fn disturb(rng: &mut Rng, bytes: &mut Vec<u8>) {
    for _ in 0..=rng.below(3) {
        let at = place_in(rng, bytes);
        match (rng.below(6), bytes.get_mut(at)) {
            (0, _) => bytes.truncate(at),
            (1, _) => bytes.extend((0..rng.below(40)).map(|_| byte(rng))),
            (2, Some(place)) => *place = 247 + u8::try_from(rng.below(9)).unwrap_or(0),
            (3, Some(place)) => *place = byte(rng),
            (_, Some(place)) => *place ^= 1 << rng.below(8),
            (_, None) => {}
        }
    }
}

fn place_in(rng: &mut Rng, bytes: &[u8]) -> usize {
    usize::try_from(rng.below(bytes.len() as u64)).unwrap_or(0)
}

fn byte(rng: &mut Rng) -> u8 {
    rng.next_u64().to_le_bytes().first().copied().unwrap_or(0)
}
