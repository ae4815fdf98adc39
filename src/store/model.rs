//! The line of groups under a model checker: the same source file, with the checker's primitives in
//! place of the standard library's, through random schedules of its threads. It stands against lost
//! wake-ups, two leaders, an acknowledgement before the commit, and a group that nobody leads.

#[allow(clippy::duplicate_mod, reason = "the same source on other primitives is the point")]
#[path = "line.rs"]
#[expect(dead_code, reason = "futures poll a ticket; there is no runtime in the model")]
mod line;

/// What `line.rs` is built on here.
mod sync {
    pub(super) use shuttle::sync::atomic::{AtomicBool, Ordering};
    pub(super) use shuttle::sync::{Arc, Condvar, Mutex, MutexGuard};
    pub(super) use shuttle::thread::{Thread, current, park, yield_now};
    pub(super) use std::task::Waker;
}

use line::{Fate as _, Line, Room};
use shuttle::sync::{Arc, Mutex};
use shuttle::thread;

/// For each of the six tests.
const SCHEDULES: usize = 2_000;

#[derive(Default)]
struct Steps {
    number: usize,
    of: Vec<(usize, usize)>,
}

impl line::Group for Steps {
    fn following(&self) -> Self {
        Self { number: self.number + 1, of: Vec::new() }
    }

    fn bytes(&self) -> usize {
        self.of.len()
    }

    fn size(&self) -> usize {
        self.of.len()
    }
}

#[derive(Debug, Clone, PartialEq)]
enum Fate {
    Failed,
    Poisoned,
    Closed,
}

impl line::Fate for Fate {
    fn poison(&self) -> Self {
        Self::Poisoned
    }
}

/// A line, the disk behind it, and which commit of it fails.
struct Model {
    line: Line<Steps, Fate>,
    disk: Mutex<Vec<(usize, usize)>>,
    leading: Mutex<bool>,
    fails_at: Option<usize>,
}

impl Model {
    fn new(members_max: usize, fails_at: Option<usize>) -> Arc<Self> {
        Arc::new(Self {
            line: Line::new(Steps::default(), Room { members_max, bytes_max: 100 }),
            disk: Mutex::new(Vec::new()),
            leading: Mutex::new(false),
            fails_at,
        })
    }

    fn commit(&self, group: &Steps) -> Result<(), Fate> {
        let was_leading = std::mem::replace(&mut *self.leading.lock().unwrap(), true);
        assert!(!was_leading, "two leaders at a time");
        thread::yield_now();
        if self.fails_at == Some(group.number) {
            return Err(Fate::Failed);
        }
        self.disk.lock().unwrap().extend(&group.of);
        *self.leading.lock().unwrap() = false;
        Ok(())
    }

    /// What comes before a call joins: it looks, and then runs code of the user's under no lock. It
    /// sees its caller's step before this one, wherever that is.
    fn look_and_work(&self, (caller, step): (usize, usize)) -> Result<(), Fate> {
        let state = self.line.look();
        if let Some(fate) = state.refusal() {
            return Err(fate.clone());
        }
        if let Some(before) = step.checked_sub(1).map(|before| (caller, before)) {
            let groups = [Some(&state.open), state.in_flight.as_deref()];
            let is_there = groups.into_iter().flatten().any(|group| group.of.contains(&before));
            assert!(is_there || self.is_on_disk(before), "its own step is not seen");
        }
        drop(state);
        thread::yield_now();
        Ok(())
    }

    /// Joins the open group with one step of a caller.
    fn join(&self, step: (usize, usize)) -> Result<Arc<line::Ticket<Fate>>, Fate> {
        self.look_and_work(step)?;
        let (mut state, ()) = self.line.enter(&|group| self.commit(group), || ())?;
        state.open.of.push(step);
        Ok(state.joined())
    }

    /// Joins, and leaves the commit to the helper.
    fn submit(&self, step: (usize, usize)) -> Result<Arc<line::Ticket<Fate>>, Fate> {
        self.look_and_work(step)?;
        let (mut state, ()) = self.line.enter(&|group| self.commit(group), || ())?;
        state.open.of.push(step);
        let ticket = state.joined();
        state.see_to_open();
        Ok(ticket)
    }

    fn wait(&self, ticket: &Arc<line::Ticket<Fate>>) -> Result<(), Fate> {
        self.line.wait(ticket, &|group| self.commit(group))
    }

    fn end(&self) -> Result<(), Fate> {
        self.line.end(&|group| self.commit(group), Fate::Closed)
    }

    fn is_on_disk(&self, step: (usize, usize)) -> bool {
        self.disk.lock().unwrap().contains(&step)
    }

    /// The steps of each caller stand on disk in the order in which it made them.
    fn assert_in_order(&self, callers: usize) {
        let disk = self.disk.lock().unwrap();
        for caller in 0..callers {
            let steps: Vec<_> = disk.iter().filter(|(of, _)| *of == caller).collect();
            assert!(steps.is_sorted(), "{steps:?}");
        }
    }
}

/// Callers that wait for each step, each on its own thread.
fn waiting_callers(
    model: &Arc<Model>,
    callers: usize,
    steps: usize,
) -> Vec<thread::JoinHandle<()>> {
    (0..callers)
        .map(|caller| {
            let model = model.clone();
            thread::spawn(move || {
                for step in 0..steps {
                    let Ok(ticket) = model.join((caller, step)) else { return };
                    match model.wait(&ticket) {
                        Ok(()) => assert!(model.is_on_disk((caller, step)), "acknowledged early"),
                        Err(fate) => assert_ne!(fate, Fate::Closed),
                    }
                }
            })
        })
        .collect()
}

#[test]
fn what_is_acknowledged_is_on_disk_and_nobody_waits_for_ever() {
    shuttle::check_random(
        || {
            let model = Model::new(100, None);
            for caller in waiting_callers(&model, 3, 3) {
                caller.join().unwrap();
            }
            assert_eq!(model.disk.lock().unwrap().len(), 9);
            model.assert_in_order(3);
            model.end().unwrap();
        },
        SCHEDULES,
    );
}

#[test]
fn what_is_submitted_is_committed_by_the_helper_or_by_whoever_waits() {
    shuttle::check_random(
        || {
            let model = Model::new(100, None);
            let helper = {
                let model = model.clone();
                thread::spawn(move || model.line.help(&|group| model.commit(group)))
            };
            let callers = waiting_callers(&model, 2, 2);
            let tickets: Vec<_> = (0..3).map(|step| model.submit((9, step)).unwrap()).collect();
            for caller in callers {
                caller.join().unwrap();
            }
            // Nobody leads for them but the helper.
            while tickets.iter().any(|ticket| ticket.outcome().is_none()) {
                thread::yield_now();
            }
            assert!((0..3).all(|step| model.is_on_disk((9, step))));
            model.assert_in_order(10);
            model.end().unwrap();
            helper.join().unwrap();
        },
        SCHEDULES,
    );
}

#[test]
fn a_full_group_makes_callers_wait_and_lets_all_of_them_through() {
    shuttle::check_random(
        || {
            let model = Model::new(1, None);
            for caller in waiting_callers(&model, 3, 2) {
                caller.join().unwrap();
            }
            assert_eq!(model.disk.lock().unwrap().len(), 6);
            model.end().unwrap();
        },
        SCHEDULES,
    );
}

#[test]
fn a_failed_commit_ends_the_line_and_everybody_is_told() {
    shuttle::check_random(
        || {
            let model = Model::new(2, Some(1));
            let helper = {
                let model = model.clone();
                thread::spawn(move || model.line.help(&|group| model.commit(group)))
            };
            for caller in waiting_callers(&model, 3, 3) {
                caller.join().unwrap();
            }
            helper.join().unwrap();
            assert_eq!(model.join((9, 0)).err(), Some(Fate::Poisoned));
            assert_eq!(model.end(), Err(Fate::Poisoned));
        },
        SCHEDULES,
    );
}

#[test]
fn the_end_of_the_line_commits_what_stands_in_it() {
    shuttle::check_random(
        || {
            let model = Model::new(100, None);
            let submitter = {
                let model = model.clone();
                thread::spawn(move || {
                    (0..3).filter(|step| model.submit((0, *step)).is_ok()).count()
                })
            };
            let _ = model.end();
            let steps = submitter.join().unwrap();
            assert_eq!(model.disk.lock().unwrap().len(), steps);
            assert_eq!(Fate::Closed.poison(), Fate::Poisoned);
        },
        SCHEDULES,
    );
}

#[test]
fn a_call_that_waits_for_others_before_it_joins_keeps_none_of_them_waiting() {
    shuttle::check_random(
        || {
            let model = Model::new(1, None);
            let callers: Vec<_> = (0..2)
                .map(|caller| {
                    let model = model.clone();
                    thread::spawn(move || {
                        model.look_and_work((caller, 0)).unwrap();
                        // The closure.
                        for other in waiting_callers(&model, 1, 2) {
                            other.join().unwrap();
                        }
                        let ticket = model.join((10 + caller, 0)).unwrap();
                        model.wait(&ticket).unwrap();
                    })
                })
                .collect();
            for caller in callers {
                caller.join().unwrap();
            }
            assert_eq!(model.disk.lock().unwrap().len(), 6);
            model.end().unwrap();
        },
        SCHEDULES,
    );
}
