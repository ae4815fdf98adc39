//! The fake disk itself: what it loses, what it keeps, what it says. And the judge: what it sees.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::{
    Actor, Call, Effect, Fault, Image, Model, Op, RunModel, Sabotage, Seen, SimDisk, Step,
};
use crate::clock::{Clock, ManualClock, SystemClock, Timestamp};
use crate::store::{Disk, Options};

/// A disk of four pages; the first is flushed as ones.
fn disk() -> SimDisk {
    let disk = SimDisk::new();
    disk.set_len(4 * 4096).unwrap();
    disk.write(0, &[1; 4096]).unwrap();
    disk.sync().unwrap();
    disk
}

fn byte(bytes: &super::Platter, at: u64) -> u8 {
    let mut byte = [0];
    bytes.read(at, &mut byte).unwrap();
    byte[0]
}

/// Against: a power cut that keeps what was not flushed, or loses what was.
#[test]
fn a_power_cut_keeps_what_was_flushed_and_of_the_rest_what_the_image_says() {
    let disk = disk();
    disk.write(4096, &[2; 4096]).unwrap();
    disk.write(8192, &[3; 4096]).unwrap();
    let kept = |image| {
        let left = disk.cut(&image);
        (byte(&left, 0), byte(&left, 4096), byte(&left, 8192))
    };
    assert_eq!(kept(Image::Nothing), (1, 0, 0));
    assert_eq!(kept(Image::Everything), (1, 2, 3));
    assert_eq!(kept(Image::First(1)), (1, 2, 0));
    assert_eq!(kept(Image::Without(0)), (1, 0, 3));
    assert_eq!(kept(Image::Only(0)), (1, 2, 0));
    assert_eq!(disk.durable(), disk.cut(&Image::Nothing));
    assert_eq!(disk.live(), disk.cut(&Image::Everything));
    disk.sync().unwrap();
    assert_eq!(disk.durable(), disk.live());
}

/// Against: an image in which a write survives behind the end of a file that was never lengthened.
#[test]
fn a_write_behind_a_lost_end_is_lost_with_it() {
    let disk = disk();
    disk.set_len(5 * 4096).unwrap();
    disk.write(4 * 4096, &[9; 4096]).unwrap();
    assert_eq!(disk.cut(&Image::ResizesLost).len(), 4 * 4096);
    assert_eq!(disk.cut(&Image::Everything).len(), 5 * 4096);
}

/// Against: images that are tried twice, so that a run of so many proves less than it says.
#[test]
fn every_image_of_a_few_changes_is_listed_once() {
    let disk = disk();
    for page in 1..4 {
        disk.write(page * 4096, &[5; 4096]).unwrap();
    }
    let images = Image::every(&disk.unsynced());
    let left: Vec<_> = images.iter().map(|image| disk.cut(image)).collect();
    for (nth, one) in left.iter().enumerate() {
        assert!(!left[..nth].contains(one), "{:?} is there before", images[nth]);
    }
    assert_eq!(left.len(), 8, "all subsets of three");
}

/// Against: a header that is cut at the wrong byte, or on the wrong side.
#[test]
fn a_cut_header_is_new_on_one_side_and_old_on_the_other() {
    let disk = disk();
    disk.write(4096, &[7; 4096]).unwrap();
    disk.write(0, &[2; 320]).unwrap();
    let cut = |is_front_new, with_rest| {
        let left = disk.cut(&Image::HeaderCut { at: 100, is_front_new, with_rest });
        [byte(&left, 99), byte(&left, 100), byte(&left, 319), byte(&left, 4096)]
    };
    assert_eq!(cut(true, true), [2, 1, 1, 7]);
    assert_eq!(cut(false, false), [1, 2, 2, 0]);
}

/// Against: a tear that leaves a sector half written.
#[test]
fn torn_writes_are_cut_at_sectors() {
    let disk = disk();
    disk.write(4096, &[6; 4096]).unwrap();
    let mut torn = 0;
    for seed in 0..50 {
        let left = disk.cut(&Image::Torn { count: 1, seed }).to_vec();
        let sectors: Vec<_> = left[4096..8192].chunks(512).collect();
        assert!(sectors.iter().all(|sector| sector.iter().all(|byte| *byte == sector[0])));
        torn += u32::from(sectors.iter().any(|sector| sector[0] != sectors[0][0]));
    }
    assert!(torn > 20, "{torn}");
}

/// Against: a fault that fails another call than the one it names, or goes on when it should not.
#[test]
fn the_call_that_is_named_fails_and_is_done_as_far_as_it_says() {
    let disk = disk();
    let error = |result: io::Result<()>| result.unwrap_err().kind();
    let full = io::ErrorKind::StorageFull;
    disk.arm([Fault::of(Call::Write, 1).once().effect(Effect::Half).error(full)]);
    disk.sync().unwrap();
    disk.write(4096, &[2; 8]).unwrap();
    assert_eq!(error(disk.write(8192, &[3; 8])), full);
    disk.write(12_288, &[4; 8]).unwrap();
    assert_eq!((byte(&disk.live(), 8195), byte(&disk.live(), 8196)), (3, 0));
    assert_eq!((disk.hits(), disk.count(Call::Write), disk.count(Call::Change)), (1, 3, 4));

    disk.arm([Fault::at(1)]);
    disk.write(0, &[5]).unwrap();
    assert!(disk.sync().is_err() && disk.write(0, &[6]).is_err() && disk.set_len(9).is_err());
    assert!(disk.read(0, &mut [0]).is_ok(), "reads change nothing");
    assert_eq!(disk.hits(), 3);

    disk.arm([Fault::of(Call::Read, 0).once()]);
    assert!(disk.read(0, &mut [0]).is_err());
    assert!(disk.read(0, &mut [0]).is_ok());
}

/// Against: a cache that does not lie, or lies more than one does: the next flush must not write what
/// was forgotten, but whoever writes a byte of such a page has all of it written.
#[test]
fn what_a_failed_flush_forgot_is_seen_by_reads_and_never_written_unless_its_page_is() {
    let disk = disk();
    disk.arm([Fault::of(Call::Sync, 0).effect(Effect::Forgotten).once()]);
    disk.write(4096, &[2; 4096]).unwrap();
    disk.write(8192, &[3; 4096]).unwrap();
    assert!(disk.sync().is_err());
    disk.sync().unwrap();
    let bytes = |left| (byte(&left, 4096), byte(&left, 8192));
    assert_eq!(bytes(disk.live()), (2, 3));
    assert_eq!(bytes(disk.durable()), (0, 0));
    disk.write(4096 + 100, &[9]).unwrap();
    disk.sync().unwrap();
    assert_eq!(bytes(disk.durable()), (2, 0));
    assert_eq!(byte(&disk.durable(), 4196), 9);
}

/// Against: a sabotaged disk that works, and a harness whose own test proves nothing.
#[test]
fn a_sabotaged_disk_breaks_the_promise_that_is_named() {
    let skipping = disk();
    skipping.sabotage(Sabotage::SkipSyncs);
    skipping.write(4096, &[2]).unwrap();
    skipping.sync().unwrap();
    assert_eq!(byte(&skipping.durable(), 4096), 0);

    let dropping = disk();
    dropping.sabotage(Sabotage::DropHeader);
    dropping.write(0, &[2]).unwrap();
    dropping.write(4096, &[2]).unwrap();
    dropping.sync().unwrap();
    assert_eq!((byte(&dropping.live(), 0), byte(&dropping.durable(), 0)), (2, 1));
    assert_eq!(byte(&dropping.durable(), 4096), 2);
}

/// Against: a trace that cuts the power at another place than it says.
#[test]
fn a_trace_gives_at_each_point_what_the_disk_would_have_given_then() {
    let disk = disk();
    disk.write(4096, &[2; 100]).unwrap();
    disk.record();
    let mut then = vec![(disk.point(), disk.durable(), disk.live())];
    disk.write(8192, &[3; 100]).unwrap();
    then.push((disk.point(), disk.durable(), disk.live()));
    disk.sync().unwrap();
    then.push((disk.point(), disk.durable(), disk.live()));
    disk.set_len(9_000).unwrap();
    then.push((disk.point(), disk.durable(), disk.live()));
    let trace = disk.trace();
    assert_eq!(trace.points(), 4);
    for (point, durable, live) in then {
        assert_eq!(trace.cut(point, &Image::Nothing), durable, "point {point}");
        assert_eq!(trace.cut(point, &Image::Everything), live, "point {point}");
    }
}

/// Against: a test that waits for ever, or for nothing.
#[test]
fn a_flush_that_is_held_waits_until_it_is_released() {
    let disk = Arc::new(disk());
    assert!(!disk.wait_for_held_sync(), "none is held");
    disk.hold_syncs();
    disk.write(4096, &[2]).unwrap();
    let flush = std::thread::spawn({
        let disk = disk.clone();
        move || disk.sync()
    });
    assert!(disk.wait_for_held_sync());
    assert_eq!(byte(&disk.durable(), 4096), 0);
    disk.release_syncs();
    flush.join().unwrap().unwrap();
    assert_eq!(byte(&disk.durable(), 4096), 2);
}

/// Against: a slow disk that is as fast as any.
#[test]
fn a_slow_call_takes_its_time_and_others_do_not_wait_for_it() {
    let disk = disk();
    disk.slow_down(Call::Sync, Duration::from_millis(30));
    let began = SystemClock.elapsed();
    disk.write(0, &[1]).unwrap();
    disk.sync().unwrap();
    assert!(SystemClock.elapsed().saturating_sub(began) >= Duration::from_millis(30));
}

/// Against: a judge that looks away: each thing that a store can get wrong must show.
#[test]
fn the_check_finds_every_kind_of_difference() {
    let clock = ManualClock::new(Timestamp::from_ms(1_700_000_000_000));
    let store = Options::new().clock(clock.clone()).in_memory().unwrap();
    let (mut actor, mut model) = (Actor::new(store, clock.clone()), Model::new(clock.now()));
    let step = |key| Step { key, position: key, ..Step::default() };
    for op in [
        Op::Step(0, Step { puts: vec![(7, 70), (8, 80)], emits: vec![1, 2], ..step(1) }),
        Op::Batch(0, vec![Step { removes: vec![8], ..step(2) }, step(3)]),
        Op::Submit(1, vec![step(4), Step { weight: Some(9_000), ..step(5) }]),
        Op::Claim(5),
        Op::Claim(6),
        Op::Complete(6, 60),
        Op::Reject(1),
        Op::Rewind(0, 1),
    ] {
        assert_eq!(actor.apply(&op).unwrap(), model.apply(&op), "{op:?}");
    }
    assert_eq!(actor.check(&model, &[9]).unwrap(), None);
    assert!(actor.check(&model, &[1]).unwrap().is_some(), "a key that should be new");
    let mut differs = |what: &str, change: &dyn Fn(&mut Model, &mut RunModel)| {
        let mut other = model.clone();
        let mut run = other.runs.remove(&0).unwrap();
        change(&mut other, &mut run);
        other.runs.insert(0, run);
        assert!(actor.check(&other, &[]).unwrap().is_some(), "{what}");
    };
    differs("the number of steps", &|_, run| run.steps += 1);
    differs("the state", &|_, run| run.state.sum += 1);
    differs("the position", &|_, run| run.position = Some(2));
    differs("an outcome", &|_, run| run.keys.get_mut(&1).unwrap().outcome += 1);
    differs("a key", &|_, run| {
        run.keys.insert(77, Seen { outcome: 0, deadline: None });
    });
    differs("a row", &|_, run| {
        run.rows.insert(7, 71);
    });
    differs("a row that was removed", &|_, run| {
        run.removed.insert(7);
    });
    differs("an intent's payload", &|model, _| model.intents[0].payload = 3);
    differs("an intent's state", &|model, _| model.intents[0].is_rejected = true);
    differs("the number of intents", &|model, _| {
        model.intents.pop();
    });
    differs("a claim's outcome", &|model, _| {
        model.claims.insert(6, Some(61));
    });
    differs("an open claim", &|model, _| {
        model.claims.insert(5, Some(1));
    });
    differs("a claim", &|model, _| {
        model.claims.insert(6, None);
    });
}
