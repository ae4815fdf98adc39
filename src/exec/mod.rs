//! Runners: what drives steps and effects, built on steps alone.

mod once;
mod relay;

pub use relay::{Delivery, DeliveryReport, Endpoint, OnUnknown, Probe, Problem, Relay, Sent};
