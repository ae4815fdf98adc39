//! Stories played once on a disk that records, and the judge of what a crash leaves of them.
//!
//! What leaves this room: a [`Story`], all of them by [`tell_all`], and [`judge`].

mod judge;
mod script;
mod story;
#[cfg(test)]
mod tests;
mod workloads;

pub(crate) use judge::{Judge, in_time, is_damage};
pub(crate) use script::Script;
pub(crate) use story::{Mode, Story};
pub(crate) use workloads::tell_all;
