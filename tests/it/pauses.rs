//! Long pauses: a program that runs once a week, or a machine that was off. Against keys that never
//! expire, because every opening finds that the clock has gone further than a day; and against a
//! clock that is wrong, and expires them early although a witness contradicts it.

use std::sync::Arc;
use std::time::Duration;

use milepost::{
    Claimed, Clock, Key, ManualClock, MemoryDisk, Options, SinceBoot, Store, SystemClock, Timestamp,
};

use crate::support::{T0, days, rows_of, second};

const HOUR: Duration = Duration::from_secs(3_600);

fn an_hour(key: String) -> Key {
    Key::new(key).expires_after(HOUR)
}

/// One sitting of a job: does what is new, and says how much was.
fn sitting(store: &Store, week: u64) -> u64 {
    let mut fresh = 0;
    for nth in 0..40 {
        let key = an_hour(format!("{week}-{nth}"));
        if let Claimed::Fresh(claim) = store.claim::<u64>("job", key, "request").unwrap() {
            claim.complete(&nth).unwrap();
            fresh += 1;
        }
    }
    fresh
}

/// A job that runs every so often: the most keys that were ever kept, and whether an opening had to be
/// confirmed.
fn job(clock: &ManualClock, gap: Duration, between: impl Fn(&ManualClock)) -> (usize, bool) {
    let disk = Arc::new(MemoryDisk::new());
    let options = Options::new().clock(clock.clone());
    options.create_on(disk.clone()).unwrap().close().unwrap();
    let (mut most, mut doubted) = (0, false);
    for week in 0..12 {
        let store = options.open_on(disk.clone()).unwrap();
        doubted |= store.clock_suspect().unwrap().is_some();
        assert_eq!(sitting(&store, week), 40);
        if week > 0 {
            let last = an_hour(format!("{}-0", week - 1));
            let again = store.claim::<u64>("job", last, "request").unwrap();
            assert!(matches!(again, Claimed::Fresh(_)), "week {week}: {again:?}");
        }
        store.close().unwrap();
        most = most.max(rows_of(&disk.to_bytes(), "keys").len());
        clock.advance(gap);
        between(clock);
    }
    (most, doubted)
}

/// A job that ran less often than daily kept every key for ever: each opening found a leap, and none
/// came soon enough after it to agree.
#[test]
fn a_job_that_runs_once_a_week_forgets_its_keys() {
    for gap in [HOUR * 23, HOUR * 25, days(7), days(90)] {
        for between in [(|_| ()) as fn(&ManualClock), ManualClock::reboot] {
            let (most, doubted) = job(&ManualClock::new(T0), gap, between);
            assert!(!doubted, "{gap:?}");
            assert!(most < 40 * 3, "{gap:?}: {most} keys were kept");
        }
    }
}

/// A clock without witnesses: nothing contradicts it.
#[derive(Clone)]
struct Alone(ManualClock);

impl Clock for Alone {
    fn now(&self) -> Timestamp {
        self.0.now()
    }

    fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }
}

#[test]
fn a_clock_that_nothing_contradicts_is_believed() {
    let disk = Arc::new(MemoryDisk::new());
    let clock = ManualClock::new(T0);
    let options = Options::new().clock(Alone(clock.clone()));
    sitting(&options.create_on(disk.clone()).unwrap(), 0);
    clock.set(T0.after(days(7)));
    let store = options.open_on(disk).unwrap();
    assert_eq!(store.clock_suspect().unwrap(), None);
    assert_eq!(sitting(&store, 0), 40, "they expired");
}

/// Against: a key that is forgotten early, by a clock that was set wrong while the machine was up.
#[test]
fn a_leap_that_the_machine_did_not_see_expires_nothing_before_a_second_opening() {
    let disk = Arc::new(MemoryDisk::new());
    let clock = ManualClock::new(T0);
    let options = Options::new().clock(clock.clone());
    sitting(&options.create_on(disk.clone()).unwrap(), 0);
    // An hour and a half have passed, and the clock says a year.
    clock.advance(HOUR / 2);
    clock.set(T0.after(days(365)));
    let store = options.open_on(disk.clone()).unwrap();
    assert_eq!(store.clock_suspect().unwrap(), Some(T0.after(days(365))));
    assert_eq!(sitting(&store, 0), 0, "nothing expires");
    drop(store);
    // It is right again.
    clock.set(T0.after(HOUR / 2));
    let store = options.open_on(disk).unwrap();
    assert_eq!(store.clock_suspect().unwrap(), None);
    assert_eq!(sitting(&store, 0), 0);
}

/// Against: a leap that can never be confirmed, because the openings are further apart than a day. A
/// virtual machine that was stopped for a week does not know of it.
#[test]
fn a_second_opening_agrees_however_much_later_it_is() {
    for between in [(|_| ()) as fn(&ManualClock), ManualClock::reboot] {
        let disk = Arc::new(MemoryDisk::new());
        let clock = ManualClock::new(T0);
        let options = Options::new().clock(clock.clone());
        sitting(&options.create_on(disk.clone()).unwrap(), 0);
        clock.set(T0.after(days(7)));
        let store = options.open_on(disk.clone()).unwrap();
        assert!(store.clock_suspect().unwrap().is_some());
        drop(store);
        clock.advance(days(7));
        between(&clock);
        let store = options.open_on(disk).unwrap();
        assert_eq!(store.clock_suspect().unwrap(), None);
        assert_eq!(sitting(&store, 0), 40);
    }
}

/// Against: a laptop that slept for days while the store was open. The process's own clock stands
/// still in its sleep, that of the machine does not.
#[test]
fn a_machine_that_slept_while_the_store_was_open_is_believed() {
    #[derive(Clone)]
    struct Sleeper(ManualClock);
    impl Clock for Sleeper {
        fn now(&self) -> Timestamp {
            self.0.now()
        }
        fn elapsed(&self) -> Duration {
            Duration::ZERO
        }
        fn since_boot(&self) -> Option<SinceBoot> {
            self.0.since_boot()
        }
    }
    let clock = ManualClock::new(T0);
    let store = Options::new().clock(Sleeper(clock.clone())).in_memory().unwrap();
    sitting(&store, 0);
    clock.advance(days(3));
    assert_eq!(sitting(&store, 0), 40);
    assert_eq!(store.clock_suspect().unwrap(), None);
}

/// Against: a witness that says nothing on the machines that most people have.
#[test]
fn the_machines_own_clock_has_its_witnesses() {
    if !cfg!(target_os = "linux") {
        eprintln!("skipped: only Linux says how long ago the machine was started");
        return;
    }
    let first = SystemClock.since_boot().unwrap();
    std::thread::sleep(Duration::from_millis(20));
    let second_reading = SystemClock.since_boot().unwrap();
    assert_eq!(first.boot, second_reading.boot);
    assert!(second_reading.elapsed_ms >= first.elapsed_ms + 10);
    let file = tempfile::tempfile().unwrap();
    let changed = SystemClock.last_change(&file).unwrap();
    let now = SystemClock.now();
    assert!(changed.after(second(60)) > now && changed <= now.after(second(60)), "{changed:?}");
}

/// Against: a clock that stands before the times of the store's own file, and is believed.
#[test]
fn a_file_that_was_changed_later_than_now_contradicts_the_clock() {
    #[derive(Clone)]
    struct OfFiles(ManualClock);
    impl Clock for OfFiles {
        fn now(&self) -> Timestamp {
            self.0.now()
        }
        fn elapsed(&self) -> Duration {
            self.0.elapsed()
        }
        fn last_change(&self, file: &std::fs::File) -> Option<Timestamp> {
            SystemClock.last_change(file)
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    let clock = ManualClock::new(T0);
    let options = Options::new().clock(OfFiles(clock.clone()));
    sitting(&options.create(&path).unwrap(), 0);
    clock.set(T0.after(days(30)));
    let store = options.open(&path).unwrap();
    assert_eq!(store.clock_suspect().unwrap(), Some(T0.after(days(30))));
    assert_eq!(sitting(&store, 0), 0, "nothing expires");
    drop(store);
    clock.set(SystemClock.now());
    let store = options.open(&path).unwrap();
    assert_eq!(store.clock_suspect().unwrap(), None);
}
