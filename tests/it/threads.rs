//! Many callers at once: each gets the answer that is true for it.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use milepost::testing::{Call, Effect, Fault, Rng, SimDisk};
use milepost::{
    Claimed, Done, Error, ErrorKind, MemoryDisk, Options, Resolution, Result, Store, Topic,
};

use crate::support::{
    Counter, ORDERS, count, key_of, kind, on_disk, open_bytes, second, seen, within,
};

const LEFT: Topic<u64, u64> = Topic::new("left");
const RIGHT: Topic<u64, u64> = Topic::new("right");

const THREADS: u64 = 8;

fn slow_disk() -> Arc<SimDisk> {
    let disk = Arc::new(SimDisk::default());
    disk.slow_down(Call::Sync, Duration::from_millis(1));
    disk
}

/// Against: a caller that is never woken, and one that is told "durable" for another one's commit.
#[test]
fn many_threads_step_claim_and_read_at_once_and_all_that_was_acknowledged_is_there() {
    within(second(60), || {
        let disk = slow_disk();
        let store = Options::new().create_on(disk.clone()).unwrap();
        std::thread::scope(|scope| {
            for thread in 0..THREADS {
                let store = &store;
                let disk = &disk;
                scope.spawn(move || {
                    let mut run = store.run::<Counter>(&format!("run-{thread}")).unwrap();
                    for n in 1..=20 {
                        count(&mut run, n).unwrap();
                        if n % 10 == 0 {
                            // What was acknowledged to this thread is on disk now, not later.
                            let there = open_bytes(&disk.durable().to_vec()).unwrap();
                            let name = format!("run-{thread}");
                            assert!(there.run::<Counter>(&name).unwrap().steps() >= n);
                        }
                        let claimed = store.claim::<u64>("s", format!("{thread}-{n}"), &n).unwrap();
                        let Claimed::Fresh(claim) = claimed else { panic!("{claimed:?}") };
                        claim.complete(&n).unwrap();
                        let again = run.step(key_of(n), n, |_| -> Result<u64> { panic!() });
                        assert_eq!(again.unwrap(), Done::Duplicate(n * (n + 1) / 2));
                        assert!(store.recovery().unwrap().claims_in_doubt.len() < 8);
                    }
                });
            }
        });
        let store = open_bytes(&disk.durable().to_vec()).unwrap();
        for thread in 0..THREADS {
            let mut run = store.run::<Counter>(&format!("run-{thread}")).unwrap();
            assert_eq!(run.state().seen, (1..=20).collect::<Vec<_>>());
            assert_eq!(seen(&mut run, &key_of(20)).unwrap(), Some(210));
            for n in 1..=20 {
                let claimed = store.claim::<u64>("s", format!("{thread}-{n}"), &n).unwrap();
                assert!(matches!(claimed, Claimed::Done(outcome) if outcome == n));
            }
        }
    });
}

/// Against: a step whose closure fails or panics, and takes those it shares a commit with along.
#[test]
fn a_closure_that_fails_or_panics_costs_the_other_threads_nothing() {
    within(second(60), || {
        let disk = slow_disk();
        let store = Options::new().create_on(disk.clone()).unwrap();
        std::thread::scope(|scope| {
            for thread in 0..THREADS {
                let store = &store;
                scope.spawn(move || {
                    let mut run = store.run::<Counter>(&format!("run-{thread}")).unwrap();
                    for n in 1..=30 {
                        let good = || count_or(n, thread);
                        match good() {
                            None => drop(count(&mut run, n).unwrap()),
                            Some(true) => {
                                let panicked = catch_unwind(AssertUnwindSafe(|| {
                                    run.step("bad", n, |tx| -> Result<()> {
                                        tx.state.sum = 0;
                                        panic!("the closure")
                                    })
                                }));
                                assert!(panicked.is_err());
                            }
                            Some(false) => {
                                let refused = run.step("bad", n, |tx| -> Result<()> {
                                    tx.state.sum = 0;
                                    Err(Error::abort("no"))
                                });
                                assert_eq!(kind(refused), ErrorKind::Aborted);
                            }
                        }
                    }
                });
            }
        });
        let store = open_bytes(&disk.durable().to_vec()).unwrap();
        for thread in 0..THREADS {
            let run = store.run::<Counter>(&format!("run-{thread}")).unwrap();
            let good: Vec<_> = (1..=30).filter(|n| count_or(*n, thread).is_none()).collect();
            assert_eq!(run.state().seen, good);
            assert_eq!(run.state().sum, good.iter().sum::<u64>());
        }
    });
}

/// Whether a step is to go wrong, and by a panic.
fn count_or(n: u64, thread: u64) -> Option<bool> {
    match (n + thread) % 5 {
        0 => Some(true),
        1 => Some(false),
        _ => None,
    }
}

/// Against: a failing commit whose members are told different things, or of which the ones that were
/// only waiting behind it are told "perhaps".
#[test]
fn when_the_disk_fails_each_thread_is_told_the_truth_about_its_own_step() {
    for at in [1, 4, 9, 16, 25, 36, 49, 64] {
        within(second(60), move || {
            let disk = slow_disk();
            let store = Options::new().create_on(disk.clone()).unwrap();
            let mut runs: Vec<_> = (0..THREADS)
                .map(|thread| store.run::<Counter>(&format!("run-{thread}")).unwrap())
                .collect();
            let effect = if at % 2 == 0 { Effect::Half } else { Effect::Nothing };
            disk.arm(Some(Fault { nth: at, effect, ..Fault::at(at) }));
            let ends: Vec<(u64, Error)> = std::thread::scope(|scope| {
                let workers: Vec<_> = runs
                    .iter_mut()
                    .map(|run| {
                        scope.spawn(move || {
                            for n in 1.. {
                                if let Err(error) = count(run, n) {
                                    return (n - 1, error);
                                }
                            }
                            unreachable!()
                        })
                    })
                    .collect();
                workers.into_iter().map(|worker| worker.join().unwrap()).collect()
            });
            drop((runs, store));
            let mut rng = Rng::new(at);
            for bytes in
                [disk.live().to_vec(), disk.durable().to_vec(), disk.cut_somehow(&mut rng).to_vec()]
            {
                let store = open_bytes(&bytes).unwrap();
                for (thread, (done, end)) in ends.iter().enumerate() {
                    let run = store.run::<Counter>(&format!("run-{thread}")).unwrap();
                    let expected = match end.kind() {
                        ErrorKind::Uncertain(seq) => match store.resolve(seq).unwrap() {
                            Resolution::Committed => done + 1,
                            Resolution::NotCommitted => *done,
                        },
                        ErrorKind::Poisoned | ErrorKind::Io => *done,
                        kind => panic!("{kind:?} {end}"),
                    };
                    assert_eq!(run.steps(), expected, "fault at {at}, thread {thread}: {end}");
                }
            }
        });
    }
}

/// Against: a close that never comes to its end while others keep working, or that cuts off what it
/// had promised to wait for.
#[test]
fn a_close_in_the_middle_comes_to_its_end_and_loses_nothing() {
    for round in 0..4 {
        let disk = slow_disk();
        let store = Options::new().create_on(disk.clone()).unwrap();
        let give_up = AtomicBool::new(false);
        let (closed, acknowledged) = std::thread::scope(|scope| {
            let workers: Vec<_> = (0..THREADS)
                .map(|thread| {
                    let (store, give_up) = (store.clone(), &give_up);
                    scope.spawn(move || {
                        let mut run = store.run::<Counter>(&format!("run-{thread}")).ok()?;
                        for n in (1..).take_while(|_| !give_up.load(Ordering::SeqCst)) {
                            if let Err(error) = run.step(key_of(n), n, |_| Ok(())) {
                                assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
                                break;
                            }
                        }
                        Some(run.steps())
                    })
                })
                .collect();
            std::thread::sleep(Duration::from_millis(5 + round));
            let (done, wait) = std::sync::mpsc::channel();
            let closing = store.clone();
            scope.spawn(move || done.send(closing.close()));
            let closed = wait.recv_timeout(second(3));
            give_up.store(true, Ordering::SeqCst);
            let steps: Vec<_> = workers.into_iter().map(|worker| worker.join().unwrap()).collect();
            (closed, steps)
        });
        closed.expect("still closing after 3 s, because others go on").unwrap();
        let store = open_bytes(&disk.durable().to_vec()).unwrap();
        assert!(store.was_closed_in_order());
        for (thread, steps) in acknowledged.into_iter().enumerate() {
            let run = store.run::<Counter>(&format!("run-{thread}")).unwrap();
            assert_eq!(run.steps(), steps.unwrap_or(0), "thread {thread}");
        }
    }
}

/// Against: two handles on one run, taken at the same moment.
#[test]
fn of_many_threads_that_open_one_run_exactly_one_does() {
    let store = Store::in_memory().unwrap();
    for _ in 0..20 {
        let start = std::sync::Barrier::new(8);
        let opened: Vec<_> = std::thread::scope(|scope| {
            let workers: Vec<_> = (0..8)
                .map(|_| {
                    scope.spawn(|| {
                        start.wait();
                        store.run::<Counter>("run")
                    })
                })
                .collect();
            workers.into_iter().map(|worker| worker.join().unwrap()).collect()
        });
        assert_eq!(opened.iter().filter(|run| run.is_ok()).count(), 1);
    }
}

/// Against: reads outside steps that see what is not durable, or half of a step.
#[test]
fn reads_outside_steps_see_whole_durable_steps_alone() {
    within(second(60), || {
        let disk = slow_disk();
        let store = Options::new().create_on(disk.clone()).unwrap();
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut run = store.run::<Counter>("run").unwrap();
                for n in 1..=60 {
                    run.step(key_of(n), n, |tx| {
                        tx.emit(&LEFT, &n)?;
                        tx.emit(&RIGHT, &n)
                    })
                    .unwrap();
                }
                done.store(true, Ordering::SeqCst);
            });
            while !done.load(Ordering::SeqCst) {
                let recovery = store.recovery().unwrap();
                let durable = open_bytes(&disk.durable().to_vec()).unwrap().recovery().unwrap();
                let seen = recovery.intents_prepared.len();
                assert_eq!(seen % 2, 0, "half of a step");
                assert!(seen <= durable.intents_prepared.len(), "not durable yet");
            }
        });
    });
}

/// Against: "done", said on the strength of somebody else's commit that a power cut may still undo.
#[test]
fn an_answer_that_rests_on_anothers_commit_waits_until_that_is_durable() {
    within(second(60), || {
        let disk = Arc::new(SimDisk::default());
        let store = Options::new().create_on(disk.clone()).unwrap();
        disk.slow_down(Call::Sync, Duration::from_millis(10));
        for round in 0..8u64 {
            let key = key_of(round);
            let ask = |store: &Store| store.claim::<u64>("s", &*key, &1).unwrap();
            let Claimed::Fresh(claim) = ask(&store) else { panic!() };
            std::thread::scope(|scope| {
                scope.spawn(|| claim.complete(&round).unwrap());
                let answer = loop {
                    match ask(&store) {
                        Claimed::InFlight { .. } => {}
                        other => break other,
                    }
                };
                assert!(matches!(answer, Claimed::Done(outcome) if outcome == round));
                let there = ask(&open_bytes(&disk.durable().to_vec()).unwrap());
                assert!(matches!(there, Claimed::Done(_)), "{there:?} after a power cut");
            });
        }
    });
}

/// Against: a step that is planned on what is durable, and not on the steps before it that are still
/// on their way to the disk.
#[test]
fn a_step_sees_the_steps_before_it_that_are_still_on_their_way() {
    within(second(60), || {
        let disk = Arc::new(SimDisk::default());
        let store = Options::new().create_on(disk.clone()).unwrap();
        let mut run = store.run::<Counter>("run").unwrap();
        disk.slow_down(Call::Sync, Duration::from_millis(20));
        let mut pending = Vec::new();
        for n in 1..=60u64 {
            let step = run.submit(key_of(n), n, |tx| {
                let before: u64 = tx.get("chain")?.unwrap_or(0);
                assert_eq!(before, n - 1, "the row that the step before has written");
                tx.put("chain", &n)?;
                tx.state.sum += n;
                Ok(n)
            });
            pending.push(step.unwrap());
            let again = run.submit(key_of(n), n, |_| -> Result<u64> { panic!("a known key") });
            pending.push(again.unwrap());
            // So that some stand in the open group, and some are in flight.
            std::thread::sleep(Duration::from_millis(n % 4));
        }
        for (nth, pending) in pending.into_iter().enumerate() {
            let n = nth as u64 / 2 + 1;
            let expected = if nth % 2 == 0 { Done::Fresh(n) } else { Done::Duplicate(n) };
            assert_eq!(pending.wait().unwrap(), expected);
        }
        let store = open_bytes(&disk.durable().to_vec()).unwrap();
        assert_eq!(store.run::<Counter>("run").unwrap().state().sum, 60 * 61 / 2);
    });
}

/// Against: an answer that comes before its commit is durable, or never.
#[test]
fn a_submitted_step_is_there_for_who_asks_and_for_who_awaits_once_it_is_durable() {
    within(second(60), || {
        let disk = Arc::new(SimDisk::default());
        let store = Options::new().create_on(disk.clone()).unwrap();
        let mut run = store.run::<Counter>("run").unwrap();
        disk.hold_syncs();
        let mut asked = run.submit("a", 1, |_| Ok(1u64)).unwrap();
        assert!(disk.wait_for_held_sync());
        let mut awaited = pin!(run.submit("b", 2, |_| Ok(2u64)).unwrap());
        let (waker, woken) = Woken::pair();
        let mut context = Context::from_waker(&waker);
        assert!(asked.try_wait().is_none());
        assert!(awaited.as_mut().poll(&mut context).is_pending());
        disk.release_syncs();
        woken.recv().unwrap();
        let Poll::Ready(answer) = awaited.as_mut().poll(&mut context) else { panic!("not there") };
        assert_eq!(answer.unwrap(), Done::Fresh(2));
        assert_eq!(asked.try_wait().unwrap().unwrap(), Done::Fresh(1));
        // The value is handed out once.
        assert_eq!(kind(asked.try_wait().unwrap()), ErrorKind::Invalid);
        assert_eq!(kind(asked.wait()), ErrorKind::Invalid);
        // What was durable before it was asked for needs no commit.
        let mut again = pin!(run.submit("a", 1, |_| -> Result<u64> { panic!("known") }).unwrap());
        let Poll::Ready(again) = again.as_mut().poll(&mut context) else { panic!("not there") };
        assert_eq!(again.unwrap(), Done::Duplicate(1));
    });
}

/// Against: an answer of success for a commit that failed.
#[test]
fn a_submitted_step_whose_commit_fails_says_so_to_who_asks_and_to_who_awaits() {
    within(second(60), || {
        let disk = Arc::new(SimDisk::default());
        let store = Options::new().create_on(disk.clone()).unwrap();
        let mut run = store.run::<Counter>("run").unwrap();
        // The first outcome brings its schema, and the file may grow.
        run.step("first", 0, |_| Ok(1u64)).unwrap();
        disk.arm([Fault::of(Call::Sync, 0)]);
        let mut asked = run.submit("a", 1, |_| Ok(1u64)).unwrap();
        let fate = loop {
            if let Some(fate) = asked.try_wait() {
                break kind(fate);
            }
            std::thread::yield_now();
        };
        assert!(matches!(fate, ErrorKind::Uncertain(_)), "{fate:?}");
        let Poll::Ready(awaited) = pin!(asked).poll(&mut Context::from_waker(Waker::noop())) else {
            panic!("it failed a while ago");
        };
        assert_eq!(kind(awaited), fate);
    });
}

/// Tells a channel.
struct Woken(mpsc::Sender<()>);

impl Woken {
    fn pair() -> (Waker, mpsc::Receiver<()>) {
        let (tell, told) = mpsc::channel();
        (Arc::new(Self(tell)).into(), told)
    }
}

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        let _ = self.0.send(());
    }
}

/// Against: two types that are first written in one commit, under one number.
#[test]
fn types_that_many_threads_write_first_at_once_are_told_apart() {
    macro_rules! types {
        ($($type:ident $name:literal)*) => {$(
            #[derive(Default, serde::Serialize, serde::Deserialize)]
            struct $type(u64);
            impl milepost::Versioned for $type {
                const NAME: &'static str = $name;
                const VERSION: u32 = 1;
            }
        )*};
    }
    types!(A "a" B "b" C "c" D "d");
    fn open<S>(store: &Store, name: &str)
    where
        S: milepost::Versioned + Default + serde::Serialize + serde::de::DeserializeOwned + 'static,
    {
        let mut run = store.run::<S>(name).unwrap();
        run.step("k", 1, |_| Ok(())).unwrap();
    }
    let disk = slow_disk();
    let store = Options::new().create_on(disk.clone()).unwrap();
    let all = [open::<A>, open::<B>, open::<C>, open::<D>];
    std::thread::scope(|scope| {
        for (n, open) in all.into_iter().cycle().take(16).enumerate() {
            let store = &store;
            scope.spawn(move || open(store, &n.to_string()));
        }
    });
    let store = open_bytes(&disk.durable().to_vec()).unwrap();
    for (n, open) in all.into_iter().cycle().take(16).enumerate() {
        open(&store, &n.to_string());
    }
}

/// Against: a store in memory that differs from one on a disk when many use it.
#[test]
fn dropping_handles_in_many_threads_closes_once_and_in_order() {
    let (disk, store) = on_disk(&Options::new());
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let store = store.clone();
            scope.spawn(move || {
                let mut run = store.run::<Counter>(&format!("run-{thread}")).unwrap();
                drop(store);
                count(&mut run, 1).unwrap();
            });
        }
        drop(store);
    });
    let store = Options::new().open_on(Arc::new(MemoryDisk::from_bytes(disk.to_bytes()))).unwrap();
    assert!(store.was_closed_in_order());
    for thread in 0..THREADS {
        assert_eq!(store.run::<Counter>(&format!("run-{thread}")).unwrap().steps(), 1);
    }
}

/// Against: a claim or an intent that is told to be in doubt because it was settled while somebody
/// looked.
#[test]
fn what_somebody_is_settling_is_never_told_to_be_in_doubt() {
    struct Shop;
    impl milepost::Endpoint<u64, u64> for Shop {
        fn call(&mut self, delivery: &milepost::Delivery<u64>) -> milepost::Sent<u64> {
            milepost::Sent::Confirmed(delivery.payload)
        }
    }
    within(second(60), || {
        let store = Store::in_memory().unwrap();
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut run = store.run::<Counter>("run").unwrap();
                let relay = store.relay(&ORDERS);
                for n in 1..=400u64 {
                    let Ok(Claimed::Fresh(claim)) = store.claim::<u64>("s", key_of(n), &n) else {
                        panic!()
                    };
                    claim.complete(&n).unwrap();
                    run.step(key_of(n), n, |tx| tx.emit(&ORDERS, &n)).unwrap();
                    relay.deliver(&mut Shop).unwrap();
                }
                over.store(true, Ordering::SeqCst);
            });
            while !over.load(Ordering::SeqCst) {
                let recovery = store.recovery().unwrap();
                assert_eq!(recovery.claims_in_doubt, []);
                assert_eq!(recovery.intents_in_doubt, []);
                for intent in store.intents().outstanding("orders", 9).unwrap() {
                    let doubt = matches!(intent.state, milepost::IntentState::InDoubt { .. });
                    assert!(!doubt, "{intent:?}");
                }
            }
        });
    });
}
