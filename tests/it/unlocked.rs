//! Code of the user's never runs under a lock of the store: closures, `Serialize`, `Deserialize`,
//! `Default`, `Drop`, `validate`, migrations, receivers, clocks and wakers may take their time, wait for
//! other threads, and call the store.
//!
//! Against: a closure that waited for a thread which claimed a key on the same store, and hung for
//! ever, and all other callers with it; so did parallel iterators in closures, whose pool gives a
//! thread that waits another task to do, which then calls the store.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Barrier, Mutex, mpsc};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::Duration;

use milepost::testing::{Call, SimDisk, import_savepoint_bytes, savepoint_bytes};
use milepost::{
    Claimed, Clock, Delivery, Done, Endpoint, ErrorKind, Key, Labels, Limits, Migrations, Options,
    Probe, SavepointOptions, Sent, Store, SystemClock, Timestamp, Topic, Versioned,
};
use rayon::prelude::*;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::support::{Counter, clock, count, key_of, kind, on_disk, second, seen, within};

const T: Topic<u64, u64> = Topic::new("t");
const CALLERS: Topic<Calls, Calls> = Topic::new("t");

#[test]
fn a_closure_may_wait_for_a_thread_that_calls_the_store() {
    within(second(20), || {
        let store = Store::in_memory().unwrap();
        let mut run = store.run::<Counter>("run").unwrap();
        let other = store.clone();
        let done = run.step("k", 1, |tx| {
            tx.state.sum = 3;
            let claimed = thread::spawn(move || other.claim::<u8>("s", "k", &1u8));
            assert!(matches!(claimed.join().unwrap()?, Claimed::Fresh(_)));
            Ok(())
        });
        assert_eq!(done.unwrap(), Done::Fresh(()));
        assert_eq!((run.state().sum, run.steps()), (3, 1));
    });
}

fn work(x: u64) -> u64 {
    (0..200u64).fold(x, |hash, i| std::hint::black_box(hash.wrapping_mul(31).wrapping_add(i)))
        % 1_000
}

/// Steps of so many runs as tasks of a pool, whose closures are parallel work on the same pool.
fn parallel_runs(runs: u64, inside: impl Fn() -> u64 + Sync) {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(8).stack_size(64 << 20).build().unwrap();
    let store = Store::in_memory().unwrap();
    pool.install(|| {
        (0..runs).into_par_iter().for_each(|i| {
            let mut run = store.run::<Counter>(&format!("symbol-{i}")).unwrap();
            for n in 1..=3 {
                run.step(key_of(n), n, |tx| {
                    tx.state.sum = inside();
                    Ok(())
                })
                .unwrap();
            }
        });
    });
    for i in 0..runs {
        assert_eq!(store.run::<Counter>(&format!("symbol-{i}")).unwrap().steps(), 3);
    }
}

#[test]
fn parallel_iterators_in_closures_of_parallel_tasks_come_to_an_end() {
    within(second(100), || {
        parallel_runs(100, || (0..3_000u64).into_par_iter().map(work).sum());
        parallel_runs(100, || {
            let piece = |x: u32| (0..40).map(|y| work(u64::from(x) + y)).sum::<u64>();
            (0..64u32).into_par_iter().with_max_len(1).map(piece).sum()
        });
    });
}

/// Against: closures of different runs that wait for one another's end.
#[test]
fn closures_of_eight_runs_are_inside_at_once() {
    within(second(20), || {
        let store = Store::in_memory().unwrap();
        let all_are_inside = Barrier::new(8);
        thread::scope(|scope| {
            for i in 0..8u64 {
                let (store, all_are_inside) = (&store, &all_are_inside);
                scope.spawn(move || {
                    let mut run = store.run::<Counter>(&format!("run-{i}")).unwrap();
                    let meet = |tx: &mut milepost::Tx<'_, Counter>| {
                        all_are_inside.wait();
                        tx.state.sum += 1;
                        Ok(())
                    };
                    run.step("step", 1, meet).unwrap();
                    run.submit("submit", 2, meet).unwrap().wait().unwrap();
                    run.batch([("batch", 3, ())], |tx, ()| meet(tx)).unwrap();
                    assert_eq!(run.state().sum, 3);
                });
            }
        });
    });
}

/// Against: a slow closure that delays reads, acknowledgements, or steps of other runs.
#[test]
fn a_closure_that_does_not_return_delays_nobody() {
    within(second(30), || {
        let (_disk, store) = on_disk(&Options::new().in_flight(4, 1 << 20));
        let (entered, is_inside) = mpsc::channel();
        let (leave, may_leave) = mpsc::channel::<()>();
        let mut slow = store.run::<Counter>("slow").unwrap();
        count(&mut slow, 1).unwrap();
        let stuck = thread::spawn(move || {
            slow.step("stuck", 2, |tx| {
                tx.state.sum = 99;
                tx.emit(&T, &1u64)?;
                entered.send(()).unwrap();
                may_leave.recv().unwrap();
                Ok(())
            })
            .unwrap();
            slow.state().sum
        });
        is_inside.recv().unwrap();
        let mut run = store.run::<Counter>("run").unwrap();
        for n in 1..=20 {
            count(&mut run, n).unwrap();
        }
        let pending: Vec<_> =
            (21..=60).map(|n| run.submit(key_of(n), n, |_| Ok(())).unwrap()).collect();
        for pending in pending {
            pending.wait().unwrap();
        }
        let Claimed::Fresh(claim) = store.claim::<u8>("s", "k", &1u8).unwrap() else { panic!() };
        claim.complete(&1).unwrap();
        assert!(store.intents().outstanding("t", 9).unwrap().is_empty());
        assert_eq!(store.inspect_run("slow").unwrap().steps, 1);
        store.checkpoints().save("slow", &Labels::new()).unwrap();
        assert!(store.verify().unwrap().is_sound());
        leave.send(()).unwrap();
        assert_eq!(stuck.join().unwrap(), 99);
        assert_eq!(store.intents().outstanding("t", 9).unwrap().len(), 1);
    });
}

static STORE: Mutex<Option<Store>> = Mutex::new(None);
static CALLED: Mutex<BTreeSet<&str>> = Mutex::new(BTreeSet::new());
static CALLS: AtomicU64 = AtomicU64::new(0);

thread_local! {
    static IS_THE_OTHER: Cell<bool> = const { Cell::new(false) };
}

/// Waits for another thread that calls the store.
fn wait_for_a_call(from: &'static str) {
    let store = STORE.lock().unwrap().clone();
    let Some(store) = store.filter(|_| !IS_THE_OTHER.get()) else { return };
    CALLED.lock().unwrap().insert(from);
    let call = thread::spawn(move || {
        IS_THE_OTHER.set(true);
        let key = CALLS.fetch_add(1, Ordering::Relaxed).to_string();
        let Claimed::Fresh(claim) = store.claim::<u8>("hook", key, &1u8).unwrap() else { panic!() };
        claim.submit_complete(&1).unwrap().wait().unwrap();
        store.newest_commit().unwrap();
        store.recovery().unwrap();
    });
    call.join().unwrap();
}

/// A value all of whose code waits for a call on the store.
#[derive(PartialEq, Debug)]
struct Calls(u64);

impl Default for Calls {
    fn default() -> Self {
        wait_for_a_call("default");
        Self(0)
    }
}

impl Drop for Calls {
    fn drop(&mut self) {
        wait_for_a_call("drop");
    }
}

impl Serialize for Calls {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        wait_for_a_call("serialize");
        serializer.serialize_u64(self.0)
    }
}

impl<'de> Deserialize<'de> for Calls {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        wait_for_a_call("deserialize");
        u64::deserialize(deserializer).map(Self)
    }
}

impl Versioned for Calls {
    const NAME: &'static str = "calls";
    const VERSION: u32 = 2;

    fn validate(&self) -> Result<(), String> {
        wait_for_a_call("validate");
        Ok(())
    }
}

#[derive(Default, Serialize, Deserialize)]
struct Old(u32);

impl Versioned for Old {
    const NAME: &'static str = "calls";
    const VERSION: u32 = 1;
}

struct CallingClock;

impl Clock for CallingClock {
    fn now(&self) -> Timestamp {
        wait_for_a_call("clock");
        SystemClock.now()
    }

    fn elapsed(&self) -> Duration {
        SystemClock.elapsed()
    }
}

struct CallingReceiver;

impl Endpoint<Calls, Calls> for CallingReceiver {
    fn call(&mut self, delivery: &Delivery<Calls>) -> Sent<Calls> {
        wait_for_a_call("send");
        match delivery.payload.0 {
            1 => Sent::Confirmed(Calls(10)),
            _ => Sent::Ambiguous("a timeout".into()),
        }
    }

    fn probe(&mut self, delivery: &Delivery<Calls>) -> Probe<Calls> {
        wait_for_a_call("probe");
        if delivery.payload.0 == 2 { Probe::Applied(Calls(20)) } else { Probe::Unknown }
    }
}

/// Against: any piece of the user's code that is called under a lock, wherever that is: it would wait
/// for ever for a thread that waits for the lock.
#[test]
fn every_piece_of_the_users_code_may_wait_for_a_call_on_the_store() {
    within(second(100), || {
        let store = Options::new().clock(CallingClock).in_memory().unwrap();
        store.run::<Old>("old").unwrap();
        store.run::<Old>("older").unwrap();
        *STORE.lock().unwrap() = Some(store.clone());
        let mut run = store.run::<Calls>("run").unwrap();
        let step = |tx: &mut milepost::Tx<'_, Calls>| {
            wait_for_a_call("closure");
            tx.state.0 += 1;
            let number = tx.state.0;
            tx.put("row", &Calls(number))?;
            assert_eq!(tx.get::<Calls>("row")?, Some(Calls(number)));
            tx.emit(&CALLERS, &Calls(number))?;
            tx.checkpoint(Labels::new())?;
            Ok(Calls(7))
        };
        for again in [false, true] {
            assert_eq!(run.step("step", 1, step).unwrap().is_fresh(), !again);
            assert_eq!(run.submit("submit", 2, step).unwrap().wait().unwrap().is_fresh(), !again);
            run.batch([("batch", 3, ()), ("batch", 3, ())], |tx, ()| step(tx)).unwrap();
        }
        let refused = run.step("refused", 4, |tx| {
            tx.state.0 = 9;
            Err::<(), _>(milepost::Error::abort("no"))
        });
        assert_eq!((kind(refused), run.state().0), (ErrorKind::Aborted, 3));
        let id = store.checkpoints().latest("run").unwrap().unwrap().id;
        assert_eq!(store.checkpoints().load::<Calls>(&id).unwrap(), Calls(3));
        let mut relay = store.relay(&CALLERS);
        relay.deliver(&mut CallingReceiver).unwrap();
        let left = store.intents().outstanding("t", 9).unwrap();
        relay = relay.on_unknown(milepost::OnUnknown::Hold);
        relay.deliver(&mut CallingReceiver).unwrap();
        let last = &left.last().unwrap().id;
        store.intents().confirm(last, Some(&Calls(30)), "asked").unwrap();
        for _ in 0..2 {
            match store.claim::<Calls>("s", "k", &Calls(1)).unwrap() {
                Claimed::Fresh(claim) => claim.complete(&Calls(2)).unwrap(),
                claimed => assert!(matches!(claimed, Claimed::Done(Calls(2)))),
            }
        }
        let migrations = Migrations::new().step(|old: Old| {
            wait_for_a_call("migration");
            Ok(Calls(old.0.into()))
        });
        store.open_run::<Calls>("old").init(Calls::default).migrations(&migrations).open().unwrap();
        store.migrate(&migrations).on_progress(|_| wait_for_a_call("progress")).run().unwrap();
        drop(run);
        assert_eq!(store.run::<Calls>("run").unwrap().state().0, 3);
        *STORE.lock().unwrap() = None;
        let all = [
            "clock",
            "closure",
            "default",
            "deserialize",
            "drop",
            "migration",
            "probe",
            "progress",
            "send",
            "serialize",
            "validate",
        ];
        assert_eq!(*CALLED.lock().unwrap(), BTreeSet::from(all));
        assert!(store.verify().unwrap().is_sound());
    });
}

struct CallsTheStore(Store, mpsc::Sender<()>);

impl Wake for CallsTheStore {
    fn wake(self: Arc<Self>) {
        // As an executor that polls in the waker does.
        drop(self.0.claim::<u8>("waker", "k", &1u8).unwrap());
        self.1.send(()).unwrap();
    }
}

struct Panics;

impl Wake for Panics {
    fn wake(self: Arc<Self>) {
        panic!("a waker of somebody's");
    }
}

/// Against: the waker of one caller that takes the answer from the others, or waits for ever.
#[test]
fn a_waker_may_call_the_store_and_one_that_panics_harms_no_other_caller() {
    within(second(30), || {
        let disk = Arc::new(SimDisk::default());
        disk.slow_down(Call::Sync, Duration::from_millis(50));
        let store = Options::new().create_on(disk).unwrap();
        let mut run = store.run::<Counter>("run").unwrap();
        let mut pending = pin!(run.submit("a", 1, |_| Ok(())).unwrap());
        let (woken, is_woken) = mpsc::channel();
        let wakers: [Waker; 2] =
            [Arc::new(Panics).into(), Arc::new(CallsTheStore(store.clone(), woken)).into()];
        let polled: Vec<_> = wakers
            .iter()
            .map(|waker| pending.as_mut().poll(&mut Context::from_waker(waker)).is_pending())
            .collect();
        assert_eq!(polled, [true, true]);
        is_woken.recv().unwrap();
        let ready = pending.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        assert!(matches!(ready, Poll::Ready(Ok(Done::Fresh(())))));
        drop(store.claim::<u8>("s", "after", &1u8).unwrap());
    });
}

/// Against: a savepoint of a state from before a step, with a number as if it came after the effects
/// of the step: an import of it would send them again.
#[test]
fn a_checkpoint_saved_inside_a_step_counts_as_before_the_effects_of_the_step() {
    within(second(20), || {
        let store = Store::in_memory().unwrap();
        let mut run = store.run::<Counter>("run").unwrap();
        run.step("before", 1, |tx| tx.emit(&T, &1u64)).unwrap();
        let inside = store.clone();
        let id = run
            .step("k", 2, |tx| {
                tx.emit(&T, &2u64)?;
                let checkpoints = inside.checkpoints();
                let id = checkpoints.save("run", &Labels::new().with("why", "inside"))?;
                let other = checkpoints.save("run", &Labels::new().with("why", "again"));
                assert_eq!(kind(other), ErrorKind::Conflict);
                tx.checkpoint(Labels::new())?;
                Ok(id.to_string())
            })
            .unwrap()
            .into_outcome()
            .parse()
            .unwrap();
        drop(run);
        assert_ne!(store.checkpoints().latest("run").unwrap().unwrap().id, id);
        assert!(store.verify().unwrap().is_sound());
        let savepoint = savepoint_bytes(&store.checkpoints(), &id, false).unwrap();
        let replace = SavepointOptions::new().replace();
        let imported = import_savepoint_bytes(&store, &savepoint, &replace).unwrap();
        assert!(imported.changed && imported.must_reconcile);
    });
}

/// Against: a key that is forgotten while its step is still under way.
#[test]
fn the_life_of_a_key_counts_from_the_end_of_its_closure() {
    let clock = clock();
    let store = Options::new().clock(clock.clone()).in_memory().unwrap();
    let mut run = store.run::<Counter>("run").unwrap();
    let key = || Key::new("k").expires_after(second(10));
    run.step(key(), 1, |_| {
        clock.advance(second(60));
        Ok(7u64)
    })
    .unwrap();
    clock.advance(second(9));
    count(&mut run, 2).unwrap();
    assert_eq!(seen(&mut run, "k").unwrap(), Some(7));
    clock.advance(second(2));
    count(&mut run, 3).unwrap();
    assert_eq!(seen(&mut run, "k").unwrap(), None);
}

/// Against: a batch that takes items for ever, since nothing of it is planned before the last one.
#[test]
fn an_endless_batch_ends_at_the_limit_and_writes_nothing() {
    within(second(20), || {
        let limits = Limits { rows_per_step: 100, ..Limits::default() };
        let store = Options::new().limits(limits).in_memory().unwrap();
        let mut run = store.run::<Counter>("run").unwrap();
        let batch = run.batch((1u64..).map(|n| (key_of(n), n, n)), |tx, n| {
            tx.state.sum += n;
            Ok(())
        });
        assert_eq!(kind(batch), ErrorKind::LimitExceeded);
        assert_eq!((run.steps(), run.state().sum), (0, 0));
        count(&mut run, 1).unwrap();
    });
}
