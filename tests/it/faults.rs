//! A disk that fails: whatever operation it is, what was acknowledged is there after reopening, what
//! was refused is not, and what is uncertain is one or the other, whole.

use std::sync::Arc;
use std::{io, mem};

use milepost::testing::{Call, Effect, Fault, Platter, Rng, SimDisk};
use milepost::{
    Claimed, Disk, Durability, Error, ErrorKind, Options, Reopen, Resolution, Result, Run, Store,
};

use crate::support::{Content, Counter, ORDERS, count, key_of, kind, seen};

const UNITS: u64 = 4;

/// One commit of the workload: a full step, or a batch, or a claim. One may need a longer file.
fn unit(store: &Store, run: &mut Run<Counter>, n: u64, large: usize) -> Result<()> {
    let work = |tx: &mut milepost::Tx<'_, Counter>, n: u64| {
        tx.state.sum += n;
        tx.state.seen.push(n);
        tx.put(key_of(n), &n)?;
        tx.emit(&ORDERS, &n)?;
        Ok(tx.state.sum)
    };
    match n {
        2 => run
            .step(key_of(n), n * 10, |tx| {
                tx.put("large", &"x".repeat(large))?;
                work(tx, n)
            })
            .map(drop),
        3 => {
            let items = (0..3).map(|i| (key_of(n * 10 + i), n * 10 + i, n * 10 + i));
            run.batch(items, work).map(drop)
        }
        4 => match store.claim::<u64>("s", "k", &1)? {
            Claimed::Fresh(claim) => {
                mem::forget(claim);
                Ok(())
            }
            other => panic!("{other:?}"),
        },
        n => run.step(key_of(n), n * 10, |tx| work(tx, n)).map(drop),
    }
}

/// What is in the store after so many units.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Known {
    content: Content,
    claims: usize,
    large: bool,
}

impl Known {
    fn of(store: &Store) -> Self {
        let keys: Vec<_> = [1, 2, 30, 31, 32, 900].map(key_of).into();
        let content = Content::of(store, &keys, "orders").unwrap();
        let large = store.run::<Counter>("run").unwrap().get::<String>("large").unwrap();
        let claims = store.recovery().unwrap().claims_in_doubt.len();
        Self { content, claims, large: large.is_some() }
    }
}

/// A store with a history, closed in order: the same bytes for every try.
fn base(options: &Options) -> Platter {
    let disk = Arc::new(SimDisk::new());
    let store = options.create_on(disk.clone()).unwrap();
    let mut run = store.run::<Counter>("run").unwrap();
    run.step("first", 0, |_| Ok(())).unwrap();
    drop((run, store));
    disk.live()
}

/// The workload on a sound disk: what is known after each unit, and how many operations it takes.
fn undisturbed(options: &Options, base: &Platter, large: usize, units: u64) -> (Vec<Known>, u64) {
    let disk = with(base.clone());
    let store = options.open_on(disk.clone()).unwrap();
    let mut run = store.run::<Counter>("run").unwrap();
    let known = || Known::of(&options.open_on(with(disk.live())).unwrap());
    let mut after = vec![known()];
    disk.arm(None);
    for n in 1..=units {
        unit(&store, &mut run, n, large).unwrap();
        after.push(known());
    }
    (after, disk.count(Call::Change))
}

/// A disk on which this was left.
fn with(left: Platter) -> Arc<SimDisk> {
    Arc::new(SimDisk::of(left))
}

/// The store must be as after `done` units or, if that is uncertain, one more; and `resolve` says
/// which, the same at every opening.
fn check(
    options: &Options,
    left: Platter,
    after: &[Known],
    done: usize,
    failure: &Error,
    what: &str,
) -> bool {
    let disk = with(left);
    let store = options.open_on(disk.clone()).unwrap_or_else(|error| panic!("{what}: {error}"));
    let resolution = match failure.kind() {
        ErrorKind::Uncertain(seq) => Some((seq, store.resolve(seq).unwrap())),
        _ => None,
    };
    let committed = matches!(resolution, Some((_, Resolution::Committed)));
    let known = Known::of(&store);
    let expected = &after[done + usize::from(committed)];
    assert_eq!(&known, expected, "{what}: {resolution:?} after {failure:?}");
    drop(store);
    if let Some((seq, resolution)) = resolution {
        let store = options.open_on(disk).unwrap();
        assert_eq!(store.resolve(seq).unwrap(), resolution, "{what}: it changed its mind");
    }
    committed
}

/// Lets every operation of the workload fail once, in one way, and looks at what is left.
fn every_operation_fails(options: &Options, fault: Fault, large: usize) {
    let error = fault.error;
    let base = base(options);
    let units = if large > 1 { 2 } else { UNITS };
    let (after, operations) = undisturbed(options, &base, large, units);
    assert!(operations > 10, "{operations}");
    let (mut uncertain, mut certain, mut came_true) = (0, 0, 0);
    for at in 0..operations {
        let what = format!("operation {at} of {operations}, {:?}", fault.effect);
        let disk = with(base.clone());
        let store = options.open_on(disk.clone()).unwrap();
        let mut run = store.run::<Counter>("run").unwrap();
        disk.arm(Some(Fault { nth: at, ..fault }));
        let mut done = 0;
        let failure = loop {
            match unit(&store, &mut run, done as u64 + 1, large) {
                Ok(()) => done += 1,
                Err(error) => break error,
            }
            assert!(done < after.len() - 1, "{what}: nothing failed");
        };
        match failure.kind() {
            ErrorKind::Uncertain(seq) => {
                uncertain += 1;
                let says = format!("resolve({seq})");
                assert!(failure.to_string().contains(&says), "{what}: {failure}");
            }
            ErrorKind::NoSpace => {
                assert_eq!(error, io::ErrorKind::StorageFull, "{what}: {failure}");
                certain += 1;
            }
            ErrorKind::Io => {
                assert_ne!(error, io::ErrorKind::StorageFull, "{what}: {failure}");
                certain += 1;
            }
            kind => panic!("{what}: {kind:?} {failure}"),
        }
        // Nothing more is taken, not even questions, and also when the disk is well again.
        assert_eq!(kind(count(&mut run, 900)), ErrorKind::Poisoned, "{what}");
        assert_eq!(kind(store.claim::<u64>("s", "k2", &1)), ErrorKind::Poisoned, "{what}");
        assert_eq!(kind(store.recovery()), ErrorKind::Poisoned, "{what}");
        assert_eq!(kind(store.resolve(milepost::CommitSeq::new(1))), ErrorKind::Poisoned, "{what}");
        // A power cut leaves what was flushed, or any part of what was not; a kill leaves what was
        // written, and this process lets go of the file in its own way first.
        let cut = [disk.durable(), disk.cut_somehow(&mut Rng::new(at))];
        drop((run, store));
        for left in cut.into_iter().chain([disk.live()]) {
            let committed = check(options, left, &after, done, &failure, &what);
            came_true += u64::from(committed);
        }
    }
    assert!(uncertain > 0 && (large == 1 || certain > 0), "{uncertain}, {certain}");
    println!("{uncertain} uncertain, of which {came_true} came true; {certain} certain");
}

/// Against: an acknowledged step lost (acknowledged before it was flushed, or flushed in the wrong
/// order), or a refused one found, after the disk has failed for good.
#[test]
fn after_a_disk_that_dies_at_any_operation_every_commit_is_there_or_not_as_said() {
    every_operation_fails(&Options::new(), Fault::at(0), 1);
}

/// Against: the same when the failing write was done, in whole or in part, and the disk recovers.
#[test]
fn after_a_disk_that_fails_once_at_any_operation_every_commit_is_there_or_not_as_said() {
    let once = Fault { effect: Effect::Half, stays: false, ..Fault::at(0) };
    every_operation_fails(&Options::new(), once, 1);
}

/// Against: a full disk reported as a failing one, or one that costs more than the step it refused.
#[test]
fn a_disk_that_is_full_at_any_operation_costs_only_the_step_that_was_refused() {
    let full = Fault { error: io::ErrorKind::StorageFull, stays: false, ..Fault::at(0) };
    every_operation_fails(&Options::new(), full, 600_000);
}

/// Against: the same under the other durability and the quick reopening.
#[test]
fn in_the_other_modes_every_commit_is_there_or_not_as_said_too() {
    let two_phase = Options::new().durability(Durability::TwoPhase);
    every_operation_fails(&two_phase, Fault { effect: Effect::All, ..Fault::at(0) }, 1);
    let instant = Options::new().reopen(Reopen::Instant);
    every_operation_fails(&instant, Fault { effect: Effect::Half, ..Fault::at(0) }, 1);
}

/// Lets every operation of an open fail once, and opens what is left of it.
fn every_operation_of_an_open_fails(options: &Options, closed: bool) {
    let disk = with(base(options));
    let store = options.open_on(disk.clone()).unwrap();
    let mut run = store.run::<Counter>("run").unwrap();
    count(&mut run, 1).unwrap();
    let crashed = disk.live();
    drop((run, store));
    let bytes = if closed { disk.live() } else { crashed };
    let truth = Known::of(&options.open_on(with(bytes.clone())).unwrap());
    let mut at = 0;
    loop {
        let disk = with(bytes.clone());
        let effect = if at % 2 == 0 { Effect::Half } else { Effect::Nothing };
        disk.arm(Some(Fault { nth: at, effect, ..Fault::at(at) }));
        match options.open_on(disk.clone()) {
            // The fault was not reached any more.
            Ok(_) => break,
            Err(error) => assert!(
                matches!(error.kind(), ErrorKind::Io | ErrorKind::Uncertain(_)),
                "operation {at}: {:?} {error}",
                error.kind()
            ),
        }
        for left in [disk.live(), disk.durable(), disk.cut_somehow(&mut Rng::new(at))] {
            let store = options.open_on(with(left)).unwrap_or_else(|error| {
                panic!("cut at operation {at}, the store cannot be opened any more: {error}");
            });
            assert_eq!(Known::of(&store), truth, "operation {at}");
        }
        at += 1;
    }
    assert!(at > 3, "{at}");
}

/// Against: a crash while a closed store is being opened, after which it never opens again.
#[test]
fn an_open_that_is_cut_short_at_any_operation_costs_nothing() {
    every_operation_of_an_open_fails(&Options::new(), true);
}

/// Against: a second crash, while the first is being recovered from, after which the store "is
/// damaged": redb says "closed in order" for a moment in the middle of its repair.
#[test]
fn a_recovery_that_is_cut_short_at_any_operation_costs_nothing() {
    every_operation_of_an_open_fails(&Options::new(), false);
    every_operation_of_an_open_fails(&Options::new().reopen(Reopen::Instant), false);
    every_operation_of_an_open_fails(&Options::new().durability(Durability::TwoPhase), false);
}

/// Against: "ask `resolve`", said of an open that failed: it carried nothing of the caller's, and the
/// next open may take its number, so that the answer would be wrong.
#[test]
fn an_open_that_fails_is_never_uncertain() {
    let options = Options::new();
    let base = base(&options);
    let mut at = 0;
    loop {
        let disk = with(base.clone());
        disk.arm(Some(Fault::at(at)));
        let Err(error) = options.open_on(disk) else { break };
        assert_eq!(error.kind(), ErrorKind::Io, "operation {at}: {error}");
        at += 1;
    }
    assert!(at > 3, "{at}");
}

/// Against: "a failing disk", said where freeing some room would help.
#[test]
fn an_open_on_a_full_disk_says_that_it_is_full() {
    let options = Options::new();
    let base = base(&options);
    let mut at = 0;
    loop {
        let disk = with(base.clone());
        let error = io::ErrorKind::StorageFull;
        disk.arm(Some(Fault { error, ..Fault::at(at) }));
        let Err(error) = options.open_on(disk) else { break };
        assert_eq!(error.kind(), ErrorKind::NoSpace, "operation {at}: {error}");
        at += 1;
    }
    assert!(at > 3, "{at}");
}

/// Against: a disk that fails while the store is closed, which is then taken for closed in order.
#[test]
fn a_close_that_fails_at_any_operation_is_said_and_costs_nothing() {
    let options = Options::new();
    let base = base(&options);
    let mut at = 0;
    loop {
        let disk = with(base.clone());
        let store = options.open_on(disk.clone()).unwrap();
        let mut run = store.run::<Counter>("run").unwrap();
        count(&mut run, 1).unwrap();
        drop(run);
        let truth = Known::of(&options.open_on(with(disk.live())).unwrap());
        disk.arm(Some(Fault::at(at)));
        let closed = store.close();
        let reached = disk.count(Call::Change) > at;
        for left in [disk.live(), disk.durable(), disk.cut_somehow(&mut Rng::new(at))] {
            let store = options.open_on(with(left)).unwrap();
            if closed.is_err() && !matches!(kind_of(&closed), ErrorKind::Uncertain(_)) {
                assert!(!store.was_closed_in_order(), "operation {at}");
            }
            assert_eq!(Known::of(&store), truth, "operation {at}: {closed:?}");
        }
        if !reached {
            closed.unwrap();
            break;
        }
        at += 1;
    }
    assert!(at > 3, "{at}");
}

fn kind_of<T>(result: &Result<T>) -> ErrorKind {
    result.as_ref().map(drop).unwrap_err().kind()
}

/// Against: a disk on which `create` has failed, and something is found that is no store.
#[test]
fn a_create_that_fails_at_any_operation_leaves_no_store_that_lies() {
    let options = Options::new();
    let mut at = 0;
    loop {
        let disk = Arc::new(SimDisk::default());
        disk.arm(Some(Fault::at(at)));
        match options.create_on(disk.clone()) {
            Ok(_) => break,
            Err(error) => assert!(
                matches!(error.kind(), ErrorKind::Io | ErrorKind::Uncertain(_)),
                "operation {at}: {error}"
            ),
        }
        for left in [disk.live(), disk.durable(), disk.cut_somehow(&mut Rng::new(at))] {
            match options.open_on(with(left)) {
                Ok(store) => assert_eq!(store.run::<Counter>("run").unwrap().steps(), 0),
                Err(error) => assert!(
                    matches!(error.kind(), ErrorKind::Invalid | ErrorKind::Damaged),
                    "operation {at}: {:?} {error}",
                    error.kind()
                ),
            }
        }
        at += 1;
    }
    assert!(at > 5, "{at}");
}

/// Against: a sector that cannot be read, at which the program comes down or gets a wrong answer.
#[test]
fn a_read_that_fails_is_an_error_and_nothing_is_lost() {
    let options = Options::new().cache_bytes(0).verify_on_open_bytes(0);
    let disk = Arc::new(SimDisk::new());
    let store = options.create_on(disk.clone()).unwrap();
    let mut run = store.run::<Counter>("run").unwrap();
    run.batch((0..400).map(|n| (key_of(n), n, n)), |_, n| Ok(n)).unwrap();
    drop((run, store));
    let bytes = disk.live();
    for after in 0..12 {
        let disk = with(bytes.clone());
        let store = options.open_on(disk.clone()).unwrap();
        let mut run = store.run::<Counter>("run").unwrap();
        disk.arm([Fault::of(Call::Read, after).once()]);
        let mut failed = None;
        for n in 0..400 {
            match seen(&mut run, &key_of(n)) {
                Ok(outcome) => assert_eq!(outcome, Some(n), "a known key is new"),
                Err(error) => {
                    failed = Some(error);
                    break;
                }
            }
        }
        let failed = failed.expect("nothing was read from the disk");
        assert!(
            matches!(failed.kind(), ErrorKind::Io | ErrorKind::Damaged),
            "{:?} {failed}",
            failed.kind()
        );
        // Reopened, it is all there.
        drop((run, store));
        let store = options.open_on(disk).unwrap();
        let mut run = store.run::<Counter>("run").unwrap();
        assert_eq!(seen(&mut run, &key_of(399)).unwrap(), Some(399));
        assert_eq!(run.steps(), 400);
    }
}

/// Against: "damaged, run repair" for a sector that could not be read this once.
#[test]
fn a_read_that_fails_is_not_called_damage() {
    let options = Options::new().cache_bytes(0).verify_on_open_bytes(0);
    let disk = Arc::new(SimDisk::default());
    let store = options.create_on(disk.clone()).unwrap();
    let mut run = store.run::<Counter>("run").unwrap();
    run.batch((0..400).map(|n| (key_of(n), n, n)), |_, n| Ok(n)).unwrap();
    disk.arm([Fault::of(Call::Read, 0).once()]);
    let failed = (0..400).find_map(|n| seen(&mut run, &key_of(n)).err()).unwrap();
    assert_eq!(failed.kind(), ErrorKind::Io, "{failed}");
    assert!(format!("{failed:#}").contains("told to fail"), "{failed:#}");
}

/// Against: "try again", where only reopening helps: redb takes nothing more after a failing read.
#[test]
fn after_a_read_that_failed_the_handle_is_poisoned_or_works() {
    let options = Options::new().cache_bytes(0).verify_on_open_bytes(0);
    let disk = Arc::new(SimDisk::default());
    let store = options.create_on(disk.clone()).unwrap();
    let mut run = store.run::<Counter>("run").unwrap();
    run.batch((0..400).map(|n| (key_of(n), n, n)), |_, n| Ok(n)).unwrap();
    disk.arm([Fault::of(Call::Read, 0).once()]);
    assert!((0..400).any(|n| seen(&mut run, &key_of(n)).is_err()));
    for n in [1_000, 1_001] {
        if let Err(error) = count(&mut run, n) {
            assert_eq!(error.kind(), ErrorKind::Poisoned, "{error}");
        }
    }
}

/// Panics once in an operation, as a user's own disk may.
#[derive(Debug)]
struct PanickingDisk(SimDisk, std::sync::atomic::AtomicI64);

impl PanickingDisk {
    fn tick(&self) {
        let left = self.1.fetch_sub(1, std::sync::atomic::Ordering::SeqCst);
        assert!(left != 0, "a disk that panics");
    }
}

impl Disk for PanickingDisk {
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.read(offset, out)
    }

    fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.tick();
        self.0.write(offset, bytes)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.tick();
        self.0.set_len(len)
    }

    fn sync(&self) -> io::Result<()> {
        self.tick();
        self.0.sync()
    }
}

/// Against: a panic in the disk that leaves every later caller waiting, or loses what was there.
#[test]
fn a_disk_that_panics_is_an_error_and_no_deadlock() {
    let base = base(&Options::new());
    for at in 0..8 {
        let base = base.clone();
        crate::support::within(crate::support::second(20), move || {
            let inner = SimDisk::of(base);
            let disk = Arc::new(PanickingDisk(inner, std::sync::atomic::AtomicI64::new(-1)));
            let store = Options::new().open_on(disk.clone()).unwrap();
            let mut run = store.run::<Counter>("run").unwrap();
            disk.1.store(at, std::sync::atomic::Ordering::SeqCst);
            let mut done = 0;
            while done < UNITS && unit(&store, &mut run, done + 1, 1).is_ok() {
                done += 1;
            }
            assert!(done < UNITS);
            assert_eq!(kind(count(&mut run, 900)), ErrorKind::Poisoned);
            drop((run, store));
            let store = Options::new().open_on(with(disk.0.live())).unwrap();
            let steps = store.run::<Counter>("run").unwrap().steps();
            assert!(steps == 1 + done || steps == 2 + done, "{steps} after {done}");
        });
    }
}

/// A flush that fails behind a cache that, like Linux, forgets what it could not flush: reads still
/// see it, the next flush does not write it.
fn forgotten(sync: u64) -> Fault {
    Fault::of(Call::Sync, sync).effect(Effect::Forgotten).once()
}

/// A store whose last commit failed in its flush, and the number of that commit.
fn failed_in_its_flush() -> (Arc<SimDisk>, milepost::CommitSeq) {
    let disk = Arc::new(SimDisk::default());
    let store = Options::new().create_on(disk.clone()).unwrap();
    let mut run = store.run::<Counter>("run").unwrap();
    // So many that a later commit does not write all of this one's pages anew.
    run.batch((100..2_000).map(|n| (key_of(n), 0, n)), |_, n| Ok(n)).unwrap();
    disk.arm([forgotten(0)]);
    let ErrorKind::Uncertain(seq) = kind(count(&mut run, 4)) else { panic!() };
    (disk, seq)
}

/// Works on after the failure, and then compares with what a power cut leaves.
fn holds_after_a_power_cut(disk: &Arc<SimDisk>, seq: milepost::CommitSeq) {
    let store = Options::new().open_on(disk.clone()).unwrap();
    let resolution = store.resolve(seq).unwrap();
    let mut run = store.run::<Counter>("run").unwrap();
    count(&mut run, 5_000).unwrap();
    let steps = run.steps();

    let store = Options::new()
        .open_on(with(disk.durable()))
        .unwrap_or_else(|error| panic!("{resolution:?}, and then: {error}"));
    assert_eq!(store.resolve(seq).unwrap(), resolution);
    let mut run = store.run::<Counter>("run").unwrap();
    assert_eq!(run.steps(), steps);
    let known = seen(&mut run, &key_of(4)).unwrap();
    assert_eq!(known.is_some(), resolution == Resolution::Committed);
}

/// Against: "committed", said of a commit that is in the cache alone, because a failed flush is not
/// made up for by a later good one.
#[test]
fn what_resolve_calls_committed_survives_a_power_cut() {
    let (disk, seq) = failed_in_its_flush();
    holds_after_a_power_cut(&disk, seq);
}

/// Against: the same when the flushes of the next openings fail too, at any place.
#[test]
fn what_resolve_calls_committed_survives_a_power_cut_also_after_more_failing_flushes() {
    for after in 0..8 {
        let (disk, seq) = failed_in_its_flush();
        disk.arm([forgotten(after)]);
        if let Err(error) = Options::new().open_on(disk.clone()) {
            assert_eq!(error.kind(), ErrorKind::Io, "{error}");
        }
        disk.arm([]);
        // What is there after a power cut now is one or the other, and no ruin.
        let store = Options::new().open_on(with(disk.durable())).unwrap();
        let steps = store.run::<Counter>("run").unwrap().steps();
        assert!(steps == 1_900 || steps == 1_901, "{steps}");
        holds_after_a_power_cut(&disk, seq);
    }
}
