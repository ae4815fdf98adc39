//! Group commit: plans that arrive while the last group is being synced form the next one, and one
//! of the callers that wait for it commits it for all.
//!
//! Invariants:
//! - A plan is merged into the open group whole, or not at all.
//! - A plan sees, newest first: the open group, the group in flight, the durable state. The group in
//!   flight leaves that stack in the same moment in which the durable state takes it in.
//! - At most one caller leads at a time. Whoever stops leading wakes one that waits for the group
//!   that is open then, or finds nobody waiting.
//! - A commit that failed poisons the queue: the group it was gets its error, the open one and all
//!   later calls are refused.

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock};
use std::thread::{self, Thread};
use std::time::Duration;

use super::engine::Engine;
use super::head::ClockMark;
use super::held::Held;
use super::options::Limits;
use super::plan::{Depth, Frame, Overlay, Plan};
use super::snapshot::Snapshot;
use crate::clock::{Clock, Timestamp};
use crate::error::{Error, ErrorKind, Result};
use crate::id::{CommitSeq, Epoch, Incarnation, StoreId};

/// The commit path of one open store.
pub(super) struct Committer {
    queue: Mutex<Queue>,
    engine: Mutex<Option<Engine>>,
    /// What reads outside steps see; replaced when a group has become durable.
    durable: RwLock<Arc<Snapshot>>,
    clock: Arc<dyn Clock>,
    pub(super) held: Held,
    pub(super) store: StoreId,
    pub(super) epoch: Epoch,
    pub(super) incarnation: Incarnation,
    pub(super) limits: Limits,
}

struct Queue {
    open: Group,
    in_flight: Option<(Arc<Overlay>, Arc<Ticket>)>,
    leading: bool,
    /// Why nothing more is taken.
    fate: Option<Fate>,
    /// How many plans the last group had.
    members_before: usize,
    marks: Marks,
}

/// What the next plan starts from, beside the rows.
#[derive(Clone, Copy)]
struct Marks {
    next_id: u64,
    horizon: Timestamp,
    clock: ClockMark,
    /// The process's own clock when the wall clock was last believed.
    witness: Duration,
}

impl Queue {
    /// How many expired rows the first plan of a group may forget: in proportion to what groups
    /// bring in, so that a lone step after a long pause does not pay for all of it.
    fn forget_max(&self) -> usize {
        64 + 2 * self.members_before
    }
}

struct Group {
    seq: CommitSeq,
    rows: Overlay,
    members: usize,
    ticket: Arc<Ticket>,
}

impl Group {
    fn new(seq: CommitSeq) -> Self {
        Self { seq, rows: Overlay::default(), members: 0, ticket: Arc::default() }
    }
}

/// Why the store takes no more calls; an error that many callers get.
#[derive(Clone)]
struct Fate {
    kind: ErrorKind,
    message: Arc<str>,
}

impl Fate {
    fn of(error: &Error) -> Self {
        Self { kind: error.kind(), message: error.to_string().into() }
    }

    fn error(&self) -> Error {
        Error::new(self.kind, self.message.to_string())
    }

    /// What those get who come after the failure.
    fn poison(&self) -> Self {
        let kind = match self.kind {
            ErrorKind::Fenced => ErrorKind::Fenced,
            _ => ErrorKind::Poisoned,
        };
        let message = format!(
            "the store takes no more calls since a commit failed; nothing of this call was \
             written. Open it again. The failure: {}",
            self.message
        );
        Self { kind, message: message.into() }
    }
}

/// What the members of a group wait for.
#[derive(Default)]
pub(super) struct Ticket {
    outcome: OnceLock<Result<(), Fate>>,
    waiters: Mutex<Vec<Thread>>,
    promoted: AtomicBool,
}

impl Ticket {
    fn complete(&self, outcome: Result<(), Fate>) {
        // Only the leader of the group, or whoever poisons the queue, completes it, and once.
        let _ = self.outcome.set(outcome);
        let waiters =
            std::mem::take(&mut *self.waiters.lock().unwrap_or_else(PoisonError::into_inner));
        waiters.iter().for_each(Thread::unpark);
    }

    /// Wakes one of those who wait, to lead.
    fn promote_one(&self) {
        let waiters = self.waiters.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(waiter) = waiters.first() {
            self.promoted.store(true, Ordering::Release);
            waiter.unpark();
        }
    }
}

thread_local! {
    /// Whether this thread is inside a plan: a second one would wait for itself for ever.
    static PLANNING: Cell<bool> = const { Cell::new(false) };
}

struct Planning;

impl Planning {
    fn enter() -> Result<Self> {
        if PLANNING.replace(true) {
            return Err(Error::invalid(
                "a store was called from inside a step's closure: use what the closure is handed, \
                 or make the call after the step",
            ));
        }
        Ok(Self)
    }
}

impl Drop for Planning {
    fn drop(&mut self) {
        PLANNING.set(false);
    }
}

impl Committer {
    pub(super) fn new(
        engine: Engine,
        store: StoreId,
        clock: Arc<dyn Clock>,
        limits: Limits,
    ) -> Result<Self> {
        let durable = engine.snapshot()?;
        let head = &engine.head;
        let marks = Marks {
            next_id: head.next_id,
            horizon: head.horizon,
            clock: head.clock,
            witness: clock.elapsed(),
        };
        let (epoch, incarnation, seq) = (head.epoch, head.incarnation, head.seq);
        Ok(Self {
            queue: Mutex::new(Queue {
                open: Group::new(seq.next()),
                in_flight: None,
                leading: false,
                fate: None,
                members_before: 0,
                marks,
            }),
            engine: Mutex::new(Some(engine)),
            durable: RwLock::new(durable),
            clock,
            held: Held::default(),
            store,
            epoch,
            incarnation,
            limits,
        })
    }

    /// Plans, joins the open group, and returns when that group is durable.
    pub(super) fn commit<T>(&self, work: impl FnOnce(&mut Plan<'_>) -> Result<T>) -> Result<T> {
        let (value, ticket) = self.plan(work)?;
        if let Some(ticket) = ticket {
            self.wait(&ticket)?;
        }
        Ok(value)
    }

    /// Makes a plan and merges it into the open group; the ticket says when what it wrote, or what
    /// it read and is about to answer, is durable.
    fn plan<T>(
        &self,
        work: impl FnOnce(&mut Plan<'_>) -> Result<T>,
    ) -> Result<(T, Option<Arc<Ticket>>)> {
        let _planning = Planning::enter()?;
        let mut queue = self.queue();
        if let Some(fate) = &queue.fate {
            return Err(fate.error());
        }
        let now = queue.marks.read_clock(&*self.clock);
        let durable = self.durable();
        let queue = &mut *queue;
        let mut plan = Plan {
            open: &queue.open.rows,
            in_flight: queue.in_flight.as_ref().map(|(rows, _)| &**rows),
            durable: &durable,
            held: &self.held,
            frame: Frame {
                store: self.store,
                incarnation: self.incarnation,
                epoch: self.epoch,
                seq: queue.open.seq,
                now,
                believed: queue.marks.clock.high_water,
                horizon: queue.marks.horizon,
                limits: self.limits,
                forget_max: if queue.open.members == 0 { queue.forget_max() } else { 0 },
            },
            writes: Overlay::default(),
            next_id: queue.marks.next_id,
            new_horizon: queue.marks.horizon,
            newest_read: Cell::new(Depth::Durable),
            forgotten: 0,
        };
        let value = work(&mut plan)?;
        let Plan { writes, next_id, new_horizon, newest_read, .. } = plan;
        let ticket = if writes.is_empty() {
            match newest_read.get() {
                Depth::Durable => None,
                Depth::InFlight => queue.in_flight.as_ref().map(|(_, ticket)| ticket.clone()),
                Depth::Open => Some(queue.open.ticket.clone()),
            }
        } else {
            queue.marks.next_id = next_id;
            queue.marks.horizon = new_horizon;
            queue.open.rows.merge(writes);
            queue.open.members += 1;
            Some(queue.open.ticket.clone())
        };
        Ok((value, ticket))
    }

    /// Returns when the ticket's group is durable, or has failed; leads if nobody else does.
    fn wait(&self, ticket: &Arc<Ticket>) -> Result<()> {
        loop {
            if let Some(outcome) = ticket.outcome.get() {
                return outcome.clone().map_err(|fate| fate.error());
            }
            let queue = self.queue();
            if !queue.leading && Arc::ptr_eq(&queue.open.ticket, ticket) {
                self.lead(queue);
                continue;
            }
            if ticket.outcome.get().is_none() {
                // While the queue is locked, so that a leader that stops sees it.
                let mut waiters = ticket.waiters.lock().unwrap_or_else(PoisonError::into_inner);
                waiters.push(thread::current());
            }
            drop(queue);
            while ticket.outcome.get().is_none() && !ticket.promoted.swap(false, Ordering::AcqRel) {
                thread::park();
            }
        }
    }

    /// Closes the open group and commits it on this thread.
    fn lead(&self, mut queue: MutexGuard<'_, Queue>) {
        let after = queue.open.seq.next();
        let mut group = std::mem::replace(&mut queue.open, Group::new(after));
        group.rows.close();
        let rows = Arc::new(group.rows);
        queue.in_flight = Some((rows.clone(), group.ticket.clone()));
        queue.leading = true;
        queue.members_before = group.members;
        let marks = queue.marks;
        drop(queue);

        let result = self.write(&rows, group.seq, marks, false);

        let mut queue = self.queue();
        queue.leading = false;
        queue.in_flight = None;
        let mut stranded = None;
        let outcome = result.map_err(|error| {
            let fate = Fate::of(&error);
            queue.fate = Some(fate.poison());
            let open = std::mem::replace(&mut queue.open, Group::new(after));
            stranded = Some(open.ticket);
            fate
        });
        let poison = queue.fate.clone();
        let next = queue.open.ticket.clone();
        drop(queue);
        group.ticket.complete(outcome);
        if let (Some(ticket), Some(poison)) = (stranded, poison) {
            ticket.complete(Err(poison));
        }
        next.promote_one();
    }

    /// One transaction; then what is durable is shown to readers.
    fn write(&self, rows: &Overlay, seq: CommitSeq, marks: Marks, clean: bool) -> Result<()> {
        let mut engine = self.engine.lock().unwrap_or_else(PoisonError::into_inner);
        let engine = engine.as_mut().ok_or_else(closed)?;
        let mut head = engine.head.clone();
        head.seq = seq;
        head.clean = clean;
        head.next_id = marks.next_id;
        head.horizon = marks.horizon;
        head.clock = marks.clock;
        engine.commit(rows, head)?;
        let snapshot = engine.snapshot()?;
        *self.durable.write().unwrap_or_else(PoisonError::into_inner) = snapshot;
        Ok(())
    }

    /// The durable state.
    pub(super) fn durable(&self) -> Arc<Snapshot> {
        self.durable.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The durable state, for a caller that is not told of a failure in another way.
    pub(super) fn read(&self) -> Result<Arc<Snapshot>> {
        let _planning = Planning::enter()?;
        if let Some(fate) = &self.queue().fate {
            return Err(fate.error());
        }
        Ok(self.durable())
    }

    /// Confirms the wall clock: what it says now is believed.
    pub(super) fn trust_clock(&self) -> Result<()> {
        let _planning = Planning::enter()?;
        let mut queue = self.queue();
        queue.marks.clock = ClockMark::believed(self.clock.now());
        queue.marks.witness = self.clock.elapsed();
        Ok(())
    }

    pub(super) fn clock_suspect(&self) -> Result<Option<Timestamp>> {
        let _planning = Planning::enter()?;
        Ok(self.queue().marks.clock.suspect)
    }

    /// Runs `work` on the engine while no commit is under way.
    pub(super) fn quiesced<T>(&self, work: impl FnOnce(&mut Engine) -> Result<T>) -> Result<T> {
        let _planning = Planning::enter()?;
        let mut engine = self.engine.lock().unwrap_or_else(PoisonError::into_inner);
        work(engine.as_mut().ok_or_else(closed)?)
    }

    /// Waits for what is under way, marks the store as closed in order, and lets go of the file.
    /// A second call does nothing.
    pub(super) fn close(&self) -> Result<()> {
        loop {
            let mut queue = self.queue();
            if let Some(fate) = &queue.fate {
                let held = self.engine.lock().unwrap_or_else(PoisonError::into_inner).take();
                // A poisoned store is let go of without a word: it was not closed in order.
                return if held.is_some() { Err(fate.error()) } else { Ok(()) };
            }
            if let Some((_, ticket)) = queue.in_flight.clone() {
                drop(queue);
                self.wait(&ticket)?;
            } else if queue.open.rows.is_empty() {
                let fate = Fate::of(&closed());
                queue.fate = Some(fate);
                let (seq, marks) = (queue.open.seq, queue.marks);
                drop(queue);
                let result = self.write(&Overlay::default(), seq, marks, true);
                drop(self.engine.lock().unwrap_or_else(PoisonError::into_inner).take());
                return result;
            } else {
                self.lead(queue);
            }
        }
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        // A panic inside a plan unwinds before anything is merged: the queue is whole.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Marks {
    fn read_clock(&mut self, clock: &dyn Clock) -> Timestamp {
        let (now, elapsed) = (clock.now(), clock.elapsed());
        let witness_ms = elapsed.saturating_sub(self.witness).as_millis();
        let before = self.clock.high_water;
        self.clock = self.clock.at_commit(now, u64::try_from(witness_ms).unwrap_or(u64::MAX));
        if self.clock.high_water != before {
            self.witness = elapsed;
        }
        now
    }
}

fn closed() -> Error {
    Error::invalid("the store was closed by this process: open it again")
}
