//! The workloads, each in three modes. Small numbers of commits, every one of them of another
//! kind than the one before, so that a few thousand points cover what a store does.

use milepost::testing::{Op, Rng, Step};

use super::story::{Mode, Story, Teller};

type Workload = (&'static str, fn(&mut Teller, &mut Rng) -> Result<(), String>);

pub(super) const WORKLOADS: &[Workload] = &[
    ("growth", growth),
    ("delete", delete),
    ("expiry", expiry),
    ("chunked checkpoints", chunked),
    ("lives", lives),
    ("migration", migration),
    ("group of 64", group),
    ("compaction", compaction),
];

/// Plays every workload in every mode.
pub(crate) fn tell_all(seed: u64) -> Result<Vec<Story>, String> {
    let mut stories = Vec::new();
    for mode in Mode::ALL {
        for (name, work) in WORKLOADS {
            stories.push(tell(name, *work, mode, seed).map_err(|why| format!("{name}: {why}"))?);
        }
    }
    Ok(stories)
}

fn tell(
    name: &str,
    work: fn(&mut Teller, &mut Rng) -> Result<(), String>,
    mode: Mode,
    seed: u64,
) -> Result<Story, String> {
    let mut teller = Teller::begin(name, mode)?;
    work(&mut teller, &mut Rng::of(seed, name, 0))?;
    teller.end()
}

/// A step whose position is its key.
fn step(key: u64) -> Step {
    Step { key, position: key, ..Step::default() }
}

/// A file that becomes five times as long.
fn growth(teller: &mut Teller, rng: &mut Rng) -> Result<(), String> {
    for run in 0..8u8 {
        let weight = 60_000 + rng.below(60_000);
        let weight = u32::try_from(weight).ok();
        let steps = (0..6).map(|key| Step { weight, emits: vec![key], ..step(key) });
        teller.tell(&Op::Batch(run, steps.collect()))?;
        teller.tell(&Op::Step(run, Step { puts: vec![(1, 1)], ..step(100) }))?;
    }
    Ok(())
}

/// Many rows, claims and intents, most of which are taken away again.
fn delete(teller: &mut Teller, rng: &mut Rng) -> Result<(), String> {
    let puts = |key: u64| (0..10).map(move |nth| (key * 10 + nth, key)).collect();
    let steps = (0..24).map(|key| Step { puts: puts(key), emits: vec![key], ..step(key) });
    teller.tell(&Op::Batch(0, steps.collect()))?;
    for nth in 0..8u64 {
        teller.tell(&Op::Claim(nth))?;
    }
    for round in 0..8u64 {
        let from = round * 30;
        let removes = (from..from + 30).filter(|_| !rng.one_in(8)).collect();
        teller.tell(&Op::Step(0, Step { removes, ..step(100 + round) }))?;
        teller.tell(&Op::Reject(round * 3 + rng.below(3)))?;
        if round % 3 == 0 {
            teller.tell(&Op::Complete(round, round * 10))?;
        } else {
            teller.tell(&Op::Release(round))?;
        }
    }
    Ok(())
}

/// Keys that are forgotten while others come in.
fn expiry(teller: &mut Teller, rng: &mut Rng) -> Result<(), String> {
    for round in 0..14u64 {
        let ttl_ms = Some(3_600_000 + rng.below(600_000));
        let steps = (0..8).map(|nth| Step { ttl_ms, ..step(round * 10 + nth) });
        teller.tell(&Op::Batch(0, steps.collect()))?;
        teller.tell(&Op::Wait(1_200_000))?;
        teller.tell(&Op::Step(0, Step { puts: vec![(round, 1)], ..step(round * 10 + 9) }))?;
    }
    Ok(())
}

/// Large states and small ones in turn, so that long runs of pages come and go; checkpoints of both,
/// which share chunks with the newest state and with those of another run, or are based on one
/// another; more of them than are kept, and some that are removed.
fn chunked(teller: &mut Teller, rng: &mut Rng) -> Result<(), String> {
    for key in 0..14u64 {
        let mut most = [250_000, 10, 90_000, 400_000, 4_000].into_iter();
        let most = most.nth(usize::try_from(rng.below(5)).unwrap_or(0));
        let weight = Some(most.unwrap_or(10) + u32::try_from(rng.below(5_000)).unwrap_or(0));
        let saves = !rng.one_in(4);
        teller.tell(&Op::Step(0, Step { weight, saves, ..step(key) }))?;
        match rng.below(4) {
            // The chunks of the same weight, in another run.
            0 => teller.tell(&Op::Step(1, Step { weight, saves, ..step(key) }))?,
            // The same weight again, and little else.
            1 => {
                let again = Step { saves: true, position: key, ..step(100 + key) };
                teller.tell(&Op::Step(0, again))?;
            }
            2 => teller.tell(&Op::Delete(0, rng.below(4)))?,
            _ => {}
        }
    }
    Ok(())
}

/// Many lives, each of which settles what the one before left open.
fn lives(teller: &mut Teller, rng: &mut Rng) -> Result<(), String> {
    for life in 0..6u64 {
        let key = life * 10;
        teller.tell(&Op::Claim(key))?;
        teller.tell(&Op::Claim(key + 1))?;
        teller
            .tell(&Op::Step(0, Step { emits: vec![key], puts: vec![(life, key)], ..step(key) }))?;
        teller.tell(&Op::Complete(key, key + 5))?;
        teller.reopen(rng.one_in(2))?;
        teller.tell(&Op::Claim(key))?;
        if life % 2 == 0 {
            teller.tell(&Op::Complete(key + 1, 7))?;
        } else {
            teller.tell(&Op::Release(key + 1))?;
        }
        teller.tell(&Op::Rewind(0, key / 2))?;
        teller.tell(&Op::Step(0, Step { removes: vec![life / 2], ..step(key + 1) }))?;
        teller.tell(&Op::Reject(life))?;
    }
    Ok(())
}

/// Runs that become another type, all at once, and go back one by one with the steps that follow;
/// some of them in a new life. Few of them, since the judge opens them all after every cut: that a
/// migration of many slices is cut anywhere is held by `tests/it/migrate.rs`.
fn migration(teller: &mut Teller, rng: &mut Rng) -> Result<(), String> {
    for run in 0..10u8 {
        let weight = u32::try_from(rng.below(3_000)).ok();
        teller.tell(&Op::Step(run, Step { weight, ..step(0) }))?;
    }
    for round in 1..4u64 {
        teller.tell(&Op::Migrate)?;
        if rng.one_in(2) {
            teller.reopen(rng.one_in(2))?;
        }
        for _ in 0..5 {
            let run = u8::try_from(rng.below(10)).unwrap_or(0);
            let rows = Step { puts: vec![(round, round)], emits: vec![round], ..step(round) };
            teller.tell(&Op::Step(run, rows))?;
        }
        teller.tell(&Op::Rewind(0, round))?;
    }
    Ok(())
}

/// Groups of 64 behind a step whose flush is under way.
fn group(teller: &mut Teller, rng: &mut Rng) -> Result<(), String> {
    for round in 0..3u64 {
        let first = round * 100;
        let ttl_ms = rng.one_in(2).then_some(7_200_000);
        let others: Vec<Step> = (1..=64)
            .map(|nth| {
                let emits = if nth % 8 == 0 { vec![nth] } else { Vec::new() };
                Step { emits, puts: vec![(nth, round)], ttl_ms, ..step(first + nth) }
            })
            .collect();
        teller.tell_group(&step(first), &others)?;
        teller.tell(&Op::Step(0, step(first + 90)))?;
    }
    Ok(())
}

/// A file of which most is free, made shorter between steps, in two lives, and once more when it is as
/// short as it can be.
fn compaction(teller: &mut Teller, rng: &mut Rng) -> Result<(), String> {
    for life in 0..2u64 {
        let key = life * 10;
        for run in 0..6u8 {
            let weight = u32::try_from(40_000 + rng.below(60_000)).ok();
            let puts = (0..20).map(|nth| (u64::from(run) * 20 + nth, key)).collect();
            let heavy = Step { weight, puts, emits: vec![key], ..step(key) };
            teller.tell(&Op::Step(run, heavy))?;
        }
        for run in 0..5u8 {
            let removes = (0..15).map(|nth| u64::from(run) * 20 + nth).collect();
            let light = Step { weight: Some(10), removes, ..step(key + 1) };
            teller.tell(&Op::Step(run, light))?;
        }
        teller.compact()?;
        teller.tell(&Op::Step(0, Step { puts: vec![(500, key)], ..step(key + 2) }))?;
        teller.compact()?;
        if life == 0 {
            teller.reopen(rng.one_in(2))?;
        }
    }
    Ok(())
}
