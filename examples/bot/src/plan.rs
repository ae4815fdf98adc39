//! When the worker is killed. Drawn from the seed, and measured in the worker's progress rather
//! than in time, so that the kills are spread over the whole run on fast machines and slow ones.

use std::iter;
use std::time::Duration;

use crate::Engine;
use crate::rng::Rng;
use crate::stage::{Notice, Window};

/// One SIGKILL to come.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Kill {
    /// Inside `window`, where the worker waits for it: the first time it is there from `bar` on.
    Held { window: Window, bar: u64 },
    /// Anywhere: so many notices after the worker has begun `bar`, and a moment later.
    Random { bar: u64, notices: u64, moment: Duration },
    /// Anywhere in the first moments of a life, most of which go to recovering the last one.
    Newborn { moment: Duration },
}

/// Every window in turn. Those of recovery follow the kill that leaves most to recover.
pub(crate) const ROTATION: [Window; 9] = [
    Window::BeforeIntentCommit,
    Window::AfterIntentCommit,
    Window::BeforeCall,
    Window::InCall,
    Window::Recovering,
    Window::AfterProbe,
    Window::AfterReply,
    Window::BeforeOutcomeCommit,
    Window::AfterOutcomeCommit,
];

/// Plans `kills` for a run that places an order at each of the bars `orders`, ascending: half of
/// them inside windows, at least each window once, the others anywhere.
pub(crate) fn plan(
    engine: Engine,
    seed: u64,
    kills: usize,
    orders: &[u64],
) -> Result<Vec<Kill>, String> {
    // A kill may cost the next one its order, and random ones overshoot: leave them room.
    let room = orders.len() / 2;
    if kills > room {
        return Err(format!(
            "--kills {kills}: these bars bring {} orders, room for {room} kills; \
             ask for fewer kills or more bars",
            orders.len()
        ));
    }
    let mut rng = Rng::new(seed);
    let bars = spread(&mut rng, kills, orders);
    let planned =
        alternate(engine, kills).into_iter().zip(bars).map(|(window, bar)| match window {
            Some(window) if in_recovery(window) => Kill::Held { window, bar: 0 },
            Some(window) => Kill::Held { window, bar },
            None if rng.below(3) == 0 => Kill::Newborn { moment: moment(&mut rng, 5_000) },
            None => {
                let notices = rng.below(10);
                Kill::Random { bar, notices, moment: moment(&mut rng, 500) }
            }
        });
    Ok(planned.collect())
}

/// In windows and (`None`) anywhere, by turns.
fn alternate(engine: Engine, kills: usize) -> Vec<Option<Window>> {
    let held = kills.div_ceil(2).max(ROTATION.len()).min(kills);
    // The files do not say that there is a doubt: after a crash they have nothing to ask about.
    let rotation = ROTATION
        .into_iter()
        .filter(|window| engine == Engine::Milepost || *window != Window::AfterProbe);
    let mut anywhere = kills - held;
    let mut kinds = Vec::with_capacity(kills);
    for window in rotation.cycle().take(held) {
        if anywhere > 0 && !in_recovery(window) {
            anywhere -= 1;
            kinds.push(None);
        }
        kinds.push(Some(window));
    }
    kinds.extend(iter::repeat_n(None, anywhere));
    kinds
}

/// Reached at the start of a life, at whatever bar that is.
fn in_recovery(window: Window) -> bool {
    matches!(window, Window::Recovering | Window::AfterProbe)
}

/// So many bars with orders, ascending, from all of the run but its end: every kill must still
/// find the worker at work.
fn spread(rng: &mut Rng, kills: usize, orders: &[u64]) -> Vec<u64> {
    let usable = orders.len() * 9 / 10;
    let mut bars: Vec<u64> = orders.iter().take(usable).copied().collect();
    while bars.len() > kills {
        let spared = rng.below(bars.len() as u64);
        bars.remove(usize::try_from(spared).unwrap_or(0));
    }
    bars
}

fn moment(rng: &mut Rng, end_us: u64) -> Duration {
    Duration::from_micros(rng.below(end_us))
}

/// Watches what one life says until its kill is due.
pub(crate) struct Trigger {
    kill: Kill,
    begun: bool,
    notices: u64,
}

impl Trigger {
    pub(crate) fn new(kill: Kill) -> Self {
        Self { kill, begun: false, notices: 0 }
    }

    /// How long after this notice the kill is due; `None`: not yet.
    pub(crate) fn due(&mut self, notice: &Notice) -> Option<Duration> {
        match self.kill {
            Kill::Held { .. } => matches!(notice, Notice::Held(_)).then_some(Duration::ZERO),
            Kill::Newborn { moment } => Some(moment),
            Kill::Random { bar, notices, moment } => {
                self.begun |= matches!(notice, Notice::Bar(begun) if *begun >= bar);
                self.notices += u64::from(self.begun);
                (self.notices > notices).then_some(moment)
            }
        }
    }
}
