//! Runners: what drives steps and effects, built on steps alone.

mod relay;

pub use relay::{Delivered, Delivery, OnUnknown, Probe, Problem, Receiver, Relay, Sent};
