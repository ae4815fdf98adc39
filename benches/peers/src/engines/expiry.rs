//! Forgetting keys, for the engines that leave it to the program. The index of deadlines is the
//! cheap one: a row for each commit, not for each key, under the time of the commit; and every
//! commit removes at most a few rows more than it adds, so no commit pays for a thousand.

use crate::work::{KEY_LEN, Key, Step};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The key of an expiry row: deadline in milliseconds, then a sequence, both big-endian, so that
/// byte order is the order of falling due.
pub(super) type ExpiryKey = [u8; 16];

/// How many due rows one commit may remove: more than it adds, so that the queue drains.
pub(super) const DUE_ROWS_MAX: usize = 4;

pub(super) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

pub(super) fn ttl_ms(ttl: Duration) -> u64 {
    u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX)
}

pub(super) fn expiry_key(due_ms: u64, sequence: u64) -> ExpiryKey {
    let mut key = [0; 16];
    let (due, rest) = key.split_at_mut(8);
    due.copy_from_slice(&due_ms.to_be_bytes());
    rest.copy_from_slice(&sequence.to_be_bytes());
    key
}

/// The keys of one commit, one after the other: the value of its expiry row.
pub(super) fn keys_of(steps: &[Step]) -> Vec<u8> {
    steps.iter().flat_map(|step| step.key).collect()
}

pub(super) fn keys_in(row: &[u8]) -> impl Iterator<Item = &Key> {
    row.as_chunks::<KEY_LEN>().0.iter()
}
