//! The commit path of one open store: plans, the line of groups they join, and the engine that
//! commits a group. What is durable is shown to readers before those who wait are told.

use std::cell::Cell;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::thread;
use std::time::Duration;

use super::backend::Medium;
use super::engine::Engine;
use super::fate::{Fate, closed};
use super::head::{ClockMark, Reading};
use super::held::{Held, HoldKind};
use super::line::{Line, Room, Ticket};
use super::lock::LockFile;
use super::options::{Limits, Options};
use super::owner::Home;
use super::plan::{Depth, Frame, Overlay, Plan};
use super::retention::Retention;
use super::snapshot::{Read, Snapshot};
use super::tables::Table;
use crate::clock::{Clock, Timestamp};
use crate::error::{Error, Result};
use crate::id::StoreId;
use crate::seq::{CommitSeq, Epoch, Incarnation};

/// The commit path of one open store.
pub(super) struct Committer {
    line: Line<Group, Fate>,
    marks: Mutex<Marks>,
    /// Memory for the rows of the next plan.
    scratch: Mutex<Overlay>,
    engine: Mutex<Option<Engine>>,
    /// What reads outside steps see; replaced when a group has become durable.
    durable: RwLock<Arc<Snapshot>>,
    /// Started with the first step that nobody waits for.
    helper: Mutex<bool>,
    /// Held by the one that closes the store.
    closing: Mutex<()>,
    clock: Arc<dyn Clock>,
    pub(super) held: Held,
    /// Asked by every call before it takes any lock.
    pub(super) home: Home,
    pub(super) store: StoreId,
    pub(super) epoch: Epoch,
    pub(super) retention: Retention,
    limits: Limits,
}

/// What the next plan starts from, beside the rows. Changed under the line's lock alone; a group
/// carries the marks as its last plan left them.
#[derive(Clone, Copy)]
struct Marks {
    next_id: u64,
    incarnation: Incarnation,
    horizon: Timestamp,
    /// Nothing expires before this moment; 0 if that has to be looked up. In memory only.
    first_due: Timestamp,
    clock: ClockMark,
    /// The process's own clock when the wall clock was last believed.
    witness: Duration,
}

/// Plans that become one transaction.
struct Group {
    seq: CommitSeq,
    rows: Overlay,
}

impl super::line::Group for Group {
    fn following(&self) -> Self {
        Self { seq: self.seq.next(), rows: Overlay::as_large_as(&self.rows) }
    }

    fn bytes(&self) -> usize {
        self.rows.bytes()
    }

    fn size(&self) -> usize {
        self.rows.puts()
    }
}

/// The ticket of a group.
pub(super) type GroupTicket = Arc<Ticket<Fate>>;

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
        medium: &Medium,
        store: StoreId,
        options: &Options,
    ) -> Result<Arc<Self>> {
        let durable = engine.snapshot()?;
        let head = &engine.head;
        let marks = Marks {
            next_id: head.next_id,
            incarnation: head.incarnation,
            horizon: head.horizon,
            first_due: Timestamp::default(),
            clock: head.clock,
            witness: options.clock.elapsed(),
        };
        let first = Group { seq: head.seq.next(), rows: Overlay::default() };
        let room =
            Room { members_max: options.in_flight_steps, bytes_max: options.in_flight_bytes };
        let epoch = head.epoch;
        let lock = engine.lock.as_ref().and_then(LockFile::number).into_iter();
        Ok(Arc::new(Self {
            line: Line::new(first, room),
            marks: Mutex::new(marks),
            scratch: Mutex::default(),
            engine: Mutex::new(Some(engine)),
            durable: RwLock::new(durable),
            helper: Mutex::new(false),
            closing: Mutex::default(),
            clock: options.clock.clone(),
            held: Held::default(),
            home: Home::of(lock.chain(medium.numbers().iter().copied()).collect()),
            store,
            epoch,
            retention: options.retention,
            limits: options.limits,
        }))
    }

    /// Plans, joins the open group, and returns when that group is durable.
    pub(super) fn commit<T>(&self, work: impl FnOnce(&mut Plan<'_>) -> Result<T>) -> Result<T> {
        let (value, ticket) = self.plan(work, |_| {})?;
        if let Some(ticket) = ticket {
            self.wait(&ticket)?;
        }
        Ok(value)
    }

    /// Plans and joins the open group; the helper commits it if nobody else does. The ticket says
    /// when what was planned, or what was read and is about to be answered, is durable.
    pub(super) fn submit<T>(
        self: &Arc<Self>,
        work: impl FnOnce(&mut Plan<'_>) -> Result<T>,
    ) -> Result<(T, Option<GroupTicket>)> {
        self.home.check()?;
        self.start_helper()?;
        self.plan(work, super::line::State::see_to_open)
    }

    fn plan<T>(
        &self,
        work: impl FnOnce(&mut Plan<'_>) -> Result<T>,
        joined: impl FnOnce(&super::line::State<Group, Fate>),
    ) -> Result<(T, Option<GroupTicket>)> {
        self.home.check()?;
        let _planning = Planning::enter()?;
        let mut state =
            self.line.enter(&|group| self.commit_group(group)).map_err(|fate| fate.error())?;
        // A copy: the closure may take its time, and a leader reads the marks meanwhile. Only plans
        // change them, one at a time under the line's lock.
        let mut marks = self.marks();
        let now = marks.read_clock(&*self.clock);
        let durable = self.durable();
        let mut plan = Plan {
            open: &state.open.rows,
            in_flight: state.in_flight.as_ref().map(|group| &group.rows),
            durable: &durable,
            held: &self.held,
            frame: Frame {
                store: self.store,
                epoch: self.epoch,
                seq: state.open.seq,
                now,
                believed: marks.clock.high_water,
                lived: marks.lived(&*self.clock),
                horizon: marks.horizon,
                limits: self.limits,
                forget_max: forget_max(state.members, state.size_before),
            },
            writes: std::mem::take(&mut self.scratch()),
            next_id: marks.next_id,
            incarnation: marks.incarnation,
            new_horizon: marks.horizon,
            first_due: marks.first_due,
            newest_read: Cell::new(Depth::Durable),
            aside: 0,
        };
        let value = work(&mut plan)?;
        // The closure may have forked, and this may be the child.
        self.home.check()?;
        let Plan { mut writes, next_id, incarnation, new_horizon, first_due, newest_read, .. } =
            plan;
        let ticket = if writes.is_empty() {
            if first_due != marks.first_due {
                self.lock_marks().first_due = first_due;
            }
            match newest_read.get() {
                Depth::Durable => None,
                Depth::InFlight => state.ticket_in_flight(),
                Depth::Open => Some(state.ticket()),
            }
        } else {
            marks.next_id = next_id;
            marks.incarnation = incarnation;
            marks.horizon = new_horizon;
            marks.first_due = first_due;
            *self.lock_marks() = marks;
            state.open.rows.merge(&mut writes);
            writes.clear();
            let ticket = state.joined();
            joined(&state);
            Some(ticket)
        };
        *self.scratch() = writes;
        Ok((value, ticket))
    }

    /// Returns when the ticket's group is durable, or has failed.
    pub(super) fn wait(&self, ticket: &GroupTicket) -> Result<()> {
        self.home.check()?;
        // Inside a plan the line is locked by this very thread.
        drop(Planning::enter()?);
        self.line.wait(ticket, &|group| self.commit_group(group)).map_err(|fate| fate.error())
    }

    /// Waits until all that was planned so far is durable.
    pub(super) fn flush(&self) -> Result<()> {
        self.home.check()?;
        drop(Planning::enter()?);
        let state = self.line.look();
        if let Some(fate) = state.fate() {
            return Err(fate.error());
        }
        let ticket =
            if state.members > 0 { Some(state.ticket()) } else { state.ticket_in_flight() };
        drop(state);
        ticket.map_or(Ok(()), |ticket| self.wait(&ticket))
    }

    fn commit_group(&self, group: &Group) -> Result<(), Fate> {
        self.write(&group.rows, group.seq, self.marks(), false).map_err(|error| Fate::of(&error))
    }

    /// One transaction; then what is durable is shown to readers.
    fn write(&self, rows: &Overlay, seq: CommitSeq, marks: Marks, clean: bool) -> Result<()> {
        let mut engine = self.engine.lock().unwrap_or_else(PoisonError::into_inner);
        let engine = engine.as_mut().ok_or_else(closed)?;
        let mut head = engine.head.clone();
        head.seq = seq;
        head.clean = clean;
        head.next_id = marks.next_id;
        head.incarnation = marks.incarnation;
        head.horizon = marks.horizon;
        head.clock = marks.clock;
        engine.commit(rows, head)?;
        let snapshot = engine.snapshot()?;
        *self.durable.write().unwrap_or_else(PoisonError::into_inner) = snapshot;
        Ok(())
    }

    fn scratch(&self) -> MutexGuard<'_, Overlay> {
        self.scratch.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn marks(&self) -> Marks {
        *self.lock_marks()
    }

    fn lock_marks(&self) -> MutexGuard<'_, Marks> {
        self.marks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The durable state.
    fn durable(&self) -> Arc<Snapshot> {
        self.durable.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The durable state, unless the store takes no more calls.
    pub(super) fn read(&self) -> Result<Arc<Snapshot>> {
        self.home.check()?;
        let _planning = Planning::enter()?;
        match self.line.look().fate() {
            Some(fate) => Err(fate.error()),
            None => Ok(self.durable()),
        }
    }

    /// A row that nobody is at: not while the name is held, nor while a group that is open or being
    /// committed writes or removes the row. All of it as of one moment, in which no plan is made.
    pub(super) fn unattended(
        &self,
        (kind, name): (HoldKind, &[u8]),
        table: Table,
        key: &[u8],
    ) -> Result<Option<Vec<u8>>> {
        self.home.check()?;
        let _planning = Planning::enter()?;
        let state = self.line.look();
        let groups = [Some(&state.open), state.in_flight.as_deref()];
        let is_on_its_way = groups.into_iter().flatten().any(|group| group.rows.has(table, key));
        if is_on_its_way || self.held.has(kind, name) {
            return Ok(None);
        }
        self.durable().get(table, key)
    }

    /// Confirms the wall clock: what it says now is believed.
    pub(super) fn trust_clock(&self) -> Result<()> {
        self.home.check()?;
        let _planning = Planning::enter()?;
        let _no_plan = self.line.look();
        let mut marks = self.lock_marks();
        marks.clock = ClockMark::believed(&Reading::of(&*self.clock, None));
        marks.witness = self.clock.elapsed();
        Ok(())
    }

    pub(super) fn clock_suspect(&self) -> Result<Option<Timestamp>> {
        self.home.check()?;
        let _planning = Planning::enter()?;
        Ok(self.marks().clock.suspect.map(|suspect| suspect.at))
    }

    /// Runs `work` on the engine while no commit is under way.
    pub(super) fn quiesced<T>(&self, work: impl FnOnce(&mut Engine) -> Result<T>) -> Result<T> {
        self.home.check()?;
        let _planning = Planning::enter()?;
        self.with_engine(work)
    }

    fn with_engine<T>(&self, work: impl FnOnce(&mut Engine) -> Result<T>) -> Result<T> {
        let mut engine = self.engine.lock().unwrap_or_else(PoisonError::into_inner);
        work(engine.as_mut().ok_or_else(|| self.ended())?)
    }

    /// Why there is no engine any more: a failure, if there was one, or that the store was closed.
    fn ended(&self) -> Error {
        self.line.look().fate().map_or_else(closed, Fate::error)
    }

    /// Waits for what is under way, marks the store as closed in order, and lets go of the file.
    /// A second call does nothing, and repeats what the first one failed with.
    pub(super) fn close(&self) -> Result<()> {
        self.home.check()?;
        drop(Planning::enter()?);
        self.finish()
    }

    /// [`close`](Committer::close) by the last handle, which no plan of this store can be: a run
    /// that plans holds one. It may be dropped inside a plan of another store.
    pub(super) fn finish(&self) -> Result<()> {
        self.home.disown();
        // Two that close at once: the second waits for the first.
        let _turn = self.closing.lock().unwrap_or_else(PoisonError::into_inner);
        let ended = self.line.end(&|group| self.commit_group(group), Fate::closed());
        let result = match ended {
            Ok(()) => self
                .with_engine(|engine| Ok(engine.head.seq.next()))
                .and_then(|seq| self.write(&Overlay::default(), seq, self.marks(), true))
                // The handles that are left get the failure, not that all was closed cleanly.
                .inspect_err(|error| self.line.fail(&Fate::of(error))),
            Err(fate) if fate.is_close() => Ok(()),
            Err(fate) => Err(fate.error()),
        };
        drop(self.engine.lock().unwrap_or_else(PoisonError::into_inner).take());
        result
    }

    /// Lets go of the file at once, as a crash would.
    pub(super) fn abandon(&self) {
        self.home.disown();
        self.line.abandon(&Fate::closed());
        drop(self.engine.lock().unwrap_or_else(PoisonError::into_inner).take());
    }

    /// Starts the thread that commits what nobody waits for, once.
    fn start_helper(self: &Arc<Self>) -> Result<()> {
        let mut started = self.helper.lock().unwrap_or_else(PoisonError::into_inner);
        if !*started {
            // The thread ends with the line, which ends before the last handle goes.
            let committer = self.clone();
            thread::Builder::new()
                .name("milepost-commit".into())
                .spawn(move || committer.line.help(&|group| committer.commit_group(group)))
                .map_err(|error| Error::io("starting the thread that commits", error))?;
            *started = true;
        }
        Ok(())
    }
}

/// How many expired rows a plan may forget: the first one of a group, in proportion to what groups
/// bring in, so that a lone step after a long pause does not pay for all of it.
fn forget_max(members: usize, rows_before: usize) -> usize {
    if members == 0 { 64 + 2 * rows_before } else { 0 }
}

impl Marks {
    fn read_clock(&mut self, clock: &dyn Clock) -> Timestamp {
        let (reading, elapsed) = (Reading::of(clock, None), clock.elapsed());
        let witness_ms = elapsed.saturating_sub(self.witness).as_millis();
        let before = self.clock.high_water;
        let witness_ms = u64::try_from(witness_ms).unwrap_or(u64::MAX);
        self.clock = self.clock.at_commit(&reading, witness_ms);
        if self.clock.high_water != before {
            self.witness = elapsed;
        }
        reading.now
    }

    /// What it must be by now if the process's own clock is right: deadlines count from it, for a key
    /// that is kept too long costs only room. What expires does not go by it, see `ARCHITECTURE.md`.
    fn lived(&self, clock: &dyn Clock) -> Timestamp {
        self.clock.high_water.after(clock.elapsed().saturating_sub(self.witness))
    }
}
