//! T12: programs that act through a relay and through claims on a receiver that loses, delays,
//! repeats and forgets, while they are killed, their disks fail and their clocks jump.
//!
//! First everything goes wrong, and nothing may be done twice. Then nothing does, and everything has
//! to come to its end, or be held in doubt because the receiver itself does not know.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use milepost::testing::{Platter, Rng, SimDisk};
use milepost::{Options, Store};

use super::class::{Cases, Class, Outcome, Scene, Setting};
use super::instance::Instance;
use super::receiver::Gateway;

pub(crate) struct EndToEnd;

impl Class for EndToEnd {
    fn id(&self) -> &'static str {
        "T12"
    }

    fn about(&self) -> &'static str {
        "a receiver that loses, delays, repeats and forgets; kills, failing disks, clock jumps"
    }

    fn prepare(&self, _: &Setting) -> Result<Box<dyn Cases>, String> {
        Ok(Box::new(Histories::begin()?))
    }
}

struct Histories {
    /// Two empty stores: ids of one mean nothing to the other.
    bases: [Platter; 2],
    /// What went wrong in all cases so far.
    faults: Mutex<BTreeMap<&'static str, u64>>,
}

impl Histories {
    fn begin() -> Result<Self, String> {
        Ok(Self { bases: [empty_store()?, empty_store()?], faults: Mutex::default() })
    }
}

fn empty_store() -> Result<Platter, String> {
    let disk = Arc::new(SimDisk::new());
    let created = Options::new().create_on(disk.clone()).and_then(Store::close);
    created.map_err(|error| format!("creating a store: {error}"))?;
    Ok(disk.durable())
}

impl Cases for Histories {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a small count")]
    fn count(&self, scale: f64) -> u64 {
        (20_000.0 * scale) as u64
    }

    fn run(&self, _: u64, scene: &mut Scene) -> Outcome {
        let mut gateway = Gateway::new(Rng::new(scene.rng.next_u64()));
        let programs = if scene.rng.one_in(4) { 2 } else { 1 };
        let mut faults = BTreeMap::new();
        let found = self
            .bases
            .iter()
            .take(programs)
            .map(|base| Instance::begin(base.clone(), &mut scene.rng))
            .collect::<Result<Vec<_>, _>>()
            .and_then(|mut instances| {
                let found = live(&mut instances, &mut gateway, &mut scene.rng);
                for instance in &instances {
                    add(&mut faults, &instance.faults);
                }
                found
            });
        add(&mut faults, &gateway.faults);
        add(&mut self.faults.lock().unwrap_or_else(PoisonError::into_inner), &faults);
        match (gateway.broken, found) {
            (Some(broken), _) => Outcome::Violation(broken),
            (None, Err(outcome)) => outcome,
            (None, Ok(())) => Outcome::Same,
        }
    }
}

fn add(all: &mut BTreeMap<&'static str, u64>, some: &BTreeMap<&'static str, u64>) {
    for (what, count) in some {
        *all.entry(what).or_default() += count;
    }
}

/// The programs in turn, first through all that can go wrong, then to their end.
fn live(instances: &mut [Instance], gateway: &mut Gateway, rng: &mut Rng) -> Result<(), Outcome> {
    for _ in 0..8 + rng.below(10) {
        let one = usize::try_from(rng.below(instances.len() as u64)).unwrap_or_default();
        if let Some(instance) = instances.get_mut(one) {
            instance.act(gateway, rng)?;
        }
        if gateway.broken.is_some() {
            return Ok(());
        }
        if rng.one_in(12) {
            // Long enough for it to forget.
            gateway.wait(rng.below(300));
        }
    }
    gateway.calm_down();
    instances.iter_mut().try_for_each(|instance| instance.settle(gateway))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Against: a fault that is written down and never happens.
    #[test]
    fn every_fault_of_the_plan_happens_in_a_few_hundred_cases() {
        let cases = Histories::begin().unwrap();
        let setting = Setting { seed: 1, trades: 0, folder: std::env::temp_dir() };
        for nth in 0..400 {
            let mut scene = Scene::new(&setting, "T12", nth);
            assert_eq!(cases.run(nth, &mut scene), Outcome::Same, "case {nth}");
        }
        let faults = cases.faults.into_inner().unwrap();
        for fault in FAULTS {
            assert!(faults.contains_key(fault), "never happened: {fault}; {faults:?}");
        }
        for fault in faults.keys() {
            assert!(FAULTS.contains(fault), "not in the list: {fault}");
        }
    }

    const FAULTS: &[&str] = &[
        "refused",
        "not sent",
        "request lost",
        "answer lost",
        "request late",
        "request repeated",
        "killed before the request left",
        "killed before the answer came",
        "killed with the request on its way",
        "killed while asking",
        "question lost",
        "done and not to be seen yet",
        "done and forgotten",
        "a second relay",
        "a second instance",
        "clock jump",
        "crash",
        "crash in recovery",
        "restart",
        "disk failure",
        "uncertain commit, there",
        "uncertain commit, not there",
        "claim dropped",
        "presumed",
    ];
}
