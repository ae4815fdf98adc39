//! Numbers that look random, and are the same for the same seed on every machine.

/// A stream of numbers that its seed decides (splitmix64). Not for secrets.
#[derive(Debug, Clone)]
pub struct Rng(u64);

impl Rng {
    /// The stream of this seed.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The stream of one part of a larger run: streams of other parts tell nothing about it.
    #[must_use]
    pub fn of(seed: u64, part: &str, nth: u64) -> Self {
        let hash = blake3::Hasher::new()
            .update(&seed.to_le_bytes())
            .update(&nth.to_le_bytes())
            .update(part.as_bytes())
            .finalize();
        Self(hash.as_bytes().first_chunk().map_or(seed, |bytes| u64::from_le_bytes(*bytes)))
    }

    /// The next number.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `end`; 0 if that is 0.
    pub fn below(&mut self, end: u64) -> u64 {
        self.next_u64().checked_rem(end).unwrap_or(0)
    }

    /// True once in `n` times.
    pub fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
}
