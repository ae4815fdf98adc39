//! Reads the shape of a type off its `Deserialize`: a deserializer that holds no data, notes what it
//! is asked for, and answers with made-up values.
//!
//! One value shows one variant of an enum, so a type is read again and again until every variant of
//! every enum in it was seen ([`Tracer::wants`] leads there). A type that does not take a made-up
//! value (a number that must not be zero, a text that must be a date) gets another one next time.
//!
//! Written here, where a crate (serde-reflection) would have been at hand: that one tells types by
//! their bare names, so that two of one name are taken for each other; it wants to be handed each
//! enum on its own, and a sample of each type that checks what it reads.

mod guess;
mod probe;
mod refusal;
mod tracer;

use std::any::type_name;
use std::panic::{AssertUnwindSafe, catch_unwind};

use serde::de::{DeserializeOwned, Error};

use self::probe::Probe;
use self::refusal::Refusal;
use self::tracer::Tracer;
use super::node::{NodeId, Shape};

/// Why a type has no shape.
#[derive(Debug, thiserror::Error)]
#[error("the shape of `{name}` cannot be told{place}: {why}")]
pub(crate) struct Untraceable {
    name: &'static str,
    place: String,
    why: String,
}

/// More than any type has variants and values that it does not take.
const ATTEMPTS_MAX: usize = 20_000;

pub(super) fn trace<T: DeserializeOwned>() -> Result<Shape, Untraceable> {
    let untraceable = |path: &str, why: String| {
        let place = if path.is_empty() { String::new() } else { format!(" at `{path}`") };
        Untraceable { name: type_name::<T>(), place, why }
    };
    let mut tracer = Tracer::default();
    let root = tracer.slot();
    for _ in 0..ATTEMPTS_MAX {
        let seen_before = tracer.seen();
        match attempt::<T>(&mut tracer, root) {
            Ok(_) if tracer.wants(root) && tracer.seen() == seen_before => {
                return Err(untraceable("", "it does not read the same way twice".to_owned()));
            }
            Ok(_) if tracer.wants(root) => {}
            Ok(_) => return Ok(tracer.shape(root)),
            Err(refusal) if refusal.is_final => {
                return Err(untraceable(&tracer.failed_at(), refusal.message));
            }
            Err(refusal) => {
                let at = tracer.failed_at();
                if !tracer.guess_otherwise() {
                    let why = format!(
                        "it takes none of the values that were tried ({})",
                        refusal.message
                    );
                    return Err(untraceable(&at, why));
                }
            }
        }
        tracer.begin_again();
    }
    Err(untraceable("", format!("it was not all seen after {ATTEMPTS_MAX} attempts")))
}

/// A type that panics over a made-up value does not take it.
fn attempt<T: DeserializeOwned>(tracer: &mut Tracer, root: NodeId) -> Result<T, Refusal> {
    let attempt = AssertUnwindSafe(|| T::deserialize(Probe::new(tracer, root)));
    catch_unwind(attempt).unwrap_or_else(|_| Err(Refusal::custom("it panics over them")))
}
