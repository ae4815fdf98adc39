//! Kills a loop at every point at which it can be killed, and holds what comes of it against the
//! undisturbed run.

mod content;
mod crash;
mod ended;
mod outside;
mod plug;
mod report;

use std::collections::BTreeSet;
use std::fmt::{Debug, Display};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use self::content::Content;
use self::crash::{Crash, Left, Point, parse};
use self::ended::Ended;
use self::plug::{Killed, Plug};
use self::report::{Difference, Told};
use super::platter::Platter;
use super::sim_disk::SimDisk;
use crate::clock::{ManualClock, Timestamp};
use crate::store::{Options, Store};

pub use self::outside::Outside;
pub use self::report::{CrashFailure, Crashes};

/// A loop, the world outside it, and how its store is opened: see [`crash_matrix`].
#[derive(Debug, Clone)]
#[must_use = "nothing is tried before `check` is called"]
pub struct CrashMatrix<W, F> {
    world: W,
    work: F,
    options: Options,
    most: Option<u64>,
    again: u64,
    only: Option<String>,
}

/// Kills a loop at every point at which it can be killed, starts it again, and checks that it ends
/// as if nothing had happened.
///
/// `work` is the loop as your program runs it, from opening the run to the last input: it must go on
/// from wherever the store says. `world` is what it acts on, before it has: an exchange, a mail
/// server, played by a struct of yours. The world outlives the crashes; the loop reaches it through
/// [`Outside`] alone, so that it can be killed on the way there and on the way back.
///
/// The points are every flush of the disk (so, every commit: those of opening and closing too), and
/// the moments before and after every effect. At each of them the program is killed twice: once so
/// that the disk keeps all that was written (`kill -9`), once so that it keeps only what was flushed
/// (the power goes). Then the loop runs again on what is left, to its end.
///
/// ```
/// use milepost::testing::{Outside, crash_matrix};
/// use milepost::{Delivery, Endpoint, Probe, Sent, Store, Topic, Versioned};
/// use std::collections::BTreeMap;
///
/// const ORDERS: Topic<i64, ()> = Topic::new("orders");
///
/// #[derive(Default, serde::Serialize, serde::Deserialize)]
/// struct Momentum { last: i64 }
/// impl Versioned for Momentum { const NAME: &'static str = "momentum"; const VERSION: u32 = 1; }
///
/// /// Fills whatever it is sent: a second copy of an order is a second fill.
/// #[derive(Clone, Default)]
/// struct Exchange { fills: BTreeMap<String, i64> }
///
/// impl Endpoint<i64, ()> for Exchange {
///     fn call(&mut self, order: &Delivery<i64>) -> Sent<()> {
///         *self.fills.entry(order.external_id.to_string()).or_default() += order.payload;
///         Sent::Confirmed(())
///     }
///     fn probe(&mut self, order: &Delivery<i64>) -> Probe<()> {
///         let filled = self.fills.contains_key(order.external_id.as_str());
///         if filled { Probe::Applied(()) } else { Probe::NotApplied }
///     }
/// }
///
/// fn trade(store: &Store, exchange: &mut Outside<'_, Exchange>) -> milepost::Result<()> {
///     let mut run = store.run::<Momentum>("spy-daily")?;
///     let orders = store.relay(&ORDERS);
///     orders.deliver(exchange)?;
///     for (index, close) in (0u64..).zip([598, 601, 605]).skip(run.next_index() as usize) {
///         run.step(format!("bar-{index}"), index, |tx| {
///             if close > tx.state.last { tx.emit(&ORDERS, &1i64)?; }
///             tx.state.last = close;
///             Ok(())
///         })?;
///         orders.deliver(exchange)?;
///     }
///     Ok(())
/// }
///
/// let crashes = crash_matrix(Exchange::default(), trade)
///     .check(|_, exchange| exchange.fills.clone()) // what must be as without a crash
///     .unwrap();
/// assert_eq!(crashes.effects, 3);
/// println!("{crashes}");
/// ```
///
/// A loop that cannot be killed says so by name: the failure tells the point, what the loop had done
/// before it, what differed, and how to try that point alone.
///
/// The store's own content is compared without being asked for: states, positions, keys with their
/// outcomes, rows, intents with theirs. Left out is what a crash may change: times, epochs, numbers
/// of attempts, and who said that an effect was done.
pub fn crash_matrix<W, E, F>(world: W, work: F) -> CrashMatrix<W, F>
where
    W: Clone,
    E: Display,
    F: FnMut(&Store, &mut Outside<'_, W>) -> Result<(), E>,
{
    // Stands still: a loop that writes down the time does the same in every run.
    let clock = ManualClock::new(Timestamp::from_ms(1_700_000_000_000));
    let options = Options::new().clock(clock).cache_bytes(1 << 20);
    CrashMatrix { world, work, options, most: None, again: 0, only: None }
}

impl<W, E, F> CrashMatrix<W, F>
where
    W: Clone,
    E: Display,
    F: FnMut(&Store, &mut Outside<'_, W>) -> Result<(), E>,
{
    /// How the store is opened. The default has a clock that stands still; with another one, a loop
    /// that writes down the time differs from run to run.
    pub fn options(mut self, options: Options) -> Self {
        self.options = options;
        self
    }

    /// Tries at most so many points, spread over the run, for loops that are long.
    pub fn at_most(mut self, points: u64) -> Self {
        self.most = Some(points);
        self
    }

    /// Kills the loop a second time after each crash, while it recovers: at each of the first
    /// `flushes` flushes of its second life, and around the first effect of it.
    pub fn again(mut self, flushes: u64) -> Self {
        self.again = flushes;
        self
    }

    /// Tries this crash alone, as a failure has named it: `"power cut after effect 3"`.
    pub fn only(mut self, crash: &str) -> Self {
        self.only = Some(crash.to_owned());
        self
    }

    /// Runs the loop undisturbed, twice, and then once for each crash. `effects` says what of the
    /// world, and of the store beyond what is compared anyway, has to be as in the undisturbed run:
    /// what was done there and how often, not how often somebody asked.
    ///
    /// Needs panics that unwind, as they do in `cargo test`: it is by one that the loop ends inside
    /// an effect.
    ///
    /// # Errors
    /// The first crash after which something differs, or after which the loop does not come to its
    /// end; an undisturbed run that fails, or that does not do the same twice. The failure is told
    /// in full by its `Display` and its `Debug`.
    pub fn check<V: PartialEq + Debug>(
        mut self,
        effects: impl Fn(&Store, &W) -> V,
    ) -> Result<Crashes, CrashFailure> {
        let base = self.create().map_err(CrashFailure::of_setup)?;
        let (plug, undisturbed) = self.undisturbed(&base, &effects)?;
        let (flushes, count) = plug.counts();
        let mut crashes = Crashes { flushes, effects: count, ..Crashes::default() };
        for chain in self.chains(flushes, count)? {
            self.crash(&base, &chain, &effects, &undisturbed, &mut crashes)?;
        }
        if crashes.total() == 0 {
            return Err(CrashFailure::of_setup(
                "the loop was not killed once: there is no such point in it".to_owned(),
            ));
        }
        Ok(crashes)
    }

    /// The empty store from which every run starts, so that ids are the same in all of them.
    fn create(&self) -> Result<Platter, String> {
        let disk = Arc::new(SimDisk::new());
        let created = self.options.create_on(disk.clone()).and_then(Store::close);
        created.map_err(|error| format!("the store cannot be created: {error}"))?;
        Ok(disk.durable())
    }

    fn undisturbed<V: PartialEq + Debug>(
        &mut self,
        base: &Platter,
        effects: &impl Fn(&Store, &W) -> V,
    ) -> Result<(Arc<Plug>, End<V>), CrashFailure> {
        let mut once = || {
            let mut world = self.world.clone();
            let (plug, ended) = self.live(base.clone(), &mut world, None);
            if let Some(why) = ended.why() {
                return Err(CrashFailure::of_setup(format!(
                    "the loop does not come to its end even without a crash: {why}"
                )));
            }
            let end = self.end(&plug, &world, effects).map_err(CrashFailure::of_setup)?;
            Ok((plug, end))
        };
        let (first, second) = (once()?, once()?);
        match first.1.difference(&second.1) {
            None => Ok(first),
            Some(difference) => Err(CrashFailure::of_two_runs(&difference)),
        }
    }

    /// Every crash to be tried, with the one after it if there is one.
    fn chains(&self, flushes: u64, effects: u64) -> Result<Vec<Vec<Crash>>, CrashFailure> {
        if let Some(only) = &self.only {
            return Ok(vec![parse(only).map_err(CrashFailure::of_setup)?]);
        }
        let points: Vec<_> = Point::all(flushes, effects).collect();
        let all = points.len() as u64;
        let most = self.most.unwrap_or(all).min(all);
        // The first of each share: no two of them are the same.
        let chosen: BTreeSet<u64> = (0..most).map(|nth| nth * all / most).collect();
        let chosen = (0..).zip(points).filter(|(nth, _)| chosen.contains(nth));
        let mut chains = Vec::new();
        for (left, (_, at)) in Left::BOTH.into_iter().flat_map(|left| {
            let chosen = chosen.clone();
            chosen.map(move |point| (left, point))
        }) {
            let first = Crash { left, at };
            chains.push(vec![first]);
            if self.again > 0 {
                let next = Point::all(self.again, 1);
                chains.extend(next.map(|at| vec![first, Crash { left, at }]));
            }
        }
        Ok(chains)
    }

    /// The loop with these crashes, one in each life, and one more life to its end.
    fn crash<V: PartialEq + Debug>(
        &mut self,
        base: &Platter,
        chain: &[Crash],
        effects: &impl Fn(&Store, &W) -> V,
        undisturbed: &End<V>,
        crashes: &mut Crashes,
    ) -> Result<(), CrashFailure> {
        let mut world = self.world.clone();
        let mut platter = base.clone();
        let mut told = Told::default();
        for crash in chain {
            let (plug, ended) = self.live(platter, &mut world, Some(*crash));
            if !plug.is_dead() {
                // It has come to its end before: the crash belongs to no point of this life.
                return self.judge(&plug, &ended, &world, effects, undisturbed, &told);
            }
            told.crashed(*crash, &plug, &ended);
            platter = match crash.left {
                Left::Kill => plug.disk().live(),
                Left::PowerCut => plug.disk().durable(),
            };
        }
        crashes.count(chain);
        let (plug, ended) = self.live(platter, &mut world, None);
        self.judge(&plug, &ended, &world, effects, undisturbed, &told)
    }

    fn judge<V: PartialEq + Debug>(
        &self,
        plug: &Plug,
        ended: &Ended,
        world: &W,
        effects: &impl Fn(&Store, &W) -> V,
        undisturbed: &End<V>,
        told: &Told,
    ) -> Result<(), CrashFailure> {
        if let Some(why) = ended.why() {
            return Err(told.failure(&format!("started again, the loop ended with: {why}")));
        }
        let end = self.end(plug, world, effects).map_err(|why| told.failure(&why))?;
        match undisturbed.difference(&end) {
            None => Ok(()),
            Some(difference) => Err(told.failure(&difference.to_string())),
        }
    }

    /// One life of the program: the store is opened, the loop runs, the store is closed, unless it is
    /// killed on the way.
    fn live(&mut self, platter: Platter, world: &mut W, dies: Option<Crash>) -> (Arc<Plug>, Ended) {
        let plug = Arc::new(Plug::new(platter, dies));
        let lived = catch_unwind(AssertUnwindSafe(|| {
            let open = |error| format!("the store cannot be opened: {error}");
            let store = self.options.open_on(plug.clone()).map_err(open)?;
            (self.work)(&store, &mut Outside::new(world, &plug))
                .map_err(|error| error.to_string())?;
            store.close().map_err(|error| format!("the store cannot be closed: {error}"))
        }));
        let ended = match lived {
            Ok(Ok(())) => Ended::Well,
            Ok(Err(error)) => Ended::Error(error),
            Err(panic) if panic.is::<Killed>() => Ended::Killed,
            Err(panic) => Ended::of_panic(&*panic),
        };
        (plug, ended)
    }

    /// What a life has left: on the disk for certain, and in the world.
    fn end<V>(
        &self,
        plug: &Plug,
        world: &W,
        effects: &impl Fn(&Store, &W) -> V,
    ) -> Result<End<V>, String> {
        let open = |error| format!("what the loop has left cannot be read: {error}");
        let disk = Arc::new(SimDisk::of(plug.disk().durable()));
        let store = self.options.open_on(disk).map_err(open)?;
        let content = Content::of(&store, self.options.now()).map_err(open)?;
        Ok(End { content, effects: effects(&store, world) })
    }
}

/// What a run is held against.
struct End<V> {
    content: Content,
    effects: V,
}

impl<V: PartialEq + Debug> End<V> {
    fn difference(&self, other: &Self) -> Option<Difference> {
        let mut difference = self.content.difference(&other.content);
        if self.effects != other.effects {
            let told = |effects: &V| format!("{effects:#?}");
            difference.add("effects", told(&self.effects), told(&other.effects));
        }
        (!difference.is_empty()).then_some(difference)
    }
}
