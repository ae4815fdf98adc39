//! The way from the loop to the world: what goes through here can be cut off on both sides.

use std::fmt;

use super::plug::Plug;
use crate::exec::{Delivery, Endpoint, Probe, Sent};

/// The world, as a loop under [`crash_matrix`](super::crash_matrix) reaches it.
///
/// If the world is an [`Endpoint`], so is this: hand it to [`Relay::deliver`](crate::Relay::deliver)
/// as it is. If endpoints are parts of the world, hand over a [`part`](Outside::part). Calls without
/// a relay go through [`effect`](Outside::effect).
pub struct Outside<'a, W> {
    world: &'a mut W,
    plug: &'a Plug,
}

impl<'a, W> Outside<'a, W> {
    pub(super) fn new(world: &'a mut W, plug: &'a Plug) -> Self {
        Self { world, plug }
    }

    /// Makes one call to the world. The loop is killed before it, and after it when the answer has
    /// not come back. `what` names it in a failure.
    pub fn effect<R>(&mut self, what: &str, call: impl FnOnce(&mut W) -> R) -> R {
        self.around(|| what.to_owned(), call)
    }

    /// A part of the world.
    pub fn part<P>(&mut self, part: impl FnOnce(&mut W) -> &mut P) -> Outside<'_, P> {
        Outside { world: part(self.world), plug: self.plug }
    }

    /// The world, to look at: for what is there to be read and does no harm to read twice, such as
    /// prices.
    #[must_use]
    pub fn world(&self) -> &W {
        self.world
    }

    fn around<R>(&mut self, what: impl FnOnce() -> String, call: impl FnOnce(&mut W) -> R) -> R {
        let nth = self.plug.before_effect(what);
        let answer = call(self.world);
        self.plug.after_effect(nth);
        answer
    }
}

impl<P, O, W: Endpoint<P, O>> Endpoint<P, O> for Outside<'_, W> {
    fn call(&mut self, delivery: &Delivery<P>) -> Sent<O> {
        self.around(
            || format!("send {}, attempt {}", delivery.id, delivery.attempt),
            |world| world.call(delivery),
        )
    }

    fn probe(&mut self, delivery: &Delivery<P>) -> Probe<O> {
        self.around(|| format!("ask about {}", delivery.id), |world| world.probe(delivery))
    }
}

impl<W: fmt::Debug> fmt::Debug for Outside<'_, W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outside").field("world", &self.world).finish_non_exhaustive()
    }
}
