//! Numbers that look random and are the same for the same seed: splitmix64.

/// Draws numbers, one after the other.
pub(crate) struct Rng(u64);

impl Rng {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A number in `0..end`; 0 where there is none.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        mix(self.0).checked_rem(end).unwrap_or(0)
    }
}

/// A number that depends on all of `parts` and on nothing else.
pub(crate) fn hash(parts: &[u64]) -> u64 {
    parts.iter().fold(0, |sum: u64, part| mix(sum.wrapping_add(0x9E37_79B9_7F4A_7C15) ^ mix(*part)))
}

fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}
