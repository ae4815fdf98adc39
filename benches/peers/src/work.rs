//! The work: steps with keys, outcomes and states of the sizes a trading bot writes. Everything
//! derives from the step's number, so nothing is read from a file and any process can name the
//! key of any step again.

use serde::{Deserialize, Serialize};

pub(crate) const KEY_LEN: usize = 27;
pub(crate) const OUTCOME_LEN: usize = 60;
pub(crate) const STATE_LEN: usize = 120;

pub(crate) type Key = [u8; KEY_LEN];

/// One unit of work. Plain ASCII throughout, because the files kit writes it as JSON strings.
#[derive(Clone, Copy)]
pub(crate) struct Step {
    pub(crate) position: u64,
    pub(crate) key: Key,
    pub(crate) outcome: [u8; OUTCOME_LEN],
    pub(crate) state: [u8; STATE_LEN],
}

/// In which order keys come. Real keys mostly come in order (bars, ids, offsets); hashes do not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) enum Order {
    Ordered,
    Random,
}

/// The steps of one run, one after the other.
pub(crate) struct Feed {
    pub(crate) run: u16,
    pub(crate) order: Order,
    pub(crate) next: u64,
}

impl Feed {
    pub(crate) fn step(&mut self) -> Step {
        let position = self.next;
        self.next += 1;
        step(self.run, self.order, position)
    }
}

pub(crate) fn step(run: u16, order: Order, position: u64) -> Step {
    Step {
        position,
        key: key(run, order, position),
        outcome: payload(b'o', position),
        state: payload(b's', position),
    }
}

/// `r00000/` and twenty digits: the number itself, or its image under a bijection that looks
/// random, so that no two steps share a key in either order.
pub(crate) fn key(run: u16, order: Order, number: u64) -> Key {
    let mut key = *b"r00000/00000000000000000000";
    let (name, digits) = key.split_at_mut(7);
    if let Some(run_digits) = name.get_mut(1..6) {
        decimal(run_digits, u64::from(run));
    }
    match order {
        Order::Ordered => decimal(digits, number),
        Order::Random => decimal(digits, mixed(number)),
    }
    key
}

/// The finalizer of splitmix64: a bijection on 64 bits.
pub(crate) fn mixed(number: u64) -> u64 {
    let mut z = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn payload<const N: usize>(fill: u8, number: u64) -> [u8; N] {
    let mut bytes = [fill; N];
    if let Some(digits) = bytes.last_chunk_mut::<20>() {
        decimal(digits, number);
    }
    bytes
}

fn decimal(digits: &mut [u8], mut number: u64) {
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + u8::try_from(number % 10).unwrap_or(0);
        number /= 10;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_has_its_run_and_its_number_in_it() {
        assert_eq!(&key(42, Order::Ordered, 7), b"r00042/00000000000000000007");
    }

    #[test]
    fn random_keys_are_all_different_and_out_of_order() {
        let keys: Vec<Key> = (0..10_000).map(|n| key(0, Order::Random, n)).collect();
        let mut sorted = keys.clone();
        sorted.sort_unstable();
        assert_ne!(keys, sorted);
        sorted.dedup();
        assert_eq!(sorted.len(), 10_000);
    }
}
