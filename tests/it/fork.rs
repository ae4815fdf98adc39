//! The handle in a forked child: every call on it is refused, and its end changes nothing.
//!
//! Each test starts this binary again, and that process forks: a child of a test binary with many
//! threads is no place for a test.

use std::future::Future;
use std::os::unix::process::CommandExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::pin::pin;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use milepost::testing::SimDisk;
use milepost::{
    CheckpointFilter, Claimed, Delivery, Endpoint, ErrorKind, Labels, Options, Result, Sent, Store,
    verify,
};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, alarm, getppid};

use crate::support::{Child, Counter, ORDERS, count, kind, say, wait_to_be_killed};

/// A child that hangs is killed by the alarm, after so many seconds.
const PATIENCE_SECONDS: u32 = 60;

/// Forks; the child does `work` and ends as a program does that leaves `main`.
fn fork(work: impl FnOnce()) -> Pid {
    #[allow(
        unsafe_code,
        reason = "there is no safe fork; the child makes no call it could not make"
    )]
    let forked = unsafe { nix::unistd::fork() };
    match forked.unwrap() {
        ForkResult::Parent { child } => child,
        ForkResult::Child => {
            alarm::set(PATIENCE_SECONDS);
            let done = catch_unwind(AssertUnwindSafe(work));
            std::process::exit(if done.is_ok() { 0 } else { 3 })
        }
    }
}

/// Waits for a child of [`fork`], which has to end well.
#[track_caller]
fn wait(child: Pid) {
    assert_eq!(waitpid(child, None).unwrap(), WaitStatus::Exited(child, 0));
}

/// What a forked child does, and has to see, with a handle that is not its own.
#[track_caller]
fn refused<T>(what: &str, result: Result<T>) {
    match result {
        Ok(_) => panic!("{what}: done in a forked child"),
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::Forked, "{what}: {error}");
            assert!(error.to_string().contains("forked child"), "{error}");
        }
    }
}

struct Exchange;

impl Endpoint<u64, u64> for Exchange {
    fn call(&mut self, order: &Delivery<u64>) -> Sent<u64> {
        Sent::Confirmed(order.payload)
    }
}

/// Not a test: what the process of a test does.
pub fn task(name: &str, path: &Path) {
    match name {
        "every call" => every_call(path),
        "threads" => threads(path),
        "outlives" => outlives(path),
        "keeps" => keeps(path),
        "becomes" => becomes(path),
        "closure" => closure(path),
        "memory" => memory(),
        "closed" => closed(path),
        other => panic!("no such task: {other}"),
    }
}

fn started(task: &str) -> (tempfile::TempDir, std::path::PathBuf, Child) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    let child = Child::start(task, &path);
    (folder, path, child)
}

/// What a parent says of its child, its number, and what that child says, in whichever order.
fn child_and_word(parent: &mut Child) -> (Pid, String) {
    let (one, other) = (parent.says().unwrap(), parent.says().unwrap());
    let number = |said: &str| said.parse().ok().map(Pid::from_raw);
    number(&one).map(|pid| (pid, other.clone())).or(number(&other).map(|pid| (pid, one))).unwrap()
}

fn bytes_of(path: &Path) -> (Vec<u8>, Vec<u8>) {
    let lock = path.with_extension("lock");
    (std::fs::read(path).unwrap(), std::fs::read(lock).unwrap())
}

/// Against: a child that gets `Fresh` for the claim that its parent gets as well, writes the parent's
/// file, or frees its lock by ending.
#[test]
fn every_call_on_an_inherited_handle_is_refused_and_changes_nothing() {
    let (_folder, path, mut parent) = started("every call");
    assert_eq!(parent.says().as_deref(), Some("forking"));
    assert_eq!(parent.says().as_deref(), Some("the child has ended"));
    assert_eq!(kind(Store::open(&path)), ErrorKind::Locked, "the child has freed the lock");
    assert_eq!(parent.says().as_deref(), Some("closed"));
    assert!(parent.wait().success());
    assert!(verify(&path, &Options::new()).unwrap().is_sound());
    let store = Store::open(&path).unwrap();
    assert!(store.was_closed_in_order());
    assert_eq!(store.run::<Counter>("run").unwrap().state().seen, [1, 3, 4]);
    assert!(matches!(store.claim::<u64>("pay", "after", "r").unwrap(), Claimed::Done(2)));
}

fn every_call(path: &Path) {
    let store = Store::create(path).unwrap();
    let mut run = store.run::<Counter>("run").unwrap();
    count(&mut run, 1).unwrap();
    run.step("emit", 2, |tx| {
        tx.emit(&ORDERS, &7u64)?;
        tx.checkpoint(Labels::new())
    })
    .unwrap();
    let Claimed::Fresh(claim) = store.claim::<u64>("pay", "held", "r").unwrap() else { panic!() };
    drop(store.claim::<u64>("pay", "doubt", "r").unwrap());
    let Claimed::InDoubt(doubt) = store.claim::<u64>("pay", "doubt", "r").unwrap() else {
        panic!()
    };
    let mut pending = store.submit_claim::<u64>("pay", "pending", "r").unwrap();
    let awaited = store.submit_claim::<u64>("pay", "awaited", "r").unwrap();
    let waited = store.submit_claim::<u64>("pay", "waited", "r").unwrap();
    store.flush().unwrap();
    let relay = store.relay(&ORDERS);
    let intents = store.intents();
    let order = intents.outstanding("orders", 1).unwrap().remove(0).id;
    let saved = store.checkpoints().list(&CheckpointFilter::new()).unwrap();
    let before = bytes_of(path);
    say("forking");

    let (store_of_child, path_of_child) = (store.clone(), path);
    let child = fork(move || {
        let store = store_of_child;
        refused("claim", store.claim::<u64>("pay", "after", "r"));
        refused("submit_claim", store.submit_claim::<u64>("pay", "after", "r"));
        refused("run", store.run::<Counter>("other"));
        refused("step", count(&mut run, 3));
        refused("submit", run.submit("k", 3, |_| Ok(())));
        refused("batch", run.batch([("k", 3, ())], |_, ()| Ok(())));
        refused("rewind", run.rewind(0));
        refused("complete", claim.complete(&1));
        refused("confirm", doubt.confirm(&1));
        refused("try_wait", pending.try_wait().unwrap());
        let polled = pin!(awaited).poll(&mut Context::from_waker(Waker::noop()));
        let Poll::Ready(polled) = polled else { panic!("it would wait for ever") };
        refused("poll", polled);
        refused("wait", waited.wait());
        refused("relay", relay.deliver(&mut Exchange));
        refused("outstanding", intents.outstanding("orders", 1));
        refused("reject", intents.reject(&order, "note"));
        refused("audit", intents.audit(1));
        refused("intent", store.intent(&ORDERS, &order));
        refused("recovery", store.recovery());
        refused("checkpoints", store.checkpoints().list(&CheckpointFilter::new()));
        refused("inspect", store.inspect_run("run"));
        refused("quarantine", store.quarantine().list());
        refused("reconcile", store.reconcile("note"));
        refused("verify", store.verify());
        refused("clock", store.trust_clock());
        refused("suspect", store.clock_suspect());
        refused("incarnation", store.incarnation());
        refused("resolve", store.resolve(milepost::CommitSeq::default()));
        refused("newest", store.newest_commit());
        refused("flush", store.flush());
        // What can be known without the store is still known.
        assert!(store.epoch().get() > 0);
        assert_eq!(run.state().seen, [1]);
        drop((run, relay, intents, saved));
        refused("close", store.close());
        assert_eq!(kind(Store::open(path_of_child)), ErrorKind::Locked);
    });
    wait(child);
    assert!(bytes_of(path) == before, "the child has written");
    say("the child has ended");
    // The test looks whether the store is still locked.
    std::thread::sleep(Duration::from_millis(300));
    let mut run = store.run::<Counter>("run").unwrap();
    count(&mut run, 3).unwrap();
    count(&mut run, 4).unwrap();
    let Claimed::Fresh(claim) = store.claim::<u64>("pay", "after", "r").unwrap() else { panic!() };
    claim.complete(&2).unwrap();
    drop(run);
    store.close().unwrap();
    say("closed");
}

/// Against: a child that waits for ever for a lock that another thread of its parent held at the fork,
/// or that writes into the file while its parent does.
#[test]
fn a_thousand_children_of_a_busy_parent_end_at_once_and_leave_it_unharmed() {
    let (_folder, path, mut parent) = started("threads");
    let said = parent.says().expect("the parent has failed");
    assert!(parent.wait().success());
    let acknowledged: u64 = said.strip_prefix("acknowledged ").unwrap().parse().unwrap();
    assert!(acknowledged > 100, "{acknowledged}: nothing was going on at the forks");
    assert!(verify(&path, &Options::new()).unwrap().is_sound());
    let store = Store::open(&path).unwrap();
    let steps: u64 =
        (0..3).map(|n| store.run::<Counter>(&format!("run-{n}")).unwrap().steps()).sum();
    assert_eq!(steps, acknowledged);
}

fn threads(path: &Path) {
    const ROUNDS: u64 = 1_000;
    let store = Store::create(path).unwrap();
    let (over, acknowledged) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for thread in 0..3 {
            let (store, over, acknowledged) = (&store, &over, &acknowledged);
            scope.spawn(move || {
                let mut run = store.run::<Counter>(&format!("run-{thread}")).unwrap();
                for n in 1.. {
                    if over.load(Ordering::Relaxed) {
                        break;
                    }
                    let submitted = run.submit(format!("{n}"), n, |tx| {
                        tx.state.sum += n;
                        Ok(())
                    });
                    // Every other one by the helper, the rest by this thread.
                    if n % 2 == 0 { submitted.unwrap().wait().map(drop) } else { store.flush() }
                        .unwrap();
                    store.recovery().unwrap();
                    acknowledged.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        while acknowledged.load(Ordering::Relaxed) < 3 {
            std::thread::yield_now();
        }
        for round in 0..ROUNDS {
            let store = &store;
            let child = fork(move || {
                match round % 4 {
                    0 => refused("claim", store.claim::<u64>("pay", "k", "r")),
                    1 => refused("recovery", store.recovery()),
                    2 => refused("run", store.run::<Counter>("other")),
                    _ => {}
                }
                // As if it were the last handle.
                refused("close", store.clone().close());
            });
            wait(child);
        }
        over.store(true, Ordering::Relaxed);
    });
    store.close().unwrap();
    say(format!("acknowledged {}", acknowledged.into_inner()));
}

/// Against: a child that can never open the store by itself, because it still holds the lock that it
/// inherited from a parent that has ended; and one that opens it beside a parent that has not.
#[test]
fn a_child_that_outlives_its_parent_opens_the_store_by_itself() {
    let (_folder, path, mut parent) = started("outlives");
    let (child, said) = child_and_word(&mut parent);
    assert_eq!(said, "refused, then Locked");
    kill(Pid::from_raw(parent.pid().cast_signed()), Signal::SIGKILL).unwrap();
    assert_eq!(parent.says().as_deref(), Some("opened by the child"));
    assert_eq!(kind(Store::open(&path)), ErrorKind::Locked, "the child has it now");
    assert_eq!(parent.says().as_deref(), Some("closed by the child"));
    let store = Store::open(&path).unwrap();
    assert_eq!(store.run::<Counter>("run").unwrap().state().seen, [1, 2, 3], "child {child}");
}

fn outlives(path: &Path) {
    let store = Store::create(path).unwrap();
    let mut run = store.run::<Counter>("run").unwrap();
    count(&mut run, 1).unwrap();
    let parent = nix::unistd::getpid();
    let child = fork(|| {
        refused("step", count(&mut run, 2));
        let said = kind(Store::open(path));
        say(format!("refused, then {said:?}"));
        while getppid() == parent {
            std::thread::sleep(Duration::from_millis(5));
        }
        let own = opened(path);
        let mut own_run = own.run::<Counter>("run").unwrap();
        count(&mut own_run, 2).unwrap();
        say("opened by the child");
        std::thread::sleep(Duration::from_millis(300));
        count(&mut own_run, 3).unwrap();
        // The inherited handle is still refused: it is of the store as the parent had it.
        refused("step", count(&mut run, 4));
        drop(own_run);
        own.close().unwrap();
        say("closed by the child");
    });
    say(child);
    wait_to_be_killed();
}

/// Opens a store whose lock is free in a moment: that of a process that was killed just now.
fn opened(path: &Path) -> Store {
    for _ in 0..1_000 {
        match Store::open(path) {
            Err(error) if error.kind() == ErrorKind::Locked => {
                std::thread::sleep(Duration::from_millis(5));
            }
            opened => return opened.unwrap(),
        }
    }
    panic!("it stays locked")
}

/// Against: an error that names a process that is gone, when it is a child of that one that has the
/// store: it never touched its handle, and still shares the lock.
#[test]
fn a_child_that_only_lives_on_holds_the_lock_until_it_ends() {
    let (_folder, path, mut parent) = started("keeps");
    let (child, said) = child_and_word(&mut parent);
    assert_eq!(said, "alive");
    parent.kill();
    let error = crate::support::error(Store::open(&path));
    assert_eq!(error.kind(), ErrorKind::Locked);
    assert!(error.to_string().contains("a child that it forked"), "{error}");
    kill(child, Signal::SIGKILL).unwrap();
    drop(opened(&path));
}

fn keeps(path: &Path) {
    let store = Store::create(path).unwrap();
    let child = fork(|| {
        say("alive");
        std::thread::sleep(Duration::from_secs(u64::from(PATIENCE_SECONDS)));
    });
    say(child);
    wait_to_be_killed();
    drop(store);
}

/// Against: a program that a child becomes by `exec`, and that has the files of the store open.
#[test]
fn a_program_that_a_child_becomes_does_not_hold_the_store() {
    let (_folder, path, mut parent) = started("becomes");
    let (child, said) = child_and_word(&mut parent);
    assert_eq!(said, "become");
    assert_eq!(kind(Store::open(&path)), ErrorKind::Locked, "`exec` has freed the parent's lock");
    parent.kill();
    drop(opened(&path));
    kill(child, Signal::SIGKILL).unwrap();
}

fn becomes(path: &Path) {
    let store = Store::create(path).unwrap();
    let child = fork(|| {
        let error =
            Command::new("sh").args(["-c", "echo; echo child: become; exec sleep 60"]).exec();
        panic!("{error}");
    });
    say(child);
    wait_to_be_killed();
    drop(store);
}

/// Against: a step whose closure forks, done once by the parent and once by the child.
#[test]
fn a_child_that_is_forked_in_a_closure_does_not_finish_the_step() {
    let (_folder, path, mut parent) = started("closure");
    assert_eq!(parent.says().as_deref(), Some("closed"));
    assert!(parent.wait().success());
    let store = Store::open(&path).unwrap();
    assert_eq!(store.run::<Counter>("run").unwrap().state().seen, [1, 2]);
    assert!(store.recovery().unwrap().is_settled());
}

fn closure(path: &Path) {
    let store = Store::create(path).unwrap();
    let mut run = store.run::<Counter>("run").unwrap();
    count(&mut run, 1).unwrap();
    let parent = nix::unistd::getpid();
    // A panic in the child must not look like a good end of it.
    let done = catch_unwind(AssertUnwindSafe(|| {
        run.step("forks", 2, |tx| {
            #[allow(unsafe_code, reason = "the child returns from this closure, which is the test")]
            match unsafe { nix::unistd::fork() }.unwrap() {
                ForkResult::Parent { child } => wait(child),
                ForkResult::Child => {
                    alarm::set(PATIENCE_SECONDS);
                    refused("a read in the closure", tx.get::<u64>("row"));
                }
            }
            tx.state.seen.push(2);
            Ok(())
        })
    }));
    if nix::unistd::getpid() != parent {
        let is_refused = matches!(&done, Ok(Err(error)) if error.kind() == ErrorKind::Forked);
        drop((run, store));
        std::process::exit(if is_refused { 0 } else { 3 });
    }
    let done = done.unwrap();
    done.unwrap();
    drop(run);
    store.close().unwrap();
    say("closed");
}

/// Against: a child that waits for a commit of its parent, or for a lock that the committing thread
/// held; on a disk of the user's own, where there are no files to share.
#[test]
fn a_store_without_a_file_is_refused_to_a_child_as_well() {
    let (_folder, _path, mut parent) = started("memory");
    assert_eq!(parent.says().as_deref(), Some("durable"));
    assert!(parent.wait().success());
}

fn memory() {
    let disk = Arc::new(SimDisk::new());
    let store = Options::new().create_on(disk.clone()).unwrap();
    let mut run = store.run::<Counter>("run").unwrap();
    disk.hold_syncs();
    let mut pending = run.submit("k", 1, |_| Ok(())).unwrap();
    assert!(disk.wait_for_held_sync());
    // The thread that commits holds the engine now, and another one waits for room in a plan.
    let child = fork(|| {
        let Some(result) = pending.try_wait() else { panic!("it would never come") };
        refused("try_wait", result);
        refused("recovery", store.recovery());
        refused("newest", store.newest_commit());
        refused("claim", store.claim::<u64>("pay", "k", "r"));
        refused("flush", store.flush());
        refused("close", store.clone().close());
    });
    let ended = waitpid(child, None).unwrap();
    disk.release_syncs();
    assert_eq!(ended, WaitStatus::Exited(child, 0));
    pending.wait().unwrap();
    say("durable");
}

/// Against: a child that closes, by their numbers, files that the program has opened since: the store
/// was closed before the fork.
#[test]
fn a_child_of_a_parent_that_closed_the_store_closes_no_other_file() {
    let (_folder, _path, mut parent) = started("closed");
    assert_eq!(parent.says().as_deref(), Some("intact"));
    assert!(parent.wait().success());
}

fn closed(path: &Path) {
    let store = Store::create(path).unwrap();
    let other = store.clone();
    store.close().unwrap();
    // They get the numbers that the store's files had.
    let files: Vec<_> = (0..4).map(|_| std::fs::File::open(path).unwrap()).collect();
    wait(fork(|| {
        refused("recovery", other.recovery());
        drop(other);
        assert!(files.iter().all(|file| file.metadata().is_ok()), "a file was closed");
    }));
    say("intact");
}
