//! For tests of programs that keep their state in a store: a disk that loses, tears and refuses what
//! it is told to, the same for every run of a seed.

mod rng;

pub use rng::Rng;
